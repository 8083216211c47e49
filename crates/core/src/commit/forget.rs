//! A storage forgets what is in the base by now.

use crate::discard::Discarded;
use crate::format::commit::{CommitProgram, Step};
use crate::format::meta::Record;
use crate::format::name::{file_name, parent};
use crate::format::print::Print;
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result};

impl Overlay {
    /// Lets go of what was committed, once the base has it. What stays was made from the
    /// directories as the commit has left them.
    ///
    /// # Errors
    /// As [`Overlay::discard_paths`]; the same may be done again.
    pub fn forget_committed(&self, program: &CommitProgram) -> Result<Discarded> {
        let mut told = Discarded::default();
        if !program.tops.is_empty() {
            self.discard_paths(&program.tops, &program.kept, &mut told)?;
        }
        if !program.kept.is_empty() {
            let kinds = |step: &&Step| !matches!(step, Step::Put { .. } | Step::Swap { .. });
            program.steps.iter().filter(kinds).try_for_each(|step| self.renew_print(step.at()))?;
        }
        Ok(told)
    }

    /// What is recorded of a directory of the base is what that is now; of what has gone,
    /// nothing is.
    fn renew_print(&self, path: &[u8]) -> Result<()> {
        if path.is_empty() {
            let edit = self.root_dir.edit();
            if edit.meta().print(b".").is_none() {
                return Ok(());
            }
            let (print, name) = (Print::of(&self.stack.root_stat()?), Box::from(&b"."[..]));
            return edit.append(&[Record::Print { print, name }]);
        }
        let Some(above) = self.reach(parent(path))?.filter(|above| above.is_dir()) else {
            return Ok(());
        };
        let (dir, name) = (self.dir(&above)?, file_name(path));
        let (Some(_), Some(base)) = (dir.storage(), dir.base()) else { return Ok(()) };
        let edit = dir.edit();
        if edit.meta().print(name).is_none() {
            return Ok(());
        }
        match self.stack.look(base, name)? {
            Some(found) if sys::kind(&found.stat) == libc::S_IFDIR => {
                let print = Print::of(&found.stat);
                edit.append(&[Record::Print { print, name: name.into() }])
            }
            Some(_) => Ok(()),
            None => {
                edit.index_mut().forget_print(name);
                edit.rewrite_unseen()
            }
        }
    }
}
