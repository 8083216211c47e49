//! What a storage entry shows and its storage cannot hold.

use std::collections::BTreeMap;

use super::Record;

/// Owner, type and extended attributes of an entry that META keeps, because
/// the rights of the daemon or the file system of the storage do not allow
/// them there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The twelve permission bits, owner and group, shown instead of its own.
    pub owner: Option<(u32, u32, u32)>,
    /// It is a device, FIFO or socket, and the storage entry an empty regular file; or
    /// a symbolic link, whose target is what that file holds. Type bits of `st_mode`,
    /// and number as `makedev(3)` packs it.
    pub device: Option<(u32, u64)>,
    /// Extended attributes besides those of the storage entry.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Kept {
    /// Number of records that say it.
    pub fn records_len(&self) -> usize {
        usize::from(self.owner.is_some()) + usize::from(self.device.is_some()) + self.xattrs.len()
    }

    /// `st_mode` of the entry; `mode`: that of its storage entry.
    pub fn mode(&self, mode: u32) -> u32 {
        let mode = match self.device {
            Some((libc::S_IFLNK, _)) => libc::S_IFLNK | 0o777,
            Some((kind, _)) => kind | mode & 0o7777,
            None => mode,
        };
        self.owner.map_or(mode, |(bits, ..)| mode & libc::S_IFMT | bits)
    }

    /// The records that say it of an entry.
    pub fn records(&self, name: &[u8]) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.records_len());
        if let Some((mode, uid, gid)) = self.owner {
            records.push(Record::Owner { mode, uid, gid, name: name.into() });
        }
        if let Some((kind, device)) = self.device {
            records.push(Record::Device { kind, device, name: name.into() });
        }
        for (attribute, value) in &self.xattrs {
            let (attribute, value) = (attribute.clone(), Some(value.clone()));
            records.push(Record::Xattr { attribute, value, name: name.into() });
        }
        records
    }
}
