//! A storage forgets what is in the base by now.

use std::collections::BTreeSet;

use hashbrown::HashSet;

use super::path::on_the_way;
use crate::discard::Discarded;
use crate::format::commit::{CommitProgram, Step};
use crate::format::identity::BaseId;
use crate::format::meta::Record;
use crate::format::name::{file_name, parent};
use crate::format::path::join;
use crate::format::print::Print;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::store::meta_dir::MetaEdit;
use crate::sys::Result;
use crate::tree::path::path_below;

impl Overlay {
    /// Lets go of what was committed, once the base has it. What stays was made from the
    /// directories as the commit has left them.
    ///
    /// # Errors
    /// As [`Overlay::discard_paths`]; the same may be done again.
    pub fn forget_committed(&self, program: &CommitProgram) -> Result<Discarded> {
        let mut told = Discarded::default();
        let all = program.kept.is_empty() && program.tops.iter().any(|top| top.is_empty());
        // Where nothing came to the base, no journal tells how far this is.
        if all && !program.steps.is_empty() {
            self.sweep()?;
        }
        if !program.tops.is_empty() {
            self.discard_paths(&program.tops, &program.kept, &mut told)?;
        }
        if program.kept.is_empty() {
            // Without any of them nothing was committed, and all of it stays.
            if all {
                self.forget_objects()?;
            }
            return Ok(told);
        }
        let (mut changed, mut new) = (BTreeSet::<&[u8]>::new(), HashSet::<&[u8]>::new());
        let mut taken = HashSet::<&[u8]>::new();
        for step in &program.steps {
            match step {
                Step::Take { at, .. } => drop(taken.insert(at)),
                Step::Dress { at, .. } | Step::Time { at, .. } => {
                    changed.extend(on_the_way(at));
                    changed.insert(b"");
                }
                Step::Put { at, .. } | Step::Swap { at, .. } => drop(new.insert(at)),
            }
        }
        // In a directory that was moved, what stays has another path than what was taken.
        let stays = program.kept.iter().map(|path| &**path).filter(|path| !taken.contains(path));
        let places: Vec<&[u8]> = taken.iter().copied().chain(stays).collect();
        places.into_iter().try_for_each(|path| self.forget_base(path, &taken))?;
        changed.into_iter().try_for_each(|path| self.renew_print(path, false))?;
        // The storage still has directories with these names, for what stays in them.
        let kept = program.kept.iter().flat_map(|path| on_the_way(parent(path)));
        let both: BTreeSet<&[u8]> = kept.filter(|path| new.contains(path)).collect();
        both.into_iter().try_for_each(|path| self.renew_print(path, true))?;
        for (path, print) in &program.renewed {
            self.record_print(path, *print)?;
        }
        Ok(told)
    }

    /// Nothing is recorded of objects with several names that were in the base before, once
    /// the index has none of them.
    fn forget_objects(&self) -> Result<()> {
        let Ok(index) = self.shared.dir() else { return Ok(()) };
        if !self.has_no_entry(index.writable()?)? {
            return Ok(());
        }
        let edit = index.edit();
        let known: Vec<BaseId> = edit.meta().shared_objects().map(|(id, _)| id).collect();
        if known.is_empty() {
            return Ok(());
        }
        for id in known {
            let mut meta = edit.index_mut();
            meta.forget_shared(id);
            meta.apply(&Record::Restored { name: id.index_name().as_bytes().into() });
        }
        edit.rewrite_unseen()
    }

    /// What is recorded of a directory of the base is what that is now, with all below it.
    /// `new`: also if nothing is recorded, because it was not there.
    fn renew_print(&self, path: &[u8], new: bool) -> Result<()> {
        if path.is_empty() {
            let edit = self.root_dir.edit();
            if edit.meta().print(b".").is_none() {
                return Ok(());
            }
            let (print, name) = (Print::taken(&self.stack.root_stat()?), Box::from(&b"."[..]));
            return edit.append(&[Record::Print { print, name }]);
        }
        // What does not show any more was not made from what it is now.
        let shows = |node: &NodeRef<'_>| {
            node.is_dir() && path_below(node, true).is_some_and(|below| below == path)
        };
        let (Some(_), Some(above)) = (self.reach(path)?.filter(shows), self.reach(parent(path))?)
        else {
            return Ok(());
        };
        let (dir, name) = (self.dir(&above)?, file_name(path));
        let edit = dir.edit();
        let Some(base) = dir.base().filter(|_| new || edit.meta().print(name).is_some()) else {
            return Ok(());
        };
        let Some(found) = self.stack.look(base, name)? else { return Ok(()) };
        add_print(&edit, name, Print::taken(&found.stat))
    }

    /// The change at a path is made from this.
    fn record_print(&self, path: &[u8], print: Print) -> Result<()> {
        let Some(above) = self.reach(parent(path))?.filter(|above| above.is_dir()) else {
            return Ok(());
        };
        let (dir, name) = (self.dir(&above)?, file_name(path));
        match dir.storage() {
            Some(_) => add_print(&dir.edit(), name, print),
            None => Ok(()),
        }
    }

    /// Where what was below is one of the `taken`, and nothing has come in its place: what stays
    /// there was made from nothing, and hides nothing.
    fn forget_base(&self, path: &[u8], taken: &HashSet<&[u8]>) -> Result<()> {
        let Some(above) = self.reach(parent(path))?.filter(|above| above.is_dir()) else {
            return Ok(());
        };
        let (dir, name) = (self.dir(&above)?, file_name(path));
        let (Some(_), Some(base)) = (dir.storage(), dir.base()) else { return Ok(()) };
        let below = path_below(&above, true).map(|below| join(&below, name));
        let edit = dir.edit();
        let said = edit.meta().hides(name) || edit.meta().print(name).is_some();
        if !said
            || !below.is_some_and(|below| taken.contains(&*below))
            || self.stack.look(base, name)?.is_some()
        {
            return Ok(());
        }
        edit.index_mut().forget_base(name);
        edit.rewrite_unseen()
    }
}

/// The directory, which shows nothing of it, keeps its times also where META is made for it.
fn add_print(edit: &MetaEdit<'_>, name: &[u8], print: Print) -> Result<()> {
    edit.unseen(|_| Ok(()), |()| Vec::new())?;
    // Without it what stays would be in conflict with what was committed.
    edit.append(&[Record::Print { print, name: name.into() }])
}
