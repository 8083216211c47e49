//! Owners, modes, devices and their like, symbolic links and extended attributes that the storage cannot hold: META
//! keeps them (docs/FORMAT.md, section 2), and they show all the same.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use rustix::io::Errno;

use crate::format::meta::Record;
use crate::interface::types::{Attr, SetAttr};
use crate::reach::overlay::Overlay;
use crate::state::holds::Holds;
use crate::store::aside::is_fixed;
use crate::store::meta_dir::{MetaDir, MetaEdit};
use crate::sys::{self, Result, Within};
use crate::tree::dir::AnyDir;
use crate::tree::node::Node;

/// A directory and a name in it.
type Spoken = (AnyDir, Box<[u8]>);

/// A mode without setuid, and without setgid if it is that of an executable.
pub(crate) fn without_set_id(mode: u32) -> u32 {
    mode & if mode & libc::S_IXGRP == 0 { !libc::S_ISUID } else { !(libc::S_ISUID | libc::S_ISGID) }
}

/// An answer of the storage that means: not here, or not by this user.
pub(crate) fn cannot_hold(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::OVERFLOW | Errno::ACCESS)
}

/// Attributes with a meaning for nobody but who reads them; an ACL that the
/// storage does not enforce would be no more than a promise.
pub(crate) fn can_be_kept(name: &[u8]) -> bool {
    [&b"user."[..], b"trusted.", b"security."].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a type is that of a device.
pub(crate) fn is_device(kind: u32) -> bool {
    matches!(kind, libc::S_IFCHR | libc::S_IFBLK)
}

/// What META says of a symbolic link that the storage cannot hold.
pub(crate) fn link_record(name: &[u8]) -> Record {
    Record::Device { kind: libc::S_IFLNK, device: 0, name: name.into() }
}

/// Makes a symbolic link, or, where the storage cannot hold it, the file that stands
/// for it; the result tells whether it was that.
pub(crate) fn make_link(
    holds: &Holds,
    target: &[u8],
    dir: Within<'_>,
    name: &[u8],
) -> Result<bool> {
    if holds.symlinks {
        return sys::symlink(target, dir, name).map(|()| false);
    }
    let mut file = File::from(sys::create_private(dir, name)?);
    file.write_all(target).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(true)
}

impl Overlay {
    /// The entries by which META speaks of a storage object.
    pub(crate) fn spoken_of(&self, node: &Arc<Node>) -> Result<Vec<Spoken>> {
        if node.is_indexed() {
            let name = self.base_id(node).index_name().into_bytes().into();
            return Ok(vec![(AnyDir::Index(self.shared.dir()?), name)]);
        }
        let links: Vec<_> = node.place().names.iter().cloned().collect();
        let entry = |link: crate::tree::node::Link| {
            Ok((AnyDir::Shown(self.dir(link.parent())?), link.name().into()))
        };
        links.into_iter().map(entry).collect()
    }

    /// Keeps what `record` says of each name of a node.
    pub(crate) fn keep(
        &self,
        node: &Arc<Node>,
        record: impl Fn(Box<[u8]>) -> Record,
    ) -> Result<()> {
        let entries = self.spoken_of(node)?;
        if entries.is_empty() {
            return Err(Errno::PERM);
        }
        for (dir, name) in entries {
            dir.edit().append(&[record(name)])?;
        }
        Ok(())
    }

    /// Changes owner and mode in META: the storage has refused them, or META
    /// has the word already. `shown`: what the node shows now.
    pub(crate) fn keep_owner(
        &self,
        node: &Arc<Node>,
        shown: &Attr,
        changes: &SetAttr,
    ) -> Result<()> {
        let mut mode = changes.mode.unwrap_or(shown.mode) & 0o7777;
        if changes.mode.is_none() && !node.is_dir() {
            // chown(2), as the storage would do it.
            mode = without_set_id(mode);
        }
        let (uid, gid) = (changes.uid.unwrap_or(shown.uid), changes.gid.unwrap_or(shown.gid));
        self.keep(node, |name| Record::Owner { mode, uid, gid, name })
    }

    /// Whether the flags of a storage object, rather than its file system,
    /// keep it from being changed.
    pub(crate) fn is_protected(&self, node: &Arc<Node>) -> bool {
        self.stat(node).is_ok_and(|stat| is_fixed(&stat))
    }

    /// A name is about to be given to another object: drops what is kept of
    /// the last one.
    pub(crate) fn drop_kept(&self, dir: &MetaEdit<'_>, name: &[u8]) -> Result<()> {
        if dir.meta().kept(name).is_none() {
            return Ok(());
        }
        dir.append(&[Record::Unkept { name: name.into() }])
    }

    /// The records that make a name speak of what is kept of another one.
    pub(crate) fn kept_moved(from: (&MetaDir, &[u8]), to: (&MetaDir, &[u8])) -> Vec<Record> {
        let kept = from.0.meta().kept(from.1).cloned();
        let mut records = Vec::new();
        if to.0.meta().kept(to.1).is_some() {
            records.push(Record::Unkept { name: to.1.into() });
        }
        records.extend(kept.iter().flat_map(|kept| kept.records(to.1)));
        records
    }
}
