//! Records.

use crate::format::identity::{BaseId, Realm};
use crate::format::print::Print;
use crate::format::time::Timestamp;

/// What the index knows of a base object with several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRecord {
    /// Names of the base that still show it.
    pub left: u32,
    /// Its names in the base. This, its size and its time of modification tell
    /// it from another object with its number in a base that was made anew.
    pub nlink: u32,
    /// Its size in bytes.
    pub size: u64,
    /// Its time of modification.
    pub mtime: Timestamp,
    /// The change time that it shows as long as it lies in the base: that of
    /// the base, or when a name was removed.
    pub ctime: Timestamp,
}

impl SharedRecord {
    /// Both tell of one object, as far as that can be told.
    #[must_use]
    pub fn is_same_object(&self, other: &SharedRecord) -> bool {
        let object = |one: &SharedRecord| (one.nlink, one.size, one.mtime);
        object(self) == object(other)
    }
}

/// A base object is about to show under one name less, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The object.
    pub id: BaseId,
    /// `st_ino` of the storage directory that has the name. The loss has
    /// happened once its META hides the name, or it holds an entry of it.
    pub dir: u64,
    /// The name.
    pub name: Box<[u8]>,
    /// `q`: it is decided, and LEFT of the object counts it if it happened.
    pub decided: bool,
}

/// A file system of the base other than the one that its root is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmRecord {
    /// What it is called in this storage.
    pub realm: Realm,
    /// Its `f_fsid`; 0 where that says nothing beyond the next boot.
    pub fsid: u64,
    /// `st_ino` of an object on it.
    pub ino: u64,
    /// Path of that object from the root of the base, without a leading slash;
    /// empty where there is none.
    pub path: Box<[u8]>,
}

/// What one line of META says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// `D`, `d`: the base entry of this name is hidden.
    Hide {
        /// The name.
        name: Box<[u8]>,
    },
    /// `h`: the base entry of this name is hidden in another directory, which the
    /// storage does not have.
    HideFar {
        /// When that was: the directory shows it as time of its modification and change.
        at: Timestamp,
        /// The directory: path from the root of the base, without a leading slash.
        path: Box<[u8]>,
        /// The name.
        name: Box<[u8]>,
    },
    /// `R`, `r`: the directory shows another base directory.
    Redirect {
        /// Path from the root of the base, without a leading slash.
        path: Box<[u8]>,
        /// Name of the directory here.
        name: Box<[u8]>,
    },
    /// `i`: the entry shows this number.
    Identity {
        /// The number shown; 0: its own.
        ino: u64,
        /// `st_ino` of the storage entry for which this holds.
        storage_ino: u64,
        /// The name.
        name: Box<[u8]>,
    },
    /// `c`: the entry shows another ctime as long as its own is `real`.
    Ctime {
        /// The name, or `.`.
        name: Box<[u8]>,
        /// The ctime shown.
        shown: Timestamp,
        /// The ctime of the storage entry.
        real: Timestamp,
    },
    /// `o`: the entry shows this mode and these owners.
    Owner {
        /// The twelve permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// The name, or `.`.
        name: Box<[u8]>,
    },
    /// `n`: the entry is a device; its storage entry is an empty file.
    Device {
        /// `S_IFCHR` or `S_IFBLK`.
        kind: u32,
        /// Its number, as `makedev(3)` packs it.
        device: u64,
        /// The name.
        name: Box<[u8]>,
    },
    /// `x`: the entry has an extended attribute that the storage cannot hold.
    Xattr {
        /// The attribute.
        attribute: Box<[u8]>,
        /// Its value; `None`: it is gone.
        value: Option<Box<[u8]>>,
        /// The name.
        name: Box<[u8]>,
    },
    /// `u`: what `o`, `n` and `x` said of the entry does not hold any more.
    Unkept {
        /// The name.
        name: Box<[u8]>,
    },
    /// `v`: the directory shows no other base directory any more.
    Unredirect {
        /// Its name here.
        name: Box<[u8]>,
    },
    /// `y`: the name stands for what is below the storage: no earlier line about it
    /// holds any more, a whiteout least of all.
    Restored {
        /// The name.
        name: Box<[u8]>,
    },
    /// `p`: what the change of the entry was made from.
    Print {
        /// That.
        print: Print,
        /// The name, or `.`.
        name: Box<[u8]>,
    },
    /// `z`: what is at a path of the tree is being discarded; or all that was, is.
    Discard {
        /// The path, without a leading slash; empty for the root. `None`: it is done.
        path: Option<Box<[u8]>>,
    },
    /// `w`: a record that holds if a change of storage names has happened.
    When {
        /// When it has: the storage entry of the record's name has the number
        /// `storage_ino` (`true`), or has it not any more (`false`).
        arrived: bool,
        /// `st_ino` of the storage object that moves.
        storage_ino: u64,
        /// What holds then.
        record: Box<Record>,
    },
    /// `s`: earlier `w` lines about the name have been decided.
    Settled {
        /// The name.
        name: Box<[u8]>,
    },
    /// `k`, `q`: a name of a base object with several is about to be lost.
    Loss(Loss),
    /// `l`: what the index knows of a base object with several names.
    Shared {
        /// The object.
        id: BaseId,
        /// See there.
        record: SharedRecord,
    },
    /// `m`: a file system of the base, and how it is known again.
    Realm(RealmRecord),
    /// `a`: when the base object of this number was last read.
    Access {
        /// The number.
        number: u64,
        /// When.
        at: Timestamp,
    },
    /// `b`: the base that the storage was made for.
    Origin {
        /// `f_fsid` of its file system.
        fsid: u64,
        /// `st_ino` of its root.
        ino: u64,
        /// Its path.
        path: Box<[u8]>,
    },
    /// `g`: the layers below the base's uppermost, from the top down; each as a base.
    Under {
        /// `f_fsid`, `st_ino` of the root, and path.
        layers: Vec<(u64, u64, Box<[u8]>)>,
    },
    /// `t`: the directory that this storage is, which a copy of it is not.
    Storage {
        /// `st_ino` of its root.
        ino: u64,
        /// Time of birth of its root; 0 where its file system has none.
        born: Timestamp,
    },
    /// `f`: features that a writer must know.
    Features {
        /// Their words.
        words: Vec<Box<[u8]>>,
    },
}

impl Record {
    /// The entry that it speaks of.
    pub fn name(&self) -> Option<&[u8]> {
        match self {
            Record::Hide { name }
            | Record::Redirect { name, .. }
            | Record::Identity { name, .. }
            | Record::Ctime { name, .. }
            | Record::Owner { name, .. }
            | Record::Device { name, .. }
            | Record::Xattr { name, .. }
            | Record::Unkept { name }
            | Record::Unredirect { name }
            | Record::Restored { name }
            | Record::Print { name, .. }
            | Record::Settled { name } => Some(name),
            Record::When { record, .. } => record.name(),
            Record::HideFar { .. }
            | Record::Discard { .. }
            | Record::Loss(_)
            | Record::Shared { .. }
            | Record::Realm(_)
            | Record::Access { .. }
            | Record::Origin { .. }
            | Record::Under { .. }
            | Record::Storage { .. }
            | Record::Features { .. } => None,
        }
    }

    /// The object whose loss of a name it decides.
    #[must_use]
    pub fn lost(&self) -> Option<BaseId> {
        match self {
            Record::Loss(Loss { id, decided: true, .. }) => Some(*id),
            _ => None,
        }
    }

    /// Nothing that was said of its name before holds any more.
    #[must_use]
    pub fn restores(&self) -> bool {
        match self {
            Record::When { record, .. } => record.restores(),
            _ => matches!(self, Record::Restored { .. }),
        }
    }

    /// Nothing that shows depends on it but a time: losing it harms nobody.
    #[must_use]
    pub fn is_cosmetic(&self) -> bool {
        matches!(self, Record::Ctime { .. } | Record::Access { .. } | Record::Print { .. })
    }
}
