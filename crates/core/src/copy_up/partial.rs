//! Partial files: storage files whose data is, as a whole or in part, still in
//! the base (docs/FORMAT.md, section 7).
//!
//! A copy-up for new attributes or a new name copies no data, one for a write
//! to a large file only the blocks that are written. A mark on the storage file
//! itself says where the rest is: it comes and goes with the inode, so renames
//! and hard links need not know of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fd::AsFd;
use rustix::fs::{OFlags, Statx};

use crate::format::features::FEATURE_PARTIAL;
use crate::format::mark::Mark;
use crate::layers::Object;
use crate::locks::{Rank, is_free};
use crate::reach::overlay::Overlay;
use crate::store::durability::WriteOut;
use crate::store::partial::MARK_MAX;
use crate::sys::own::Own;
use crate::sys::{self, Result, Spot, Within};
use crate::tree::node::Node;
use crate::tree::path::path_below;

/// The capabilities that a file gives to who executes it.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// Up to so many bytes a file is copied whatever it is copied up for: that costs
/// little more than a mark, and the copy does not need its base file any more
/// (docs/ARCHITECTURE.md, "Partial files").
const COPIED_AT_ONCE: u64 = 64 << 10;

/// What a copy-up is for, which decides what of the data is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// All of the data, because it could not be found from now on.
    Data,
    /// The data is about to be cut to nothing.
    NoData,
    /// Only attributes or names change.
    Attributes,
    /// Something is written to the end of the file.
    Appending,
    /// Something is written. `little`: hardly.
    Writing { little: bool },
}

/// What happens to the data of one object in a copy-up.
pub(crate) enum Plan {
    /// It is copied.
    Copy,
    /// There will be none.
    Empty,
    /// It stays in the base.
    Leave(Mark),
}

impl Overlay {
    /// What a copy-up of an object with these attributes does with its data.
    pub(crate) fn plan(&self, node: &Arc<Node>, stat: &Statx, need: Need) -> Result<Plan> {
        debug_assert!(is_free(Rank::Mutate));
        if need == Need::NoData {
            return Ok(Plan::Empty);
        }
        let leave = !self.wants_all(need, stat.stx_size) && stat.stx_size > COPIED_AT_ONCE;
        let leave = leave && self.partials.may_leave(stat.stx_mode.into());
        if !leave || !self.partials.allowed || node.kind() != libc::S_IFREG || self.live.is_some() {
            return Ok(Plan::Copy);
        }
        if self.submounts && self.at(node, |object| Ok(self.is_made_up(object)))? {
            return Ok(Plan::Copy);
        }
        // As the set-ID bits.
        if self.at(node, |o| Ok(o.get_xattr(&self.stack, CAPABILITY, &mut []).is_ok()))? {
            return Ok(Plan::Copy);
        }
        let Some(path) = path_below(node, true) else { return Ok(Plan::Copy) };
        let mark = Mark {
            map: random(),
            size: stat.stx_size,
            mtime: stat.stx_mtime.into(),
            blocks: stat.stx_blocks,
            file: self.stack.evidence.file(stat),
            unfinished: None,
            path,
        };
        if mark.encode().len() > MARK_MAX {
            return Ok(Plan::Copy);
        }
        match self.announce_partials() {
            Ok(()) => Ok(Plan::Leave(mark)),
            Err(errno) => {
                tracing::debug!("no partial files: {errno}");
                Ok(Plan::Copy)
            }
        }
    }

    /// The content of a file is made up when it is read (proc, sysfs).
    fn is_made_up(&self, object: Object<'_>) -> bool {
        let opened = object.open_data(&self.stack, OFlags::empty());
        opened.is_ok_and(|data| data.file().is_some_and(sys::is_generated))
    }

    /// The data of a file of this size is worth having in the storage at once.
    pub(crate) fn wants_all(&self, need: Need, size: u64) -> bool {
        match need {
            Need::Data => true,
            Need::NoData | Need::Attributes | Need::Appending => false,
            Need::Writing { little } => !little && size < self.partials.blocks_from,
        }
    }

    /// Those who do not know partial files must not write from now on.
    fn announce_partials(&self) -> Result<()> {
        if self.partials.exist() {
            return Ok(());
        }
        let root = self.root_dir.edit();
        let mark = |dir: Within<'_>| self.own.set(Spot::Fd(dir.fd()), Own::Storage, b"1");
        root.unseen(mark, |()| Vec::new())?;
        if self.ordering == WriteOut::Sync {
            // META must not be there without it: the storage would be refused.
            rustix::fs::fsync(sys::open_dir(self.storage.as_fd(), b".")?)?;
        }
        self.add_feature(&root, FEATURE_PARTIAL)?;
        self.partials.exist.store(true, Ordering::Release);
        Ok(())
    }
}

/// A number that nobody else has.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Keyed anew from the system's randomness for each.
    RandomState::new().build_hasher().finish()
}
