//! Which dialect a layer speaks, by what is in it.

use std::collections::VecDeque;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::entry::is_device_whiteout;
use crate::format::meta::Record;
use crate::format::name::MetaName;
use crate::interface::options::DialectName;
use crate::store::itself;
use crate::store::meta::{self, Session, Tells};
use crate::sys::trust;
use crate::sys::{self, Result, Spot};

/// So many entries of a layer are looked at. Where there are more, all marks that an
/// image may have count: names that begin with `.wh.` are rare.
const LOOKS: u32 = 20_000;

/// So many files in the root of a layer are looked at, of which one may be META by
/// another name. In a directory that is closed to others, as a mount for writing leaves
/// its storage, all are.
const CANDIDATES: usize = 10_000;

/// What a layer was found to be.
pub(crate) struct Recognised {
    pub dialect: DialectName,
    /// It has more files in its root than were looked at.
    pub unsure: bool,
}

/// Recognises the dialect of a layer. `own`: what META of the storage on top is called;
/// `privileged`: the process may use `trusted.` attributes; `alone`: there is no other
/// layer.
pub(crate) fn recognise(
    root: &OwnedFd,
    own: MetaName,
    privileged: bool,
    alone: bool,
) -> Result<Recognised> {
    let now = itself::of(root)?;
    let (mut storage, unsure) = own_storage(root, own, &now, true)?;
    // One of 2005 may tell of whiteouts alone; but a base may hold a file of that name.
    if storage.is_none() && is_storage(root, MetaName::DEFAULT, alone)? {
        storage = Some(MetaName::DEFAULT);
    }
    let dialect = match storage {
        Some(meta) => DialectName::MiniFo(Some(meta)),
        None if alone => DialectName::Plain,
        None => of_marks(root, privileged)?,
    };
    let unsure = unsure && storage.is_none();
    Ok(Recognised { dialect, unsure })
}

/// The dialect of what is no storage.
fn of_marks(root: &OwnedFd, privileged: bool) -> Result<DialectName> {
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

/// What META of a layer is called that somebody says is a storage. `own`: that of the
/// storage on top.
pub(crate) fn name_of_storage(root: &OwnedFd, own: MetaName) -> Result<MetaName> {
    let now = itself::of(root)?;
    if let (Some(meta), _) = own_storage(root, own, &now, false)? {
        return Ok(meta);
    }
    for says in [true, false] {
        for meta in [MetaName::DEFAULT, own] {
            if is_storage(root, meta, says)? {
                return Ok(meta);
            }
        }
    }
    Ok(own)
}

/// What META of a storage is called that has none by the name `own`, or one that does not
/// say what it belongs to.
pub(crate) fn other_name(root: &OwnedFd, own: MetaName) -> Result<Option<MetaName>> {
    let now = itself::of(root)?;
    if let (Some(meta), _) = own_storage(root, own, &now, false)? {
        return Ok((meta != own).then_some(meta));
    }
    // One of 2005 may tell of whiteouts alone. Where there is META by the name that was
    // given, it is a file like others.
    let tells = |meta: MetaName| meta::tells(root.as_fd(), meta.as_bytes(), &now);
    let usual = tells(own) == Tells::Nothing && tells(MetaName::DEFAULT) > Tells::Nothing;
    Ok((own.is_chosen() && usual).then_some(MetaName::DEFAULT))
}

/// What META of a directory is called that says that it belongs to this very one. Nobody
/// can make that up, so no file of a user, whatever it is called, displaces META. `few`:
/// not all files may be looked at. Whether there were more, too.
fn own_storage(
    root: &OwnedFd,
    own: MetaName,
    now: &Record,
    few: bool,
) -> Result<(Option<MetaName>, bool)> {
    let is_it = |name: &[u8]| meta::tells(root.as_fd(), name, now) == Tells::Itself;
    for meta in [MetaName::DEFAULT, own] {
        if is_it(meta.as_bytes()) {
            return Ok((Some(meta), false));
        }
    }
    // It is the user's own, or none; and no look at what belongs to others is to move a
    // time of access.
    let stat = sys::stat_fd(root)?;
    if stat.stx_uid != trust::user() || !itself::is_known(now) {
        return Ok((None, false));
    }
    let most = if few && stat.stx_mode & 0o077 != 0 { CANDIDATES } else { usize::MAX };
    let (mut looked, mut found) = (0, None);
    sys::each_entry(root.as_fd(), |entry| {
        if matches!(entry.kind, 0 | libc::S_IFREG) {
            looked += 1;
            if looked <= most && is_it(entry.name) {
                found = MetaName::of_bytes(entry.name).ok();
            }
        }
        found.is_none() && looked <= most
    })?;
    Ok((found, looked > most))
}

/// A storage of mini_fo. `says`: it must say so itself.
fn is_storage(root: &OwnedFd, meta: MetaName, says: bool) -> Result<bool> {
    let stat = sys::absent(sys::stat(Spot::at(root, meta.as_bytes())))?;
    if stat.is_none_or(|stat| sys::kind(&stat) != libc::S_IFREG) {
        return Ok(false);
    }
    let tells = |loaded: meta::Loaded| loaded.index.origin().or(loaded.index.storage()).is_some();
    Ok(!says || meta::look(root.as_fd(), Session::none(meta)).is_ok_and(tells))
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
