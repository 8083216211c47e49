//! From nodes to objects: where a node is, and the directories on the way.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::Statx;
use rustix::io::Errno;

use crate::interface::types::NodeId;
use crate::layers::{Hold, LowerDir, Object};
use crate::reach::overlay::Overlay;
use crate::sys::{Result, Spot, StoredDir};
use crate::tree::dir::Dir;
use crate::tree::node::{BaseRef, Node};

impl Overlay {
    /// The node of a number the kernel was told. ESTALE: it is not known.
    pub(crate) fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        if id == NodeId::ROOT {
            return Ok(Arc::clone(&self.root));
        }
        self.table.get(id).ok_or(Errno::STALE)
    }

    /// The node of a directory. ENOTDIR: it is something else.
    pub(crate) fn dir_node(&self, id: NodeId) -> Result<Arc<Node>> {
        let node = self.node(id)?;
        if node.is_dir() { Ok(node) } else { Err(Errno::NOTDIR) }
    }

    /// Descriptors and META of a directory. ENOENT: it was removed; ESTALE: the
    /// table does not know it any more.
    pub(crate) fn dir(&self, node: &Arc<Node>) -> Result<Arc<Dir>> {
        loop {
            if let Some(dir) = self.try_dir(node)? {
                return Ok(dir);
            }
        }
    }

    /// As [`Overlay::dir`]; `None`: something on the way was moved or changed
    /// meanwhile.
    pub(crate) fn try_dir(&self, node: &Arc<Node>) -> Result<Option<Arc<Dir>>> {
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
    pub(crate) fn open_dir_below(
        &self,
        parent: &Dir,
        node: &Arc<Node>,
    ) -> Result<Option<Arc<Dir>>> {
        if let Some(live) = &self.live {
            return self.live_dir_below(live, parent, node);
        }
        let since = self.dirs.since(Some(node.id));
        let far = self.far_hidden(node);
        let place = node.place();
        let Some(link) = place.names.first().filter(|link| link.parent().id == parent.node) else {
            return Ok(None);
        };
        let storage = match parent.storage() {
            Some(dir) if node.in_storage() => Some(StoredDir::open(dir, link.name())?),
            _ => None,
        };
        let base = self.stack_dir(parent, link.name(), &place.base)?;
        let dir = Dir::new(node.id, base, storage, far, &self.durability)?;
        #[cfg(test)]
        crate::tests::evicted::loaded(self);
        let dir = self.dirs.insert(dir, since);
        if node.is_forgotten() {
            // What takes it out of the cache may have come before.
            self.dirs.remove_unless(node.id, || self.table.get(node.id).is_some());
        }
        Ok(dir)
    }

    /// What an entry of a directory shows of the layers below the storage.
    fn stack_dir(
        &self,
        parent: &Dir,
        name: &[u8],
        base: &BaseRef,
    ) -> Result<Option<Arc<LowerDir>>> {
        match base {
            BaseRef::None => Ok(None),
            BaseRef::SameName => match parent.base() {
                Some(base) => self.stack.open_below(base, name),
                None => Ok(None),
            },
            BaseRef::Path(path) => self.stack.open_path(0, path),
        }
    }

    /// Path of a node from the root of the mount, by the first of its names; for
    /// messages.
    pub fn shown_path(&self, id: NodeId) -> Vec<u8> {
        let Ok(mut node) = self.node(id) else { return format!("node {}", id.0).into_bytes() };
        let mut names: Vec<Box<[u8]>> = Vec::new();
        while !node.is_root() {
            let link = node.place().names.first().cloned();
            let Some(link) = link else {
                names.push(Box::from(&b"(removed)"[..]));
                break;
            };
            names.push(link.name().into());
            node = Arc::clone(link.parent());
        }
        names.reverse();
        let mut path = b"/".to_vec();
        path.extend(names.join(&b'/'));
        path
    }

    /// Runs `f` with the object of a node.
    ///
    /// The node's `place` is held meanwhile: nobody renames it away. ESTALE: the
    /// table does not know the node any more, so nothing is known of its names.
    pub(crate) fn at<T>(&self, node: &Arc<Node>, f: impl Fn(Object<'_>) -> Result<T>) -> Result<T> {
        if node.is_root() {
            return f(self.root_object()?);
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
                let place = node.place();
                (place.names.first().cloned(), place.held().cloned())
            };
            let Some(link) = link else {
                return f(held.ok_or(Errno::STALE)?.object.object());
            };
            let dir = match self.try_dir(link.parent()) {
                Ok(Some(dir)) => dir,
                Ok(None) => continue,
                Err(_) if !node.place().names.iter().any(|now| now.is_same(&link)) => {
                    continue;
                }
                Err(errno) => match self.live_elsewhere(node, &link, errno)? {
                    Some(fd) => return f(Object::plain(Spot::Fd(fd.as_fd()))),
                    None => continue,
                },
            };
            let place = node.place();
            if node.is_indexed() || !place.names.first().is_some_and(|now| now.is_same(&link)) {
                continue;
            }
            if node.in_storage() {
                return f(Object::stored(Spot::At(dir.writable()?, link.name())));
            }
            if let BaseRef::Path(path) = &place.base {
                // Only after a crash: a redirect whose skeleton is missing.
                let below = self.stack.open_path(0, path)?.ok_or(Errno::NOENT)?;
                return f(Object::plain(Spot::Fd(below.top()?.as_fd())));
            }
            let base = dir.base().ok_or(Errno::STALE);
            if self.live.is_none() {
                return self.stack.at(base?, node.below(), link.name(), &f);
            }
            let object =
                base.and_then(|base| self.live_object(node, base.top()?.spot(link.name())));
            match object {
                Ok(fd) => return f(Object::plain(Spot::Fd(fd.as_fd()))),
                Err(errno) => {
                    drop(place);
                    if let Some(fd) = self.live_elsewhere(node, &link, errno)? {
                        return f(Object::plain(Spot::Fd(fd.as_fd())));
                    }
                }
            }
        }
    }

    /// As [`Overlay::at`], for a node in the index. `None`: it left the index.
    pub(crate) fn at_index<T>(
        &self,
        node: &Arc<Node>,
        f: &impl Fn(Object<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let dir = self.shared.dir()?;
        let (index, name) = (dir.writable()?, self.base_id(node).index_name());
        let _place = node.place();
        if node.is_indexed() {
            f(Object::stored(Spot::At(index, name.as_bytes()))).map(Some)
        } else {
            Ok(None)
        }
    }

    /// As [`Overlay::at`], to change the object. ESTALE: it does not lie in the
    /// storage.
    pub(crate) fn change_at<T>(
        &self,
        node: &Arc<Node>,
        f: impl Fn(Spot<'_>) -> Result<T>,
    ) -> Result<T> {
        self.at(node, |object| f(object.stored_at()?))
    }

    /// Attributes of the object of a node; of one in the storage as that has them.
    pub(crate) fn stat(&self, node: &Arc<Node>) -> Result<Statx> {
        self.at(node, |object| object.stat(&self.stack))
    }

    /// Keeps the object of a node, whatever becomes of its names.
    pub(crate) fn hold(&self, node: &Arc<Node>) -> Result<Hold> {
        self.at(node, |object| object.hold())
    }

    fn root_object(&self) -> Result<Object<'_>> {
        if self.bare {
            return self.stack.root_object();
        }
        Ok(Object::stored(Spot::Fd(self.storage.as_fd())))
    }
}
