//! Writing changes of a storage into the base: all or nothing.
//!
//! `plan.rs` makes of the changes that were chosen a program: what is made in the stage, a
//! directory of the base, and the steps that bring it to its places. `run.rs` makes that,
//! writes the program down in the storage, does it, and lets the storage forget what was
//! committed; after a crash it goes on, or back.
#![forbid(unsafe_code)]

mod base;
mod compare;
mod dress;
mod early;
mod error;
mod forget;
mod known;
mod links;
mod live;
mod make;
mod path;
mod plan;
mod run;
mod stage;
mod stages;
mod steps;
mod sweep;
#[cfg(test)]
mod tests;
mod tryout;

pub use error::CommitError;
pub use live::{Another, CommitListener, InUse, LiveCommitError, OpenNow, Renewed};
pub use plan::{CommitEntry, CommitFate, CommitPlan, CommitRefusal, CommitSide, CommitWish, Make};
pub use run::{
    CommitProgress, Committed, FinishedCommit, UnfinishedCommit, finish_commit, unfinished_commit,
};
