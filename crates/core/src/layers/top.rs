//! What the uppermost layer says of what is below it: for who compares the tree that all
//! layers show with the one that those below it show.

use super::entry::{Entry, Rest};
use super::{Dialect, LowerDir, Stack};
use crate::sys::{self, Result};

/// What an object of the uppermost layer shows of the layers below it.
pub(crate) enum Beneath {
    /// Nothing, or it is not known what.
    Nothing,
    /// What they have under its name.
    SameName,
    /// What they have under this name in the same directory.
    Name(Vec<u8>),
    /// What they have at this path, which has no leading slash.
    Path(Box<[u8]>),
}

impl Stack {
    /// The names in a directory of all layers of which the uppermost says anything: it has
    /// something there, or hides what is below. Some may come twice.
    pub fn said_by_top(&self, dir: &LowerDir, take: &mut dyn FnMut(&[u8], u32)) -> Result<()> {
        let Some(part) = dir.parts().first().filter(|part| part.layer == 0) else {
            return Ok(());
        };
        let mut hides = Vec::new();
        self.each_of(part, &mut hides, &mut |entry| {
            take(entry.name, entry.kind);
            true
        })?;
        hides.iter().for_each(|name| take(name, 0));
        Ok(())
    }

    /// What the uppermost layer's directory of a name shows of the layers below; of
    /// another object, where its data lies.
    pub fn beneath_top(&self, dir: &LowerDir, name: &[u8]) -> Result<Beneath> {
        let Some(part) = dir.parts().first().filter(|part| part.layer == 0) else {
            return Ok(Beneath::SameName);
        };
        let there = match self.entry(part, name)? {
            Entry::There(there) => there,
            Entry::Absent => return Ok(Beneath::SameName),
            Entry::Hidden => return Ok(Beneath::Nothing),
            Entry::Path(path) => return Ok(Beneath::Path(path)),
        };
        let rest = match &self.layer(part.layer)?.dialect {
            Dialect::Overlay(marks) if sys::kind(&there.stat) == libc::S_IFREG => {
                marks.data(part.spot(name))?.unwrap_or(Rest::Nothing)
            }
            _ => self.rest(part, name, &there)?,
        };
        Ok(match rest {
            Rest::Nothing => Beneath::Nothing,
            Rest::Same => Beneath::SameName,
            Rest::Name(name) => Beneath::Name(name),
            Rest::Path(path) => Beneath::Path(path),
        })
    }
}
