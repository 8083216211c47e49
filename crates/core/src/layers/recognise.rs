//! Which dialect a layer speaks, by what is in it.

use std::collections::VecDeque;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::overlay::is_device_whiteout;
use crate::format::name::MetaName;
use crate::interface::options::DialectName;
use crate::store::meta;
use crate::store::meta::Session;
use crate::sys::trust;
use crate::sys::{self, Result, Spot};

/// So many entries of a layer are looked at. Where there are more, all marks that an
/// image may have count: names that begin with `.wh.` are rare.
const LOOKS: u32 = 20_000;

/// So many files in the root of a layer may be META by another name.
const CANDIDATES: usize = 1000;

/// Recognises the dialect of a layer. `own`: what META of the storage on top is called;
/// `privileged`: the process may use `trusted.`
/// attributes; `alone`: there is no other layer.
pub(crate) fn recognise(
    root: &OwnedFd,
    own: MetaName,
    privileged: bool,
    alone: bool,
) -> Result<DialectName> {
    if let Some(meta) = name_of_storage(root, own, alone)? {
        return Ok(DialectName::MiniFo(Some(meta)));
    }
    if alone {
        return Ok(DialectName::Plain);
    }
    if let Some(found) = by_attributes(root.as_fd(), privileged)? {
        return Ok(found);
    }
    let mut left = VecDeque::from([rustix::io::fcntl_dupfd_cloexec(root, 0)?]);
    let mut looks = 0;
    while let Some(dir) = left.pop_front() {
        if let Some(found) = by_attributes(dir.as_fd(), privileged)? {
            return Ok(found);
        }
        let (mut found, mut subdirs, mut devices) = (None, Vec::new(), Vec::new());
        sys::each_entry(dir.as_fd(), |entry| {
            looks += 1;
            match entry.kind {
                _ if entry.name == b"." || entry.name == b".." => {}
                _ if entry.name.starts_with(b".wh.") => found = Some(DialectName::Oci),
                0 | libc::S_IFCHR => devices.push(entry.name.to_vec()),
                libc::S_IFDIR => subdirs.push(entry.name.to_vec()),
                _ => {}
            }
            found.is_none() && looks < LOOKS
        })?;
        for name in devices {
            let stat = sys::absent(sys::stat(Spot::at(&dir, &name)))?;
            if stat.is_some_and(|stat| is_device_whiteout(&stat)) {
                found = found.or(Some(kernels(privileged)));
            }
        }
        if found.is_some() || looks >= LOOKS || left.len() > LOOKS as usize / 100 {
            return Ok(found.unwrap_or(DialectName::Oci));
        }
        for name in subdirs {
            // What is mounted there, or cannot be entered, tells nothing.
            left.extend(sys::open_dir(dir.as_fd(), &name));
        }
    }
    Ok(DialectName::Plain)
}

/// The kernel's dialect, as this process can read it.
fn kernels(privileged: bool) -> DialectName {
    if privileged { DialectName::Overlay } else { DialectName::OverlayUser }
}

/// What META of a layer is called that is a storage. `own`: that of the storage on top;
/// `alone`: there is no other layer.
pub(crate) fn name_of_storage(
    root: &OwnedFd,
    own: MetaName,
    alone: bool,
) -> Result<Option<MetaName>> {
    for meta in [own, MetaName::DEFAULT] {
        if is_storage(root, meta, alone || meta.is_chosen())? {
            return Ok(Some(meta));
        }
    }
    found_name(root, own, CANDIDATES)
}

/// What META of a storage is called that has none by the name `own`, or one that does not
/// say what it belongs to.
pub(crate) fn other_name(root: &OwnedFd, own: MetaName) -> Result<Option<MetaName>> {
    let found = found_name(root, own, usize::MAX)?;
    // One of 2005 may tell of whiteouts alone.
    let usual = || Ok(own.is_chosen() && is_storage(root, MetaName::DEFAULT, false)?);
    Ok(found.or(usual()?.then_some(MetaName::DEFAULT)))
}

/// A storage of mini_fo. `says`: it must say so itself, for a base may hold a file of
/// that name.
fn is_storage(root: &OwnedFd, meta: MetaName, says: bool) -> Result<bool> {
    let stat = sys::absent(sys::stat(Spot::at(root, meta.as_bytes())))?;
    if stat.is_none_or(|stat| sys::kind(&stat) != libc::S_IFREG) {
        return Ok(false);
    }
    let tells = |loaded: meta::Loaded| loaded.index.origin().or(loaded.index.storage()).is_some();
    Ok(!says || meta::look(root.as_fd(), Session::none(meta)).is_ok_and(tells))
}

/// A file in a directory that is META of a storage by what it says. `most`: of so many
/// files at most.
fn found_name(root: &OwnedFd, own: MetaName, most: usize) -> Result<Option<MetaName>> {
    // It is the user's own, or none; and no look at what belongs to others is to move a
    // time of access.
    if sys::stat_fd(root)?.stx_uid != trust::user() {
        return Ok(None);
    }
    let mut names = Vec::new();
    sys::each_entry(root.as_fd(), |entry| {
        if matches!(entry.kind, 0 | libc::S_IFREG) && entry.name != own.as_bytes() {
            names.push(entry.name.to_vec());
        }
        names.len() < most
    })?;
    let says = |name: &Vec<u8>| {
        let stat = sys::stat(Spot::at(root, name));
        stat.is_ok_and(|stat| {
            sys::kind(&stat) == libc::S_IFREG
                && stat.stx_size > 0
                && trust::check(&stat, true).is_ok()
        }) && meta::says_storage(root.as_fd(), name)
    };
    let found = names.iter().filter(|name| says(name));
    Ok(found.filter_map(|name| MetaName::of_bytes(name).ok()).next())
}

/// By the extended attributes of a directory. Those that anybody may give count only for
/// a process that has no more rights than others.
fn by_attributes(dir: BorrowedFd<'_>, privileged: bool) -> Result<Option<DialectName>> {
    let mut names = vec![0; 64 * 1024];
    let Ok(len) = sys::list_xattrs(Spot::Fd(dir), &mut names) else { return Ok(None) };
    let listed = names.get(..len).unwrap_or_default();
    let has = |prefix: &[u8]| listed.split(|byte| *byte == 0).any(|name| name.starts_with(prefix));
    Ok(match () {
        () if has(b"trusted.overlay.") => Some(DialectName::Overlay),
        () if has(b"user.fuseoverlayfs.") || has(b"user.containers.") => Some(DialectName::Oci),
        () if has(b"user.overlay.") && privileged => Some(DialectName::Oci),
        () if has(b"user.overlay.") => Some(DialectName::OverlayUser),
        () => None,
    })
}
