//! New objects: create, mkdir, mknod, symlink, unnamed files.

use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx};
use rustix::io::Errno;

use crate::copy_up::kept::{cannot_hold, is_device, link_record, make_link};
use crate::copy_up::partial::Need;
use crate::format::meta::Record;
use crate::format::name::Name;
use crate::format::numbers::storage_ino;
use crate::interface::types::{Caller, Entry, NodeId, OpenMode};
use crate::layers::Hold;
use crate::look::resolve::Resolved;
use crate::reach::overlay::Overlay;
use crate::state::holds::Holds;
use crate::state::open_file::OpenFile;
use crate::store::meta_dir::{MetaDir, MetaEdit};
use crate::sys::{self, Result, Spot, StoredDir};
use crate::tree::dir::{Dir, DirEdit};
use crate::tree::node::{BaseRef, Contents, Held, Names, Node, Place};
use crate::tree::table::node_id;

/// What is to be made.
enum Made<'a> {
    Dir,
    Special { kind: u32, device: u64 },
    Symlink(&'a [u8]),
}

impl Overlay {
    /// Creates and opens a regular file.
    ///
    /// # Errors
    /// EEXIST; EPERM: the name is reserved; EROFS; as `open(2)`.
    pub fn create(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        open: OpenMode,
    ) -> Result<(Entry, Arc<OpenFile>)> {
        let ticket = self.ticket()?;
        self.await_leaving();
        let (parent, dir) = self.writable_dir(parent)?;
        let name = self.new_name(name)?;
        let edit = dir.edit();
        self.check_absent(&edit, name)?;
        let storage = dir.writable()?;
        let mut flags = if open.write { OFlags::RDWR } else { OFlags::RDONLY };
        flags.set(OFlags::DIRECT, open.direct);
        let fd = sys::with_umask(caller.umask, mode, |mode| {
            sys::taking_space(|| sys::create(storage, name, flags, mode))
        })?;
        let own =
            self.own(caller, &parent, Spot::Fd(fd.as_fd()), libc::S_IFREG | mode, storage.fd());
        let own = own.and_then(|made| made.keep(&edit, name));
        let (node, entry) = self.enter_new(&parent, &edit, name, own)?;
        Ok((entry, OpenFile::new(node, open, self.next_handle(), (fd, ticket))))
    }

    /// Creates a regular file, FIFO, socket or device node; the type is in
    /// `mode`, `device` as `makedev(3)` packs it.
    ///
    /// # Errors
    /// EEXIST; EPERM: the name is reserved, or devices need more rights;
    /// EROFS; as `mknod(2)`.
    pub fn mknod(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        device: u64,
    ) -> Result<Entry> {
        let kind = mode & libc::S_IFMT;
        let kind = if kind == 0 { libc::S_IFREG } else { kind };
        self.make(caller, parent, name, mode, &Made::Special { kind, device })
    }

    /// Creates a directory.
    ///
    /// # Errors
    /// EEXIST; EPERM: the name is reserved; EROFS; as `mkdir(2)`.
    pub fn mkdir(&self, caller: &Caller, parent: NodeId, name: &[u8], mode: u32) -> Result<Entry> {
        self.make(caller, parent, name, mode, &Made::Dir)
    }

    /// Creates a symlink to `target`.
    ///
    /// # Errors
    /// EEXIST; EPERM: the name is reserved; EROFS; as `symlink(2)`.
    pub fn symlink(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        target: &[u8],
    ) -> Result<Entry> {
        self.make(caller, parent, name, 0o777, &Made::Symlink(target))
    }

    fn make(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        made: &Made<'_>,
    ) -> Result<Entry> {
        self.await_leaving();
        let (parent, dir) = self.writable_dir(parent)?;
        let name = self.new_name(name)?;
        let edit = dir.edit();
        self.check_absent(&edit, name)?;
        let storage = dir.writable()?;
        if matches!(made, Made::Dir) {
            // It must not show a base directory that was hidden.
            edit.secure()?;
        }
        let perm = mode & 0o7777;
        let kind = sys::with_umask(caller.umask, perm, |perm| {
            let perm = Mode::from_raw_mode(perm);
            match made {
                Made::Dir => {
                    sys::taking_space(|| sys::mkdir(storage, name, perm)).map(|()| libc::S_IFDIR)
                }
                Made::Symlink(target) => {
                    if !self.holds().symlinks {
                        edit.append(&[link_record(name)])?;
                    }
                    sys::taking_space(|| make_link(self.holds(), target, storage, name))
                        .map(|_| libc::S_IFLNK)
                }
                Made::Special { kind, device } => {
                    make_special(self.holds(), &edit, name, (*kind, *device), perm).map(|()| *kind)
                }
            }
        })?;
        let own = self.own(caller, &parent, Spot::at(storage, name), kind | perm, storage.fd());
        let own = own.and_then(|made| made.keep(&edit, name));
        self.enter_new(&parent, &edit, name, own).map(|(_, entry)| entry)
    }

    /// Creates and opens a file without a name (`O_TMPFILE`). It can be given
    /// one by [`Overlay::link`].
    ///
    /// # Errors
    /// EOPNOTSUPP: the storage file system has none; EROFS; as `open(2)`.
    pub fn tmpfile(
        &self,
        caller: &Caller,
        parent: NodeId,
        mode: u32,
        open: OpenMode,
    ) -> Result<(Entry, Arc<OpenFile>)> {
        let ticket = self.ticket()?;
        let (parent, dir) = self.writable_dir(parent)?;
        let storage = dir.writable()?;
        let fd = sys::with_umask(caller.umask, mode, |mode| {
            sys::taking_space(|| sys::create_unnamed(storage.fd(), mode))
        })?;
        let spot = Spot::Fd(fd.as_fd());
        // Without a name there is nothing by which an owner could be kept.
        let stat = self.own(caller, &parent, spot, libc::S_IFREG | mode, storage.fd())?.stat;
        let held = Held::bounded(|| sys::hold(spot).map(Hold::stored))?;
        let place = Place { names: Names::Held(held), base: BaseRef::None };
        let ino = self.freed.number(&stat);
        let node = self.enter(Node::new(node_id(ino), ino, libc::S_IFREG, true, place));
        let mut attr = crate::interface::types::Attr::from(&stat);
        attr.ino = ino;
        let file = OpenFile::new(Arc::clone(&node), open, self.next_handle(), (fd, ticket));
        Ok((Entry { node: node.into_kernel(), attr }, file))
    }

    /// A directory that lies in the storage, copied up if need be.
    pub(crate) fn writable_dir(&self, id: NodeId) -> Result<(Arc<Node>, Arc<Dir>)> {
        self.check_writable()?;
        let node = self.dir_node(id)?;
        self.copy_up(&node, Need::Attributes)?;
        let dir = self.dir(&node)?;
        Ok((node, dir))
    }

    /// EEXIST if the base shows a name; the storage is asked by creating it.
    /// What META kept of the last object of this name is dropped.
    pub(crate) fn check_absent(&self, dir: &DirEdit<'_>, name: &[u8]) -> Result<()> {
        if dir.meta().kept(name).is_some()
            && sys::absent(sys::stat(Spot::at(dir.writable()?, name)))?.is_some()
        {
            return Err(Errno::EXIST);
        }
        // What META is owed may speak of the new object as of an old one.
        dir.pay()?;
        if dir.is_far_hidden(name) {
            // Whoever reads the directory must not take base and storage for one.
            dir.append(&[Record::Hide { name: name.into() }])?;
            dir.says_itself(&[name.into()]);
        }
        self.drop_kept(dir, name)?;
        if self.below(dir.dir(), name)?.is_some() {
            return Err(Errno::EXIST);
        }
        // The storage's own place in the base is not to be had.
        let taken = dir.dir().base().is_some_and(|base| self.stack.hides_at(base, name));
        if taken { Err(Errno::PERM) } else { Ok(()) }
    }

    /// Makes the caller the owner of a new object, as the storage would have.
    /// The result tells what it has become.
    pub(crate) fn own(
        &self,
        caller: &Caller,
        parent: &Arc<Node>,
        new: Spot<'_>,
        mode: u32,
        storage: BorrowedFd<'_>,
    ) -> Result<Owned> {
        let stat = sys::stat(new)?;
        let (mut setgid, mut group) = (false, caller.gid);
        if parent.is_root() {
            let root = *self.root_owner.lock();
            setgid = root.mode & libc::S_ISGID != 0;
            group = if setgid { root.gid } else { group };
        } else if let Some((mode, _, gid)) = self.kept(parent)?.owner {
            setgid = mode & libc::S_ISGID != 0;
            group = if setgid { gid } else { group };
        } else if caller.gid != stat.stx_gid {
            let above = sys::stat_fd(storage)?;
            setgid = u32::from(above.stx_mode) & libc::S_ISGID != 0;
            group = if setgid { above.stx_gid } else { group };
        }
        let has = u32::from(stat.stx_mode) & 0o7777;
        let is_dir = mode & libc::S_IFMT == libc::S_IFDIR;
        let wanted = if is_dir && setgid { has | libc::S_ISGID } else { has };
        if !self.holds().modes {
            // Whatever the storage shows: it is not what was asked for.
            let perm = if mode & libc::S_IFMT == libc::S_IFLNK {
                0o777
            } else {
                mode & 0o7777 & !caller.umask | if is_dir && setgid { libc::S_ISGID } else { 0 }
            };
            return Ok(Owned { stat, kept: Some((perm, caller.uid, group)) });
        }
        let uid = (caller.uid != stat.stx_uid).then_some(caller.uid);
        let gid = (group != stat.stx_gid).then_some(group);
        if uid.is_none() && gid.is_none() && wanted == has {
            return Ok(Owned { stat, kept: None });
        }
        let kept = match sys::set_owner(new, uid, gid) {
            Err(errno) if cannot_hold(errno) => Some((wanted, caller.uid, group)),
            other => other.map(|()| None)?,
        };
        let now = sys::stat(new)?;
        if mode & libc::S_IFMT != libc::S_IFLNK && u32::from(now.stx_mode) & 0o7777 != wanted {
            // chown(2) drops setuid and setgid.
            sys::set_mode(new, wanted)?;
            return Ok(Owned { stat: sys::stat(new)?, kept });
        }
        Ok(Owned { stat: now, kept })
    }

    /// Makes a node of a new storage entry. What could not get the owner and
    /// number that it should have goes again.
    fn enter_new(
        &self,
        parent: &Arc<Node>,
        dir: &DirEdit<'_>,
        name: &[u8],
        stat: Result<Statx>,
    ) -> Result<(Arc<Node>, Entry)> {
        let numbered = stat.and_then(|stat| {
            let (ino, own) = (self.freed.number(&stat), stat.stx_ino);
            if ino != storage_ino(&stat) {
                dir.append(&[Record::Identity { ino, storage_ino: own, name: name.into() }])?;
            }
            Ok((stat, ino))
        });
        let (stat, ino) = numbered.inspect_err(|_| take_away(dir, name))?;
        dir.seen();
        let device = dir.meta().kept(name).and_then(|kept| kept.device).map(|(kind, _)| kind);
        let found = Resolved { device, ..Resolved::in_storage(stat, ino) };
        let since = self.dirs.since(None);
        let node = self.adopt(parent, name, found);
        node.set_contents(Contents::Whole);
        if node.is_dir() && self.live.is_none() {
            // A new one has no META that would have to be looked for.
            if let Ok(own) = StoredDir::open(dir.writable()?, name) {
                let made = Dir::made(node.id, own, &self.durability);
                // Else it is read when it is needed.
                let _ = self.dirs.insert(made, since);
            }
        }
        let attr = self.show(&node, &stat, dir.dir(), name)?;
        let known = Arc::clone(&node);
        Ok((known, Entry { node: node.into_kernel(), attr }))
    }
}

/// A new object, with the owner it should have.
pub(crate) struct Owned {
    /// Attributes in the storage.
    stat: Statx,
    /// Mode, owner and group that it should show and the storage refuses.
    kept: Option<(u32, u32, u32)>,
}

impl Owned {
    /// Lets META keep what the storage refused.
    pub(crate) fn keep(self, dir: &MetaEdit<'_>, name: &[u8]) -> Result<Statx> {
        if let Some((mode, uid, gid)) = self.kept {
            dir.append(&[Record::Owner { mode, uid, gid, name: name.into() }])?;
        }
        Ok(self.stat)
    }
}

/// Removes a new entry that nobody was told of.
fn take_away(dir: &MetaDir, name: &[u8]) {
    let Ok(storage) = dir.writable() else { return };
    let gone = match sys::unlink(storage, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => sys::unlink(storage, name, AtFlags::REMOVEDIR),
        other => other,
    };
    if let Err(errno) = gone {
        tracing::warn!("what could not be made whole stays: {errno}");
    }
}

/// Makes a FIFO, socket, device or regular file. A device that the storage
/// refuses becomes an empty file that META calls a device.
fn make_special(
    holds: &Holds,
    dir: &MetaEdit<'_>,
    name: &[u8],
    (kind, device): (u32, u64),
    perm: Mode,
) -> Result<()> {
    let (storage, file_type) = (dir.writable()?, FileType::from_raw_mode(kind));
    // Where it is known to fail it is not tried: some leave a file and say EIO.
    if holds.specials || kind == libc::S_IFREG {
        match sys::taking_space(|| sys::mknod(storage, name, file_type, perm, device)) {
            Err(errno) if cannot_hold(errno) && is_device(kind) => {}
            other => return other,
        }
    }
    dir.append(&[Record::Device { kind, device, name: name.into() }])?;
    sys::mknod(storage, name, FileType::RegularFile, perm, 0)
}

impl Overlay {
    /// A name to be made: EPERM for a reserved one.
    pub(crate) fn new_name<'n>(&self, name: &'n [u8]) -> Result<&'n [u8]> {
        Name::new(name)?;
        if self.meta.reserves(name) { Err(Errno::PERM) } else { Ok(name) }
    }
}
