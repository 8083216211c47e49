//! Which dialect a layer speaks, by what is in it.

use std::collections::VecDeque;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::overlay::is_device_whiteout;
use crate::meta::{self, Session};
use crate::name::META_NAME;
use crate::options::DialectName;
use crate::sys::{self, Result, Spot};

/// So many entries of a layer are looked at. Where there are more, all marks that an
/// image may have count: names that begin with `.wh.` are rare.
const LOOKS: u32 = 20_000;

/// Recognises the dialect of a layer. `privileged`: the process may use `trusted.`
/// attributes; `alone`: there is no other layer.
pub(crate) fn recognise(root: &OwnedFd, privileged: bool, alone: bool) -> Result<DialectName> {
    if is_storage(root, alone)? {
        return Ok(DialectName::MiniFo);
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

/// A storage of mini_fo. Where there are no other layers it must say so itself: a base
/// may hold a file of that name.
fn is_storage(root: &OwnedFd, alone: bool) -> Result<bool> {
    let stat = sys::absent(sys::stat(Spot::at(root, META_NAME.as_bytes())))?;
    if stat.is_none_or(|stat| sys::kind(&stat) != libc::S_IFREG) {
        return Ok(false);
    }
    let says = |loaded: meta::Loaded| loaded.index.origin().or(loaded.index.storage()).is_some();
    Ok(!alone || meta::look(root.as_fd(), Session::default()).is_ok_and(says))
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
