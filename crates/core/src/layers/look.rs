//! What a name stands for in the layers below the storage.

use std::borrow::Cow;

use rustix::fs::Statx;

use super::dir::View;
use super::entry::{Entry, Rest, There};
use super::met::Met;
use super::{Below, Dialect, InStack, LowerDir, Part, Stack};
use crate::format::name::{file_name, parent};
use crate::sys::{self, Result};

/// What a layer adds to what is shown.
struct Step<'a> {
    part: &'a Part,
    name: Cow<'a, [u8]>,
    there: Box<There>,
}

impl Stack {
    /// What a name stands for. `None`: nothing.
    pub fn look(&self, dir: &LowerDir, name: &[u8]) -> Result<Option<Below>> {
        self.look_with(&Met::default(), dir, name)
    }

    fn look_with(&self, met: &Met, dir: &LowerDir, name: &[u8]) -> Result<Option<Below>> {
        if let Some(part) = dir.only_plain(self) {
            let spot = part.spot(name);
            if self.reserves(part, name) {
                return Ok(None);
            }
            let Some(stat) = sys::absent(sys::stat(spot))? else { return Ok(None) };
            let id = self.realms.id(&stat, spot)?;
            let (number, place) = (id.number(), InStack::at(part.layer));
            let found = (!self.is_hidden(&stat)).then_some(Below { stat, id, number, place });
            return self.through_indexes(met, (dir.view().first, part.layer), found);
        }
        self.look_in(met, dir.view(), name)
    }

    pub(super) fn look_in(&self, met: &Met, view: View<'_>, name: &[u8]) -> Result<Option<Below>> {
        let View { parts, first } = view;
        let mut name = Cow::Borrowed(name);
        let (mut steps, mut below, mut in_dir) = (Vec::new(), None, false);
        for (at, part) in parts.iter().enumerate() {
            let there = match self.entry(part, &name)? {
                Entry::Absent => continue,
                Entry::Hidden => break,
                Entry::Path(path) => {
                    below =
                        self.look_path_with(met, usize::from(part.layer) + 1, &path)?.map(detour);
                    break;
                }
                Entry::There(there) => there,
            };
            let is_dir = sys::kind(&there.stat) == libc::S_IFDIR;
            if !is_dir && in_dir {
                break;
            }
            in_dir |= is_dir;
            let last = at + 1 == parts.len() && !self.may_lead_away(part)?;
            let rest = if last { Rest::Nothing } else { self.rest(part, &name, &there)? };
            steps.push(Step { part, name: name.clone(), there });
            match rest {
                Rest::Nothing => break,
                Rest::Same => {}
                Rest::Name(other) => name = Cow::Owned(other),
                Rest::Path(path) => {
                    below = self.look_path_with(met, usize::from(part.layer) + 1, &path)?;
                    break;
                }
            }
        }
        // Upwards: whatever lies below a frozen storage may have been copied up into its
        // index, which has no name there.
        let mut above = below.as_ref().map_or(0, |below| below.place.layer());
        for step in steps.into_iter().rev() {
            let layer = step.part.layer;
            below = self.through_indexes(met, (layer + 1, above), below)?;
            below = self.join(met, step, below)?;
            above = layer;
        }
        self.through_indexes(met, (first, above), below)
    }

    /// What the indexes of the frozen storages from `first` up to `end`, which is not
    /// among them, make of an object that lies below them.
    fn through_indexes(
        &self,
        met: &Met,
        (first, end): (u16, u16),
        mut below: Option<Below>,
    ) -> Result<Option<Below>> {
        for layer in self.indexed.iter().rev().filter(|layer| (first..end).contains(layer)) {
            if let Dialect::MiniFo(frozen) = &self.layer(*layer)?.dialect {
                below = self.through_index(met, (frozen, *layer), below)?;
            }
        }
        Ok(below)
    }

    /// What the view below `from` layers has at a path.
    pub fn look_path(&self, from: usize, path: &[u8]) -> Result<Option<Below>> {
        self.look_path_with(&Met::default(), from, path)
    }

    pub(super) fn look_path_with(
        &self,
        met: &Met,
        from: usize,
        path: &[u8],
    ) -> Result<Option<Below>> {
        met.deeper(|| match self.open_path_with(met, from, parent(path))? {
            Some(dir) => self.look_with(met, &dir, file_name(path)),
            None => Ok(None),
        })
    }

    /// What is shown once a layer is put on what is below.
    fn join(&self, met: &Met, step: Step<'_>, below: Option<Below>) -> Result<Option<Below>> {
        let Step { part, name, there } = step;
        if let Dialect::MiniFo(frozen) = &self.layer(part.layer)?.dialect {
            return self.join_frozen(met, (frozen, part, &name), *there, below).map(Some);
        }
        let There { stat, .. } = *there;
        let own = self.own_id(part, &stat, &name)?;
        let is_dir = |stat: &Statx| sys::kind(stat) == libc::S_IFDIR;
        let (id, number) = match below.filter(|below| is_dir(&stat) && is_dir(&below.stat)) {
            Some(below) => (below.id, below.number),
            None => (own, own.number()),
        };
        Ok(Some(Below { stat, id, number, place: InStack::at(part.layer) }))
    }
}

/// It does not lie where its name is.
fn detour(below: Below) -> Below {
    Below { place: InStack::by_detour(below.place.layer()), ..below }
}
