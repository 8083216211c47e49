//! A storage, an upper directory or a layer that is not mounted.

use std::path::PathBuf;

use crate::format::name::MetaName;
use crate::interface::error::OpenError;
use crate::interface::options::{AccessTimes, DialectName, LayerOptions, OpenOptions};
use crate::open::assemble::Opened;
use crate::open::check;
use crate::reach::overlay::Overlay;

/// What of a directory with changes is known from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct RestOptions {
    /// The directory that received the changes.
    pub path: PathBuf,
    /// How it says what it hides; `None`: as is recognised.
    pub dialect: Option<DialectName>,
    /// The trees below it, from the top down; empty: those that it was made for, as META
    /// of a storage tells.
    pub base: Vec<LayerOptions>,
    /// What META is called in a storage.
    pub meta_name: MetaName,
    /// A storage that was made for another base is taken for one of this.
    pub accept_other_base: bool,
    /// It was mounted with what is mounted below the base.
    pub submounts: bool,
    /// Owners are not compared ([`OpenOptions::one_owner`]).
    pub one_owner: bool,
}

/// Opens a directory with changes, to ask for them ([`Overlay::changes`]): a storage, an
/// upper directory of overlayfs, or any other layer. Nothing is written. Nobody can mount
/// the storage for writing meanwhile.
///
/// # Errors
/// As [`Overlay::assemble`]. [`OpenError::StorageInUse`]: it is mounted for writing;
/// [`OpenError::LayerWithoutBase`]: no base is given, and it does not tell one.
pub fn changes_at_rest(options: &RestOptions) -> Result<Overlay, OpenError> {
    Opened::open(&found(options)?)?.begin()
}

/// Opens a storage that is not mounted, to take changes back or elsewhere. Nobody else can
/// have it meanwhile.
///
/// # Errors
/// As [`changes_at_rest`]. [`OpenError::NotStorage`]: changes of such a directory can only be
/// read.
pub fn writing_at_rest(options: &RestOptions) -> Result<Overlay, OpenError> {
    let found = found(options)?;
    if found.storage.as_os_str().is_empty() {
        return Err(OpenError::NotStorage { path: options.path.clone() });
    }
    let writing = OpenOptions { read_only: false, stays_read_only: false, ..found };
    let overlay = Opened::open(&writing)?.begin()?;
    if let Err(errno) = overlay.use_reserve() {
        tracing::warn!("what is kept back for deletions cannot be used: {errno}");
    }
    Ok(overlay)
}

/// The trees that a storage lies on, from the top down, as they are given or as its META
/// tells them.
///
/// # Errors
/// As [`writing_at_rest`], as far as can be told without opening these trees.
pub fn layers_at_rest(options: &RestOptions) -> Result<Vec<PathBuf>, OpenError> {
    let found = found(options)?;
    if found.storage.as_os_str().is_empty() {
        return Err(OpenError::NotStorage { path: options.path.clone() });
    }
    let under = found.under.into_iter().map(|layer| layer.path);
    Ok([found.base].into_iter().chain(under).collect())
}

/// What is to be opened.
pub(crate) fn found(options: &RestOptions) -> Result<OpenOptions, OpenError> {
    let RestOptions { path, dialect, meta_name, accept_other_base, .. } = options.clone();
    let recognised = match dialect {
        None => check::recognise_storage(&path, meta_name, options.base.is_empty())?,
        Some(DialectName::MiniFo(name)) => Some(name.unwrap_or(meta_name)),
        Some(_) => None,
    };
    let mut layers = options.base.clone();
    if layers.is_empty() {
        let name = recognised.ok_or(OpenError::LayerWithoutBase { path: path.clone() })?;
        let told = check::layers_of(&path, name)?;
        layers.extend(told.into_iter().map(|path| LayerOptions { path, dialect: None }));
    }
    let mut opened = OpenOptions {
        read_only: true,
        stays_read_only: true,
        access_times: AccessTimes::Never,
        accept_other_base,
        submounts: options.submounts,
        one_owner: options.one_owner,
        ..OpenOptions::default()
    };
    match recognised {
        Some(name) => (opened.storage, opened.meta_name) = (path, name),
        None => layers.insert(0, LayerOptions { path, dialect }),
    }
    let mut layers = layers.into_iter();
    if let Some(first) = layers.next() {
        (opened.base, opened.dialect) = (first.path, first.dialect);
    }
    opened.under = layers.collect();
    Ok(opened)
}
