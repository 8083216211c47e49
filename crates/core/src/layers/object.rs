//! What can be read of one object: of the storage, or of a layer below it, as its
//! dialect shows it.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use super::dir::View;
use super::entry::Entry;
use super::met::Met;
use super::{Dialect, InStack, Layer, LowerDir, Part, Stack};
use crate::format::meta::Kept;
use crate::store::partial::Data;
use crate::sys::{self, Result, Spot};

/// An object where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Object<'a> {
    spot: Spot<'a>,
    shown: Shown<'a>,
}

/// How an object is shown.
#[derive(Clone, Copy)]
enum Shown<'a> {
    /// It lies in the storage. What META says of it is the reader's matter.
    Stored,
    /// It lies in a layer that has nothing to say of it.
    AsItIs,
    /// By a layer's dialect.
    /// `at`: which part of the directory.
    By { dir: &'a Arc<LowerDir>, at: usize, name: &'a [u8] },
    /// It is the root, as the uppermost layer has it.
    Root(&'a Layer),
    /// As it was found somewhere else than under its name.
    Elsewhere(&'a Elsewhere),
}

/// An object that does not lie under its name in its layer.
pub(crate) struct Elsewhere {
    layer: u16,
    stat: Statx,
    kept: Kept,
}

/// An object that is kept, whatever becomes of its name.
pub(crate) struct Hold {
    /// `O_PATH` descriptor.
    pub fd: OwnedFd,
    stored: bool,
    lower: Option<Lower>,
}

/// What is needed to show a held object of a layer that is not plain.
enum Lower {
    /// It lies under its name.
    Named(Arc<LowerDir>, usize, Box<[u8]>),
    Elsewhere(Box<Elsewhere>),
}

impl<'a> Object<'a> {
    /// One of the storage.
    pub fn stored(spot: Spot<'a>) -> Object<'a> {
        Object { spot, shown: Shown::Stored }
    }

    /// One of a plain layer.
    pub fn plain(spot: Spot<'a>) -> Object<'a> {
        Object { spot, shown: Shown::AsItIs }
    }

    /// It lies in the storage.
    pub fn is_stored(&self) -> bool {
        matches!(self.shown, Shown::Stored)
    }

    /// It lies in a layer that has nothing to say of it.
    pub fn is_plain(&self) -> bool {
        matches!(self.shown, Shown::AsItIs)
    }

    /// Where it is, to be changed. ESTALE: it lies in a layer that is only read.
    pub fn stored_at(&self) -> Result<Spot<'a>> {
        if self.is_stored() { Ok(self.spot) } else { Err(Errno::STALE) }
    }

    /// Its attributes.
    pub fn stat(&self, stack: &Stack) -> Result<Statx> {
        match self.shown {
            Shown::Stored | Shown::AsItIs => sys::stat(self.spot),
            Shown::Root(_) => stack.root_stat(),
            Shown::By { dir, at, name } => stack.stat_by(dir.from(at), name, self.spot),
            Shown::Elsewhere(elsewhere) => Ok(elsewhere.stat),
        }
    }

    /// Keeps it, whatever becomes of its name.
    pub fn hold(&self) -> Result<Hold> {
        let fd = sys::hold(self.spot)?;
        let lower = match self.shown {
            Shown::Stored | Shown::AsItIs | Shown::Root(_) => None,
            Shown::By { dir, at, name } => Some(Lower::Named(Arc::clone(dir), at, name.into())),
            Shown::Elsewhere(Elsewhere { layer, stat, kept }) => {
                let (layer, stat, kept) = (*layer, *stat, kept.clone());
                Some(Lower::Elsewhere(Box::new(Elsewhere { layer, stat, kept })))
            }
        };
        Ok(Hold { fd, stored: self.is_stored(), lower })
    }

    fn dialect(&self, stack: &'a Stack) -> Result<Option<&'a Dialect>> {
        let layer = match self.shown {
            Shown::By { dir, at, .. } => dir.part(at)?.layer,
            Shown::Elsewhere(elsewhere) => elsewhere.layer,
            Shown::Root(layer) => return Ok(Some(&layer.dialect)),
            Shown::Stored | Shown::AsItIs => return Ok(None),
        };
        stack.layer(layer).map(|layer| Some(&layer.dialect))
    }

    /// What META of a frozen storage keeps of it.
    fn kept(&self) -> Option<&'a Kept> {
        match self.shown {
            Shown::By { dir, at, name } => dir.part(at).ok()?.meta()?.kept(name),
            Shown::Elsewhere(elsewhere) => Some(&elsewhere.kept),
            _ => None,
        }
    }

    /// Reads an extended attribute, as `getxattr(2)`.
    pub fn get_xattr(&self, stack: &'a Stack, name: &[u8], buf: &mut [u8]) -> Result<usize> {
        let stored = match self.dialect(stack)? {
            None | Some(Dialect::Plain) => Cow::Borrowed(name),
            Some(Dialect::Overlay(marks)) => marks.stored(name),
            Some(Dialect::Oci(marks)) if marks.is_own(name) => return Err(Errno::NODATA),
            Some(Dialect::Oci(_)) => Cow::Borrowed(name),
            Some(Dialect::MiniFo(_)) => {
                if let Some(value) = self.kept().and_then(|kept| kept.xattrs.get(name)) {
                    if !buf.is_empty() {
                        let to = buf.get_mut(..value.len()).ok_or(Errno::RANGE)?;
                        to.copy_from_slice(value);
                    }
                    return Ok(value.len());
                }
                Cow::Borrowed(name)
            }
        };
        sys::get_xattr(self.spot, &stored, buf)
    }

    /// Names of the extended attributes, each ended by NUL. Those of mini_fo itself are
    /// among them.
    pub fn list_xattrs(&self, stack: &'a Stack) -> Result<Vec<u8>> {
        let len = match sys::list_xattrs(self.spot, &mut []) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        let mut all = Vec::new();
        if len > 0 {
            all.resize(len, 0);
            let listed = match sys::list_xattrs(self.spot, &mut all) {
                // There is one more by now. More than this cannot be (xattr(7),
                // XATTR_LIST_MAX).
                Err(Errno::RANGE) => {
                    all.resize(64 * 1024, 0);
                    sys::list_xattrs(self.spot, &mut all)
                }
                other => other,
            };
            all.truncate(listed?);
        }
        let names = || all.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let shown: Vec<Cow<'_, [u8]>> = match self.dialect(stack)? {
            None | Some(Dialect::Plain) => return Ok(all),
            Some(Dialect::Overlay(marks)) => names().filter_map(|name| marks.shown(name)).collect(),
            Some(Dialect::Oci(marks)) => {
                names().filter(|name| !marks.is_own(name)).map(Cow::Borrowed).collect()
            }
            Some(Dialect::MiniFo(_)) => {
                let kept = || self.kept().into_iter().flat_map(|kept| kept.xattrs.keys());
                let own = names().filter(|name| kept().all(|known| **known != **name));
                own.chain(kept().map(|name| &**name)).map(Cow::Borrowed).collect()
            }
        };
        let mut list = Vec::new();
        for name in shown {
            list.extend_from_slice(&name);
            list.push(0);
        }
        Ok(list)
    }

    /// Where a symbolic link leads.
    pub fn read_link(&self) -> Result<Vec<u8>> {
        read_link(self.spot)
    }

    /// Opens the data of a file that lies in a layer, with `flags` more than reading.
    pub fn open_data(&self, stack: &Stack, flags: OFlags) -> Result<Data> {
        self.open_data_with(&Met::default(), stack, flags)
    }

    pub(super) fn open_data_with(&self, met: &Met, stack: &Stack, flags: OFlags) -> Result<Data> {
        match self.shown {
            Shown::Stored | Shown::AsItIs | Shown::Root(_) => {
                super::source::open_plain(self.spot, flags).map(Data::File)
            }
            Shown::By { dir, at, name } => stack.open_in(met, dir.from(at), name, flags),
            Shown::Elsewhere(elsewhere) => match &stack.layer(elsewhere.layer)?.dialect {
                Dialect::MiniFo(frozen) => {
                    stack.open_frozen(met, (frozen, elsewhere.layer), self.spot, flags)
                }
                _ => super::source::open_plain(self.spot, flags).map(Data::File),
            },
        }
    }

    /// Opens it as it is, for inode flags. What is open there is the layer's own object.
    pub fn open_as_it_is(&self, flags: OFlags) -> Result<OwnedFd> {
        match self.spot {
            Spot::Fd(fd) if flags.contains(OFlags::DIRECTORY) => {
                sys::open(Spot::at(fd, b"."), flags)
            }
            spot => sys::open_untraced(spot, flags),
        }
    }
}

/// Where a symbolic link leads. One that a storage could not hold is a regular file with
/// the target.
pub(crate) fn read_link(spot: Spot<'_>) -> Result<Vec<u8>> {
    match sys::read_link(spot) {
        Err(Errno::INVAL) => {}
        other => return other,
    }
    let mut target = Vec::new();
    let file = File::from(sys::open(spot, OFlags::RDONLY | OFlags::NOFOLLOW)?);
    file.take(libc::PATH_MAX as u64)
        .read_to_end(&mut target)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(target)
}

impl Hold {
    /// An object of the storage.
    pub fn stored(fd: OwnedFd) -> Hold {
        Hold { fd, stored: true, lower: None }
    }

    /// One of a plain layer.
    pub fn plain(fd: OwnedFd) -> Hold {
        Hold { fd, stored: false, lower: None }
    }

    /// What can be read of it.
    pub fn object(&self) -> Object<'_> {
        let spot = Spot::Fd(self.fd.as_fd());
        let shown = match &self.lower {
            None if self.stored => Shown::Stored,
            None => Shown::AsItIs,
            Some(Lower::Named(dir, at, name)) => Shown::By { dir, at: *at, name },
            Some(Lower::Elsewhere(elsewhere)) => Shown::Elsewhere(elsewhere),
        };
        Object { spot, shown }
    }
}

impl Stack {
    /// The object of a name whose place in the stack is known; `f` gets it.
    ///
    /// # Errors
    /// ESTALE: the directory does not have that layer (any more).
    pub fn at<T>(
        &self,
        dir: &Arc<LowerDir>,
        place: InStack,
        name: &[u8],
        f: impl FnOnce(Object<'_>) -> Result<T>,
    ) -> Result<T> {
        if place.is_detour() {
            return f(self.object_by_detour(&Met::default(), dir.view(), name)?.object());
        }
        if let Some(part) = dir.only_plain(self) {
            return f(Object::plain(part.spot(name)));
        }
        let at = dir.parts().iter().position(|part| part.layer == place.layer());
        let at = at.ok_or(Errno::STALE)?;
        let part = dir.part(at)?;
        let spot = part.spot(name);
        if self.layer(part.layer)?.is_plain() {
            return f(Object::plain(spot));
        }
        f(Object { spot, shown: Shown::By { dir, at, name } })
    }

    /// The root, as the uppermost layer has it.
    pub fn root_object(&self) -> Result<Object<'_>> {
        self.root_object_below(0)
    }

    /// The same in the view below `from` layers. ENOENT: there are not so many.
    pub fn root_object_below(&self, from: usize) -> Result<Object<'_>> {
        let layer = self.layers.get(from).ok_or(Errno::NOENT)?;
        Ok(Object { spot: Spot::Fd(layer.root.as_fd()), shown: Shown::Root(layer) })
    }

    /// An object that is not where its name is: it is looked for again.
    pub(super) fn object_by_detour(&self, met: &Met, view: View<'_>, name: &[u8]) -> Result<Hold> {
        let found = self.look_in(met, view, name)?.ok_or(Errno::STALE)?;
        let layer = found.place.layer();
        let (fd, kept) = self.find_elsewhere(view.parts, name, &found.stat, layer)?;
        let elsewhere = Elsewhere { layer, stat: found.stat, kept };
        Ok(Hold { fd, stored: false, lower: Some(Lower::Elsewhere(Box::new(elsewhere))) })
    }

    /// The descriptor of an object by what it is, and what META keeps of it.
    fn find_elsewhere(
        &self,
        parts: &[Arc<Part>],
        name: &[u8],
        stat: &Statx,
        layer: u16,
    ) -> Result<(OwnedFd, Kept)> {
        let same = |fd: &OwnedFd| {
            sys::stat_fd(fd).is_ok_and(|now| sys::dev_ino(&now) == sys::dev_ino(stat))
        };
        if let Dialect::MiniFo(frozen) = &self.layer(layer)?.dialect
            && let Some((id, _)) = frozen.shared.indexed_object(stat)?
            && let Some(index) = frozen.index()
        {
            let held = sys::hold(Spot::At(index.writable()?, id.index_name().as_bytes()))?;
            if same(&held) {
                return Ok((held, frozen.kept_of_index(id).unwrap_or_default()));
            }
        }
        for part in parts {
            match self.entry(part, name)? {
                Entry::Path(path) => {
                    let dir = self.open_path(usize::from(part.layer) + 1, &path)?;
                    let dir = dir.ok_or(Errno::STALE)?;
                    let fd = rustix::io::fcntl_dupfd_cloexec(dir.top()?, 0)?;
                    return Ok((fd, Kept::default()));
                }
                Entry::There(_) if part.layer == layer => {
                    let held = sys::hold(part.spot(name))?;
                    if same(&held) {
                        return Ok((held, Kept::default()));
                    }
                }
                Entry::Hidden => break,
                _ => {}
            }
        }
        Err(Errno::STALE)
    }

    /// Attributes of an object that lies under its name, as its layer shows them.
    fn stat_by(&self, view: View<'_>, name: &[u8], spot: Spot<'_>) -> Result<Statx> {
        let mut stat = sys::stat(spot)?;
        let part = view.parts.first().ok_or(Errno::STALE)?;
        match &self.layer(part.layer)?.dialect {
            Dialect::Plain => {}
            Dialect::Overlay(_) => self.show_metacopy(part, name, &mut stat)?,
            Dialect::Oci(marks) => marks.show(spot, &mut stat)?,
            // What is below counts, too.
            Dialect::MiniFo(_) if sys::kind(&stat) == libc::S_IFDIR => {
                stat = self.look_in(&Met::default(), view, name)?.ok_or(Errno::STALE)?.stat;
            }
            Dialect::MiniFo(frozen) => {
                self.show_frozen(&Met::default(), (frozen, part, name), None, &mut stat)?
            }
        }
        Ok(stat)
    }
}
