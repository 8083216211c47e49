//! Files of the storage that need not be copied into the stage: they get another name there,
//! and are the base's own once the storage forgets theirs.
//!
//! Only what is in every respect what the tree shows can go this way, and what nobody can
//! write to any more: who has it open, or mapped, would write into the base. That is asked
//! of the kernel (a lease), for there may be programs that have outlived their mount. And the
//! storage must be able to let it go, or a mount would write into the base: where anything in
//! it cannot be removed (`chattr +i`), all is copied.

use std::cell::Cell;
use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Statx};
use rustix::io::Errno;

use super::path::range;
use super::stages::Stages;
use crate::changes::Content;
use crate::format::commit::{Path, Slot};
use crate::interface::types::Attr;
use crate::reach::overlay::Overlay;
use crate::store::aside::is_fixed;
use crate::store::dirs::Dirs;
use crate::sys::own::is_reserved_xattr;
use crate::sys::{self, Result, Spot, project};
use crate::tree::node::Node;

/// Flags (linux/fs.h) that a file has for good, or that nobody sees in the content: a base whose
/// files are not encrypted, say, must not get one that is, by the key of the storage.
const LASTING: u32 = 0x0290_c88d;

/// The storage as files are taken from it.
pub(super) struct Links<'a> {
    /// By its path, as the base was opened: a name is made within one mount only.
    storage: Option<Dirs>,
    /// What the storage keeps, in the order of a walk.
    kept: &'a [Path],
    /// Of each stage: nothing has shown so far that it cannot be done there, and what a new file
    /// in it gets of [`LASTING`].
    usable: Vec<(Cell<bool>, u32)>,
}

impl Links<'_> {
    /// `None`: nothing can be taken from it.
    pub fn of<'a>(storage: Option<Dirs>, stages: &Stages, kept: &'a [Path]) -> Links<'a> {
        // What belongs to a project keeps it, and would be counted to that.
        let stored = storage.as_ref().and_then(|dirs| project::given_by(dirs.root()).ok());
        let stored = stored.flatten();
        let free = storage.as_ref().is_some_and(|dirs| matches!(holds_fixed(dirs), Ok(false)));
        let usable = stages.all().map(|stage| {
            let given = project::given_by(stage.dir()).ok().flatten();
            (Cell::new(free && stored == given), lasting(stage.dir()))
        });
        let usable = usable.collect();
        Links { storage, kept, usable }
    }

    /// Gives a file a name in the stage. `false`: it is to be copied, whatever the reason.
    pub fn give(
        &self,
        (overlay, node, attr): (&Overlay, &Arc<Node>, &Attr),
        (path, content): (&[u8], &Content),
        (stages, slot): (&Stages, Slot),
    ) -> Result<bool> {
        let Some((usable, wanted)) = self.usable.get(usize::from(slot.stage)) else {
            return Ok(false);
        };
        let Some(storage) = self.storage.as_ref().filter(|_| usable.get()) else {
            return Ok(false);
        };
        let stage = stages.of(slot)?;
        let file = content.file().filter(|_| node.in_storage() && !node.is_indexed());
        let Some(file) = file.filter(|_| range(self.kept, path, |kept| kept).is_empty()) else {
            return Ok(false);
        };
        let stat = sys::stat_fd(file)?;
        let alike = shows(attr, &stat) && lasting(file) == *wanted;
        if !alike || !has_shown_only(overlay, node)? || sys::has_writers(file) {
            return Ok(false);
        }
        let name = slot.name();
        let linked = storage.at(path, |dir, stored| {
            rustix::fs::linkat(dir, stored, stage.dir(), &*name, AtFlags::empty())
        });
        if let Err(errno) = linked {
            usable.set(errno != Errno::XDEV);
            return Ok(false);
        }
        // The path may be another storage's by now.
        let made = sys::stat(Spot::at(stage.dir(), &name))?;
        let same = sys::dev_ino(&made) == sys::dev_ino(&stat);
        if !same {
            sys::unlink(stage.dir(), &name, AtFlags::empty())?;
        }
        Ok(same)
    }
}

/// Something in the storage cannot be removed, and so perhaps not what is beside it.
fn holds_fixed(dirs: &Dirs) -> Result<bool> {
    let mut found = false;
    dirs.walk(b"", &mut |_, stat| {
        found |= is_fixed(stat);
        Ok(())
    })?;
    Ok(found)
}

/// What a storage was to let go and has not let go is one object with what the base has: a
/// mount would write into the base.
pub(super) fn are_left(storage: &Dirs, base: &Dirs, tops: &[Path]) -> Result<bool> {
    let look = |dirs: &Dirs, path: &[u8]| {
        sys::absent(dirs.at(path, |dir, name| sys::stat(Spot::at(dir, name))))
    };
    let is_one = |stat: &Statx, path: &[u8]| -> Result<bool> {
        let other = look(base, path)?;
        Ok(other.is_some_and(|other| sys::dev_ino(&other) == sys::dev_ino(stat)))
    };
    let mut left = false;
    for top in tops {
        let Some(stat) = look(storage, top)? else { continue };
        if sys::kind(&stat) != libc::S_IFDIR {
            left |= is_one(&stat, top)?;
            continue;
        }
        storage.walk(top, &mut |path, stat| {
            left |= sys::kind(stat) != libc::S_IFDIR && is_one(stat, path)?;
            Ok(())
        })?;
    }
    Ok(left)
}

/// Of a file or directory, those of [`LASTING`] that it has.
fn lasting(fd: impl AsFd) -> u32 {
    sys::get_flags(fd).unwrap_or(0) & LASTING
}

/// The storage has just these attributes, and no other name of it.
fn shows(attr: &Attr, stat: &Statx) -> bool {
    let own = Attr::from(stat);
    stat.stx_nlink == 1
        && (own.mode, own.uid, own.gid, own.size) == (attr.mode, attr.uid, attr.gid, attr.size)
        && (own.mtime, own.atime) == (attr.mtime, attr.atime)
}

/// It has no extended attributes but those that the tree shows, and the tree shows no others.
fn has_shown_only(overlay: &Overlay, node: &Arc<Node>) -> Result<bool> {
    let all = overlay.at(node, |object| object.list_xattrs(&overlay.stack))?;
    let own = all.split(|byte| *byte == 0).any(is_reserved_xattr);
    Ok(!own && overlay.kept(node)?.xattrs.is_empty())
}
