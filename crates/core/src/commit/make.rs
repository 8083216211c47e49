//! What is made in the stage: objects as the tree shows them.

mod part;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::base::Base;
use super::early::Early;
use super::links::Links;
use super::plan::Make;
use super::stage::Stage;
use super::stages::Stages;
use crate::changes::Content;
use crate::format::commit::{Dress, Path, Slot};
use crate::format::print::Print;
use crate::interface::types::{Attr, NodeId, SetTime};
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result, Spot};

/// Flags of `chattr` that a file takes along: `d`. What has others cannot be moved.
const NO_DUMP: u32 = 0x40;

/// What was made.
#[derive(Default)]
pub(super) struct Made {
    /// Bytes of content.
    pub bytes: u64,
    /// A directory that is closed to its owner at the end, and cannot be before: how it is
    /// dressed until then, and at the end.
    pub closing: Option<(Dress, Dress)>,
    /// What a change that stays in the storage is made from by then.
    pub renewed: Option<(Path, Print)>,
}

/// Where contents are to be had without copying them.
pub(super) struct Ready<'a> {
    /// Files of the storage that get another name.
    pub links: Links<'a>,
    /// What was copied before.
    pub early: Option<&'a Early>,
}

impl Ready<'_> {
    fn copy(&self, path: &[u8], content: &Content) -> Option<OwnedFd> {
        self.early?.take(path, content)
    }
}

impl Make {
    /// The path that it is about.
    pub(super) fn path(&self) -> &[u8] {
        match self {
            Make::Object { path, .. } => path,
            Make::Part { part, .. } => &part.path,
            Make::LinkBase { at, .. } => at,
            Make::Link { .. } => b"",
        }
    }

    /// It is a part of a change.
    pub(super) fn is_part(&self) -> bool {
        matches!(self, Make::Part { .. })
    }

    /// Makes it.
    pub(super) fn make(
        &self,
        (overlay, ready): (&Overlay, &Ready<'_>),
        (base, stages): (&Base, &Stages),
    ) -> Result<Made> {
        let link = |from: rustix::fd::BorrowedFd<'_>, name: &[u8], to: Slot| {
            let stage = stages.of(to)?;
            rustix::fs::linkat(from, name, stage.dir(), &*to.name(), AtFlags::empty())
        };
        match self {
            Make::Object { slot, path } => make_object((overlay, ready), (stages, *slot), path),
            Make::Part { slot, part } => {
                part::make(part, (overlay, base), (stages.of(*slot)?, *slot))
            }
            Make::Link { slot, of } => {
                link(stages.of(*of)?.dir(), &of.name(), *slot).map(|()| Made::default())
            }
            Make::LinkBase { slot, at } => {
                base.at(at, |dir, name| link(dir, name, *slot)).map(|()| Made::default())
            }
        }
    }
}

fn make_object(
    (overlay, ready): (&Overlay, &Ready<'_>),
    (stages, slot): (&Stages, Slot),
    path: &[u8],
) -> Result<Made> {
    let stage = stages.of(slot)?;
    let node = overlay.reach(path)?.ok_or(Errno::NOENT)?;
    let (attr, name) = (overlay.getattr(node.id)?, slot.name());
    let spot = Spot::at(stage.dir(), &name);
    let mut made = Made::default();
    match attr.mode & libc::S_IFMT {
        libc::S_IFREG => {
            let content = overlay.shown_content(&node)?;
            made.bytes = attr.size;
            if ready.links.give((overlay, &node, &attr), (path, &content), (stages, slot))? {
                return Ok(made);
            }
            let file = file_with(&content, ready.copy(path, &content), (stage, &name))?;
            if sys::stat_fd(&file)?.stx_size != attr.size {
                return Err(Errno::IO);
            }
            dress(overlay, node.id, &attr, Spot::Fd(file.as_fd()))?;
        }
        libc::S_IFDIR => {
            sys::mkdir(stage.dir(), &name, Mode::RWXU)?;
            dress(overlay, node.id, &attr, spot)?;
            let (now, then) = (mode_in_stage(&attr), attr.mode & 0o7777);
            let dress = |mode| Dress { mode, uid: attr.uid, gid: attr.gid, xattrs: Vec::new() };
            made.closing = (now != then).then(|| (dress(now), dress(then)));
        }
        libc::S_IFLNK => {
            sys::symlink(&overlay.readlink(node.id)?, stage.dir(), &name)?;
            dress(overlay, node.id, &attr, spot)?;
        }
        _ => {
            let kind = FileType::from_raw_mode(attr.mode);
            sys::mknod(stage.dir(), &name, kind, Mode::RUSR | Mode::WUSR, attr.rdev)?;
            dress(overlay, node.id, &attr, spot)?;
        }
    }
    Ok(made)
}

/// A file in the stage with this content; `copied`: it has that already, and no name.
fn file_with(
    content: &Content,
    copied: Option<OwnedFd>,
    (stage, name): (&Stage, &[u8]),
) -> Result<OwnedFd> {
    if let Some(file) = copied {
        match sys::link_fd(file.as_fd(), stage.dir(), name) {
            Ok(()) => return Ok(file),
            // The stage may lie on another file system, or belong to another project.
            Err(errno) => tracing::debug!("what was copied early cannot be used: {errno}"),
        }
    }
    let file = sys::create_private(stage.dir(), name)?;
    if content.size()? > 0 {
        content.copy_to(&file)?;
    }
    Ok(file)
}

/// The mode that a directory has in the stage: whoever makes it must be able to fill and
/// to move it.
fn mode_in_stage(attr: &Attr) -> u32 {
    let is_dir = attr.mode & libc::S_IFMT == libc::S_IFDIR;
    attr.mode & 0o7777 | if is_dir { 0o700 } else { 0 }
}

fn dress(overlay: &Overlay, node: NodeId, attr: &Attr, spot: Spot<'_>) -> Result<()> {
    // Takes away what an owner must not keep, so it is first.
    sys::set_owner(spot, Some(attr.uid), Some(attr.gid))?;
    let names = names(overlay, node)?;
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; overlay.getxattr(node, name, &mut [])?];
        let len = if value.is_empty() { 0 } else { overlay.getxattr(node, name, &mut value)? };
        value.truncate(len);
        sys::set_xattr(spot, name, &value, 0)?;
    }
    if attr.mode & libc::S_IFMT != libc::S_IFLNK {
        sys::set_mode(spot, mode_in_stage(attr))?;
    }
    take_no_dump(overlay.inode_flags(node).unwrap_or(0), spot)?;
    sys::set_times(spot, Some(SetTime::At(attr.atime)), Some(SetTime::At(attr.mtime)))
}

/// Of these flags of `chattr` what a file takes along.
fn take_no_dump(flags: u32, to: Spot<'_>) -> Result<()> {
    if flags & NO_DUMP == 0 {
        return Ok(());
    }
    let file = sys::open(to, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK)?;
    sys::set_flags(&file, sys::get_flags(&file)? | NO_DUMP)
}

fn names(overlay: &Overlay, node: NodeId) -> Result<Vec<u8>> {
    let all = || true;
    let mut names = match overlay.listxattr(node, &all, &mut []) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        size => vec![0; size?],
    };
    let len = if names.is_empty() { 0 } else { overlay.listxattr(node, &all, &mut names)? };
    names.truncate(len);
    Ok(names)
}
