//! From nodes to objects: where a node is, and the directories on the way.

use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Overlay;
use crate::dirs::{BaseDir, Dir};
use crate::node::{BaseRef, Node};
use crate::sys::{self, Result, Spot, StoredDir};
use crate::types::NodeId;

impl Overlay {
    /// The node of a number the kernel was told. ESTALE: it is not known.
    pub(super) fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        if id == NodeId::ROOT {
            return Ok(Arc::clone(&self.root));
        }
        self.table.get(id).ok_or(Errno::STALE)
    }

    /// The node of a directory. ENOTDIR: it is something else.
    pub(super) fn dir_node(&self, id: NodeId) -> Result<Arc<Node>> {
        let node = self.node(id)?;
        if node.is_dir() { Ok(node) } else { Err(Errno::NOTDIR) }
    }

    /// Descriptors and META of a directory. ENOENT: it was removed; ESTALE: the
    /// table does not know it any more.
    pub(super) fn dir(&self, node: &Arc<Node>) -> Result<Arc<Dir>> {
        loop {
            if let Some(dir) = self.try_dir(node)? {
                return Ok(dir);
            }
        }
    }

    /// As [`Overlay::dir`]; `None`: something on the way was moved or changed
    /// meanwhile.
    pub(super) fn try_dir(&self, node: &Arc<Node>) -> Result<Option<Arc<Dir>>> {
        if node.is_root() {
            return Ok(Some(Arc::clone(&self.root_dir)));
        }
        if node.is_forgotten() {
            // Another directory may have its name, and would be cached as this.
            return Err(Errno::STALE);
        }
        if let Some(dir) = self.dirs.get(node.id).filter(|dir| self.is_current(dir)) {
            return Ok(Some(dir));
        }
        let mut chain = vec![Arc::clone(node)];
        let mut at = loop {
            let parent = chain.last().and_then(|node| node.parent()).ok_or(Errno::NOENT)?;
            if parent.is_root() {
                break Arc::clone(&self.root_dir);
            }
            if parent.is_forgotten() {
                return Ok(None);
            }
            if let Some(dir) = self.dirs.get(parent.id).filter(|dir| self.is_current(dir)) {
                break dir;
            }
            chain.push(parent);
        };
        while let Some(node) = chain.pop() {
            match self.open_dir_below(&at, &node)? {
                Some(dir) => at = dir,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Opens the directory of a node in its parent's. `None`: it was moved, or may
    /// have been changed since it was read.
    pub(super) fn open_dir_below(
        &self,
        parent: &Dir,
        node: &Arc<Node>,
    ) -> Result<Option<Arc<Dir>>> {
        if let Some(live) = &self.live {
            return self.live_dir_below(live, parent, node);
        }
        let since = self.dirs.since(Some(node.id));
        let place = node.place.read();
        let Some(link) = place.names.first().filter(|link| link.parent().id == parent.node) else {
            return Ok(None);
        };
        let storage = match parent.storage() {
            Some(dir) if node.in_storage() => Some(StoredDir::open(dir, link.name())?),
            _ => None,
        };
        let base = match &place.base {
            BaseRef::None => None,
            BaseRef::SameName => match parent.base() {
                Some(base) => submount_as_empty(self.open_base_dir(base.as_fd(), link.name()))?,
                None => None,
            },
            BaseRef::Path(path) => self.open_base_path(path)?,
        };
        let base = match base {
            Some(fd) => {
                let realm = self.realms.of(&sys::stat_fd(&fd)?, Spot::Fd(fd.as_fd()))?;
                Some(BaseDir::new(fd, realm))
            }
            None => None,
        };
        let dir = Dir::new(node.id, base, storage, &self.durability)?;
        #[cfg(test)]
        super::evicted::loaded(self);
        let dir = self.dirs.insert(dir, since);
        if node.is_forgotten() {
            // What takes it out of the cache may have come before.
            self.dirs.remove_unless(node.id, || self.table.get(node.id).is_some());
        }
        Ok(dir)
    }

    /// Opens a base directory by the path of a redirect, name by name.
    /// `None`: it is not there (any more).
    pub(super) fn open_base_path(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let mut at = rustix::io::fcntl_dupfd_cloexec(&self.base, 0)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = match submount_as_empty(self.open_base_dir(at.as_fd(), name)) {
                Ok(Some(next)) => next,
                Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(errno),
            };
        }
        Ok(Some(at))
    }

    pub(super) fn open_base_dir(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
        if self.submounts {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            return sys::open(Spot::Across(dir, name), flags);
        }
        sys::open_dir(dir, name)
    }

    /// Path in the base of what a directory shows, without a leading slash.
    /// `None`: it shows nothing of the base.
    pub(super) fn base_path(&self, node: &Arc<Node>) -> Option<Vec<u8>> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut node = Arc::clone(node);
        while !node.is_root() {
            let place = node.place.read();
            match &place.base {
                BaseRef::None => return None,
                BaseRef::Path(path) => {
                    names.push(path.as_ref().clone());
                    break;
                }
                BaseRef::SameName => {}
            }
            let link = place.names.first()?.clone();
            drop(place);
            names.push(link.name().into());
            node = Arc::clone(link.parent());
        }
        names.reverse();
        Some(names.join(&b'/'))
    }

    /// Runs `f` where the object of a node is; the second argument tells
    /// whether that is the storage.
    ///
    /// The node's `place` is held meanwhile: nobody renames it away. ESTALE: the
    /// table does not know the node any more, so nothing is known of its names.
    pub(super) fn at<T>(
        &self,
        node: &Arc<Node>,
        f: impl Fn(Spot<'_>, bool) -> Result<T>,
    ) -> Result<T> {
        if node.is_root() {
            return f(Spot::Fd(self.storage.as_fd()), true);
        }
        loop {
            if node.is_forgotten() {
                return Err(Errno::STALE);
            }
            if node.is_indexed() {
                match self.at_index(node, &f)? {
                    Some(value) => return Ok(value),
                    None => continue,
                }
            }
            let (link, held) = {
                let place = node.place.read();
                (place.names.first().cloned(), place.held().cloned())
            };
            let Some(link) = link else {
                let held = held.ok_or(Errno::STALE)?;
                return f(Spot::Fd(held.fd.as_fd()), node.in_storage());
            };
            let dir = match self.try_dir(link.parent()) {
                Ok(Some(dir)) => dir,
                Ok(None) => continue,
                Err(_) if !node.place.read().names.iter().any(|now| now.is_same(&link)) => {
                    continue;
                }
                Err(errno) => match self.live_elsewhere(node, &link, errno)? {
                    Some(fd) => return f(Spot::Fd(fd.as_fd()), false),
                    None => continue,
                },
            };
            let place = node.place.read();
            if node.is_indexed() || !place.names.first().is_some_and(|now| now.is_same(&link)) {
                continue;
            }
            if node.in_storage() {
                return f(Spot::at(dir.writable()?, link.name()), true);
            }
            if let BaseRef::Path(path) = &place.base {
                // Only after a crash: a redirect whose skeleton is missing.
                let fd = self.open_base_path(path)?.ok_or(Errno::NOENT)?;
                return f(Spot::Fd(fd.as_fd()), false);
            }
            let base = dir.base().ok_or(Errno::STALE);
            if self.live.is_none() {
                return f(base?.spot(link.name()), false);
            }
            match base.and_then(|base| self.live_object(node, base.spot(link.name()))) {
                Ok(fd) => return f(Spot::Fd(fd.as_fd()), false),
                Err(errno) => {
                    drop(place);
                    if let Some(fd) = self.live_elsewhere(node, &link, errno)? {
                        return f(Spot::Fd(fd.as_fd()), false);
                    }
                }
            }
        }
    }

    /// As [`Overlay::at`], for a node in the index. `None`: it left the index.
    pub(super) fn at_index<T>(
        &self,
        node: &Arc<Node>,
        f: &impl Fn(Spot<'_>, bool) -> Result<T>,
    ) -> Result<Option<T>> {
        let dir = self.shared.dir()?;
        let (index, name) = (dir.writable()?, self.shared.base_id(node).index_name());
        let _place = node.place.read();
        if node.is_indexed() {
            f(Spot::at(index, name.as_bytes()), true).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// A mount point in the base shows as an empty directory.
fn submount_as_empty(opened: Result<OwnedFd>) -> Result<Option<OwnedFd>> {
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}
