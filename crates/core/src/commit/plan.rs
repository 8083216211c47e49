//! From changes to what is done in the base.

use rustix::io::Errno;

use crate::changes::{BaseState, Change, UnreadChange};
use crate::format::commit::{CommitProgram, Path, Slot};
use crate::reach::overlay::Overlay;

/// Who is right where the base is no longer what a change was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitSide {
    /// Nobody: such changes are conflicts, and nothing can be committed.
    #[default]
    Neither,
    /// The storage: the change is written over what the base has now.
    Ours,
    /// The base: the change is not committed, and the storage forgets it.
    Theirs,
}

/// What a commit does with one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFate {
    /// Was not asked for, and stays in the storage.
    Stays,
    /// Was asked for, but belongs together with something that was not, and stays.
    Held,
    /// Is committed.
    Goes,
    /// Was not asked for, but belongs together with something that was, and is committed.
    Follows,
    /// The base has something else now ([`CommitSide::Neither`]).
    Conflict(BaseState),
    /// The same; it is given up for what the base has ([`CommitSide::Theirs`]).
    Dropped(BaseState),
}

/// One change, in the order in which they were told.
#[derive(Clone, Debug)]
pub struct CommitEntry {
    /// Where the tree has it.
    pub path: Box<[u8]>,
    /// What becomes of it.
    pub fate: CommitFate,
    /// Bytes of content that are written.
    pub bytes: u64,
}

/// Why nothing can be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitRefusal {
    /// There is no base of its own: it consists of several layers, or the storage is none.
    NotPlain,
    /// An entry cannot be read.
    Unread(Box<[u8]>, Errno),
    /// An entry of the base, or its directory, cannot be changed (`chattr +i`, `+a`).
    Fixed(Box<[u8]>),
    /// An entry of the base lies on another file system than its root, or is a mount point.
    Elsewhere(Box<[u8]>),
    /// [`CommitSide::Theirs`]: these would be given up with a conflict, and are none.
    WouldDrop(Vec<Box<[u8]>>),
    /// The base cannot be read.
    Base(Box<[u8]>, Errno),
}

/// What is made in the stage before anything of the base is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// A new object that is what the tree shows at a path: content, owner, mode, times,
    /// extended attributes. Of a directory nothing that is in it.
    Object { slot: Slot, path: Path },
    /// Another name of what is in a slot.
    Link { slot: Slot, of: Slot },
    /// Another name of what the base has at a path.
    LinkBase { slot: Slot, at: Path },
}

/// What would be committed, and how.
#[derive(Debug)]
pub struct CommitPlan {
    /// All changes of the tree.
    pub entries: Vec<CommitEntry>,
    pub(crate) makes: Vec<Make>,
    pub(crate) program: CommitProgram,
}

impl Overlay {
    /// Finds out what a commit comes to. `asked` is told of each change of the tree, and
    /// says whether it is to be committed; what belongs together goes or stays together.
    /// Nothing is written.
    ///
    /// # Errors
    /// It cannot be done at all.
    pub fn plan_commit(
        &self,
        side: CommitSide,
        asked: &mut dyn FnMut(&Change<'_>) -> bool,
    ) -> Result<CommitPlan, CommitRefusal> {
        let _ = (side, asked);
        Err(CommitRefusal::NotPlain)
    }
}

impl CommitPlan {
    /// Something is not to be decided by itself.
    #[must_use]
    pub fn has_conflicts(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.fate, CommitFate::Conflict(_)))
    }
}

const _: Option<UnreadChange<'static>> = None;
