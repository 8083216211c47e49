//! Attributes: stat, chmod, chown, truncate, utimens.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use crate::copy_up::attributes::drop_lists;
use crate::copy_up::kept::{cannot_hold, without_set_id};
use crate::copy_up::partial::{CAPABILITY, Need};
use crate::format::acl;
use crate::format::meta::Record;
use crate::format::print::Print;
use crate::interface::types::{Attr, NodeId, SetAttr, SetTime};
use crate::reach::overlay::Overlay;
use crate::state::open_file::OpenFile;
use crate::state::root_owner::RootOwner;
use crate::sys::own::is_reserved_xattr;
use crate::sys::{self, Result, Spot};
use crate::tree::dir::Dir;
use crate::tree::node::Node;

/// Nothing but the mode changes.
fn only_mode(changes: &SetAttr) -> SetAttr {
    let SetAttr { mode, kill_suid_sgid, .. } = *changes;
    SetAttr { mode, kill_suid_sgid, ..SetAttr::default() }
}

const SUID: u32 = libc::S_ISUID;
const SGID: u32 = libc::S_ISGID;

impl Overlay {
    /// Attributes of a node.
    ///
    /// # Errors
    /// ESTALE: no such node.
    pub fn getattr(&self, node: NodeId) -> Result<Attr> {
        self.attr_of(&self.node(node)?)
    }

    /// Gives the root of a fresh storage the times and extended attributes of
    /// the base's root.
    pub(crate) fn adopt_root(&self, base: &Statx) -> Result<()> {
        let root = self.root_dir.edit();
        root.open_journal()?;
        let to = Spot::Fd(self.storage.as_fd());
        // The access ACL is part of the mode, which stays the storage's own.
        let skip = |name: &[u8]| name == acl::ACCESS || is_reserved_xattr(name);
        // That of the directory in which the storage was made.
        drop_lists(to, &[acl::DEFAULT])?;
        let from = self.stack.root_object()?;
        let names = from.list_xattrs(&self.stack)?;
        let get = |name: &[u8], buf: &mut [u8]| from.get_xattr(&self.stack, name, buf);
        sys::copy_xattrs(&names, get, to, skip, |_, _| {})?;
        sys::copy_times(base, to)?;
        let real = sys::stat(to)?.stx_ctime.into();
        let shown = base.stx_ctime.into();
        root.append(&[Record::Ctime { name: Box::from(&b"."[..]), shown, real }])
    }

    /// Changes attributes of a node; a base object is copied up first.
    ///
    /// `handle`: the open file the caller names it by, if any.
    ///
    /// # Errors
    /// EROFS; EPERM where the rights of this process do not suffice; as
    /// `fchmodat(2)`, `fchownat(2)`, `truncate(2)`, `utimensat(2)`.
    pub fn setattr(
        &self,
        node: NodeId,
        changes: &SetAttr,
        handle: Option<&OpenFile>,
    ) -> Result<Attr> {
        self.check_writable()?;
        let node = self.node(node)?;
        if *changes == SetAttr::default() {
            self.touch(&node)?;
            return self.attr_of(&node);
        }
        if handle.is_none() && self.is_as_long(&node, changes)? {
            return self.attr_of(&node);
        }
        if let Some(mode) =
            changes.mode.filter(|_| *changes == only_mode(changes) && !node.is_root())
            && self.copy_up_with_mode(&node, self.need_of(changes), mode)?
        {
            return self.attr_of(&node);
        }
        let emptied = changes.size == Some(0) && !node.in_storage();
        if node.is_root() {
            self.set_root_owner(changes)?;
        } else {
            self.copy_up(&node, self.need_of(changes))?;
        }
        if let Some(size) = changes.size {
            match self.resize(&node, size, changes.kill_suid_sgid, handle) {
                // The copy was made empty: it has happened.
                Err(errno) if emptied => tracing::warn!("a file that was emptied: {errno}"),
                other => other?,
            }
        }
        if !node.is_root() && (changes.uid.or(changes.gid).is_some() || changes.mode.is_some()) {
            self.set_owner_and_mode(&node, &self.settle_change(&node, changes)?)?;
        }
        if changes.atime.is_some() || changes.mtime.is_some() {
            let dir = self.own_dir(&node);
            let set = |spot: Spot<'_>| {
                let _held = dir.as_ref().map(|dir| dir.hold_attributes());
                sys::set_times(spot, changes.atime, changes.mtime)
            };
            match self.change_at(&node, set) {
                // It was cut or extended already, which moves the time by itself.
                Err(errno) if changes.size.is_some() => {
                    tracing::warn!("a file of another size has another time: {errno}");
                }
                other => other?,
            }
        }
        self.attr_of(&node)
    }

    /// What is needed of the data of a file whose attributes change.
    fn need_of(&self, changes: &SetAttr) -> Need {
        match changes.size {
            Some(0) => Need::NoData,
            _ if changes.mode.is_some_and(|mode| !self.partials.may_leave(mode)) => Need::Data,
            _ => Need::Attributes,
        }
    }

    /// chown(2) to nobody in particular moves the time of change, and the set-ID
    /// bits go with it.
    fn touch(&self, node: &Arc<Node>) -> Result<()> {
        if node.is_root() {
            let _held = self.root_dir.hold_attributes();
            let mtime = self.root_mtime()?;
            return sys::set_times(Spot::Fd(self.storage.as_fd()), None, Some(mtime));
        }
        self.copy_up(node, Need::Attributes)?;
        if self.kept(node)?.owner.is_some() {
            self.keep_owner(node, &self.attr_of(node)?, &SetAttr::default())?;
        }
        self.change_at(node, |spot| sys::set_owner(spot, None, None))
    }

    /// Nothing is asked for but the size that the file has: truncate(2), other than
    /// ftruncate(2), changes nothing then, not even a time.
    fn is_as_long(&self, node: &Arc<Node>, changes: &SetAttr) -> Result<bool> {
        let SetAttr { size, kill_suid_sgid, .. } = *changes;
        let alone = SetAttr { size, kill_suid_sgid, ..SetAttr::default() };
        let Some(size) = size.filter(|_| *changes == alone) else { return Ok(false) };
        let attr = self.attr_of(node)?;
        if node.kind() != libc::S_IFREG || attr.size != size || attr.mode & (SUID | SGID) != 0 {
            return Ok(false);
        }
        // That goes as with any change of data.
        let given = self.at(node, |object| object.get_xattr(&self.stack, CAPABILITY, &mut []));
        Ok(given.is_err())
    }

    /// A directory as it is used, whose attributes are about to be set.
    pub(crate) fn own_dir(&self, node: &Arc<Node>) -> Option<Arc<Dir>> {
        if node.is_dir() { self.dir(node).ok() } else { None }
    }

    /// chown and chmod: in the storage, and in META where that cannot hold it.
    fn set_owner_and_mode(&self, node: &Arc<Node>, changes: &SetAttr) -> Result<()> {
        let kept = self.kept(node)?.owner.is_some();
        let dir = self.own_dir(node);
        let set = self.change_at(node, |spot| {
            let _held = dir.as_ref().map(|dir| dir.change_attributes());
            if changes.uid.is_some() || changes.gid.is_some() {
                sys::set_owner(spot, changes.uid, changes.gid)?;
            }
            changes.mode.map_or(Ok(()), |mode| sys::set_mode(spot, mode & 0o7777))
        });
        match set {
            Err(errno) if !cannot_hold(errno) || self.is_protected(node) => Err(errno),
            Ok(()) if !kept && self.holds().modes => Ok(()),
            Err(Errno::OPNOTSUPP) if node.kind() == libc::S_IFLNK && !kept => set,
            // What was changed before one call was refused is in `changes`.
            _ => self.keep_owner(node, &self.attr_of(node)?, changes),
        }
    }

    fn set_root_owner(&self, changes: &SetAttr) -> Result<()> {
        if changes.size.is_some() {
            return Err(Errno::ISDIR);
        }
        if changes.mode.is_none() && changes.uid.is_none() && changes.gid.is_none() {
            return Ok(());
        }
        let root = self.root_dir.edit();
        let mut owner = *self.root_owner.lock();
        owner.mode = changes.mode.unwrap_or(owner.mode) & 0o7777;
        owner.uid = changes.uid.unwrap_or(owner.uid);
        owner.gid = changes.gid.unwrap_or(owner.gid);
        let RootOwner { mode, uid, gid } = owner;
        let name = || Box::from(&b"."[..]);
        let mut records = vec![Record::Owner { mode, uid, gid, name: name() }];
        if root.meta().owner(b".").is_none() {
            let print = Print::taken(&self.stack.root_stat()?);
            records.push(Record::Print { print, name: name() });
        }
        root.append(&records)?;
        *self.root_owner.lock() = owner;
        let _held = self.root_dir.hold_attributes();
        // Moves the ctime, as the change would. That stands already.
        let moved = self
            .root_mtime()
            .and_then(|mtime| sys::set_times(Spot::Fd(self.storage.as_fd()), None, Some(mtime)));
        if let Err(errno) = moved {
            tracing::warn!("the root does not show when it was changed: {errno}");
        }
        Ok(())
    }

    fn root_mtime(&self) -> Result<SetTime> {
        Ok(SetTime::At(sys::stat_fd(&self.storage)?.stx_mtime.into()))
    }

    fn resize(
        &self,
        node: &Arc<Node>,
        size: u64,
        kill: bool,
        handle: Option<&OpenFile>,
    ) -> Result<()> {
        if kill {
            self.drop_suid_sgid(node)?;
        }
        if self.is_partial(node)? {
            return self.resize_partial(node, size);
        }
        if let Some(file) = handle.filter(|file| file.writes()) {
            return rustix::fs::ftruncate(self.current(file)?.fd(), size);
        }
        let fd = self.change_at(node, |spot| sys::open(spot, OFlags::WRONLY | OFlags::NONBLOCK))?;
        rustix::fs::ftruncate(fd, size)
    }

    /// Drops setuid, and setgid of executables, as a write by somebody without
    /// `CAP_FSETID` does (inode(7)).
    pub(crate) fn drop_suid_sgid(&self, node: &Arc<Node>) -> Result<()> {
        self.change_at(node, |spot| {
            let stat = sys::stat(spot)?;
            let mode = u32::from(stat.stx_mode) & 0o7777;
            let left = without_set_id(mode);
            if left != mode && sys::kind(&stat) == libc::S_IFREG {
                sys::set_mode(spot, left)?;
            }
            Ok(())
        })?;
        match self.kept(node)?.owner {
            Some((mode, uid, gid)) if mode & (SUID | SGID) != 0 => {
                let mode = without_set_id(mode);
                self.keep(node, |name| Record::Owner { mode, uid, gid, name })
            }
            _ => Ok(()),
        }
    }

    /// Target of a symlink.
    ///
    /// # Errors
    /// EINVAL: it is none.
    pub fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        let node = self.node(node)?;
        if node.kind() != libc::S_IFLNK {
            return Err(Errno::INVAL);
        }
        if !node.in_storage() {
            let stat = self.stat(&node)?;
            self.accessed(&node, &stat);
        }
        self.at(&node, |object| object.read_link())
    }
}
