//! The overlay of mini_fo: a base tree that is never written and a storage
//! directory that receives every change, merged into one read-write tree.
//!
//! Knows nothing of FUSE and nothing of a terminal. `docs/FORMAT.md` specifies
//! what lies in the storage, `docs/ARCHITECTURE.md` how the parts fit.
//!
//! The modules are rooms, the lowest first: each uses those above it in this list, and
//! none below it (`tests/rooms.rs`).

mod locks;

mod format;

mod interface;

mod sys;

mod store;

mod layers;

mod tree;

mod state;

mod reach;

mod look;

mod copy_up;

mod ops;

mod discard;

mod open;

mod changes;

mod commit;

#[cfg(test)]
mod tests;

pub use changes::{
    BaseChanges, BaseState, Change, ChangeKind, ChangeTotals, ChangesOptions, Content, Differences,
    FoundChange, RestOptions, UnreadChange, changes_at_rest, layers_at_rest, writing_at_rest,
};
pub use commit::{
    Another, CommitEntry, CommitError, CommitFate, CommitListener, CommitPlan, CommitProgress,
    CommitRefusal, CommitSide, CommitWish, Committed, FinishedCommit, InUse, LiveCommitError,
    OpenNow, Renewed, UnfinishedCommit, finish_commit, unfinished_commit,
};
pub use discard::{DiscardTie, Discarded};
pub use format::name::{BadMetaName, META_NAME, MetaName, NAME_MAX, Name};
pub use interface::error::{ErrorClass, Foreign, OpenError, Warning};
pub use interface::options::{AccessTimes, DialectName, LayerOptions, OpenOptions};
pub use interface::types::*;
pub use open::assemble::Opened;
pub use open::check::{examine, is_storage, lock_storage, usage_at_rest};
pub use ops::flags::FSXATTR_LEN;
pub use ops::listing::{ListFor, OpenDir};
pub use ops::usage::{Used, UsedFor};
pub use reach::gate::Pass;
pub use reach::overlay::{Overlay, SlowHook};
pub use state::live::Version;
pub use state::open_file::OpenFile;
pub use sys::procfs;
pub use sys::{Rights, SystemFailure, as_them, is_trouble, take_failure, with_rights};

/// What a commit does in the base, step by step.
pub mod commit_steps {
    pub use crate::commit::Make;
    pub use crate::format::commit::{CommitProgram, Dress, Part, Path, Piece, Seen, Slot, Step};
    pub use crate::format::print::{Hash, Print};
}
