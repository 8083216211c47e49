//! What a crash has left undecided: conditions in META, names of shared
//! objects that were about to be lost, objects of the index that lost the last.

use hashbrown::HashSet;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::format::identity::BaseId;
use crate::format::meta::{Index, Loss, Record, SharedRecord};
use crate::format::name::MetaName;
use crate::store::meta;
use crate::store::meta::{Firm, Journal, Loaded, Session};
use crate::store::meta_dir::{ANY, decide};
use crate::sys::trust::Unusable;
use crate::sys::{self, Spot, Within, each_entry};

type Result<T> = std::result::Result<T, Errno>;

/// Names that were about to be lost, and what the walk finds out about them.
#[derive(Default)]
pub(super) struct Losses {
    index: Index,
    open: Vec<Loss>,
    /// What META of the index has to be told.
    pub records: Vec<Record>,
}

impl Losses {
    /// Reads META of the index. What cannot be read has been reported.
    pub fn of(storage: BorrowedFd<'_>, session: Session) -> Losses {
        let loaded = sys::open_dir(storage, session.meta.index().as_bytes())
            .and_then(|dir| meta::load(dir.as_fd(), session));
        let Ok(Loaded { index, .. }) = loaded else { return Losses::default() };
        Losses { open: index.losses().to_vec(), index, records: Vec::new() }
    }

    /// Some are not decided, as far as is known.
    pub fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Decides about those of a directory whose META says this.
    pub fn visit(&mut self, dir: Within<'_>, said: &Index) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let own = sys::stat_fd(dir.fd())?.stx_ino;
        let (here, elsewhere) = self.open.drain(..).partition(|loss: &Loss| loss.dir == own);
        self.open = elsewhere;
        for loss in here {
            let happened = said.hides(&loss.name)
                || sys::absent(sys::stat(Spot::at(dir, &loss.name)))?.is_some();
            let id = loss.id;
            // Before the number, which must not fall a second time.
            self.tell(Record::Loss(Loss { decided: true, ..loss }));
            if happened && let Some(record) = self.index.shared(id) {
                let left = record.left.saturating_sub(1);
                let record = SharedRecord { left, ..record };
                self.tell(Record::Shared { id, record });
            }
        }
        Ok(())
    }

    fn tell(&mut self, record: Record) {
        self.index.apply(&record);
        self.records.push(record);
    }

    /// Objects of the index whose last name a crash has taken. (Others without a
    /// name may be needed: mounts in the base can show a file more often than its
    /// link count says.)
    pub fn orphans(&self, storage: BorrowedFd<'_>, meta: MetaName) -> Result<Vec<Vec<u8>>> {
        let Some(dir) = sys::absent(sys::open_dir(storage, meta.index().as_bytes()))? else {
            return Ok(Vec::new());
        };
        let decided: Vec<BaseId> = self.records.iter().filter_map(Record::lost).collect();
        let spent = self.index.spent().filter(|id| decided.contains(id));
        let spent: HashSet<Vec<u8>> = spent.map(|id| id.index_name().into()).collect();
        let mut names = Vec::new();
        each_entry(dir.as_fd(), |entry| {
            if spent.contains(entry.name) {
                names.push(entry.name.to_vec());
            }
            true
        })?;
        let undecided =
            |name: &[u8]| self.open.iter().any(|loss| loss.id.index_name().as_bytes() == name);
        let mut orphans = Vec::new();
        for name in names {
            let stat = sys::stat(Spot::at(dir.as_fd(), &name))?;
            if stat.stx_nlink == 1 && !undecided(&name) {
                orphans.push(name);
            }
        }
        Ok(orphans)
    }
}

/// Maps of partial files that no file has any more. `known`: those of all files.
pub(super) fn orphaned_maps(
    storage: BorrowedFd<'_>,
    meta: MetaName,
    known: &HashSet<u64>,
) -> Result<Vec<Vec<u8>>> {
    let Some(dir) = sys::absent(sys::open_dir(storage, meta.index().as_bytes()))? else {
        return Ok(Vec::new());
    };
    let mut orphans = Vec::new();
    each_entry(dir.as_fd(), |entry| {
        let digits = entry.name.strip_prefix(b"p").filter(|digits| digits.len() == 16);
        let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let map = text.and_then(|text| u64::from_str_radix(text, 16).ok());
        if map.is_some_and(|map| !known.contains(&map)) {
            orphans.push(entry.name.to_vec());
        }
        true
    })?;
    Ok(orphans)
}

/// Writes down what was found out, and removes what no name leads to.
pub(super) fn finish(
    storage: BorrowedFd<'_>,
    session: Session,
    records: &[Record],
    orphans: &[Vec<u8>],
) -> Result<()> {
    if records.is_empty() && orphans.is_empty() {
        return Ok(());
    }
    let dir = sys::open_dir(storage, session.meta.index().as_bytes())?;
    if !records.is_empty() {
        let torn_at = meta::load(dir.as_fd(), session)?.torn_at;
        Journal::open(dir.as_fd(), torn_at, Firm::Sync, session)?.append(records)?;
    }
    for name in orphans {
        rustix::fs::unlinkat(&dir, &**name, AtFlags::empty())?;
    }
    Ok(())
}

/// Something in META of a directory is not decided, or not complete, or a discard that
/// was begun is not done.
pub(super) fn is_unfinished(loaded: &Loaded) -> bool {
    let Loaded { completed, index, .. } = loaded;
    *completed || !index.pending().is_empty() || !index.discards().is_empty()
}

/// Writes META of a directory anew, if it has damaged or unfinished lines.
pub(super) fn drop_damage(dir: BorrowedFd<'_>, read: Session, own: Session) -> Result<()> {
    match meta::look(dir, read) {
        Ok(loaded) if loaded.damages > 0 || loaded.torn_at.is_some() => {
            meta::rewrite(dir, &loaded.index, own)
        }
        Err(Unusable::Failed(errno)) => Err(errno),
        // What others may have written is left to them.
        _ => Ok(()),
    }
}

/// Something depends on the `st_ino` of a storage object.
pub(super) fn needs_numbers(index: &Index) -> bool {
    let by_number =
        |when: &Record| matches!(when, Record::When { storage_ino, .. } if *storage_ino != ANY);
    index.pending().iter().any(by_number)
}

/// Decides, and writes that down.
pub(super) fn settle(within: Within<'_>, session: Session) -> std::result::Result<(), Unusable> {
    let dir = within.fd();
    let mut loaded = meta::look(dir, session)?;
    if !is_unfinished(&loaded) {
        return Ok(());
    }
    let owed = decide(within, &mut loaded.index)?;
    let mut journal = Journal::open(dir, loaded.torn_at, Firm::Sync, session)?;
    if owed.is_empty() { Ok(()) } else { Ok(journal.append(&owed)?) }
}
