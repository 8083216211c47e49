//! What a commit comes to, as it is written down before the base is touched
//! (docs/FORMAT.md, section 14).

mod part;
#[cfg(test)]
mod tests;
mod text;

pub use part::{Part, Piece};
pub use text::{Damaged, parse, state_line, write};

use rustix::fs::Statx;

use crate::format::print::{Hash, Print};
use crate::format::time::Timestamp;

/// A path without a leading slash: of the base, or of the tree.
pub type Path = Box<[u8]>;

/// The value of an extended attribute, if there is one.
pub type Value = Option<Box<[u8]>>;

/// A name in a *stage*, a directory in the base in which a commit gathers what is to
/// come and what has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Which one, of those that `Head::stages` names, counted from 0.
    pub stage: u16,
    /// It and no other slot of the commit has this number.
    pub number: u32,
}

impl Slot {
    /// One in the first stage.
    #[must_use]
    pub fn new(number: u32) -> Slot {
        Slot { stage: 0, number }
    }

    /// Its name in the stage.
    #[must_use]
    pub fn name(self) -> Vec<u8> {
        format!("n{}", self.number).into_bytes()
    }
}

/// By what an object of the base is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number, as `st_ino`.
    pub ino: u64,
    /// Its type and mode, as `st_mode`; of directories the type alone.
    pub mode: u32,
    /// Its owner and group; 0 for directories, of which a step of its own knows.
    pub owner: (u32, u32),
    /// Size in bytes; 0 for directories, which change by what is done in them.
    pub size: u64,
    /// Time of modification; the epoch for directories.
    pub mtime: Timestamp,
    /// Time of change of what is no directory and has one name; not written down, as every
    /// step moves it.
    pub ctime: Option<Timestamp>,
}

impl Seen {
    /// That of an object with these attributes.
    #[must_use]
    pub fn of(stat: &Statx) -> Seen {
        let mode = u32::from(stat.stx_mode);
        if mode & libc::S_IFMT == libc::S_IFDIR {
            let (mode, mtime) = (libc::S_IFDIR, Timestamp::default());
            return Seen { ino: stat.stx_ino, mode, owner: (0, 0), size: 0, mtime, ctime: None };
        }
        Seen {
            ino: stat.stx_ino,
            mode,
            owner: (stat.stx_uid, stat.stx_gid),
            size: stat.stx_size,
            mtime: stat.stx_mtime.into(),
            ctime: (stat.stx_nlink == 1).then(|| stat.stx_ctime.into()),
        }
    }

    /// Its type, as in `st_mode`.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// It is the object with these attributes, and that is as it was. Nothing is said of what
    /// a step moves.
    #[must_use]
    pub fn is(&self, stat: &Statx) -> bool {
        Seen { ctime: None, ..Seen::of(stat) } == Seen { ctime: None, ..*self }
    }

    /// As [`Seen::is`], before a step: extended attributes have not changed either.
    #[must_use]
    pub fn is_untouched(&self, stat: &Statx) -> bool {
        let same =
            |ctime: Timestamp| stat.stx_nlink != 1 || Timestamp::from(stat.stx_ctime) == ctime;
        self.is(stat) && self.ctime.is_none_or(same)
    }
}

/// Attributes of a directory. Those that do not differ are the same on both sides of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dress {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes that the step changes, access lists among them; `None`: there is
    /// none of this name.
    pub xattrs: Vec<(Box<[u8]>, Value)>,
}

/// One change of the base. Each can be taken back, and from what is in the stage anybody
/// sees whether it was done: of `Take` and `Put` by whether the slot is there, of `Swap` by
/// what is in it; the others are done once more.
///
/// All that are `Take` come first, then `Put` and `Swap`, then `Dress`, then `Time`. Paths
/// are those that are right at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What is at a path is taken away into a slot.
    Take {
        /// An empty one.
        slot: Slot,
        /// Where it is.
        at: Path,
        /// What must be there.
        was: Seen,
    },
    /// What is in a slot is put where nothing is.
    Put {
        /// Where it is.
        slot: Slot,
        /// Where it comes to.
        at: Path,
    },
    /// What is in a slot and what is at a path change places.
    Swap {
        /// What is to come.
        slot: Slot,
        /// Where it comes to.
        at: Path,
        /// What must be there.
        was: Seen,
    },
    /// A directory gets other attributes.
    Dress {
        /// Which.
        at: Path,
        /// As they are.
        before: Dress,
        /// As they are to be.
        after: Dress,
    },
    /// A directory gets another time of modification: after all that changes it.
    Time {
        /// Which.
        at: Path,
        /// As it is to be.
        after: Timestamp,
        /// Where it was before the commit, and its time there, to go back to; `None`: it
        /// is a new one.
        before: Option<(Path, Timestamp)>,
    },
}

impl Step {
    /// Where it comes among the others.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            Step::Take { .. } => 0,
            Step::Put { .. } | Step::Swap { .. } => 1,
            Step::Dress { .. } => 2,
            Step::Time { .. } => 3,
        }
    }

    /// The path that it speaks of.
    #[must_use]
    pub fn at(&self) -> &Path {
        match self {
            Step::Take { at, .. }
            | Step::Put { at, .. }
            | Step::Swap { at, .. }
            | Step::Dress { at, .. }
            | Step::Time { at, .. } => at,
        }
    }
}

/// By what a stage and the journal in a storage are known to belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub Hash);

/// The beginning of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which stages belong to it.
    pub token: Token,
    /// Where these are; there is at least one, and one alone for each mount.
    pub stages: Vec<StagePlace>,
}

/// Where a stage is: in the root of the base, if nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StagePlace {
    /// The directory of the base that it is in.
    pub dir: Path,
    /// Where in the base that is mounted on which it lies; empty: it is the mount that the root
    /// of the base lies on.
    pub mount: Path,
    /// Time of modification of that directory before there was a stage in it.
    pub time: Timestamp,
}

impl StagePlace {
    /// In the root of the base.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.dir.is_empty() && self.mount.is_empty()
    }
}

/// How far a commit has come. Each is written down, and on the device, before anything is
/// done that the next one speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// The stage is being filled. The base is as it was.
    Staging,
    /// It is filled; what goes is being taken.
    Ready,
    /// All that goes is taken; what comes is being put.
    Taken,
    /// The base is as it is to be; the storage forgets what was committed.
    Done,
    /// It goes back: what was put is being taken back into the stage.
    BackPut,
    /// It goes back: what was taken is being put back.
    BackTake,
}

/// A journal as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Its beginning.
    pub head: Head,
    /// How far the commit has come.
    pub state: CommitState,
    /// What it comes to; empty while the stage is being filled.
    pub program: CommitProgram,
}

/// All of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitProgram {
    /// What is done in the base, in this order.
    pub steps: Vec<Step>,
    /// Paths of the tree of which the storage has nothing more to say after that: they are
    /// discarded. The empty one is everything.
    pub tops: Vec<Path>,
    /// Paths of the tree with changes that were not committed, and must stay whatever
    /// `tops` come to.
    pub kept: Vec<Path>,
    /// Changes of the tree of which a part goes: what the rest, which is kept, is made from
    /// then.
    pub renewed: Vec<(Path, Print)>,
    /// What was made in the stage.
    pub made: Vec<(Slot, Seen)>,
    /// Directories that go with all that is in them, by the slot that they come to: nothing in
    /// them was changed later than this.
    pub trees: Vec<(Slot, Timestamp)>,
    /// Directories that only going back touches for good, and their times of modification.
    pub times_back: Vec<(Path, Timestamp)>,
}
