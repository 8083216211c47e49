//! Layers without a storage on top: they are shown together, and nothing can be changed.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Holds, Layers, Paths, Result, io, layers, meta_name, nesting};
use crate::format::name::MetaName;
use crate::interface::error::OpenError;
use crate::interface::options::OpenOptions;
use crate::store::meta::Session;
use crate::store::server_lock::ServerLock;
use crate::sys::Written;
use crate::sys::own::OwnAttributes;

/// Opens the layers. What a storage would hold is looked for in an empty directory that
/// has no name any more.
///
/// # Errors
/// [`OpenError::StorageNeeded`]: changes are wanted.
pub(super) fn open(options: &OpenOptions) -> Result<Layers> {
    if !options.read_only {
        return Err(OpenError::StorageNeeded);
    }
    let opened = layers::open(options, options.submounts)?;
    for layer in &opened {
        nesting::check_seen(options, &layer.path, layer.is_sealed())?;
    }
    let base = layers::first(&opened)?.path.clone();
    let mut warnings = Vec::new();
    let known = (Vec::new(), None);
    let stack = layers::stack(opened, options, options.submounts, known, &mut warnings)?;
    meta_name::tell_of_others(&stack, &mut warnings);
    let storage = nowhere()?;
    let failed = |errno| io(&options.base, "cannot be examined", errno);
    let lock = rustix::io::fcntl_dupfd_cloexec(&storage, 0).map_err(failed)?;
    Ok(Layers {
        stack: Arc::new(stack),
        paths: Paths { base, storage: PathBuf::new() },
        own: OwnAttributes::of_process(&storage),
        storage,
        lock,
        server_lock: ServerLock::default(),
        holds: Holds::ALL,
        written: Written::Plain,
        bare: true,
        fresh: false,
        unclean: false,
        read_only: true,
        decided: Vec::new(),
        session: Session::none(options.meta_name),
        settled: true,
        warnings,
        task: None,
    })
}

/// A directory that is empty and stays so: its name is gone.
fn nowhere() -> Result<OwnedFd> {
    let name = MetaName::DEFAULT.temp();
    let name = String::from_utf8_lossy(&name).into_owned();
    let path: PathBuf = std::env::temp_dir().join(name);
    let failed = |errno| io(&path, "cannot be made", errno);
    DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::empty());
    let removed = rustix::fs::rmdir(&path);
    let opened = opened.map_err(failed)?;
    removed.map_err(failed)?;
    Ok(opened)
}
