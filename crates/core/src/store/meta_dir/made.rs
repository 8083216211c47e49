//! What a new file of a storage directory has before anything of it is set.

use std::cell::Cell;

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use super::MetaDir;
use crate::format::acl;
use crate::locks::{Among, Rank, ReentrantGuard};
use crate::sys::{self, Result, Spot};

/// What a file has that this process makes in a directory. It depends on the directory
/// and its file system, and stays until attributes of the directory are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// It has the mode that was asked for, and no access control list.
    pub plain: bool,
}

/// Held where times, mode or flags of a storage directory are set.
pub(crate) type Attributes<'a> = ReentrantGuard<'a, Cell<Option<Made>>>;

impl MetaDir {
    /// Keeps others from setting times, mode or flags of the storage directory.
    pub fn hold_attributes(&self) -> Attributes<'_> {
        self.attributes.lock_among(Among::Again(self.node.0))
    }

    /// The same, for one who may have the lock of the journal, or these of another
    /// directory: they are taken together only by who has the `mutate` of each.
    pub(super) fn hold_attributes_too(&self) -> Attributes<'_> {
        let mutate = if self.is_index() { Rank::MutateIndex } else { Rank::Mutate };
        self.attributes.lock_among(Among::Under(mutate, self.node.0))
    }

    /// The same as [`MetaDir::hold_attributes`], for one who is about to set what new files may get from it.
    pub fn change_attributes(&self) -> Attributes<'_> {
        let held = self.hold_attributes();
        held.set(None);
        held
    }

    /// Makes a file without a name, and tells what it has; `None`: that is not known.
    /// Errors as [`sys::create_unnamed`].
    pub fn make_unnamed(&self, mode: u32) -> Result<(OwnedFd, Option<Made>)> {
        let dir = self.writable()?.fd();
        let held = self.hold_attributes();
        let exact = sys::clear_umask();
        let file = sys::create_unnamed(dir, mode)?;
        if !exact {
            return Ok((file, None));
        }
        let made = match held.get() {
            Some(made) => Some(made),
            None => look(&file, mode).ok(),
        };
        held.set(made);
        Ok((file, made))
    }
}

fn look(file: &OwnedFd, mode: u32) -> Result<Made> {
    let stat = sys::stat_fd(file)?;
    let as_asked = u32::from(stat.stx_mode) & 0o7777 == mode;
    let mut names = [0; 256];
    let listed = match sys::list_xattrs(Spot::Fd(file.as_fd()), &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let lists = [acl::ACCESS, acl::DEFAULT];
    let has_list = names.get(..listed).unwrap_or_default().split(|byte| *byte == 0);
    let plain = as_asked && !has_list.into_iter().any(|name| lists.contains(&name));
    Ok(Made { uid: stat.stx_uid, gid: stat.stx_gid, plain })
}
