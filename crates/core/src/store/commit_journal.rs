//! The journal of a commit in a storage: whether there is one, and how far it has come.
//!
//! It is there before anything is made in the base, and goes when nothing is left of that.
//! Each state is on the device before what it speaks of begins.
#![forbid(unsafe_code)]

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FallocateFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::format::commit::{CommitProgram, CommitState, Damaged, Head, Journal};
use crate::format::commit::{parse, state_line, write};
use crate::format::name::MetaName;
use crate::interface::types::SetTime;
use crate::sys::{self, Result, Spot, trust};

/// Bytes that are kept free behind it.
const ROOM: u64 = 4096;

/// Why a journal that is there cannot be used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unusable {
    /// It cannot be read, or is not ours.
    Failed(Errno),
    /// It says something that nobody understands.
    Damaged(Damaged),
}

impl From<Errno> for Unusable {
    fn from(errno: Errno) -> Unusable {
        Unusable::Failed(errno)
    }
}

/// Reads the journal in the root of a storage. `None`: there is none.
///
/// # Errors
/// It is there and cannot be used.
pub(crate) fn load(
    storage: BorrowedFd<'_>,
    meta: MetaName,
) -> std::result::Result<Option<Journal>, Unusable> {
    let name = meta.commit().as_bytes();
    let opened = sys::open_at(storage, name, OFlags::RDONLY | OFlags::NONBLOCK);
    let Some(file) = sys::absent(opened)? else { return Ok(None) };
    trust::check_opened(&file, "the journal of a commit", true)?;
    let text = read_all(&file)?;
    // The power went before its first line was on the device, and so before all else.
    if !text.contains(&b'\n') {
        return Ok(None);
    }
    parse(&text).map(Some).map_err(Unusable::Damaged)
}

fn read_all(file: &OwnedFd) -> Result<Vec<u8>> {
    let size = usize::try_from(sys::stat_fd(file)?.stx_size).map_err(|_| Errno::FBIG)?;
    let mut text = vec![0; size];
    let len = sys::read_at(file, &mut text, 0)?;
    text.truncate(len);
    Ok(text)
}

/// The base is being changed, or what was changed in it still shows in the storage, too: a
/// storage of which nothing may be shown. What cannot be read may say so.
pub(crate) fn is_begun(storage: BorrowedFd<'_>, meta: MetaName) -> bool {
    match load(storage, meta) {
        Ok(None) => false,
        Ok(Some(journal)) => journal.state != CommitState::Staging,
        Err(_) => true,
    }
}

/// A journal that is being written.
pub(crate) struct JournalFile<'a> {
    storage: BorrowedFd<'a>,
    meta: MetaName,
}

impl<'a> JournalFile<'a> {
    /// That of this storage, whatever it holds.
    pub fn of(storage: BorrowedFd<'a>, meta: MetaName) -> JournalFile<'a> {
        JournalFile { storage, meta }
    }

    /// Begins one, or begins anew: the base is as it was.
    pub fn begin(&self, head: &Head) -> Result<()> {
        self.replace(&write(head, None))
    }

    /// Everything is in the stage, and on the device.
    pub fn ready(&self, head: &Head, program: &CommitProgram) -> Result<()> {
        self.replace(&write(head, Some(program)))
    }

    fn replace(&self, text: &[u8]) -> Result<()> {
        let temp = self.meta.temp();
        let done = self.unseen(|| self.replace_by(&temp, text));
        if done.is_err() {
            let _ = self.unseen(|| sys::unlink(self.storage, &temp, AtFlags::empty()));
        }
        done
    }

    /// Changes names in the root of the storage, which shows its time of modification.
    fn unseen<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = sys::stat_fd(self.storage)?.stx_mtime.into();
        let done = change();
        let root = Spot::at(self.storage, b".");
        let _ = sys::set_times(root, None, Some(SetTime::At(before)));
        done
    }

    fn replace_by(&self, temp: &[u8], text: &[u8]) -> Result<()> {
        let file = sys::create_private(self.storage, temp)?;
        // So that there is room for what is added to it.
        let room = text.len() as u64 + ROOM;
        let _ = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, room);
        write_all(&file, text, 0)?;
        rustix::fs::fsync(&file)?;
        let to = (self.storage.into(), self.meta.commit().as_bytes());
        sys::rename((self.storage.into(), temp), to, RenameFlags::empty())?;
        self.sync_dir()
    }

    /// The commit has come so far.
    pub fn mark(&self, state: CommitState) -> Result<()> {
        let file = sys::open_at(self.storage, self.meta.commit().as_bytes(), OFlags::RDWR)?;
        trust::check_opened(&file, "the journal of a commit", true)?;
        let text = read_all(&file)?;
        // A line that a crash has left half is none.
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if end < text.len() {
            rustix::fs::ftruncate(&file, end as u64)?;
        }
        write_all(&file, &state_line(state), end as u64)?;
        rustix::fs::fsync(&file)
    }

    /// Nothing is left to be done.
    pub fn remove(&self) -> Result<()> {
        let name = self.meta.commit();
        let gone = self.unseen(|| sys::unlink(self.storage, name.as_bytes(), AtFlags::empty()));
        sys::absent(gone)?;
        self.sync_dir()
    }

    fn sync_dir(&self) -> Result<()> {
        let dir = sys::open(Spot::at(self.storage, b"."), OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::fs::fsync(dir.as_fd())
    }
}

fn write_all(file: &OwnedFd, text: &[u8], at: u64) -> Result<()> {
    if sys::write_at(file, text, at)? < text.len() { Err(Errno::NOSPC) } else { Ok(()) }
}
