//! Where the data of a file of the layers is.

use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use super::dir::View;
use super::entry::Rest;
use super::met::Met;
use super::{Dialect, Frozen, Part, Stack};
use crate::format::mark::Mark;
use crate::format::name::{file_name, parent};
use crate::store::durability::WriteOut;
use crate::store::partial::{Data, PartialFile, Verdict, is_bare, map_name};
use crate::sys::trust;
use crate::sys::{self, Result, Spot, Within};

/// How files of the layers are opened: nobody's lease is waited for, and no access leaves
/// a trace.
const READING: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);

impl Stack {
    /// Opens the data of a file that the first of these parts has under a name.
    ///
    /// # Errors
    /// EAGAIN: somebody has a lease on it; EIO: the layers below do not have the data (any
    /// more).
    pub(super) fn open_in(
        &self,
        met: &Met,
        view: View<'_>,
        name: &[u8],
        flags: OFlags,
    ) -> Result<Data> {
        let (part, rest) = view.parts.split_first().ok_or(Errno::STALE)?;
        let rest = View { parts: rest, first: part.layer + 1 };
        let spot = part.spot(name);
        match &self.layer(part.layer)?.dialect {
            Dialect::Overlay(marks) => match marks.data(spot)? {
                None => {}
                Some(Rest::Path(path)) => {
                    let found = self.open_marked_path(met, usize::from(part.layer) + 1, &path);
                    return found?.ok_or(Errno::IO);
                }
                Some(Rest::Name(other)) => {
                    return self.open_first(met, rest, &other)?.ok_or(Errno::IO);
                }
                Some(_) => return self.open_first(met, rest, name)?.ok_or(Errno::IO),
            },
            Dialect::MiniFo(frozen) => {
                return self.open_frozen(met, (frozen, part.layer), spot, flags);
            }
            Dialect::Plain | Dialect::Oci(_) => {}
        }
        sys::open_untraced(spot, flags | READING).map(Data::File)
    }

    /// Opens a file of a frozen storage, with what the layers below have of it.
    pub(super) fn open_frozen(
        &self,
        met: &Met,
        (frozen, layer): (&Frozen, u16),
        spot: Spot<'_>,
        flags: OFlags,
    ) -> Result<Data> {
        let stored = sys::open_untraced(spot, flags | READING)?;
        let Some(mark) = frozen.mark(Spot::Fd(stored.as_fd()))? else {
            return Ok(Data::File(stored));
        };
        let from = usize::from(layer) + 1;
        let now = self.marked_stat_with(met, from, &mark);
        let index = frozen.index();
        let maps = index.as_ref().and_then(|dir| dir.storage());
        let bare = is_bare(maps.map(Within::fd), &mark, &sys::stat_fd(&stored)?);
        // A file without data of its own goes with what is below now.
        let mark = match &now {
            Ok(now) if bare => self.renewed(&mark, now),
            _ => mark,
        };
        let base = self.open_marked_with(met, from, &mark)?;
        let map = match maps {
            Some(maps) => {
                let map = sys::absent(sys::open(Spot::At(maps, &map_name(mark.map)), READING))?;
                map.as_ref().map_or(Ok(()), |map| trust::check_opened(map, "a map", true))?;
                map
            }
            None => None,
        };
        let end = bare.then_some(mark.size);
        let partial = PartialFile::new(mark, base, &stored, (map, end), WriteOut::None)?;
        Ok(Data::Mixed(stored, Arc::new(partial)))
    }

    /// The file that the uppermost of these parts shows under a name.
    fn open_first(&self, met: &Met, view: View<'_>, name: &[u8]) -> Result<Option<Data>> {
        let Some(found) = self.look_in(met, view, name)? else { return Ok(None) };
        if sys::kind(&found.stat) != libc::S_IFREG {
            return Ok(None);
        }
        if found.place.is_detour() {
            let hold = self.object_by_detour(met, view, name)?;
            return hold.object().open_data_with(met, self, OFlags::empty()).map(Some);
        }
        let layer = found.place.layer();
        let at = view.parts.iter().position(|part| part.layer == layer);
        let Some(parts) = at.and_then(|at| view.parts.get(at..)) else { return Ok(None) };
        self.open_in(met, View { parts, first: layer }, name, OFlags::empty()).map(Some)
    }

    fn open_marked_path(&self, met: &Met, from: usize, path: &[u8]) -> Result<Option<Data>> {
        met.deeper(|| match self.open_path_with(met, from, parent(path))? {
            Some(dir) => self.open_first(met, dir.view(), file_name(path)),
            None => Ok(None),
        })
    }

    /// Attributes of the file that a mark names in the view below `from` layers. ESTALE:
    /// it is no file; ENOENT.
    pub(crate) fn marked_stat(&self, from: usize, mark: &Mark) -> Result<Statx> {
        self.marked_stat_with(&Met::default(), from, mark)
    }

    pub(super) fn marked_stat_with(&self, met: &Met, from: usize, mark: &Mark) -> Result<Statx> {
        met.stat(from, &mark.path, || self.file_at(met, from, &mark.path))
    }

    fn file_at(&self, met: &Met, from: usize, path: &[u8]) -> Result<Statx> {
        let dir = self.open_path_with(met, from, parent(path))?.ok_or(Errno::NOENT)?;
        let found = self.look_in(met, dir.view(), file_name(path))?.ok_or(Errno::NOENT)?;
        let is_file = sys::kind(&found.stat) == libc::S_IFREG;
        if is_file { Ok(found.stat) } else { Err(Errno::STALE) }
    }

    /// Opens the data that a mark speaks of. EIO: it is not there (any more), which the
    /// log tells.
    pub(crate) fn open_marked(&self, from: usize, mark: &Mark) -> Result<Data> {
        self.open_marked_with(&Met::default(), from, mark)
    }

    fn open_marked_with(&self, met: &Met, from: usize, mark: &Mark) -> Result<Data> {
        let opened = self.marked_stat_with(met, from, mark).and_then(|stat| {
            match self.evidence.compare(mark, &stat) {
                Verdict::Same | Verdict::Taken => {
                    self.open_marked_path(met, from, &mark.path)?.ok_or(Errno::NOENT)
                }
                Verdict::Another => Err(Errno::STALE),
            }
        });
        opened.map_err(|errno| {
            if errno == Errno::AGAIN {
                // A lease, which is waited for.
                return errno;
            }
            let path = String::from_utf8_lossy(&mark.path);
            tracing::error!(
                "the data of base file /{path} is needed, which is gone, or is another one though \
                 a file has data of its own on top of it: {errno}; if size and time are the \
                 same, -o accept_base takes it for the one of before"
            );
            Errno::IO
        })
    }

    /// Lets a file without data of its own show the space that its data takes below.
    pub(super) fn show_metacopy(&self, part: &Part, name: &[u8], stat: &mut Statx) -> Result<()> {
        let empty = stat.stx_blocks == 0 && stat.stx_size > 0;
        let Dialect::Overlay(marks) = &self.layer(part.layer)?.dialect else { return Ok(()) };
        if empty && sys::kind(stat) == libc::S_IFREG && marks.data(part.spot(name))?.is_some() {
            stat.stx_blocks = stat.stx_size.div_ceil(512);
        }
        Ok(())
    }
}

/// Opens a file of a layer that has nothing to say of its data.
pub(super) fn open_plain(spot: Spot<'_>, flags: OFlags) -> Result<OwnedFd> {
    sys::open_untraced(spot, flags | READING)
}
