//! Partial files and the base as it is now: it may be a newer one than they were
//! made for.
//!
//! Those of which only attributes or names were changed (*bare* ones) go with
//! it: data, size and, where no user set it, the time of modification are those
//! of the present base file. Those that have data of their own do not mix it
//! with another base file's.

use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use super::evidence::Verdict;
use super::kept::map_name;
use super::{Mark, read_mark};
use crate::name::{file_name, parent};
use crate::node::{Contents, Node};
use crate::overlay::{Overlay, find};
use crate::own::Own;
use crate::sys::{self, Result, Spot, Within};
use crate::types::{SetTime, Timestamp};

impl Mark {
    /// The time of modification that the file shows once `new` is its mark, of
    /// which the storage has `stored`: that of the base file, unless a user has
    /// set another one.
    pub fn shown(&self, new: &Mark, stored: Timestamp) -> Timestamp {
        let now = self.unfinished.unwrap_or(stored);
        // Some file systems keep seconds only.
        let same = now == self.mtime || now.nsec == 0 && now.sec == self.mtime.sec;
        if same { new.mtime } else { now }
    }
}

/// Only attributes and names of the file were changed: it has no data of its own,
/// and nothing was cut off. `index`: the directory of maps, if there is one;
/// `stored`: of the storage file.
pub(crate) fn is_bare(index: Option<BorrowedFd<'_>>, mark: &Mark, stored: &Statx) -> bool {
    if mark.unfinished.is_none() && stored.stx_size != mark.size {
        return false;
    }
    let Some(index) = index else { return true };
    let name = map_name(mark.map);
    match sys::open(Spot::at(index, &name), OFlags::RDONLY | OFlags::NONBLOCK) {
        Err(errno) => errno == Errno::NOENT,
        // One that begins with NUL was never recorded.
        Ok(map) => {
            let mut first = [0];
            sys::read_at(&map, &mut first, 0).is_ok_and(|got| got == 0 || first == [0])
        }
    }
}

impl Overlay {
    /// Looks whether the base still has the file that a mark is of, and lets the
    /// storage file of the node follow a new one, if it is bare.
    pub(super) fn follow_base(&self, node: &Arc<Node>, mark: &Mark) -> Contents {
        match self.marked_stat(mark) {
            Ok(base) if !self.is_up_to(mark, &base) => {}
            // What is not there shows when data is needed.
            _ => return Contents::Partial,
        }
        let stored = self.at(node, |spot, _| sys::stat(spot));
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
        let file = self.at(node, |spot, _| sys::open(spot, OFlags::WRONLY | OFlags::NONBLOCK))?;
        // Another thread may have come first.
        let Some(mark) = read_mark(self.own, Spot::Fd(file.as_fd()))? else {
            return Ok(Contents::Whole);
        };
        let (base, stored) = (self.marked_stat(&mark)?, sys::stat_fd(&file)?);
        if self.is_up_to(&mark, &base) || !self.is_bare(&mark, &stored) {
            return Ok(Contents::Partial);
        }
        let mut new = self.renewed(&mark, &base);
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
        self.at(node, |spot, _| {
            let Some(mark) = read_mark(self.own, spot)? else { return Ok(()) };
            let base = self.marked_stat(&mark)?;
            if self.partials.evidence.compare(&mark, &base) != Verdict::Taken {
                return Ok(());
            }
            self.own.set(spot, Own::Partial, &self.renewed(&mark, &base).encode())
        })
    }

    /// A mark says all, and of this base file.
    fn is_up_to(&self, mark: &Mark, base: &Statx) -> bool {
        mark.unfinished.is_none() && self.partials.evidence.compare(mark, base) == Verdict::Same
    }

    /// A mark, as of another base file.
    fn renewed(&self, mark: &Mark, base: &Statx) -> Mark {
        let (size, mtime) = (base.stx_size, base.stx_mtime.into());
        let file = self.partials.evidence.file(base);
        Mark { size, mtime, file, blocks: base.stx_blocks, ..mark.clone() }
    }

    fn is_bare(&self, mark: &Mark, stored: &Statx) -> bool {
        let index = self.shared.dir().ok();
        is_bare(index.as_ref().and_then(|dir| dir.storage()).map(Within::fd), mark, stored)
    }

    /// The mark that a bare file would have if it could follow its base file.
    pub(super) fn new_mark(&self, mark: &Mark) -> Option<Mark> {
        self.marked_stat(mark).ok().map(|base| self.renewed(mark, &base))
    }

    /// Attributes of the base file that a mark names. ESTALE: it is no file.
    fn marked_stat(&self, mark: &Mark) -> Result<Statx> {
        let stat = self.at_marked(mark, sys::stat)?;
        if find::kind(&stat) == libc::S_IFREG { Ok(stat) } else { Err(Errno::STALE) }
    }

    fn at_marked<T>(&self, mark: &Mark, f: impl Fn(Spot<'_>) -> Result<T>) -> Result<T> {
        let (dir, name) = (parent(&mark.path), file_name(&mark.path));
        let dir = self.open_base_path(dir)?.ok_or(Errno::NOENT)?;
        let dir = dir.as_fd();
        f(if self.submounts { Spot::Across(dir, name) } else { Spot::at(dir, name) })
    }

    /// Opens the base file that a mark names.
    pub(super) fn open_marked(&self, mark: &Mark) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let opened =
            self.at_marked(mark, |spot| sys::open_untraced(spot, flags)).and_then(|fd| match self
                .partials
                .evidence
                .compare(mark, &sys::stat_fd(&fd)?)
            {
                Verdict::Same | Verdict::Taken => Ok(fd),
                Verdict::Another => Err(Errno::STALE),
            });
        opened.map_err(|errno| {
            if errno == Errno::AGAIN {
                // A lease, which is waited for.
                return errno;
            }
            let path = String::from_utf8_lossy(&mark.path);
            tracing::error!(
                "the data of base file /{path} is needed, which is gone, or is another one though \
                 a file has data of its own on top of it: {errno}; if size and time are the \
                 same, -o accept_base takes it for the one of before"
            );
            Errno::IO
        })
    }
}
