//! Why a commit did not come to its end, and what that means for the base.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

use super::stage::NoStage;
use crate::format::name::MetaName;
use crate::interface::error::OpenError;

/// Why a commit failed. But for [`CommitError::Stuck`] and [`CommitError::Storage`] the base
/// is as it was before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Base and storage cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Somebody else commits into this base, or has begun to.
    #[error("base {}: a commit of the storage {} into it was not finished: finish it (mini_fo commit {1}) or take it back (mini_fo commit --abort {1}) first", base.display(), owner.display())]
    StageTaken {
        /// The base.
        base: PathBuf,
        /// The other storage.
        owner: PathBuf,
    },
    /// The file system of the base cannot do what is needed.
    #[error("base {}: its file system {missing}, so nothing can be committed into it at once; copy the mounted tree instead", base.display())]
    Poor {
        /// The base.
        base: PathBuf,
        /// What it cannot do.
        missing: &'static str,
    },
    /// A plan with a conflict was to be carried out.
    #[error(
        "{}: the base has something else than what this was made from; nothing was changed",
        shown(path)
    )]
    Undecided {
        /// Path in the tree.
        path: Box<[u8]>,
    },
    /// Another commit goes on in the base at this moment.
    #[error("base {}: another commit goes on in it: wait for its end; nothing was changed", base.display())]
    BaseBusy {
        /// The base.
        base: PathBuf,
    },
    /// Something that is not of mini_fo has the name of the stage.
    #[error("{}: it is in the way of a commit, and not known: if it is left of one, it may hold what was in the base (files n0, n1, ...); move it away; nothing was changed", path.display())]
    OddStage {
        /// What is in the way.
        path: PathBuf,
    },
    /// Nothing can be made in the base.
    #[error("base {}: it cannot be written: {errno}; nothing was changed", base.display())]
    BaseUnwritable {
        /// The base.
        base: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The journal of the storage cannot be written, or read.
    #[error("storage {}: the journal of the commit in it: {why}; nothing was changed", storage.display())]
    Journal {
        /// The storage.
        storage: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The journal in a storage is damaged.
    #[error("storage {}: the journal of a commit in it cannot be used: {why}. A part of that commit may be done. What it has taken out of the base lies in {stage} (n0, n1, ...), in its root or where line 2 of {} tells, and the lines of that tell from where", storage.display(), journal.display())]
    Damaged {
        /// The storage.
        storage: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// What the stage is called.
        stage: &'static str,
        /// What is wrong.
        why: String,
    },
    /// One of the new objects cannot be made.
    #[error("{}: it cannot be made in the base: {errno}; nothing was changed", shown(path))]
    Make {
        /// Path in the tree.
        path: Box<[u8]>,
        /// Why.
        errno: Errno,
    },
    /// A part of a file was to be committed that is another one by now.
    #[error("{}: it is not as it was shown any more; nothing was changed", shown(path))]
    Outdated {
        /// Path in the tree.
        path: Box<[u8]>,
    },
    /// The base does not let something be moved, or names in a directory be changed.
    #[error(
        "{}: the base does not let it be moved, or names in it be changed: {errno}; nothing was changed",
        shown(path)
    )]
    Immovable {
        /// Path in the base.
        path: Box<[u8]>,
        /// Why.
        errno: Errno,
    },
    /// Somebody else has changed the base meanwhile. All was taken back.
    #[error(
        "{}: the base has changed while its changes were committed; all was taken back, try again",
        shown(path)
    )]
    Changed {
        /// Path in the base.
        path: Box<[u8]>,
    },
    /// A step has failed. All was taken back.
    #[error("{}: it cannot be changed in the base: {errno}; all was taken back", shown(path))]
    TakenBack {
        /// Path in the base.
        path: Box<[u8]>,
        /// Why.
        errno: Errno,
    },
    /// It could not be taken back either.
    #[error("base {}: {}: {errno}; a part of the commit is done, and could not be taken back: mend that, then finish it (mini_fo commit {2}) or take it back (mini_fo commit --abort {2})", base.display(), shown(path), storage.display())]
    Stuck {
        /// The base.
        base: PathBuf,
        /// The storage.
        storage: PathBuf,
        /// Path in the base.
        path: Box<[u8]>,
        /// Why.
        errno: Errno,
    },
    /// Somebody else has put something where the commit has, so that does not go back.
    #[error("base {}: {}: something else has been put there, or in it, since: a part of the commit is done, and going back would lose that: move it away, then take the commit back (mini_fo commit --abort {2}), or finish it (mini_fo commit {2})", base.display(), shown(path), storage.display())]
    InTheWay {
        /// The base.
        base: PathBuf,
        /// The storage.
        storage: PathBuf,
        /// Path in the base.
        path: Box<[u8]>,
    },
    /// What was taken out of the base cannot be removed.
    #[error("base {}: all is in it, but what was taken out of it cannot be removed: {errno}; \"mini_fo commit {1}\" goes on with it", base.display(), storage.display())]
    Remains {
        /// The base.
        base: PathBuf,
        /// The storage.
        storage: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The base is as it is to be, but the storage could not forget what was committed.
    #[error("storage {}: all is in the base, but what was committed cannot be taken out of the storage: {errno}; \"mini_fo commit {0}\" goes on with it", storage.display())]
    Storage {
        /// The storage.
        storage: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// It cannot be taken back any more.
    #[error("storage {}: all of the commit is in the base: it cannot be taken back any more; \"mini_fo commit {0}\" finishes it", storage.display())]
    TooLate {
        /// The storage.
        storage: PathBuf,
    },
    /// The base is not the one in which it was begun.
    #[error("base {}: the commit of storage {} was not begun in it: name the base in which it was (--base)", base.display(), storage.display())]
    OtherBase {
        /// The base.
        base: PathBuf,
        /// The storage.
        storage: PathBuf,
    },
}

fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// What went wrong on the way to a stage.
pub(super) fn no_stage((base, meta): (&std::path::Path, MetaName), why: NoStage) -> CommitError {
    let base = base.to_path_buf();
    match why {
        NoStage::Taken(owner) => CommitError::StageTaken { base, owner },
        NoStage::Poor(missing) => CommitError::Poor { base, missing },
        NoStage::Odd(at) => {
            let path = base.join(std::ffi::OsStr::from_bytes(&at)).join(meta.stage());
            CommitError::OddStage { path }
        }
        NoStage::Failed(errno) => CommitError::BaseUnwritable { base, errno },
    }
}
