//! All stages of a commit: one for each mount of the base in which something changes, for
//! nothing can be moved from one to another.

use rustix::fs::Statx;
use rustix::io::Errno;

use super::base::Base;
use super::stage::{NoStage, Stage};
use crate::format::commit::{Head, Slot};
use crate::format::name::MetaName;
use crate::sys::Result;

/// These stages, in the order of the journal's beginning.
pub(super) struct Stages(Vec<Stage>);

impl Stages {
    /// Makes all that a journal speaks of, or none.
    pub fn make(
        base: &Base,
        meta: MetaName,
        (head, storage): (&Head, &std::path::Path),
    ) -> std::result::Result<Stages, NoStage> {
        let mut made = Vec::new();
        for place in &head.stages {
            match Stage::make(base, (meta, &place.dir), (head.token, storage)) {
                Ok(stage) => made.push(stage),
                Err(why) => {
                    // What fails now too is told by the next commit.
                    let removed = made.into_iter().map(|stage| stage.remove(base, meta));
                    removed.for_each(drop);
                    return Err(why);
                }
            }
        }
        Ok(Stages(made))
    }

    /// Those of a journal, if all are there.
    pub fn find(base: &Base, meta: MetaName, head: &Head) -> Result<Option<Stages>> {
        let find = |dir: &[u8]| Stage::find(base, (meta, dir), head.token);
        let found: Result<Option<Vec<Stage>>> =
            head.stages.iter().map(|place| find(&place.dir)).collect();
        Ok(found?.map(Stages))
    }

    /// The one that a slot is in. ESTALE: there is none.
    pub fn of(&self, slot: Slot) -> Result<&Stage> {
        self.0.get(usize::from(slot.stage)).ok_or(Errno::STALE)
    }

    /// What is in a slot.
    pub fn look(&self, slot: Slot) -> Result<Option<Statx>> {
        self.of(slot)?.look(slot)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Stage> {
        self.0.iter()
    }
}
