//! A storage that is lent: while nothing is served by an overlay, another one may have its
//! storage, as if it were not mounted. What the first one knows is found out anew then.
//!
//! Its nodes stay, and are what they were, or what the borrower has made of them: that is
//! not looked at here.

use rustix::fd::AsFd;
use rustix::io::Errno;

use super::assemble::Opened;
use super::writing::Refusal;
use crate::interface::error::{OpenError, Warning};
use crate::interface::options::{AccessTimes, OpenOptions};
use crate::reach::overlay::Overlay;
use crate::state::partials::is_said_by_marks;
use crate::state::root_owner::RootOwner;
use crate::sys::{self, Result};

impl Overlay {
    /// Gives the storage away. Nothing is served until [`Overlay::take_back`].
    ///
    /// # Errors
    /// ENOSPC and the like: something waits to be written. Nothing was given away.
    pub(crate) fn lend(&self) -> Result<()> {
        self.finish();
        if self.known_dirs().iter().any(|dir| dir.owes()) {
            return Err(Errno::NOSPC);
        }
        self.close_meta();
        self.dirs.forget();
        self.shared.close();
        Ok(())
    }

    /// How who borrows base and storage opens them.
    pub(crate) fn options_beside(&self) -> OpenOptions {
        OpenOptions {
            base: self.paths.base.clone(),
            storage: self.paths.storage.clone(),
            read_only: false,
            stays_read_only: false,
            volatile: false,
            access_times: AccessTimes::Never,
            // What others change meanwhile is noticed as by a commit at rest.
            live_base: None,
            ..self.options.clone()
        }
    }

    /// Base and storage, verified for who borrows them. `after_commit`: the storage may still
    /// have what is in the base by now.
    ///
    /// # Errors
    /// As [`Overlay::assemble`].
    pub(crate) fn beside(&self, after_commit: bool) -> std::result::Result<Opened, OpenError> {
        let options = OpenOptions { after_commit, ..self.options_beside() };
        match self.verify(&options) {
            Ok(layers) => Ok(Opened::of(layers, options)),
            Err(Refusal::Open(error)) => Err(error),
            Err(refusal) => Err(OpenError::Io {
                path: self.paths.storage.clone(),
                what: "cannot be opened again",
                errno: refusal.errno(),
            }),
        }
    }

    /// Takes the storage back: what META and the base say is read again.
    ///
    /// # Errors
    /// Why it cannot be served any more, in words.
    pub(crate) fn take_back(&self) -> std::result::Result<Vec<Warning>, String> {
        self.lacks.forget();
        let storage = self.storage.as_fd();
        let failed = |errno: Errno| format!("its storage cannot be read again: {errno}");
        self.shared.reopen(storage, &self.durability).map_err(failed)?;
        let marked = is_said_by_marks(&self.storage, self.own);
        // It may have been read-only at first.
        let options = OpenOptions { read_only: false, ..self.options.clone() };
        let mut layers = self.verify(&options).map_err(|refusal| refusal.text())?;
        if layers.read_only {
            return Err(Refusal::Found(layers.warnings).text());
        }
        self.change_over(&mut layers, &options).map_err(|refusal| refusal.text())?;
        self.shared.take(&layers.decided);
        self.partials.go_on(&self.root_dir.meta(), marked);
        self.count_reserve();
        let owner = RootOwner::of(&self.root_dir, &self.stack).map_err(failed)?;
        *self.root_owner.lock() = owner;
        let fine = sys::has_fine_clock(storage);
        self.fine_clock.store(fine, std::sync::atomic::Ordering::Relaxed);
        // What is no problem was told when it was mounted.
        layers.warnings.retain(|warning| warning.is_problem() && self.is_news(warning));
        Ok(layers.warnings)
    }
}
