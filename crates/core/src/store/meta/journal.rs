//! Writing META: appending.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::Session;
use super::file::{encode, errno, open_file, write_at};
use super::tail::{self, Said};
use crate::format::meta::Record;

/// Bytes of META that are kept in memory before it is synced.
const TAIL_MOST: usize = 256 << 10;

/// Bytes of prints that wait for a sync.
const WAITING_MOST: usize = 32 << 10;

/// How records reach the device before the changes of names that rely on them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firm {
    /// They need not: nothing survives anyway, or the user does not mind.
    No,
    /// By an attribute of META: the journal orders it before what follows.
    Attribute,
    /// The same, but a sync of another file may bring a change of names to the
    /// device before it (the log of btrfs): so what such a change relies on is
    /// synced before ([`Journal::secure`]).
    AttributeAndSync,
    /// Synced.
    Sync,
}

impl Firm {
    /// The attribute is used.
    #[must_use]
    pub fn has_attribute(self) -> bool {
        matches!(self, Firm::Attribute | Firm::AttributeAndSync)
    }
}

/// Where the journals begin to count their cuts, each somewhere else.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// META of a directory, opened for appending.
///
/// What is between `synced` and `size` the device may not have. Of that all
/// that others rely on is in the attribute of the file, see [`tail`].
#[derive(Debug)]
pub struct Journal {
    file: File,
    firm: Firm,
    session: Session,
    /// Bytes of the file.
    size: u64,
    /// Bytes that the device has.
    synced: u64,
    /// The bytes from `synced` on, where the attribute is used.
    tail: Vec<u8>,
    /// Up to where the attribute has META. What is behind are times alone, and of
    /// these there may be more than it holds.
    covered: u64,
    /// Nobody knows whether the device has what was there at the opening.
    unsure: bool,
    /// A sync has failed: the kernel may have dropped what it could not write.
    doubtful: bool,
    /// How often the file was cut.
    cuts: u64,
    /// What changes were made from, of records that had to be firm. Between these it would
    /// fill the attribute, and META would have to be synced much more often. So it is
    /// written before the next sync, or when somebody looks after what is left.
    waiting: Vec<u8>,
}

/// Where META ended when a sync of it began.
#[derive(Debug)]
pub struct SyncPoint {
    size: u64,
    cuts: u64,
}

impl Journal {
    /// Opens META, making it if need be, and completes what a power cut has
    /// left of it. `torn_at`: see [`super::Loaded`].
    ///
    /// # Errors
    /// As `open(2)`; EIO for what is not a regular file and keeps no records, or
    /// what others may have written.
    pub fn open(
        dir: BorrowedFd<'_>,
        torn_at: Option<u64>,
        firm: Firm,
        session: Session,
    ) -> Result<Journal, Errno> {
        let (fd, size, made) = open_file(dir, session.meta)?;
        let mut journal = Journal {
            file: File::from(fd),
            firm,
            session,
            size,
            synced: size,
            tail: Vec::new(),
            covered: 0,
            unsure: !made,
            doubtful: false,
            // A sync of it may come to its end when it was closed and opened again.
            cuts: OPENED.fetch_add(1 << 32, Ordering::Relaxed),
            waiting: Vec::new(),
        };
        if !made {
            journal.complete()?;
        }
        if let Some(end) = torn_at {
            // With an end, half a line could say what nobody meant.
            journal.cut(end)?;
        }
        Ok(journal)
    }

    /// Takes up what the attribute says of the end of the file.
    fn complete(&mut self) -> Result<(), Errno> {
        let said = tail::said(&self.file, self.size, self.session)?;
        let completed = matches!(said, Said::Missing(_));
        let from = match said {
            Said::Missing(missing) => {
                write_at(&self.file, &missing.bytes, missing.from)?;
                self.covered = missing.end();
                self.size = self.size.max(self.covered);
                missing.from
            }
            Said::There(from, end) => {
                self.covered = end;
                from
            }
            // Without the attribute nobody knows what the device has.
            Said::Nothing => 0,
        };
        let length = usize::try_from(self.size - from).unwrap_or(usize::MAX);
        if !self.firm.has_attribute() {
            return if completed { self.sync() } else { Ok(()) };
        }
        if length > tail::LIMIT {
            return self.sync();
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, from).map_err(errno)?;
        (self.synced, self.tail) = (from, bytes);
        Ok(())
    }

    /// The storage belongs to this session from now on; its root's META says so.
    ///
    /// # Errors
    /// As `fsetxattr(2)` and `fsync(2)`.
    pub fn begin_session(&self) -> Result<(), Errno> {
        self.session.begin(&self.file)
    }

    /// The session ends in order: everything is on the device.
    ///
    /// # Errors
    /// As `fremovexattr(2)`.
    pub fn end_session(&self) -> Result<(), Errno> {
        Session::end(&self.file)
    }

    /// Bytes of the file: a point to which [`Journal::cut`] goes back.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends records with one write. Unless only times depend on them, they
    /// will reach the device before any change of names that follows.
    ///
    /// # Errors
    /// As `write(2)`; ENAMETOOLONG for a record beyond the longest line. META
    /// is then as it was before.
    pub fn append(&mut self, records: &[Record]) -> Result<(), Errno> {
        let cosmetic = records.iter().all(Record::is_cosmetic);
        let waits = |record: &&Record| !cosmetic && matches!(record, Record::Print { .. });
        let (mut bytes, mut prints) = (Vec::with_capacity(64 * records.len()), Vec::new());
        if records.iter().any(Record::restores) {
            // It would come to hold again.
            bytes.extend_from_slice(&self.waiting);
        }
        let paid = bytes.len();
        encode(records.iter().filter(|record| !waits(record)), &mut bytes)?;
        encode(records.iter().filter(waits), &mut prints)?;
        let before = self.size;
        if let Err(errno) = write_at(&self.file, &bytes, before) {
            // The device filled up in the middle: take back what was written.
            rustix::fs::ftruncate(&self.file, before).inspect_err(|_| self.doubtful = true)?;
            return Err(errno);
        }
        self.size += bytes.len() as u64;
        if self.firm.has_attribute() {
            self.tail.extend_from_slice(&bytes);
        }
        self.waiting.drain(..paid);
        if cosmetic {
            // Times must not fill the memory.
            return if self.tail.len() > TAIL_MOST { self.sync() } else { Ok(()) };
        }
        self.make_firm().inspect_err(|_| {
            if let Err(errno) = self.cut(before) {
                tracing::error!("META keeps records of what did not happen: {errno}");
            }
        })?;
        self.waiting.append(&mut prints);
        if self.waiting.len() > WAITING_MOST {
            self.write_waiting();
        }
        Ok(())
    }

    /// Writes what waits. Nothing depends on it: who lets the file go without does no harm.
    pub fn write_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.waiting);
        if let Err(errno) = write_at(&self.file, &bytes, self.size) {
            tracing::debug!("what changes were made from is not recorded: {errno}");
            let cut = rustix::fs::ftruncate(&self.file, self.size);
            self.doubtful |= cut.is_err();
            return;
        }
        self.size += bytes.len() as u64;
        if self.firm.has_attribute() {
            self.tail.extend_from_slice(&bytes);
        }
    }

    /// What waits to be written, to be given back with [`Journal::wait_again`].
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        &self.waiting
    }

    /// META is about to be cut to what it was when this waited. (A cut may sync.)
    pub fn wait_again(&mut self, waiting: Vec<u8>) {
        self.waiting = waiting;
    }

    /// The file is about to go, or to be replaced by one that has it all.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    fn make_firm(&mut self) -> Result<(), Errno> {
        match self.firm {
            Firm::No => return Ok(()),
            Firm::Sync => {}
            Firm::Attribute | Firm::AttributeAndSync => {
                if self.tail.len() <= tail::LIMIT && self.cover().is_ok() {
                    self.covered = self.size;
                    return Ok(());
                }
            }
        }
        self.sync()?;
        if self.firm.has_attribute() && self.covered < self.size && self.cover().is_ok() {
            // Facts are never behind what the attribute says.
            self.covered = self.size;
        }
        Ok(())
    }

    /// Puts what the device may not have into the attribute.
    fn cover(&self) -> Result<(), Errno> {
        tail::write(self.file.as_fd(), self.session, self.synced, &self.tail)
    }

    /// A change of names follows that relies on what META says.
    ///
    /// # Errors
    /// As `fdatasync(2)`.
    pub fn secure(&mut self) -> Result<(), Errno> {
        if self.firm == Firm::AttributeAndSync && (self.synced < self.size || self.unsure) {
            self.sync()?;
        }
        Ok(())
    }

    /// A sync has failed: META should be written anew.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// A sync of the file has failed.
    pub fn sync_failed(&mut self) {
        self.doubtful = true;
    }

    fn sync(&mut self) -> Result<(), Errno> {
        self.write_waiting();
        rustix::fs::fdatasync(&self.file).inspect_err(|_| self.doubtful = true)?;
        self.reached(self.size);
        Ok(())
    }

    /// Cuts META to what it was.
    ///
    /// # Errors
    /// As `ftruncate(2)`; what META says is not certain then.
    pub fn cut(&mut self, size: u64) -> Result<(), Errno> {
        let keep = usize::try_from(size.saturating_sub(self.synced)).unwrap_or(usize::MAX);
        self.tail.truncate(keep);
        // Before the file, which would get its old end again.
        let covered = size < self.covered;
        if covered {
            if self.tail.is_empty() {
                tail::remove(self.file.as_fd())?;
            } else if self.cover().is_err() {
                rustix::fs::fdatasync(&self.file)?;
                self.tail.clear();
                self.synced = size;
                tail::remove(self.file.as_fd())?;
            }
            self.covered = size;
        }
        // Counted before: a sync that goes on says nothing of what comes next.
        self.cuts += 1;
        rustix::fs::ftruncate(&self.file, size)?;
        self.size = size;
        self.synced = self.synced.min(size);
        if covered && self.firm.has_attribute() {
            // Else the device may have sectors of what is gone among those of what
            // comes next, and nothing would tell them apart.
            self.sync()?;
        }
        Ok(())
    }

    /// The device has it all.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced >= self.size && !self.unsure
    }

    /// A descriptor to sync META by, and what that will bring to the device.
    /// `None`: it has it all.
    ///
    /// # Errors
    /// EMFILE.
    pub fn begin_sync(&mut self) -> Result<Option<(OwnedFd, SyncPoint)>, Errno> {
        self.write_waiting();
        if self.is_synced() {
            return Ok(None);
        }
        let point = SyncPoint { size: self.size, cuts: self.cuts };
        Ok(Some((rustix::io::fcntl_dupfd_cloexec(&self.file, 0)?, point)))
    }

    /// A sync that began at this point has come to its end. If META was cut
    /// meanwhile, other bytes may be where it ended, and the next sync tells of them.
    pub fn synced_to(&mut self, point: &SyncPoint) {
        if point.cuts == self.cuts {
            self.reached(point.size);
        }
    }

    /// The device has META up to there.
    fn reached(&mut self, size: u64) {
        let more = size.min(self.size).saturating_sub(self.synced);
        let known = usize::try_from(more).unwrap_or(usize::MAX).min(self.tail.len());
        self.tail.drain(..known);
        self.synced += more;
        self.unsure = false;
    }
}
