//! What a name is in one layer alone, and where that leads.

use rustix::fd::AsFd;
use rustix::fs::Statx;

use super::{Dialect, Part, Stack};
use crate::format::identity::BaseId;
use crate::sys::{self, Result, Spot};

/// What one layer has under a name.
pub(super) enum Entry {
    /// Nothing, and nothing is said of it.
    Absent,
    /// Nothing, and what the layers below have is hidden.
    Hidden,
    /// The directory at this path below (a frozen storage that a crash kept from
    /// making a directory of its own).
    Path(Box<[u8]>),
    There(Box<There>),
}

/// An object of a layer.
pub(super) struct There {
    /// Its attributes; of a frozen storage not yet as they are shown, but for the type.
    pub stat: Statx,
    /// The number that META says it shows.
    pub told: Option<u64>,
}

/// What goes on below an object of a layer.
pub(super) enum Rest {
    /// Nothing of the layers below shows.
    Nothing,
    /// What they have under the same name: of a directory it shows in it.
    Same,
    /// The same under another name in the same directory.
    Name(Vec<u8>),
    /// What the view below has at this path.
    Path(Box<[u8]>),
}

/// A character device 0:0.
pub(super) fn is_device_whiteout(stat: &Statx) -> bool {
    sys::kind(stat) == libc::S_IFCHR && stat.stx_rdev_major == 0 && stat.stx_rdev_minor == 0
}

impl Stack {
    /// What one layer has under a name.
    pub(super) fn entry(&self, part: &Part, name: &[u8]) -> Result<Entry> {
        let layer = self.layer(part.layer)?;
        if layer.reserves(name) {
            return Ok(Entry::Absent);
        }
        if let Dialect::Oci(marks) = &layer.dialect
            && marks.is_mark(name)
        {
            return Ok(Entry::Absent);
        }
        let spot = part.spot(name);
        let found = sys::absent(sys::stat(spot))?.filter(|stat| !self.is_hidden(stat));
        let Some(mut stat) = found else {
            return Ok(match &layer.dialect {
                Dialect::Oci(marks) if marks.hides(part.as_fd(), name)? => Entry::Hidden,
                Dialect::MiniFo(_) => part.meta().map_or(Entry::Absent, |meta| {
                    match (meta.redirect(name), meta.hides(name)) {
                        (Some(path), _) => Entry::Path(path.into()),
                        (None, true) => Entry::Hidden,
                        (None, false) => Entry::Absent,
                    }
                }),
                _ => Entry::Absent,
            });
        };
        let mut told = None;
        match &layer.dialect {
            Dialect::Plain => {}
            Dialect::Overlay(marks) => {
                if marks.is_whiteout(part, spot, &stat)? {
                    return Ok(Entry::Hidden);
                }
                self.show_metacopy(part, name, &mut stat)?;
            }
            Dialect::Oci(marks) => {
                if is_device_whiteout(&stat) {
                    return Ok(Entry::Hidden);
                }
                marks.show(spot, &mut stat)?;
            }
            Dialect::MiniFo(_) => {
                if let Some(meta) = part.meta() {
                    told = meta.identity(name, stat.stx_ino);
                    if let Some((kind, _)) = meta.kept(name).and_then(|kept| kept.device) {
                        stat.stx_mode = stat.stx_mode & 0o7777 | kind as u16;
                    }
                }
            }
        }
        Ok(Entry::There(Box::new(There { stat, told })))
    }

    /// Objects of a layer may show what is below under another name or path: then it
    /// counts also in a directory that no layer below has.
    pub(super) fn may_lead_away(&self, part: &Part) -> Result<bool> {
        Ok(match &self.layer(part.layer)?.dialect {
            Dialect::MiniFo(_) => part.meta().is_some_and(|meta| meta.redirects().next().is_some()),
            Dialect::Overlay(_) => true,
            Dialect::Plain | Dialect::Oci(_) => false,
        })
    }

    /// What goes on below an object. Of others than directories only where a frozen
    /// storage shows the number of what is below.
    pub(super) fn rest(&self, part: &Part, name: &[u8], there: &There) -> Result<Rest> {
        let is_dir = sys::kind(&there.stat) == libc::S_IFDIR;
        match &self.layer(part.layer)?.dialect {
            Dialect::MiniFo(_) => {
                let Some(meta) = part.meta() else { return Ok(Rest::Nothing) };
                Ok(match meta.redirect(name).filter(|_| is_dir) {
                    Some(path) => Rest::Path(path.into()),
                    None if meta.hides(name) || there.told.is_some() && !is_dir => Rest::Nothing,
                    None => Rest::Same,
                })
            }
            _ if !is_dir => Ok(Rest::Nothing),
            Dialect::Plain => Ok(Rest::Same),
            Dialect::Overlay(marks) => marks.rest(part.spot(name)),
            Dialect::Oci(marks) => marks.rest(part.as_fd(), name),
        }
    }

    /// Which object an entry of a layer is.
    pub(super) fn own_id(&self, part: &Part, stat: &Statx, name: &[u8]) -> Result<BaseId> {
        self.realms.id(stat, part.spot(name))
    }

    /// As [`Stack::own_id`], of an object of a layer that has no name.
    pub(super) fn id_in(&self, layer: u16, stat: &Statx) -> Result<BaseId> {
        self.realms.id(stat, Spot::Fd(self.layer(layer)?.root.as_fd()))
    }
}
