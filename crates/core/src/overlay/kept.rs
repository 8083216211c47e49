//! Owners, modes, devices and their like, symbolic links and extended attributes that the storage cannot hold: META
//! keeps them (docs/FORMAT.md, section 2), and they show all the same.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use rustix::fs::{Statx, StatxAttributes};
use rustix::io::Errno;

use super::Overlay;
use super::attr::without_set_id;
use crate::check::Holds;
use crate::dirs::Dir;
use crate::meta::{Kept, Record};
use crate::node::Node;
use crate::sys::{self, Result, Within};
use crate::types::{Attr, SetAttr};

/// A directory and a name in it.
type Spoken = (Arc<Dir>, Box<[u8]>);

/// An answer of the storage that means: not here, or not by this user.
pub(super) fn cannot_hold(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::OVERFLOW | Errno::ACCESS)
}

/// Attributes with a meaning for nobody but who reads them; an ACL that the
/// storage does not enforce would be no more than a promise.
pub(super) fn can_be_kept(name: &[u8]) -> bool {
    [&b"user."[..], b"trusted.", b"security."].iter().any(|prefix| name.starts_with(prefix))
}

/// Makes attributes show what is kept of an entry.
pub(super) fn show(attr: &mut Attr, kept: &Kept) {
    attr.mode = kept.mode(attr.mode);
    if let Some((_, device)) = kept.device {
        attr.rdev = device;
    }
    if let Some((_, uid, gid)) = kept.owner {
        (attr.uid, attr.gid) = (uid, gid);
    }
}

/// Whether a type is that of a device.
pub(super) fn is_device(kind: u32) -> bool {
    matches!(kind, libc::S_IFCHR | libc::S_IFBLK)
}

/// What META says of a symbolic link that the storage cannot hold.
pub(super) fn link_record(name: &[u8]) -> Record {
    Record::Device { kind: libc::S_IFLNK, device: 0, name: name.into() }
}

/// Makes a symbolic link, or, where the storage cannot hold it, the file that stands
/// for it; the result tells whether it was that.
pub(super) fn make_link(
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
    pub(super) fn spoken_of(&self, node: &Arc<Node>) -> Result<Vec<Spoken>> {
        if node.is_indexed() {
            let name = self.shared.base_id(node).index_name().into_bytes().into();
            return Ok(vec![(self.shared.dir()?, name)]);
        }
        let links: Vec<_> = node.place.read().names.iter().cloned().collect();
        let entry = |link: crate::node::Link| Ok((self.dir(link.parent())?, link.name().into()));
        links.into_iter().map(entry).collect()
    }

    /// What is kept of a node; nothing of one that lies in the base.
    pub(super) fn kept(&self, node: &Arc<Node>) -> Result<Kept> {
        if node.is_root() || !node.in_storage() {
            return Ok(Kept::default());
        }
        let of = |dir: &Dir, name: &[u8]| dir.meta.read().kept(name).cloned().unwrap_or_default();
        if node.is_indexed() {
            return Ok(of(&*self.shared.dir()?, self.shared.base_id(node).index_name().as_bytes()));
        }
        let link = node.place.read().names.first().cloned();
        match link {
            Some(link) => Ok(of(&*self.dir(link.parent())?, link.name())),
            None => Ok(Kept::default()),
        }
    }

    /// Keeps what `record` says of each name of a node.
    pub(super) fn keep(
        &self,
        node: &Arc<Node>,
        record: impl Fn(Box<[u8]>) -> Record,
    ) -> Result<()> {
        let entries = self.spoken_of(node)?;
        if entries.is_empty() {
            return Err(Errno::PERM);
        }
        for (dir, name) in entries {
            let _lock = dir.mutate.lock();
            dir.append(&[record(name)])?;
        }
        Ok(())
    }

    /// Changes owner and mode in META: the storage has refused them, or META
    /// has the word already. `shown`: what the node shows now.
    pub(super) fn keep_owner(
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
    pub(super) fn is_protected(&self, node: &Arc<Node>) -> bool {
        let protecting = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        let stat = self.stat(node);
        stat.is_ok_and(|stat: Statx| stat.stx_attributes.intersects(protecting))
    }

    /// A name is about to be given to another object: drops what is kept of
    /// the last one. `mutate` of the directory is held.
    pub(super) fn drop_kept(&self, dir: &Dir, name: &[u8]) -> Result<()> {
        if dir.meta.read().kept(name).is_none() {
            return Ok(());
        }
        dir.append(&[Record::Unkept { name: name.into() }])
    }

    /// The records that make a name speak of what is kept of another one.
    pub(super) fn kept_moved(from: (&Dir, &[u8]), to: (&Dir, &[u8])) -> Vec<Record> {
        let kept = from.0.meta.read().kept(from.1).cloned();
        let mut records = Vec::new();
        if to.0.meta.read().kept(to.1).is_some() {
            records.push(Record::Unkept { name: to.1.into() });
        }
        records.extend(kept.iter().flat_map(|kept| kept.records(to.1)));
        records
    }
}
