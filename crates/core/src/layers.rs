//! The layers below the storage: any number of read-only trees, each with its own
//! way to say what it hides of those below it (its *dialect*).
//!
//! What the rest of the crate sees of them is one tree: [`LowerDir`], a directory as
//! the layers that have it show it together, [`Stack::look`], what a name stands for
//! there, and [`Object`], what can be read of one object. What a dialect's marks mean is
//! known in its own file only.
#![forbid(unsafe_code)]

mod dir;
mod entry;
mod list;
mod look;
mod met;
mod mini_fo;
mod object;
mod oci;
mod overlay;
mod recognise;
mod source;
mod top;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;

use crate::format::acl;
use crate::format::identity::{BaseId, Realm};
use crate::format::name::{MetaName, STAGE_IN_A_MOUNT};
use crate::store::partial::Evidence;
use crate::store::realms::Realms;
use crate::sys::{self, Result, Spot};

pub(crate) use dir::{LowerDir, Part};
pub(crate) use list::LowerNumber;
pub(crate) use mini_fo::Frozen;
pub(crate) use object::{Hold, Object};
pub(crate) use recognise::{Recognised, name_of_storage, other_name, recognise};
pub(crate) use top::Beneath;

/// How a layer says what it hides of the layers below it.
pub(crate) enum Dialect {
    /// It hides nothing but by what it has itself.
    Plain,
    /// A storage of mini_fo.
    MiniFo(Box<Frozen>),
    /// What the kernel's overlayfs leaves in an upper directory.
    Overlay(overlay::Marks),
    /// An unpacked layer of a container image, and what fuse-overlayfs leaves.
    Oci(oci::Marks),
}

impl Dialect {
    /// The kernel's, with attributes named so.
    pub fn overlay(layer: &Path, namespace: overlay::Namespace) -> Dialect {
        Dialect::Overlay(overlay::Marks::new(layer, namespace))
    }

    /// That of container images.
    pub fn oci(layer: &Path, root: BorrowedFd<'_>, privileged: bool) -> Dialect {
        Dialect::Oci(oci::Marks::of(layer, root, privileged))
    }

    /// As the user calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Dialect::Plain => "plain",
            Dialect::MiniFo(_) => "mini_fo",
            Dialect::Overlay(marks) => marks.name(),
            Dialect::Oci(_) => "oci",
        }
    }
}

pub(crate) use overlay::Namespace;

/// One read-only tree.
pub(crate) struct Layer {
    /// As the user named it, for messages.
    pub path: PathBuf,
    /// Its full path.
    pub full: PathBuf,
    /// `O_PATH` descriptor of its root: by a private clone of its mount where the
    /// process may make one.
    pub root: Arc<OwnedFd>,
    /// Keeps the layer's own mount in use, if `root` is a clone, and no other layer does.
    pub mount: Option<OwnedFd>,
    pub dialect: Dialect,
    /// What META of the storages is called that are above it, or that it is itself: names
    /// that begin so are not shown.
    pub reserved: Vec<MetaName>,
}

impl Layer {
    /// The name belongs to a storage above, or to the layer as a storage, or is that of a stage,
    /// which any other storage may have put into any directory.
    fn reserves(&self, name: &[u8]) -> bool {
        self.reserved.iter().any(|meta| meta.reserves(name))
            || [MetaName::DEFAULT.stage(), STAGE_IN_A_MOUNT]
                .iter()
                .any(|own| own.as_bytes() == name)
    }

    /// What its META is called, if it is a storage.
    pub fn meta_name(&self) -> Option<MetaName> {
        match &self.dialect {
            Dialect::MiniFo(frozen) => Some(frozen.meta_name()),
            _ => None,
        }
    }
}

/// Where an object lies in the stack. What is known of it for each node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InStack(u16);

/// It does not lie under its name there: it has to be looked for again. Above all
/// numbers of layers.
const DETOUR: u16 = 1 << 9;

const _: () = assert!(Stack::MOST <= DETOUR as usize);

impl InStack {
    fn at(layer: u16) -> InStack {
        InStack(layer)
    }

    fn by_detour(layer: u16) -> InStack {
        InStack(layer | DETOUR)
    }

    /// In ten bits.
    pub fn pack(self) -> u16 {
        self.0
    }

    /// What was packed.
    pub fn unpack(bits: u16) -> InStack {
        InStack(bits & (DETOUR | (DETOUR - 1)))
    }

    fn layer(self) -> u16 {
        self.0 & !DETOUR
    }

    fn is_detour(self) -> bool {
        self.0 & DETOUR != 0
    }
}

/// What a name stands for in the layers below the storage.
pub(crate) struct Below {
    /// Attributes as they are to be shown; device and number are the object's own.
    pub stat: Statx,
    /// Which object it is; of a directory, the lowest that it is made of.
    pub id: BaseId,
    /// The number that it shows.
    pub number: u64,
    pub place: InStack,
}

/// The layers below a storage, from the top down; at least one.
pub(crate) struct Stack {
    layers: Vec<Layer>,
    /// The file systems of the layers.
    pub realms: Realms,
    /// Their roots, and whether nothing of the layers below shows in them.
    roots: Vec<(Arc<Part>, bool)>,
    /// What is mounted in the layers is a part of them.
    submounts: bool,
    /// What is not shown where it lies in a layer: the storage, the layers that are
    /// storages, and what else is not to be seen. Device and number.
    hidden: Vec<(u64, u64)>,
    /// The storage on top lies in one of the layers.
    nested: bool,
    /// Frozen storages that have an index.
    indexed: Vec<u16>,
    /// What tells the files of the lowest layer apart.
    pub evidence: Evidence,
}

impl Stack {
    /// Most layers that a stack can have.
    pub const MOST: usize = 500;

    /// `layers`: from the top down. EINVAL: there is none, or too many.
    pub fn new(
        layers: Vec<Layer>,
        realms: Realms,
        submounts: bool,
        hidden: Vec<(u64, u64)>,
        accepted: bool,
    ) -> Result<Stack> {
        if layers.len() > Stack::MOST {
            return Err(Errno::INVAL);
        }
        let lowest = layers.last().ok_or(Errno::INVAL)?;
        let evidence = Evidence::of(&lowest.root, accepted);
        let has_index = |layer: &Layer| match &layer.dialect {
            Dialect::MiniFo(frozen) => frozen.index().is_some(),
            _ => false,
        };
        let indexed = layers.iter().zip(0..).filter(|(layer, _)| has_index(layer));
        let indexed = indexed.map(|(_, number)| number).collect();
        let roots = Vec::new();
        let nested = false;
        let mut stack =
            Stack { layers, roots, realms, submounts, hidden, nested, indexed, evidence };
        stack.roots = stack.open_roots()?;
        Ok(stack)
    }

    /// The same; whether the storage on top lies in a layer.
    pub fn with_storage_inside(self, nested: bool) -> Stack {
        Stack { nested, ..self }
    }

    /// The storage on top lies in a layer, whatever mount shows it.
    pub fn holds_storage(&self) -> bool {
        self.nested
    }

    /// The layers, from the top down.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The root of the layer that the user named first.
    ///
    /// # Errors
    /// None in practice: there is at least one layer.
    pub fn top(&self) -> Result<&OwnedFd> {
        self.layers.first().map(|layer| &*layer.root).ok_or(Errno::NOENT)
    }

    /// Attributes of the root: those of the uppermost layer.
    pub fn root_stat(&self) -> Result<Statx> {
        self.root_stat_below(0)
    }

    /// The same in the view below `from` layers. ENOENT: there are not so many.
    pub fn root_stat_below(&self, from: usize) -> Result<Statx> {
        let top = self.layers.get(from).ok_or(Errno::NOENT)?;
        let mut stat = sys::stat_fd(&top.root)?;
        match &top.dialect {
            Dialect::MiniFo(frozen) => frozen.show_root(top.root.as_fd(), &mut stat)?,
            Dialect::Plain | Dialect::Overlay(_) | Dialect::Oci(_) => {}
        }
        let (mode, uid, gid) = self.root_owner_below(from)?;
        stat.stx_mode = stat.stx_mode & libc::S_IFMT as u16 | mode as u16;
        (stat.stx_uid, stat.stx_gid) = (uid, gid);
        Ok(stat)
    }

    /// Mode and owners that the root shows, whose access list is not shown. The
    /// directory of a frozen storage is closed to others whatever its root shows: META
    /// tells that, else what is below.
    pub fn root_owner(&self) -> Result<(u32, u32, u32)> {
        self.root_owner_below(0)
    }

    fn root_owner_below(&self, from: usize) -> Result<(u32, u32, u32)> {
        for layer in self.layers.iter().skip(from) {
            let mut stat = sys::stat_fd(&layer.root)?;
            let spot = Spot::Fd(layer.root.as_fd());
            match &layer.dialect {
                Dialect::MiniFo(frozen) => match frozen.root_owner(layer.root.as_fd())? {
                    Some(owner) => return Ok(owner),
                    None => continue,
                },
                Dialect::Oci(marks) => marks.show(spot, &mut stat)?,
                Dialect::Plain | Dialect::Overlay(_) => {}
            }
            let mut mode = u32::from(stat.stx_mode) & 0o7777;
            let mut list = vec![0; acl::MOST_BYTES];
            if let Ok(len) = sys::get_xattr(spot, acl::ACCESS, &mut list) {
                mode = acl::mode_without(list.get(..len).unwrap_or_default(), mode);
            }
            return Ok((mode, stat.stx_uid, stat.stx_gid));
        }
        Err(Errno::NOENT)
    }

    /// The number that the root shows: that of the lowest layer's.
    pub fn root_number(&self) -> Result<u64> {
        let lowest = self.layers.last().ok_or(Errno::NOENT)?;
        Ok(Realm::ROOT.number(sys::stat_fd(&lowest.root)?.stx_ino))
    }

    /// The object is a storage inside a layer, or the like: it is not shown.
    pub fn is_hidden(&self, stat: &Statx) -> bool {
        !self.hidden.is_empty() && self.hidden.contains(&sys::dev_ino(stat))
    }

    /// A name of a directory is that of a hidden object.
    pub fn hides_at(&self, dir: &LowerDir, name: &[u8]) -> bool {
        let hidden =
            |part: &Arc<Part>| sys::stat(part.spot(name)).is_ok_and(|stat| self.is_hidden(&stat));
        !self.hidden.is_empty() && dir.parts().iter().any(hidden)
    }

    /// Numbers of hidden objects on the file system of a directory.
    pub fn hidden_on(&self, dir: impl AsFd) -> Result<Vec<u64>> {
        if self.hidden.is_empty() {
            return Ok(Vec::new());
        }
        let device = sys::device(&sys::stat_fd(dir)?);
        let here = self.hidden.iter().filter(|(on, _)| *on == device);
        Ok(here.map(|(_, ino)| *ino).collect())
    }

    /// A name that does not show in the directory of a layer.
    pub fn reserves(&self, part: &Part, name: &[u8]) -> bool {
        self.layer(part.layer).is_ok_and(|layer| layer.reserves(name))
    }

    fn layer(&self, number: u16) -> Result<&Layer> {
        self.layers.get(usize::from(number)).ok_or(Errno::STALE)
    }
}
