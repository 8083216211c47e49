//! Nodes: the objects that the kernel knows.
#![forbid(unsafe_code)]

mod again;
mod names;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

pub(crate) use again::FoundAgain;
pub(crate) use names::{Link, Names};

use crate::format::time::Timestamp;
use crate::interface::types::NodeId;
use crate::layers::{Hold, InStack};
use crate::locks::{Among, Mutex, Rank, ReadGuard, RwLock, WriteGuard};
use crate::sys::Result;
use crate::sys::descriptors::Ticket;

/// An object that the kernel knows by number.
///
/// There may be millions of them: `tests/memory.rs` sees to it that they stay
/// small.
pub(crate) struct Node {
    /// Its id for the kernel: the number, unless another node has that one.
    pub id: NodeId,
    /// The number that programs see; constant, but where the object has become the base's
    /// by a commit.
    ino: AtomicU64,
    /// In one piece the type ([`KIND`]), which never changes, and where it lies in the layers
    /// below the storage ([`BELOW_SHIFT`]).
    kind_and_below: AtomicU16,
    /// [`IN_STORAGE`], [`INDEXED`], [`FORGOTTEN`], [`LINKED`], [`SHARED`] and the
    /// [`Contents`].
    state: AtomicU8,
    /// References the kernel holds, plus those of running operations.
    pub lookups: AtomicU64,
    /// Names whose parent this is; changed under the table's lock only.
    pub children: AtomicU32,
    /// Held while the object is copied up, also over the copying of data:
    /// only requests that need the copy wait for it.
    pub copy_up: Mutex<(), { Rank::CopyUp as u8 }>,
    /// Where it is.
    place: RwLock<Place, { Rank::Place as u8 }>,
}

/// Whether a storage file holds all data of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Contents {
    /// Nobody has looked.
    Unknown,
    /// It does, for good.
    Whole,
    /// The base has what is missing.
    Partial,
    /// The same, and the size and time that it shows are not the storage file's:
    /// the base file is a new one, and that could not be recorded.
    Stale,
}

/// Data and attributes of a node lie in the storage. Goes back only for a directory
/// whose changes are discarded, and for what is committed.
const IN_STORAGE: u8 = 1;

/// A shared node was copied up and lies in the index, under its number.
const INDEXED: u8 = 2;

/// Above these: [`Contents`], whether the storage file holds all of the data,
/// as far as known.
const CONTENTS_SHIFT: u32 = 2;
const CONTENTS_MASK: u8 = 0b11;

/// It went out of the table: what it says of its place is not kept up to date
/// any more. Never goes back.
const FORGOTTEN: u8 = 1 << 4;

/// Its object in the storage has several names, not all of which may be known.
const LINKED: u8 = 1 << 5;

/// It is a base object that had several names there. Changes only by a commit.
const SHARED: u8 = 1 << 6;

/// Bits of `st_mode` below the type.
const KIND_SHIFT: u32 = 12;

/// Of `kind_and_below`: the type, as `st_mode` has it above [`KIND_SHIFT`].
const KIND: u16 = 0b1111;

/// Above it: [`InStack::pack`].
const BELOW_SHIFT: u32 = 4;

fn with_below(bits: u16, below: InStack) -> u16 {
    bits & KIND | below.pack() << BELOW_SHIFT
}

/// Where a node is found in the layers.
pub(crate) struct Place {
    /// Its names; the first one is used to reach it. Empty for the root and
    /// for an object whose (known) names are gone.
    pub names: Names,
    /// What it shows of the base. Of non-directories only used until copy-up.
    pub base: BaseRef,
}

impl Place {
    /// The object itself, if it has no known name and was held at the loss of
    /// the last one.
    pub fn held(&self) -> Option<&Arc<Held>> {
        match &self.names {
            Names::Held(held) => Some(held),
            _ => None,
        }
    }

    /// Keeps an object that has no known name; nothing happens to one that has.
    pub fn hold(&mut self, held: Arc<Held>) {
        if self.names.first().is_none() {
            self.names = Names::Held(held);
        }
    }

    /// It is reached otherwise from here on.
    pub fn let_go(&mut self) {
        if self.held().is_some() {
            self.names = Names::None;
        }
    }
}

/// The right to say where a node is: whoever has it is the only one.
pub(crate) struct PlaceMut<'a> {
    node: &'a Node,
    place: WriteGuard<'a, Place>,
}

impl Deref for PlaceMut<'_> {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl DerefMut for PlaceMut<'_> {
    fn deref_mut(&mut self) -> &mut Place {
        &mut self.place
    }
}

impl PlaceMut<'_> {
    /// From here on the storage counts.
    pub fn set_in_storage(&mut self) {
        self.node.state.fetch_or(IN_STORAGE, Ordering::Release);
    }

    /// From here on the base counts again: the storage has nothing of a directory any
    /// more. `below`: where it lies in the layers; that of what came from the storage was
    /// not known.
    pub fn set_restored(&mut self, below: InStack) {
        let bits = self.node.kind_and_below.load(Ordering::Relaxed);
        self.node.kind_and_below.store(with_below(bits, below), Ordering::Relaxed);
        self.node.state.fetch_and(!IN_STORAGE, Ordering::Release);
    }

    /// It is reached through the index from here on, or not any more.
    pub fn set_indexed(&mut self, indexed: bool) {
        if indexed {
            self.node.state.fetch_or(INDEXED, Ordering::Release);
        } else {
            self.node.state.fetch_and(!INDEXED, Ordering::Release);
        }
    }
}

/// An object that lost its last known name.
pub(crate) struct Held {
    pub object: Hold,
    /// When: the change time that it shows as long as it lies in the base.
    pub since: Timestamp,
    _ticket: Ticket,
}

impl Held {
    /// One that must be held, whatever there is already.
    pub fn new(object: Hold) -> Arc<Held> {
        Arc::new(Held { object, since: Timestamp::now(), _ticket: Ticket::beyond(1) })
    }

    /// The same. ENFILE: too much is held already.
    pub fn bounded(hold: impl FnOnce() -> Result<Hold>) -> Result<Arc<Held>> {
        let _ticket = Ticket::other()?;
        Ok(Arc::new(Held { object: hold()?, since: Timestamp::now(), _ticket }))
    }
}

/// What a node shows of the base.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum BaseRef {
    /// Nothing: the storage alone counts.
    None,
    /// The entry of the same name in the parent's base directory.
    SameName,
    /// The directory of this path, by a redirect. Rare: the box makes it small
    /// in all the others.
    #[allow(clippy::redundant_allocation)]
    Path(Arc<Box<[u8]>>),
}

/// A node holds the directory above, that one the next, and so on: without this
/// the last use of a deep one would take a stack as deep as the tree.
impl Drop for Node {
    fn drop(&mut self) {
        let mut above = self.let_go_of_parents();
        while let Some(parent) = above.pop() {
            if let Some(mut node) = Arc::into_inner(parent) {
                above.extend(node.let_go_of_parents());
            }
        }
    }
}

impl Node {
    /// Takes the names away. The result are the directories that held them, so
    /// that none of them ends with its link.
    fn let_go_of_parents(&mut self) -> Vec<Arc<Node>> {
        let names = std::mem::replace(&mut self.place.get_mut().names, Names::None);
        names.iter().map(|link| Arc::clone(link.parent())).collect()
    }

    pub fn new(id: NodeId, ino: u64, kind: u32, in_storage: bool, place: Place) -> Node {
        Node {
            id,
            ino: AtomicU64::new(ino),
            kind_and_below: AtomicU16::new((kind >> KIND_SHIFT) as u16 & KIND),
            state: AtomicU8::new(if in_storage { IN_STORAGE } else { 0 }),
            lookups: AtomicU64::new(0),
            children: AtomicU32::new(0),
            copy_up: Mutex::new(()),
            place: RwLock::new(place),
        }
    }

    /// The number that programs see.
    pub fn ino(&self) -> u64 {
        self.ino.load(Ordering::Relaxed)
    }

    /// Type bits of `st_mode`.
    pub fn kind(&self) -> u32 {
        u32::from(self.kind_and_below.load(Ordering::Relaxed) & KIND) << KIND_SHIFT
    }

    /// It is a base object that had several names there.
    pub fn is_shared(&self) -> bool {
        self.state.load(Ordering::Acquire) & SHARED != 0
    }

    /// For a node that nobody knows yet.
    pub fn set_shared(&mut self) {
        *self.state.get_mut() |= SHARED;
    }

    /// Where it lies in the layers below the storage, as long as it does. It comes to lie
    /// there again under its `place`.
    pub fn below(&self) -> InStack {
        InStack::unpack(self.kind_and_below.load(Ordering::Relaxed) >> BELOW_SHIFT)
    }

    /// For a node that nobody knows yet.
    pub fn set_below(&mut self, below: InStack) {
        let bits = self.kind_and_below.get_mut();
        *bits = with_below(*bits, below);
    }

    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    pub fn is_root(&self) -> bool {
        self.id == NodeId::ROOT
    }

    pub fn in_storage(&self) -> bool {
        self.state.load(Ordering::Acquire) & IN_STORAGE != 0
    }

    /// Where it is, which nobody changes meanwhile: held over the system calls that use
    /// its name.
    pub fn place(&self) -> ReadGuard<'_, Place> {
        self.place.read_among(Among::Numbered(self.id.0))
    }

    /// The right to change where it is: held over the system calls that move or remove
    /// this one object.
    pub fn place_mut(&self) -> PlaceMut<'_> {
        PlaceMut { node: self, place: self.place.write_among(Among::Numbered(self.id.0)) }
    }

    pub fn contents(&self) -> Contents {
        match self.state.load(Ordering::Acquire) >> CONTENTS_SHIFT & CONTENTS_MASK {
            1 => Contents::Whole,
            2 => Contents::Partial,
            3 => Contents::Stale,
            _ => Contents::Unknown,
        }
    }

    pub fn set_contents(&self, contents: Contents) {
        let others = !(CONTENTS_MASK << CONTENTS_SHIFT);
        let with = |state| Some(state & others | (contents as u8) << CONTENTS_SHIFT);
        // It cannot fail: there is always a next state.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, with);
    }

    /// The table does not know it any more: renames do not reach it, so its
    /// names may have become another object's.
    pub fn is_forgotten(&self) -> bool {
        self.state.load(Ordering::Acquire) & FORGOTTEN != 0
    }

    /// Call it when the node goes out of the table.
    pub fn set_forgotten(&self) {
        self.state.fetch_or(FORGOTTEN, Ordering::Release);
    }

    /// It is counted in `state::linked`.
    pub fn is_linked(&self) -> bool {
        self.state.load(Ordering::Acquire) & LINKED != 0
    }

    /// It is to be counted there. `false`: it was before.
    pub fn set_linked(&self) -> bool {
        self.state.fetch_or(LINKED, Ordering::AcqRel) & LINKED == 0
    }

    /// It is not any more.
    pub fn set_unlinked(&self) {
        self.state.fetch_and(!LINKED, Ordering::AcqRel);
    }

    /// It is reached through the index, whatever its names are.
    pub fn is_indexed(&self) -> bool {
        self.state.load(Ordering::Acquire) & INDEXED != 0
    }

    /// For a node that nobody knows yet.
    pub fn set_indexed(&mut self) {
        *self.state.get_mut() |= INDEXED;
    }

    /// The directory that holds the first name. `None`: the root, or gone.
    pub fn parent(&self) -> Option<Arc<Node>> {
        self.place().names.first().map(|link| Arc::clone(link.parent()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(parent: Option<&Arc<Node>>, id: u64) -> Arc<Node> {
        let names = parent.map_or(Names::None, |parent| Names::One(Link::new(parent, b"d")));
        let place = Place { names, base: BaseRef::None };
        Arc::new(Node::new(NodeId(id), id, libc::S_IFDIR, true, place))
    }

    /// Half a million directories inside each other end on a small stack.
    #[test]
    fn deep_ones_end_without_a_deep_stack() {
        let end = || {
            let mut last = below(None, 1);
            for id in 2..500_000 {
                last = below(Some(&last), id);
            }
            let link = Link::new(&last, b"file");
            drop(last);
            drop(link);
        };
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(end);
        thread.expect("a thread").join().expect("it ends");
    }
}
