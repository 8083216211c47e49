//! Whether what is below a change still is what that was made from.

use super::content::Content;
use super::sides::{Lower, Sides};
use crate::format::print::{Hash, Hasher, Print};
use crate::sys::Result;

/// Bytes that are read at once.
const PIECE: usize = 128 * 1024;

/// What the layers below have now under a name that the storage changes, compared with
/// what the change was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseState {
    /// What the change was made from was not recorded, or that does not tell enough.
    Unknown,
    /// It is the same, as far as can be told.
    Same,
    /// It is not.
    Changed(BaseChanges),
}

/// What is not as it was when a change was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaseChanges {
    /// There is nothing any more.
    pub gone: bool,
    /// It is of another type. Nothing else is compared then.
    pub kind: bool,
    /// The content is another one: data, target of a link, number of a device.
    pub content: bool,
    /// The time of modification, and nothing tells that the content is the same.
    pub mtime: bool,
    /// Permission bits.
    pub mode: bool,
    /// Owner.
    pub owner: bool,
    /// Group.
    pub group: bool,
}

impl Sides<'_> {
    /// Compares what a change was made from with what is below now. `deleted`: it is what
    /// was a directory that does not show any more, so all that is in it counts.
    pub fn base_state(
        &self,
        print: Option<&Print>,
        lower: Option<&Lower>,
        deleted: bool,
    ) -> Result<BaseState> {
        let Some(print) = print else { return Ok(BaseState::Unknown) };
        let Some(lower) = lower else {
            return Ok(BaseState::Changed(BaseChanges { gone: true, ..BaseChanges::default() }));
        };
        let now = Print::of(&lower.stat);
        if now.kind() != print.kind() {
            return Ok(BaseState::Changed(BaseChanges { kind: true, ..BaseChanges::default() }));
        }
        let mut changes = BaseChanges {
            mode: (now.mode ^ print.mode) & 0o7777 != 0,
            owner: now.uid != print.uid && !self.overlay.one_owner,
            group: now.gid != print.gid && !self.overlay.one_owner,
            ..BaseChanges::default()
        };
        let mut known = true;
        match print.kind() {
            libc::S_IFDIR if deleted => {
                changes.mtime = now.mtime != print.mtime;
                known = false;
            }
            libc::S_IFREG | libc::S_IFLNK => {
                known = self.compare_content((print, &now), lower, &mut changes)?;
            }
            libc::S_IFCHR | libc::S_IFBLK => changes.content = now.size != print.size,
            _ => {}
        }
        Ok(match changes == BaseChanges::default() {
            false => BaseState::Changed(changes),
            true if known => BaseState::Same,
            true => BaseState::Unknown,
        })
    }

    /// `false`: nobody can tell.
    fn compare_content(
        &self,
        (print, now): (&Print, &Print),
        lower: &Lower,
        changes: &mut BaseChanges,
    ) -> Result<bool> {
        changes.content = now.size != print.size;
        let telling = self.overlay.stack.evidence.tells(print.mtime);
        if changes.content || now.size == 0 || now.mtime == print.mtime && telling {
            return Ok(true);
        }
        match print.hash {
            Some(hash) => changes.content = self.hash(lower)? != hash,
            None => changes.mtime = now.mtime != print.mtime,
        }
        Ok(print.hash.is_some())
    }

    fn hash(&self, lower: &Lower) -> Result<Hash> {
        if lower.kind() == libc::S_IFLNK {
            return Ok(Hash::of(&self.at(lower, |object| object.read_link())?));
        }
        hash(&self.open_lower(lower)?)
    }
}

fn hash(content: &Content) -> Result<Hash> {
    let (mut hasher, mut at, mut piece) = (Hasher::new(), 0, vec![0; PIECE]);
    loop {
        match content.read_at(&mut piece, at)? {
            0 => return Ok(hasher.end()),
            got => {
                hasher.add(piece.get(..got).unwrap_or_default());
                at += got as u64;
            }
        }
    }
}
