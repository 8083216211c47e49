//! Opening the trees that are only read, and putting them together.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::marks::{self, Marks};
use super::nesting::Hidden;
use super::origin::{self, Directory};
use super::{Result, committing, found, io, storage, written};
use crate::format::features::KNOWN_FEATURES;
use crate::format::features::{FEATURE_PARTIAL, FEATURE_REALMS};
use crate::format::meta::RealmRecord;
use crate::format::name::MetaName;
use crate::interface::error::{OpenError, Warning};
use crate::interface::options::{DialectName, LayerOptions, OpenOptions};
use crate::layers::{
    Dialect, Frozen, Layer, Namespace, Recognised, Stack, name_of_storage, recognise,
};
use crate::store::realms::Realms;
use crate::store::server_lock::ServerLock;
use crate::store::{itself, meta};
use crate::sys::own::{Own, OwnAttributes, is_marked};
use crate::sys::{self, Spot};

/// A layer before it is known what it is.
pub(super) struct Opened {
    /// As the user named it.
    pub given: PathBuf,
    /// Full path.
    pub path: PathBuf,
    /// `O_PATH` descriptor of its root.
    pub mount: OwnedFd,
    /// The same by a private clone of its mount, where the process may make one.
    sealed: Option<OwnedFd>,
    dialect: DialectName,
    /// It may be a storage all the same: it was not looked at as a whole.
    unsure: bool,
}

impl Opened {
    /// What its META is called, if it is a storage.
    fn meta_name(&self) -> Option<MetaName> {
        match self.dialect {
            DialectName::MiniFo(meta) => meta,
            _ => None,
        }
    }

    /// What is mounted on it is not seen.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Its root, as it will be read.
    pub fn root(&self) -> &OwnedFd {
        self.sealed.as_ref().unwrap_or(&self.mount)
    }
}

/// Opens all layers, the uppermost first. Below a storage of mini_fo that is the lowest
/// comes what it was made for. `submounts`: what is mounted in them is a
/// part of them.
pub(super) fn open(options: &OpenOptions, submounts: bool) -> Result<Vec<Opened>> {
    let first = LayerOptions { path: options.base.clone(), dialect: options.dialect };
    let all = || std::iter::once(&first).chain(&options.under);
    let count = all().count();
    if count > Stack::MOST {
        return Err(OpenError::TooManyLayers { count, most: Stack::MOST });
    }
    let mut opened = Vec::with_capacity(count);
    for layer in all() {
        opened.push(open_one(layer, options.meta_name, count == 1, submounts)?);
    }
    // What is below that may be a storage in its turn.
    while let Some(last) = opened.last().filter(|layer| layer.meta_name().is_some()) {
        let below = made_for(last)?;
        let (above, alone) = (last.given.clone(), below.len() == 1);
        for recorded in below {
            let path = origin::path_of(&recorded.2);
            let layer = LayerOptions { path, dialect: None };
            let base = open_one(&layer, options.meta_name, alone, submounts)?;
            if !origin::is_there(&recorded, base.root())? {
                return Err(OpenError::LayerBaseReplaced { path: above, base: base.path });
            }
            if alone && opened.iter().skip(count - 1).any(|above| above.path == base.path) {
                return Err(OpenError::LayersInCircle { path: base.path });
            }
            opened.push(base);
        }
        if opened.len() > Stack::MOST {
            return Err(OpenError::TooManyLayers { count: opened.len(), most: Stack::MOST });
        }
    }
    Ok(opened)
}

/// `own`: what META of the storage on top is called.
fn open_one(layer: &LayerOptions, own: MetaName, alone: bool, submounts: bool) -> Result<Opened> {
    let given = &layer.path;
    let mount = found::open_base(given)?;
    let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let path = given.canonicalize().map_err(|error| found::unreadable(given, errno(error)))?;
    let sealed = sys::seal_tree(mount.as_fd(), submounts).ok();
    // By the clone, no look moves a time of access.
    let root = sealed.as_ref().unwrap_or(&mount);
    let looked = |errno| io(given, "cannot be looked through", errno);
    let said = |dialect| Recognised { dialect, unsure: false };
    let Recognised { dialect, unsure } = match layer.dialect {
        Some(DialectName::MiniFo(None)) => {
            let found = name_of_storage(root, own).map_err(looked)?;
            said(DialectName::MiniFo(Some(found)))
        }
        Some(dialect) => said(dialect),
        None => recognise(root, own, is_privileged(&mount), alone).map_err(looked)?,
    };
    Ok(Opened { given: given.clone(), path, mount, sealed, dialect, unsure })
}

/// The process may use `trusted.` attributes.
fn is_privileged(root: &OwnedFd) -> bool {
    OwnAttributes::of_process(root) == OwnAttributes::Trusted
}

/// The layers that a storage was made for, from the top down. Paths that somebody else has
/// written lead anywhere, so they count only where the storage was written.
fn made_for(layer: &Opened) -> Result<Vec<Directory>> {
    let session = meta::session(layer.root().as_fd(), layer.meta_name().unwrap_or_default());
    let root = storage::load_root(&layer.path, layer.root(), session)?;
    let now = storage::itself(&layer.path, layer.root())?;
    let path = layer.given.clone();
    if root.index.origin().is_none() {
        return Err(OpenError::LayerWithoutBase { path });
    }
    if !root.index.storage().is_some_and(|recorded| itself::fits(recorded, &now)) {
        return Err(OpenError::LayerFromElsewhere { path });
    }
    Ok(origin::made_for(&root.index))
}

/// What META of a directory is called, if it is a storage. `alone`: nobody has said what
/// is below it.
pub(crate) fn recognise_storage(
    path: &Path,
    own: MetaName,
    alone: bool,
) -> Result<Option<MetaName>> {
    let layer = LayerOptions { path: path.to_path_buf(), dialect: None };
    Ok(open_one(&layer, own, alone, false)?.meta_name())
}

/// The layers that a storage was made for, from the top down.
pub(crate) fn layers_of(path: &Path, meta: MetaName) -> Result<Vec<PathBuf>> {
    let dialect = Some(DialectName::MiniFo(Some(meta)));
    let layer = open_one(&LayerOptions { path: path.into(), dialect }, meta, true, false)?;
    storage::check_owner(path, &layer.mount)?;
    let made_for = made_for(&layer)?;
    Ok(made_for.iter().map(|(_, _, path)| origin::path_of(path)).collect())
}

/// Puts opened layers together. `recorded`: the file systems of the base as the storage
/// on top knows them; `hidden`: that storage, where it lies in a layer.
pub(super) fn stack(
    opened: Vec<Opened>,
    options: &OpenOptions,
    submounts: bool,
    (mut recorded, hidden): (Vec<RealmRecord>, Option<Hidden>),
    warnings: &mut Vec<Warning>,
) -> Result<Stack> {
    committing::check(&opened, options)?;
    let examine = |errno| io(&options.base, "cannot be examined", errno);
    let held = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(examine);
    let several = opened.len() > 1;
    let plain = opened.iter().all(|layer| layer.dialect == DialectName::Plain);
    if options.live_base.is_some() && (several || !plain) {
        return Err(OpenError::LiveLayers);
    }
    let lowest = opened.last().ok_or_else(|| examine(Errno::NOENT))?;
    let bottom = held(lowest.root())?;
    let bottom_stat = sys::stat_fd(&bottom).map_err(examine)?;
    let nested = hidden.is_some_and(|hidden| hidden.inside);
    let mut hidden: Vec<(u64, u64)> = hidden.iter().map(|hidden| hidden.id).collect();
    for path in &options.hidden {
        let failed = |errno| io(path, "cannot be examined", errno);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        hidden.push(sys::dev_ino(&sys::stat_fd(&found).map_err(failed)?));
    }
    let mut layers = Vec::with_capacity(opened.len());
    let mut reserved = vec![options.meta_name];
    let (mut made, mut in_use) = (Vec::new(), HashSet::new());
    for layer in opened {
        if layer.unsure {
            warnings.push(Warning::NotRecognised { path: layer.given.clone() });
        }
        reserved.extend(layer.meta_name().filter(|meta| !reserved.contains(meta)));
        let dialect = match layer.dialect {
            DialectName::Plain => Dialect::Plain,
            DialectName::Overlay => Dialect::overlay(&layer.given, Namespace::Trusted),
            DialectName::OverlayUser => Dialect::overlay(&layer.given, Namespace::User),
            DialectName::Oci => {
                let privileged = is_privileged(&layer.mount);
                Dialect::oci(&layer.given, layer.root().as_fd(), privileged)
            }
            DialectName::MiniFo(_) => {
                let realms = |recorded| -> Result<Realms> {
                    Ok(Realms::new(held(&bottom)?, &bottom_stat, submounts, recorded))
                };
                let (frozen, made_for) = frozen(&layer, realms, warnings)?;
                made.push((layers.len() + 1, made_for));
                let known = |new: &RealmRecord| {
                    recorded.iter().any(|old: &RealmRecord| old.realm == new.realm)
                };
                let more: Vec<_> = frozen.recorded().into_iter().filter(|r| !known(r)).collect();
                recorded.extend(more);
                let stat = sys::stat_fd(&layer.mount).map_err(examine)?;
                hidden.push(sys::dev_ino(&stat));
                Dialect::MiniFo(Box::new(frozen))
            }
        };
        if several {
            let (path, name) = (layer.given.display(), dialect.name());
            tracing::info!("layer {path}: read as {name}");
        }
        let (root, mount) = match layer.sealed {
            Some(sealed) => (sealed, Some(layer.mount)),
            None => (layer.mount, None),
        };
        // One keeps a mount in use as well as many.
        let mount = mount.filter(|mount| {
            let number = sys::stat_fd(mount).ok().map(|stat| stat.stx_mnt_id);
            number.is_none_or(|number| in_use.insert(number))
        });
        let (path, full) = (layer.given, layer.path);
        let reserved = reserved.clone();
        layers.push(Layer { path, full, root: Arc::new(root), mount, dialect, reserved });
    }
    let realms = Realms::new(bottom, &bottom_stat, submounts, recorded);
    let stack = Stack::new(layers, realms, submounts, hidden, options.accept_other_base);
    let stack = stack.map_err(examine)?.with_storage_inside(nested);
    for (below, made_for) in made {
        origin::tell_replaced(&stack, below, &made_for, warnings)?;
    }
    Ok(stack)
}

/// Opens a layer that is a storage. It is locked as by a mount for reading: nobody writes
/// it as long as it shows here. The result also tells what it was made for.
fn frozen(
    layer: &Opened,
    realms: impl Fn(Vec<RealmRecord>) -> Result<Realms>,
    warnings: &mut Vec<Warning>,
) -> Result<(Frozen, Vec<Directory>)> {
    let (path, root) = (&layer.given, layer.root());
    let failed = |errno| io(path, "cannot be read as a storage", errno);
    storage::check_owner(path, &layer.mount)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let lock = sys::open(Spot::at(&layer.mount, b"."), flags).map_err(failed)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(OpenError::StorageInUse { path: path.clone(), by: None });
        }
        Err(_) => warnings.push(Warning::NoLock { path: path.clone() }),
    }
    let meta = layer.meta_name().unwrap_or_default();
    let server_lock = ServerLock::take(&ServerLock::of((path, &lock), meta), true, warnings)?;
    let session = meta::session(root.as_fd(), meta);
    let loaded = storage::load_root(path, root, session)?;
    storage::check_index(path, root, session)?;
    if let Some(word) = loaded.index.features().find(|word| !KNOWN_FEATURES.contains(word)) {
        let word = String::from_utf8_lossy(word).into_owned();
        return Err(OpenError::LayerFeature { path: path.clone(), word });
    }
    if !loaded.index.far().is_empty() {
        return Err(OpenError::LayerFar { path: path.clone() });
    }
    let own = OwnAttributes::of_process(&lock);
    let found = Marks::of(&lock, own, &loaded.index);
    marks::check(path, found, storage::mode(path, &layer.mount)?, false)?;
    let has = |feature: &[u8]| loaded.index.features().any(|word| word == feature);
    let marked = |own_| is_marked(&lock, own, own_);
    let partial = has(FEATURE_PARTIAL) || marked(Own::Storage) || marked(Own::Unclean);
    let features = (has(FEATURE_REALMS), partial);
    let written = written(meta, &lock, &loaded.index);
    let recorded = recorded_realms(root, session);
    let frozen = Frozen::open(
        (path, meta),
        ((lock, server_lock), root),
        features,
        (own, written),
        realms(recorded)?,
    );
    let frozen = frozen.map_err(failed)?;
    if frozen.is_unended() {
        warnings.push(Warning::LayerUnended { path: path.clone() });
    }
    Ok((frozen, origin::made_for(&loaded.index)))
}

/// The file systems that the index of a storage knows.
pub(super) fn recorded_realms(storage: &OwnedFd, session: meta::Session) -> Vec<RealmRecord> {
    let index = sys::open_dir(storage.as_fd(), session.meta.index().as_bytes());
    let loaded = index.and_then(|index| meta::load(index.as_fd(), session));
    loaded.map(|loaded| loaded.index.realms().cloned().collect()).unwrap_or_default()
}

/// The first of these paths, for messages about all of them.
pub(super) fn first(opened: &[Opened]) -> Result<&Opened> {
    opened.first().ok_or_else(|| io(Path::new(""), "there is no base", Errno::NOENT))
}
