//! The base is as it is to be: what is left to be done.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::io::Errno;

use super::Committed;
use super::work::{Result, Way, Work, time_after};
use crate::commit::error::CommitError;
use crate::commit::links;
use crate::commit::stage::Stage;
use crate::format::commit::{CommitProgram, Path, Step};
use crate::interface::options::OpenOptions;
use crate::open::assemble::Opened;
use crate::sys;

impl Work<'_> {
    /// The base is as it is to be: lets the storage forget, and removes what is left.
    pub fn end(&mut self, program: &CommitProgram) -> Result<Committed> {
        let failed = |errno| CommitError::Storage { storage: self.options.storage.clone(), errno };
        // Which base it is, is verified before anything is removed there.
        drop(self.open()?);
        // What was taken has no names in the base any more when the storage counts those.
        let remains = match self.remove_stages(&program.steps) {
            Ok(()) => Vec::new(),
            Err(errno @ (Errno::PERM | Errno::ACCESS)) => {
                let aside = self.set_aside(&program.steps).map_err(failed)?;
                if aside.is_empty() {
                    return Err(self.unwritable_at_end(errno));
                }
                aside
            }
            Err(errno) => return Err(self.unwritable_at_end(errno)),
        };
        let left = self.forget(program)?;
        self.journal().remove().map_err(failed)?;
        let (steps, bytes) = (program.steps.len() as u64, self.progress.bytes);
        Ok(Committed { steps, bytes, left, remains })
    }

    /// Sets aside the stages that cannot be removed: where they are.
    fn set_aside(&self, steps: &[Step]) -> sys::Result<Vec<PathBuf>> {
        let mut aside = Vec::new();
        for place in &self.head.stages {
            let at = (self.meta(), &*place.dir);
            let Some(stage) = Stage::find(&self.base, at, self.head.token)? else { continue };
            let path = stage.set_aside(&self.base, self.meta())?;
            self.base.set_time_of(&place.dir, time_after(place, steps));
            aside.push(self.options.base.join(OsStr::from_bytes(&path)));
        }
        Ok(aside)
    }

    fn unwritable_at_end(&self, errno: Errno) -> CommitError {
        let (base, storage) = (self.options.base.clone(), self.options.storage.clone());
        CommitError::Remains { base, storage, errno }
    }

    /// Base and storage, once the base is as it is to be.
    fn open(&self) -> Result<Opened> {
        let options = OpenOptions { after_commit: true, ..self.options.clone() };
        Ok(match self.way {
            Way::Paths => Opened::open(&options)?,
            Way::Lent(overlay, _) => overlay.beside(true)?,
        })
    }

    pub fn forget(&self, program: &CommitProgram) -> Result<Vec<Path>> {
        let opened = self.open()?;
        let overlay = match self.way {
            Way::Paths => opened.begin()?,
            Way::Lent(..) => opened.begin_beside()?,
        };
        let failed = |errno| CommitError::Storage { storage: self.options.storage.clone(), errno };
        if let Err(errno) = overlay.use_reserve() {
            tracing::warn!("what is kept back for deletions cannot be used: {errno}");
        }
        let told = overlay.forget_committed(program).map_err(failed)?;
        overlay.sync().map_err(failed)?;
        overlay.finish();
        // It may be one object with what the base has: that ends with the journal only.
        if let Some(errno) = told.leftover {
            return Err(failed(errno));
        }
        let tops: Vec<Path> = told.failed.iter().map(|(path, _)| path.clone()).collect();
        if !tops.is_empty()
            && let Some(storage) = self.stored_tree()
            && links::are_left(&storage, &self.base, &tops).map_err(failed)?
        {
            return Err(failed(Errno::PERM));
        }
        Ok(told.failed.into_iter().map(|(path, _)| path).collect())
    }
}
