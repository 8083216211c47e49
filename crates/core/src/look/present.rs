//! Partial files and the base as it is now: it may be a newer one than they were
//! made for.
//!
//! Those of which only attributes or names were changed (*bare* ones) go with
//! it: data, size and, where no user set it, the time of modification are those
//! of the present base file. Those that have data of their own do not mix it
//! with another base file's.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::{OFlags, Statx};

use crate::format::mark::Mark;
use crate::interface::types::SetTime;
use crate::reach::overlay::Overlay;
use crate::store::partial::{Verdict, is_bare, read_mark};
use crate::sys::own::Own;
use crate::sys::{self, Result, Spot, Within};
use crate::tree::node::{Contents, Node};

impl Overlay {
    /// Looks whether the base still has the file that a mark is of, and lets the
    /// storage file of the node follow a new one, if it is bare.
    pub(crate) fn follow_base(&self, node: &Arc<Node>, mark: &Mark) -> Contents {
        match self.marked_stat(mark) {
            Ok(base) if !self.is_up_to(mark, &base) => {}
            // What is not there shows when data is needed.
            _ => return Contents::Partial,
        }
        let stored = self.stat(node);
        let bare = stored.is_ok_and(|stored| self.is_bare(mark, &stored));
        if self.is_read_only() {
            return if bare { Contents::Stale } else { Contents::Partial };
        }
        if !bare {
            if let Err(errno) = self.take(node) {
                tracing::debug!("a mark keeps the base file that it was made for: {errno}");
            }
            return Contents::Partial;
        }
        self.follow(node).unwrap_or_else(|errno| {
            tracing::debug!("a file cannot follow its new base file: {errno}");
            Contents::Stale
        })
    }

    fn follow(&self, node: &Arc<Node>) -> Result<Contents> {
        let _lock = self.partials.following.lock();
        let file =
            self.change_at(node, |spot| sys::open(spot, OFlags::WRONLY | OFlags::NONBLOCK))?;
        // Another thread may have come first.
        let Some(mark) = read_mark(self.own, Spot::Fd(file.as_fd()))? else {
            return Ok(Contents::Whole);
        };
        let (base, stored) = (self.marked_stat(&mark)?, sys::stat_fd(&file)?);
        if self.is_up_to(&mark, &base) || !self.is_bare(&mark, &stored) {
            return Ok(Contents::Partial);
        }
        let mut new = self.stack.renewed(&mark, &base);
        let shown = mark.shown(&new, stored.stx_mtime.into());
        // First the mark, which tells what to do if the daemon ends here.
        new.unfinished = Some(shown);
        let spot = Spot::Fd(file.as_fd());
        self.own.set(spot, Own::Partial, &new.encode())?;
        rustix::fs::ftruncate(&file, new.size)?;
        sys::set_times(spot, None, Some(SetTime::At(shown)))?;
        new.unfinished = None;
        self.own.set(spot, Own::Partial, &new.encode())?;
        Ok(Contents::Partial)
    }

    /// Records that a base file is taken for the one that a file has data on.
    fn take(&self, node: &Arc<Node>) -> Result<()> {
        let _lock = self.partials.following.lock();
        self.change_at(node, |spot| {
            let Some(mark) = read_mark(self.own, spot)? else { return Ok(()) };
            let base = self.marked_stat(&mark)?;
            if self.stack.evidence.compare(&mark, &base) != Verdict::Taken {
                return Ok(());
            }
            self.own.set(spot, Own::Partial, &self.stack.renewed(&mark, &base).encode())
        })
    }

    /// A mark says all, and of this base file.
    fn is_up_to(&self, mark: &Mark, base: &Statx) -> bool {
        mark.unfinished.is_none() && self.stack.evidence.compare(mark, base) == Verdict::Same
    }

    fn is_bare(&self, mark: &Mark, stored: &Statx) -> bool {
        let index = self.shared.dir().ok();
        is_bare(index.as_ref().and_then(|dir| dir.storage()).map(Within::fd), mark, stored)
    }

    /// The mark that a bare file would have if it could follow its base file.
    pub(crate) fn new_mark(&self, mark: &Mark) -> Option<Mark> {
        self.marked_stat(mark).ok().map(|base| self.stack.renewed(mark, &base))
    }

    /// Attributes of the base file that a mark names. ESTALE: it is no file.
    fn marked_stat(&self, mark: &Mark) -> Result<Statx> {
        self.stack.marked_stat(0, mark)
    }
}
