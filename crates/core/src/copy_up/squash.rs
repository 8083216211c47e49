//! Set-ID bits where all objects show one owner (`squash_to_uid`,
//! `squash_to_gid`): who is shown as the owner may change the content, so what
//! is executed in the storage must not act for anybody else.

use std::sync::Arc;

use rustix::fs::Statx;

use crate::copy_up::partial::CAPABILITY;
use crate::format::meta::Record;
use crate::interface::types::{SetAttr, Squash};
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result, Spot};
use crate::tree::node::Node;

const SUID: u32 = libc::S_ISUID;
const SGID: u32 = libc::S_ISGID;

/// Mode, owner and group.
type Owned = (u32, u32, u32);

fn is_any(squash: &Squash) -> bool {
    squash.uid.is_some() || squash.gid.is_some()
}

/// The content is in the hands of others than the owner that is stored.
fn concerns(squash: &Squash, (_, uid, gid): Owned) -> bool {
    squash.uid.is_some_and(|all| all != uid) || squash.gid.is_some_and(|all| all != gid)
}

/// What a regular file of this mode and these owners may be in the storage: a
/// set-ID bit speaks of the owner that is shown, whose file it becomes; where
/// that is not the squashed one, the bit goes.
fn settle(squash: &Squash, was: Owned) -> Owned {
    let (mut mode, mut uid, mut gid) = was;
    if mode & (SUID | SGID) == 0 || !concerns(squash, was) {
        return was;
    }
    if mode & SUID != 0 {
        match squash.uid {
            Some(all) => uid = all,
            None => mode &= !SUID,
        }
    }
    if mode & SGID != 0 {
        match squash.gid {
            Some(all) => gid = all,
            None => mode &= !SGID,
        }
    }
    (mode, uid, gid)
}

impl Overlay {
    /// All objects show one owner or one group.
    pub(crate) fn squashes(&self) -> bool {
        is_any(&self.squash)
    }

    /// Attributes of a copy, from those of the base object.
    pub(crate) fn settle_copy(&self, stat: &mut Statx) {
        if !is_any(&self.squash) || sys::kind(stat) != libc::S_IFREG {
            return;
        }
        let (mode, uid, gid) = settle(&self.squash, owned(stat));
        stat.stx_mode = stat.stx_mode & !0o7777 | mode as u16;
        (stat.stx_uid, stat.stx_gid) = (uid, gid);
    }

    /// A finished copy of a regular file loses the capabilities that it gave to
    /// who executes it, if it can be changed by others than its owner.
    /// Returns whether that is so. `base`: looks at what was copied.
    pub(crate) fn settle_capabilities(
        &self,
        base: impl FnOnce() -> Result<Statx>,
        to: Spot<'_>,
    ) -> Result<bool> {
        let loses = is_any(&self.squash) && concerns(&self.squash, owned(&base()?));
        if loses {
            // As a rule there are none.
            let _ = sys::remove_xattr(to, CAPABILITY);
        }
        Ok(loses)
    }

    /// A change of the mode with the owners that it needs.
    pub(crate) fn settle_change(&self, node: &Arc<Node>, changes: &SetAttr) -> Result<SetAttr> {
        let mode = changes.mode.filter(|mode| mode & (SUID | SGID) != 0);
        let (true, Some(mode), libc::S_IFREG) = (is_any(&self.squash), mode, node.kind()) else {
            return Ok(*changes);
        };
        let now = self.attr_of(node)?;
        let was = (mode, changes.uid.unwrap_or(now.uid), changes.gid.unwrap_or(now.gid));
        let (mode, uid, gid) = settle(&self.squash, was);
        let changed = |new: u32, old: u32, asked| if new == old { asked } else { Some(new) };
        let (uid, gid) = (changed(uid, was.1, changes.uid), changed(gid, was.2, changes.gid));
        Ok(SetAttr { mode: Some(mode), uid, gid, ..*changes })
    }

    /// A storage file is about to be opened for writing. It may be of a mount
    /// that showed other owners.
    pub(crate) fn settle_for_writing(&self, node: &Arc<Node>) -> Result<()> {
        if !is_any(&self.squash) || node.kind() != libc::S_IFREG {
            return Ok(());
        }
        let now = self.attr_of(node)?;
        let was = (now.mode & 0o7777, now.uid, now.gid);
        if !concerns(&self.squash, was) {
            return Ok(());
        }
        let kept = self.kept(node)?.owner.is_some();
        let (mode, uid, gid) = settle(&self.squash, was);
        if kept && (mode, uid, gid) != was {
            return self.keep(node, |name| Record::Owner { mode, uid, gid, name });
        }
        self.change_at(node, |spot| {
            let _ = sys::remove_xattr(spot, CAPABILITY);
            if (mode, uid, gid) == was {
                return Ok(());
            }
            sys::set_owner(spot, Some(uid), Some(gid))?;
            // chown(2) drops the bits.
            sys::set_mode(spot, mode)
        })
    }
}

fn owned(stat: &Statx) -> Owned {
    (u32::from(stat.stx_mode) & 0o7777, stat.stx_uid, stat.stx_gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_id_bits_speak_of_who_may_write() {
        let both = Squash { uid: Some(1), gid: Some(2) };
        let (uid, gid) = (Squash { gid: None, ..both }, Squash { uid: None, ..both });
        assert_eq!(settle(&both, (0o755, 0, 0)), (0o755, 0, 0));
        assert_eq!(settle(&both, (0o6755, 0, 0)), (0o6755, 1, 2));
        assert_eq!(settle(&both, (0o4755, 0, 0)), (0o4755, 1, 0));
        assert_eq!(settle(&both, (0o6755, 1, 2)), (0o6755, 1, 2));
        assert_eq!(settle(&uid, (0o6755, 0, 0)), (0o4755, 1, 0));
        assert_eq!(settle(&uid, (0o2755, 1, 0)), (0o2755, 1, 0));
        assert_eq!(settle(&gid, (0o6755, 0, 0)), (0o2755, 0, 2));
        assert_eq!(settle(&Squash::default(), (0o6755, 0, 0)), (0o6755, 0, 0));
    }
}
