//! Contents that are copied while requests are served still, so that programs do not wait for
//! that.
//!
//! A copy is a file without a name: it is gone with the process, and nothing of the base shows
//! it. It is taken only if what it was made from is the same by then: the same files with the
//! same times of change, in which every change shows that goes by the kernel, and not opened
//! since by anybody who could write to it by a mapping, which need not show there.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::base::Unnamed;
use crate::changes::{Content, Stamp};
use crate::format::commit::Path;
use crate::format::time::Timestamp;
use crate::interface::types::NodeId;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::state::written::Watch;
use crate::sys::Result;
use crate::sys::descriptors::Ticket;

/// Where the file system's clock is coarse: so old a change must be, in seconds, that a later
/// one is sure to have another time.
const TICK: i64 = 3;

/// Copies by the paths of the tree.
#[derive(Default)]
pub(super) struct Early {
    copies: RefCell<HashMap<Path, Copied>>,
}

struct Copied {
    file: OwnedFd,
    from: Stamp,
    node: NodeId,
    _ticket: Ticket,
}

impl Early {
    /// The copy of what a path shows, if there is one, and what it was made from is `content`
    /// still.
    pub fn take(&self, path: &[u8], content: &Content) -> Option<OwnedFd> {
        let copied = self.copies.borrow_mut().remove(path)?;
        (content.stamp().ok()? == copied.from).then_some(copied.file)
    }

    /// What was opened to be written since is not what was copied.
    pub fn drop_written(&mut self, watch: &Watch<'_>) {
        self.copies.get_mut().retain(|_, copied| !watch.has(copied.node));
    }
}

/// Nodes that keep their numbers for as long as somebody may ask about them.
pub(super) struct Kept<'a>(&'a Overlay, Vec<NodeRef<'a>>);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        // As whatever else uses the overlay.
        let _pass = self.0.pass();
        self.1.clear();
    }
}

impl Overlay {
    /// Copies the contents of these files, with their bytes, in this order, as far as there is
    /// room. `each` is told of bytes that were copied, and of all; `false` from it: nothing
    /// is wanted any more, and `None` the result.
    pub(super) fn copy_early(
        &self,
        wanted: Vec<(Path, u64)>,
        each: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Option<(Early, Kept<'_>)> {
        let (mut early, mut kept) = (Early::default(), Kept(self, Vec::new()));
        match self.copy_all(wanted, (early.copies.get_mut(), &mut kept.1), each) {
            Ok(true) => {}
            Ok(false) => return None,
            // Whether there is room is told by who needs it.
            Err(errno) => {
                tracing::debug!("nothing is copied early: {errno}");
                early = Early::default();
            }
        }
        Some((early, kept))
    }

    fn copy_all<'a>(
        &'a self,
        wanted: Vec<(Path, u64)>,
        (copies, kept): (&mut HashMap<Path, Copied>, &mut Vec<NodeRef<'a>>),
        each: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<bool> {
        if wanted.is_empty() {
            return Ok(true);
        }
        let unnamed = Unnamed::of_overlay(self)?;
        let all = wanted.iter().map(|(_, bytes)| bytes).sum();
        let mut done = 0;
        for (path, bytes) in wanted {
            match self.copy_one(&unnamed, &path, kept) {
                Ok(Some(copied)) => drop(copies.insert(path, copied)),
                Ok(None) => {}
                Err(Errno::NFILE) => break,
                Err(errno) => return Err(errno),
            }
            done += bytes;
            if !each(done, all) {
                return Ok(false);
            }
        }
        unnamed.sync().map(|()| true)
    }

    /// `None`: it is not copied now. ENFILE: no more is.
    fn copy_one<'a>(
        &'a self,
        unnamed: &Unnamed,
        path: &[u8],
        kept: &mut Vec<NodeRef<'a>>,
    ) -> Result<Option<Copied>> {
        let _ticket = Ticket::spare()?;
        let (node, content) = {
            let _pass = self.pass()?;
            let Some(node) = self.reach(path)? else { return Ok(None) };
            let (id, kind) = (node.id, node.kind());
            kept.push(node);
            let Some(node) = kept.last().filter(|_| kind == libc::S_IFREG) else {
                return Ok(None);
            };
            (id, self.shown_content(node)?)
        };
        let from = content.stamp()?;
        if content.has_writers() || !self.is_settled_at(&from) {
            return Ok(None);
        }
        let file = unnamed.make(path)?;
        content.copy_to(&file)?;
        // Else it was not one content.
        let stays = content.stamp()? == from;
        Ok(stays.then_some(Copied { file, from, node, _ticket }))
    }

    /// A change after this has another time.
    fn is_settled_at(&self, stamp: &Stamp) -> bool {
        // That of the storage; the first file lies there.
        let fine = self.fine_clock.load(Ordering::Relaxed);
        stamp.is_older(Timestamp::now().sec.saturating_sub(TICK), fine)
    }
}
