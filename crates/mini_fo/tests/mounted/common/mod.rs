//! What every mounted test stands on: a work directory of its own in a mount
//! namespace of its own, layers of every kind, and the proof that the base is
//! still what it was.

mod compare;
mod kinds;
mod proof;
mod run;
mod scene;
pub mod sys;

pub use compare::{assert_same_tree, assert_same_tree_except};
pub use kinds::{BaseKind, StorageKind};
pub use proof::{Facts, Tree, record};
pub use run::{Outcome, have, is_root, run, sh, skip, skip_unless};
pub use scene::{META, Scene, WorkDir, cannot_mount, engine_is_product, mini_fo, standard_base};
