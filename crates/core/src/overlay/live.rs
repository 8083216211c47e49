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

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;

use super::Overlay;
use super::file::{OpenFile, Opened};
use super::find::Found;
use super::refs::NodeRef;
use crate::dirs::Dir;
use crate::identity::Realm;
use crate::layers::{Hold, LowerDir, Part};
use crate::node::{BaseRef, Held, Link, Node};
use crate::sys::{self, Result, Spot, StoredDir};
use crate::types::{NodeId, Timestamp};

/// What a mount with a changing base keeps.
pub(super) struct Live {
    /// How long what was learnt of a directory counts.
    trust: Duration,
    begun: Instant,
    /// Open base files by node: the objects of those whose name is gone.
    open: Mutex<HashMap<u64, Vec<Weak<Opened>>>>,
    swept: AtomicU64,
}

/// What tells the content of a base file from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
}

/// A base directory that was just opened.
struct Now {
    fd: OwnedFd,
    stat: Statx,
    realm: Realm,
}

impl Live {
    pub fn new(time: Duration) -> Live {
        let swept = AtomicU64::new(0);
        Live { trust: time / 2, begun: Instant::now(), open: Mutex::default(), swept }
    }

    /// Milliseconds since the mount, from 1.
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn trusts(&self, base: &LowerDir) -> bool {
        let checked = base.top().map_or(0, |part| part.checked.load(Ordering::Relaxed));
        let age = self.now().saturating_sub(checked);
        u128::from(age) < self.trust.as_millis()
    }

    /// The object of a node that somebody has open in the base.
    fn opened(&self, node: &Node) -> Option<OwnedFd> {
        let opened = self.open.lock().get(&node.id.0)?.iter().find_map(Weak::upgrade)?;
        rustix::io::fcntl_dupfd_cloexec(opened.fd(), 0).ok()
    }

    fn note(&self, node: NodeId, opened: &Arc<Opened>) {
        let mut open = self.open.lock();
        let of_node = open.entry(node.0).or_default();
        of_node.retain(|opened| opened.strong_count() > 0);
        of_node.push(Arc::downgrade(opened));
        // Now and then the closed ones go: as often as their number doubles.
        let limit = self.swept.load(Ordering::Relaxed).max(512);
        if open.len() as u64 > 2 * limit {
            open.retain(|_, opened| opened.iter().any(|opened| opened.strong_count() > 0));
            self.swept.store(open.len() as u64, Ordering::Relaxed);
        }
    }
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
    /// For how long a node's attributes and a name that leads to it may be
    /// believed; `None`: as long as nobody changes them through the mount.
    pub fn trust(&self, node: Option<NodeId>) -> Option<Duration> {
        let live = self.live.as_ref()?;
        let node = node.and_then(|id| self.node(id).ok());
        let settled = node.is_some_and(|node| node.in_storage() && !node.is_indexed());
        (!settled).then_some(live.trust)
    }

    /// The version of an open file that lies in a base which may change.
    pub fn version(&self, file: &OpenFile) -> Option<Version> {
        self.live.as_ref()?;
        let stat = sys::stat_fd(file.in_base()?.fd()).ok()?;
        let (mtime, ctime) = (stat.stx_mtime.into(), stat.stx_ctime.into());
        Some(Version { size: stat.stx_size, mtime, ctime })
    }

    /// Remembers a base file that was opened.
    pub(super) fn note_opened(&self, file: &OpenFile) {
        if let Some(live) = &self.live
            && let Some(opened) = file.in_base()
        {
            live.note(file.node_id(), &opened);
        }
    }

    /// A cached directory can be used as it is.
    pub(super) fn is_current(&self, dir: &Dir) -> bool {
        let live = self.live.as_ref();
        live.is_none_or(|live| dir.any_base().is_none_or(|base| live.trusts(base)))
    }

    /// As `open_dir_below`, where the base may have changed: opens the
    /// directory, or looks whether the cached one is still the right one.
    pub(super) fn live_dir_below(
        &self,
        live: &Live,
        parent: &Dir,
        node: &Arc<Node>,
    ) -> Result<Option<Arc<Dir>>> {
        let since = self.dirs.since(Some(node.id));
        let far = self.far_hidden(node);
        let place = node.place.read();
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
        let own = |now: &Now| now.realm.number(now.stat.stx_ino) == node.ino;
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

    /// The base object of a node whose name leads to `spot`. The node's
    /// `place` is held. ESTALE: the name leads elsewhere now.
    pub(super) fn live_object(&self, node: &Node, spot: Spot<'_>) -> Result<OwnedFd> {
        let Some(fd) = gone(sys::hold(spot))? else { return Err(Errno::STALE) };
        let stat = sys::stat_fd(&fd)?;
        let id = self.stack.realms.id(&stat, Spot::Fd(fd.as_fd()))?;
        let same = match node.is_shared() {
            true => {
                let number = id.number();
                let known = (id, number);
                self.shared.known_as(&self.stack.realms, &stat, known).0
                    == self.shared.base_id(node)
            }
            false => id.number() == node.ino,
        };
        if same && sys::kind(&stat) == node.kind() { Ok(fd) } else { Err(Errno::STALE) }
    }

    /// Another way to the object of a node whose name `link` does not lead
    /// there (`errno`). `None`: look again.
    pub(super) fn live_elsewhere(
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
        let several = node.place.read().names.iter().nth(1).is_some();
        if several && self.lose_name(node, link) {
            return Ok(None);
        }
        Err(Errno::STALE)
    }

    /// As `find`, of a name that the kernel knows: whether it still leads to
    /// this node. `None`: it does not, and the node has lost it.
    pub(super) fn find_again<'a>(
        &'a self,
        parent: &Arc<Node>,
        dir: &Dir,
        name: &[u8],
        node: NodeRef<'a>,
    ) -> Result<Option<(NodeRef<'a>, Statx)>> {
        if node.in_storage() && !node.is_indexed() {
            let stat = self.stat(&node)?;
            return Ok(Some((node, stat)));
        }
        let found = self.resolve(dir, name)?;
        let same = |found: &Found| {
            let shared =
                found.shared.is_none_or(|id| !node.is_shared() || id == self.shared.base_id(&node));
            shared && found.ino == node.ino && sys::kind(&found.stat) == node.kind()
        };
        match found.filter(same) {
            Some(found) if found.in_storage == node.in_storage() => Ok(Some((node, found.stat))),
            // Copied up meanwhile; or the storage's object counts.
            Some(_) => {
                let stat = self.stat(&node)?;
                Ok(Some((node, stat)))
            }
            None => {
                let link = {
                    let place = node.place.read();
                    place.names.iter().find(|link| link.is(parent.id, name)).cloned()
                };
                if let Some(link) = link
                    && !self.lose_name(&node, &link)
                {
                    let stat = self.stat(&node)?;
                    return Ok(Some((node, stat)));
                }
                Ok(None)
            }
        }
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
    fn lose_name(&self, node: &Arc<Node>, link: &Link) -> bool {
        let object = self.live.as_ref().and_then(|live| self.still_open(live, node));
        let mut place = node.place.write();
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
                place.hold(Held::new(Hold::plain(object)));
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
        false => Some(sys::identity(&sys::stat_fd(known)?)),
    };
    if was != now.map(|now| sys::identity(&now.stat)) {
        known.replace(now.map(|now| (&now.fd, now.realm)))?;
    }
    known.checked.store(checked, Ordering::Relaxed);
    Ok(())
}
