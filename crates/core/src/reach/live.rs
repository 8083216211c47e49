//! A base that others change while it is mounted (`-o live_base`).
//!
//! Without the option nothing here runs. With it, what was learnt of the base
//! counts for half the stated time, the kernel's half being the other:
//!
//! - a base object is reached through a descriptor that was checked to be the
//!   node's own, never by name alone;
//! - a lookup finds out that a name leads to another object now, and takes it
//!   from the node it had, as an unlink would;
//! - descriptors of base directories are compared with what the path leads to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;

use crate::format::identity::Realm;
use crate::interface::types::NodeId;
use crate::layers::{Hold, LowerDir, Part};
use crate::locks::{Rank, is_held};
use crate::reach::overlay::Overlay;
use crate::state::live::Live;
use crate::sys::{self, Result, Spot, StoredDir};
use crate::tree::dir::Dir;
use crate::tree::node::{BaseRef, Held, Link, Node};

/// A base directory that was just opened.
struct Now {
    fd: OwnedFd,
    stat: Statx,
    realm: Realm,
}

/// Nothing is there, in whatever way the system says so.
fn gone<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

impl Overlay {
    /// A cached directory can be used as it is.
    pub(crate) fn is_current(&self, dir: &Dir) -> bool {
        let live = self.live.as_ref();
        live.is_none_or(|live| dir.any_base().is_none_or(|base| live.trusts(base)))
    }

    /// As `open_dir_below`, where the base may have changed: opens the
    /// directory, or looks whether the cached one is still the right one.
    pub(crate) fn live_dir_below(
        &self,
        live: &Live,
        parent: &Dir,
        node: &Arc<Node>,
    ) -> Result<Option<Arc<Dir>>> {
        let since = self.dirs.since(Some(node.id));
        let far = self.far_hidden(node);
        let place = node.place();
        let Some(link) = place.names.first().filter(|link| link.parent().id == parent.node) else {
            return Ok(None);
        };
        let (link, in_storage) = (link.clone(), node.in_storage());
        // No newer than what it was found by: else every level would add its
        // own time.
        let checked = checked_at(parent);
        let checked = if parent.node == NodeId::ROOT { live.now() } else { checked.max(1) };
        let found = self.base_dir_now(parent, link.name(), &place.base)?;
        let shows_base = place.base != BaseRef::None;
        let own = |now: &Now| now.realm.number(now.stat.stx_ino) == node.ino();
        if !in_storage && !found.as_ref().is_some_and(own) {
            drop(place);
            return match self.lose_name(node, &link) {
                true => Err(Errno::NOENT),
                // It was copied up meanwhile.
                false => Ok(None),
            };
        }
        if let Some(dir) = self.dirs.get(node.id) {
            if let Some(known) = dir.any_base() {
                refresh(known.top()?, found.as_ref(), checked)?;
            }
            return Ok(Some(dir));
        }
        let storage = match parent.storage() {
            Some(dir) if in_storage => Some(StoredDir::open(dir, link.name())?),
            _ => None,
        };
        let base = match found {
            Some(now) => Some(Part::live(now.fd, now.realm)),
            // It may come (back).
            None if shows_base => Some(Part::absent(self.stack.top()?)?),
            None => None,
        };
        if let Some(base) = &base {
            base.checked.store(checked, Ordering::Relaxed);
        }
        let base = base.map(LowerDir::one);
        let dir = Dir::new(node.id, base, storage, far, &self.durability)?;
        Ok(self.dirs.insert(dir, since))
    }

    /// The base directory that an entry of a directory shows at present.
    fn base_dir_now(&self, parent: &Dir, name: &[u8], base: &BaseRef) -> Result<Option<Now>> {
        let opened = match base {
            BaseRef::None => None,
            BaseRef::SameName => match parent.base() {
                Some(base) => gone(self.stack.open_below(base, name))?.flatten(),
                None => None,
            },
            BaseRef::Path(path) => self.stack.open_path(0, path)?,
        };
        let opened = match opened {
            Some(dir) => Some(rustix::io::fcntl_dupfd_cloexec(dir.top()?, 0)?),
            None => None,
        };
        let Some(fd) = opened else { return Ok(None) };
        let stat = sys::stat_fd(&fd)?;
        let realm = self.stack.realms.of(&stat, Spot::Fd(fd.as_fd()))?;
        Ok(Some(Now { fd, stat, realm }))
    }

    /// The base object of a node whose name leads to `spot`. ESTALE: the name leads elsewhere now.
    pub(crate) fn live_object(&self, node: &Node, spot: Spot<'_>) -> Result<OwnedFd> {
        debug_assert!(is_held(Rank::Place, Some(node.id.0)));
        let Some(fd) = gone(sys::hold(spot))? else { return Err(Errno::STALE) };
        let stat = sys::stat_fd(&fd)?;
        let id = self.stack.realms.id(&stat, Spot::Fd(fd.as_fd()))?;
        let same = match node.is_shared() {
            true => {
                let number = id.number();
                let known = (id, number);
                self.shared.known_as(&self.stack.realms, &stat, known).0 == self.base_id(node)
            }
            false => id.number() == node.ino(),
        };
        if same && sys::kind(&stat) == node.kind() { Ok(fd) } else { Err(Errno::STALE) }
    }

    /// Another way to the object of a node whose name `link` does not lead
    /// there (`errno`). `None`: look again.
    pub(crate) fn live_elsewhere(
        &self,
        node: &Arc<Node>,
        link: &Link,
        errno: Errno,
    ) -> Result<Option<OwnedFd>> {
        let Some(live) = self.live.as_ref().filter(|_| !node.in_storage()) else {
            return Err(errno);
        };
        if !matches!(errno, Errno::STALE | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) {
            return Err(errno);
        }
        if let Some(fd) = self.still_open(live, node) {
            return Ok(Some(fd));
        }
        let several = node.place().names.iter().nth(1).is_some();
        if several && self.lose_name(node, link) {
            return Ok(None);
        }
        Err(Errno::STALE)
    }

    /// The base object of a node, if something keeps a descriptor of it.
    fn still_open(&self, live: &Live, node: &Node) -> Option<OwnedFd> {
        if !node.is_dir() {
            return live.opened(node);
        }
        let dir = self.dirs.get(node.id).filter(|_| !node.in_storage())?;
        rustix::io::fcntl_dupfd_cloexec(dir.base()?.top().ok()?, 0).ok()
    }

    /// Takes a name from a node, as an unlink by others. `false`: it lies in
    /// the storage (by now), and so does the name.
    pub(crate) fn lose_name(&self, node: &Arc<Node>, link: &Link) -> bool {
        let object = self.live.as_ref().and_then(|live| self.still_open(live, node));
        self.lose_name_of(node, link, object.map(Hold::plain))
    }

    /// As [`Overlay::lose_name`], with an object that the node is to keep.
    pub(crate) fn lose_name_of(&self, node: &Arc<Node>, link: &Link, object: Option<Hold>) -> bool {
        let mut place = node.place_mut();
        if node.in_storage() && !node.is_indexed() {
            return false;
        }
        if place.names.remove(link.parent().id, link.name()) {
            self.table.remove_name(link.parent().id, link.name());
        }
        if place.names.first().is_none() {
            if place.held().is_none()
                && !node.is_indexed()
                && let Some(object) = object
            {
                place.hold(Held::new(object));
            }
            self.dirs.remove(node.id);
        }
        true
    }
}

/// When the base directory of a directory was seen to be the right one.
fn checked_at(dir: &Dir) -> u64 {
    let top = dir.any_base().and_then(|base| base.top().ok());
    top.map_or(0, |part| part.checked.load(Ordering::Relaxed))
}

/// Makes the cached base directory of a node the one that is there now.
fn refresh(known: &Part, now: Option<&Now>, checked: u64) -> Result<()> {
    let was = match known.is_absent() {
        true => None,
        false => Some(sys::dev_ino(&sys::stat_fd(known)?)),
    };
    if was != now.map(|now| sys::dev_ino(&now.stat)) {
        known.replace(now.map(|now| (&now.fd, now.realm)))?;
    }
    known.checked.store(checked, Ordering::Relaxed);
    Ok(())
}
