//! Opening base and storage, and everything that is verified then.
#![forbid(unsafe_code)]

mod bare;
mod begin;
pub(crate) mod committing;
mod found;
mod holds;
mod layers;
mod lost;
mod marks;
mod meta_name;
mod nesting;
mod notes;
mod origin;
mod scan;
mod storage;
#[cfg(test)]
mod tests;
mod unfinished;
mod usage;

use std::path::Path;
use std::sync::Arc;

use begin::Task;
use marks::Marks;
use origin::{is_replaced, origin, same_base};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use crate::format::features::{FEATURE_ESCAPED, KNOWN_FEATURES};
use crate::format::meta::Index;
use crate::format::meta::Record;
use crate::format::name::MetaName;
use crate::interface::error::{OpenError, Warning};
use crate::interface::options::OpenOptions;
use crate::layers::Stack;
use crate::state::holds::Holds;
use crate::state::later::Paths;
use crate::store;
use crate::store::meta;
use crate::store::meta::{Firm, Journal, Session};
use crate::store::server_lock::ServerLock;
use crate::sys::Written;
use crate::sys::magic::NFS;
use crate::sys::own::OwnAttributes;

pub(crate) use begin::Untouched;
pub use found::lock_storage;
pub(crate) use found::{Found, check_writable};
pub(crate) use layers::{layers_of, recognise_storage};
pub(crate) use storage::check as storage_is_ours;
pub use usage::usage_at_rest;

type Result<T> = std::result::Result<T, OpenError>;

/// Base and storage, opened and verified.
pub(crate) struct Layers {
    /// The trees that are only read.
    pub stack: Arc<Stack>,
    /// Descriptor of the storage: by a private clone of its mount where the
    /// process may make one.
    pub storage: OwnedFd,
    /// Holds the lock on the storage.
    pub lock: OwnedFd,
    /// The same for other machines.
    pub server_lock: ServerLock,
    /// How mini_fo's own attributes in it are named.
    pub own: OwnAttributes,
    /// Their full paths.
    pub paths: Paths,
    /// What its file system can hold.
    pub holds: Holds,
    /// How names are written in it.
    pub written: Written,
    /// There is no storage but an empty directory that nobody else can reach.
    pub bare: bool,
    /// The storage has never been mounted.
    pub fresh: bool,
    /// A volatile mount of it did not end cleanly.
    pub unclean: bool,
    /// Nothing may be written: asked for, or because of what was found.
    pub read_only: bool,
    /// What META of the index would have been told, could it be written.
    pub decided: Vec<Record>,
    /// The last mount for writing, if it did not end in order.
    pub session: Session,
    /// All that this one has left was put in order.
    pub settled: bool,
    /// What was odd.
    pub warnings: Vec<Warning>,
    /// What is to be written before anything is served; `None`: nothing.
    task: Option<Task>,
}

/// Opens and verifies base and storage. Nothing is written, but for what is tried out
/// (`holds.rs`).
pub(crate) fn open_layers(options: &OpenOptions) -> Result<Layers> {
    if options.storage.as_os_str().is_empty() {
        return bare::open(options);
    }
    let mut warnings = Vec::new();
    let found = Found::open(options, &mut warnings)?;
    verify(found, options, warnings)
}

/// Verifies what was opened. The same holds as for [`open_layers`].
pub(crate) fn verify(
    found: Found,
    options: &OpenOptions,
    mut warnings: Vec<Warning>,
) -> Result<Layers> {
    let Found { stack, storage, reached, own: names, paths, server_lock } = found;
    let storage_path = &*paths.storage;
    let session = meta::session(storage.as_fd(), options.meta_name);
    storage::check_commit(options, &storage)?;
    let root = storage::load_root(storage_path, &storage, session)?;
    storage::check_index(storage_path, &storage, session)?;
    let top = stack.top().map_err(|errno| io(&options.base, "cannot be examined", errno))?;
    let now = origin(top, &paths.base)?;
    let same = same_base(&root.index, &now);
    if let Err(recorded) = &same
        && !options.accept_other_base
    {
        let path = options.storage.clone();
        return Err(OpenError::OtherBase { path, recorded: recorded.clone() });
    }
    if is_replaced(&root.index, &now) {
        warnings.push(Warning::BaseReplaced { path: options.base.clone() });
    }
    let under = origin::under(&stack)?;
    origin::tell_replaced(&stack, 1, &origin::below(&root.index), &mut warnings)?;
    let same_layers = origin::check_under(&options.storage, &root.index, &under);
    if let Err(error) = same_layers
        && !options.accept_other_base
    {
        return Err(error);
    }
    let unclean = notes::is_unclean(&options.storage, &storage, names, &mut warnings);
    let mut read_only =
        unknown_features(&options.storage, &root.index, &mut warnings) || options.read_only;
    let marks = Marks::of(&storage, names, &root.index);
    if marks != Marks::Lost || !options.write_despite_damage {
        let mode = storage::mode(&options.storage, &storage)?;
        marks::check(&options.storage, marks, mode, !read_only)?;
    }
    let walk = scan::Walk {
        root: &storage,
        stack: &stack,
        path: storage_path,
        names,
        written: written(options.meta_name, &storage, &root.index),
        session,
    };
    let mut scanned = walk.look(false, &mut warnings);
    if options.submounts || marks == Marks::Old {
        scanned.orphans.clear();
    }
    let itself = storage::itself(&options.storage, &storage)?;
    let copied =
        root.index.storage().is_some_and(|recorded| store::itself::is_copy(recorded, &itself));
    if copied && scanned.by_number && !options.write_despite_damage {
        return Err(OpenError::StorageCopied { path: options.storage.clone() });
    }
    if scanned.damaged && !read_only && !options.write_despite_damage {
        warnings.push(Warning::ReadOnlyByDamage { path: options.storage.clone() });
        read_only = true;
    }
    // Storages of 2005 have whiteouts of what was never in the base.
    if scanned.lost > 0 && root.index.origin().is_some() {
        let (path, count) = (options.base.clone(), scanned.lost);
        warnings.push(Warning::LostEntries { path, count });
    }
    notes::report_data(&options.base, &options.storage, &scanned, &mut warnings);
    meta_name::check(options, (&stack, &storage), &root.index)?;
    meta_name::tell_of_others(&stack, &mut warnings);
    let fresh = root.index.is_empty() && scanned.empty;
    storage::check_use(options, &storage, &scanned)?;
    if options.read_only {
        storage::tell_if_open(&options.storage, &storage, options.meta_name)?;
    }
    let holds =
        if read_only { Holds::ALL } else { holds::check(options, &storage, &mut warnings)? };
    let before = written(options.meta_name, &storage, &root.index);
    let written = holds
        .written(before, options.meta_name, fresh)
        .ok_or_else(|| OpenError::StorageNames { path: options.storage.clone() })?;
    meta_name::check_written(&options.storage, written)?;
    let decided = if read_only { std::mem::take(&mut scanned.decided) } else { Vec::new() };
    let mut missing: Vec<Record> = (same != Ok(true)).then_some(now).into_iter().collect();
    missing.extend(origin::missing(&root.index, under));
    missing.extend((root.index.storage() != Some(&itself)).then_some(itself));
    let new = (written != before).then_some(FEATURE_ESCAPED);
    missing.extend(notes::lost_features(&storage, names, &root.index, new));
    let same = same.is_ok();
    let task = Task { path: paths.storage.clone(), scanned, marks, missing, same };
    let task = (!options.read_only).then_some(task);
    Ok(Layers {
        stack,
        storage: reached,
        lock: storage,
        server_lock,
        own: names,
        paths,
        holds,
        written,
        bare: false,
        fresh,
        unclean,
        read_only,
        decided,
        session,
        settled: false,
        warnings,
        task,
    })
}

/// How names are written in a storage whose root has this META.
fn written(meta: MetaName, storage: &OwnedFd, index: &Index) -> Written {
    if index.features().any(|word| word == FEATURE_ESCAPED) {
        return Written::Escaped(meta);
    }
    let on_nfs = rustix::fs::fstatfs(storage).is_ok_and(|stat| stat.f_type == NFS);
    if on_nfs { Written::OnNfs } else { Written::Plain }
}

/// Reports what this version does not know; whether there is any.
fn unknown_features(path: &Path, index: &Index, warnings: &mut Vec<Warning>) -> bool {
    let before = warnings.len();
    for word in index.features().filter(|word| !KNOWN_FEATURES.contains(word)) {
        let word = String::from_utf8_lossy(word).into_owned();
        warnings.push(Warning::UnknownFeature { path: path.to_path_buf(), word });
    }
    warnings.len() > before
}

/// Looks for damage in a storage that is not mounted, and compares it with a
/// base: everything that was found, entry by entry. Nothing is written.
///
/// Of `options` only base and storage count.
///
/// # Errors
/// Base or storage cannot be read, or a live mount writes to the storage.
pub fn examine(options: &OpenOptions) -> Result<Vec<Warning>> {
    // What is mounted in the base is not a part of it.
    let opened = layers::open(options, false)?;
    let storage = found::open_storage(&options.storage).map_err(|error| match error {
        OpenError::StorageMissing { path } => OpenError::NothingToCheck { path },
        error => error,
    })?;
    let paths = found::full_paths(layers::first(&opened)?, &options.storage)?;
    let storage_path = &*paths.storage;
    let mut hidden = None;
    for layer in &opened {
        let base = (&*layer.path, &layer.mount);
        hidden = nesting::check(base, (storage_path, &storage), false)?.or(hidden);
    }
    let mut warnings = Vec::new();
    let _far =
        found::lock(&OpenOptions { read_only: true, ..options.clone() }, &storage, &mut warnings)?;
    storage::check_owner(&options.storage, &storage)?;
    storage::check_commit(options, &storage)?;
    let session = meta::session(storage.as_fd(), options.meta_name);
    let root = storage::load_root(storage_path, &storage, session)?;
    storage::check_index(storage_path, &storage, session)?;
    let now = origin(layers::first(&opened)?.root(), &paths.base)?;
    let known = (layers::recorded_realms(&storage, session), hidden);
    let stack = layers::stack(opened, options, false, known, &mut warnings)?;
    match same_base(&root.index, &now) {
        Err(recorded) => {
            let path = options.storage.clone();
            warnings.push(Warning::OtherBase { path, recorded });
        }
        Ok(false) if is_replaced(&root.index, &now) => {
            warnings.push(Warning::BaseReplaced { path: options.base.clone() });
        }
        Ok(_) => {}
    }
    let under = origin::under(&stack)?;
    origin::tell_replaced(&stack, 1, &origin::below(&root.index), &mut warnings)?;
    origin::tell_under(&options.storage, &root.index, &under, &mut warnings);
    meta_name::tell_of_others(&stack, &mut warnings);
    let (path, mode) = (options.storage.clone(), storage::mode(&options.storage, &storage)?);
    let mut names = OwnAttributes::of_process(&storage);
    match Marks::of(&storage, names, &root.index) {
        Marks::Old if !storage::is_open(mode) => names = OwnAttributes::User,
        marks => marks::check(&path, marks, mode, true)?,
    }
    if storage::is_open(mode) && !storage::is_empty((&path, &storage), options.meta_name)? {
        warnings.push(Warning::StorageOpen { path, mode });
    }
    let walk = scan::Walk {
        root: &storage,
        stack: &stack,
        path: storage_path,
        names,
        written: written(options.meta_name, &storage, &root.index),
        session,
    };
    notes::is_unclean(&options.storage, &storage, names, &mut warnings);
    let scanned = walk.look(true, &mut warnings);
    notes::report_data(&options.base, &options.storage, &scanned, &mut warnings);
    if scanned.leftovers > 0 {
        let (path, count) = (options.storage.clone(), scanned.leftovers);
        warnings.push(Warning::LeftoversFound { path, count });
    }
    Ok(warnings)
}

/// Whether a directory is a storage whose META has this name: there is a file called so
/// that nobody else can have written, and it says that it is META of a storage.
#[must_use]
pub fn is_storage(path: &Path, meta: MetaName) -> bool {
    let Ok(dir) = found::open_storage(path) else { return false };
    store::itself::of(&dir)
        .is_ok_and(|now| meta::tells(dir.as_fd(), meta.as_bytes(), &now) >= meta::Tells::Storage)
}

fn io(path: &Path, what: &'static str, errno: Errno) -> OpenError {
    OpenError::Io { path: path.to_path_buf(), what, errno }
}

fn record(
    storage: &OwnedFd,
    session: Session,
    missing: &[Record],
) -> std::result::Result<(), Errno> {
    // Read again: what a crash has left of it was mended meanwhile.
    let torn_at = meta::load(storage.as_fd(), session)?.torn_at;
    // What comes later relies on it: the storage must be known again.
    let mut meta = Journal::open(storage.as_fd(), torn_at, Firm::Sync, session)?;
    meta.append(missing)
}
