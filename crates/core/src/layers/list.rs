//! Listing a directory as the layers show it together.

use std::collections::HashSet;

use super::{Dialect, LowerDir, Part, Stack};
use crate::format::name::is_dot;
use crate::sys::{self, RawEntry, Result};

/// The number of a listed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LowerNumber {
    /// As it is shown.
    Shown(u64),
    /// Another look tells it.
    Unknown,
}

/// An entry of a listing; never one of the dots.
pub(crate) struct Listed<'a> {
    pub name: &'a [u8],
    pub number: LowerNumber,
    /// Type bits of `st_mode`; 0 where the layer does not tell.
    pub kind: u32,
}

/// Names that a layer above has decided: they are shown already, or hidden.
type Decided = HashSet<Box<[u8]>>;

impl Stack {
    /// Gives the entries of a directory to `take`, in no order, until that returns
    /// `false`.
    pub fn list(&self, dir: &LowerDir, take: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<()> {
        if let Some(part) = dir.only_plain(self) {
            let (realm, hidden) = (part.realm(), self.hidden_on(part)?);
            return sys::each_entry(part.within(), |entry| {
                let (name, kind) = (entry.name, entry.kind);
                if is_dot(name) || self.reserves(part, name) || hidden.contains(&entry.ino) {
                    return true;
                }
                take(Listed { name, kind, number: LowerNumber::Shown(realm.number(entry.ino)) })
            });
        }
        let mut decided = Decided::new();
        let mut go_on = true;
        for (at, part) in dir.parts().iter().enumerate() {
            let last = at + 1 == dir.parts().len();
            // What a layer hides, it hides of those below only.
            let mut hides = Vec::new();
            let mut entries = Vec::new();
            self.each_of(part, &mut hides, &mut |entry| {
                entries.push((entry.name.to_vec(), entry.ino, entry.kind));
                true
            })?;
            for (name, ino, kind) in entries {
                if decided.contains(&*name) {
                    continue;
                }
                let entry = RawEntry { name: &name, ino, kind, next: 0 };
                if let Some(listed) = self.listed(part, &entry, last)? {
                    go_on = go_on && take(listed);
                }
                if !last {
                    decided.insert(name.into());
                }
            }
            if !go_on {
                break;
            }
            decided.extend(hides);
        }
        Ok(())
    }

    /// The objects of one layer, marks of its dialect left out; what these hide goes
    /// to `hides`.
    pub(super) fn each_of(
        &self,
        part: &Part,
        hides: &mut Vec<Box<[u8]>>,
        take: &mut dyn FnMut(RawEntry<'_>) -> bool,
    ) -> Result<()> {
        let dialect = &self.layer(part.layer)?.dialect;
        let hidden = self.hidden_on(part)?;
        let mut seen = HashSet::new();
        sys::each_entry(part.within(), |entry| {
            let name = entry.name;
            if is_dot(name) || self.reserves(part, name) || hidden.contains(&entry.ino) {
                return true;
            }
            if let Dialect::Oci(marks) = dialect
                && marks.is_mark(name)
            {
                hides.extend(marks.hidden_by(name).map(Into::into));
                return true;
            }
            if part.meta().is_some() {
                seen.insert(Box::<[u8]>::from(name));
            }
            take(entry)
        })?;
        let Some(meta) = part.meta() else { return Ok(()) };
        hides.extend(meta.hidden().map(Into::into));
        // Directories that a crash kept from being made.
        for (name, path) in meta.redirects().filter(|(name, _)| !seen.contains(*name)) {
            if self.open_path(usize::from(part.layer) + 1, path)?.is_some() {
                take(RawEntry { name, ino: 0, kind: libc::S_IFDIR, next: 0 });
            }
        }
        Ok(())
    }

    /// How an entry of a layer is listed. `None`: it hides what is below, and is not
    /// shown.
    fn listed<'e>(
        &self,
        part: &Part,
        entry: &RawEntry<'e>,
        last: bool,
    ) -> Result<Option<Listed<'e>>> {
        let RawEntry { name, ino, mut kind, .. } = *entry;
        let own = LowerNumber::Shown(part.realm().number(ino));
        let mut number = own;
        match &self.layer(part.layer)?.dialect {
            Dialect::Plain => {}
            Dialect::Overlay(marks) => {
                if matches!(kind, 0 | libc::S_IFCHR | libc::S_IFREG) {
                    let spot = part.spot(name);
                    let may = kind != libc::S_IFREG || part.may_hold_whiteouts();
                    let stat = if may { sys::absent(sys::stat(spot))? } else { None };
                    if let Some(stat) = stat
                        && marks.is_whiteout(part, spot, &stat)?
                    {
                        return Ok(None);
                    }
                }
            }
            Dialect::Oci(_) => {
                let stat = match kind {
                    0 | libc::S_IFCHR => sys::absent(sys::stat(part.spot(name)))?,
                    _ => None,
                };
                if stat.is_some_and(|stat| super::entry::is_device_whiteout(&stat)) {
                    return Ok(None);
                }
            }
            Dialect::MiniFo(_) => {
                let kept = part.meta().and_then(|meta| meta.kept(name)?.device);
                kind = kept.map_or(kind, |(kind, _)| kind);
                number = LowerNumber::Unknown;
            }
        }
        // Of a directory the lowest that it is made of gives the number.
        if !last && matches!(kind, 0 | libc::S_IFDIR) {
            number = LowerNumber::Unknown;
        }
        Ok(Some(Listed { name, number, kind }))
    }
}
