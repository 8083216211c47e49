//! The file systems of the base: subvolumes, mounts below it, layers of an
//! overlayfs (docs/FORMAT.md, section 5).
//!
//! Their device numbers change from boot to boot, and so does what `statfs`
//! says of many. So each that is met gets a number of its own in this storage,
//! a *realm*, which META keeps together with the place of an object on it: what
//! is there at the next mount tells which device it is now.

use hashbrown::HashMap;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use crate::format::identity::{BaseId, Realm, mix};
use crate::format::meta::RealmRecord;
use crate::format::name::{file_name, parent};
use crate::format::numbers::{INO_BITS, STORAGE_BIT, spread, with_upper};
use crate::locks::{Rank, RwLock};
use crate::sys::{self, Result, Spot};

/// The file systems of the base.
pub(crate) struct Realms {
    /// Device of the base's root.
    root: u64,
    base: OwnedFd,
    submounts: bool,
    table: RwLock<Table, { Rank::Realms as u8 }>,
}

#[derive(Default)]
struct Table {
    /// Those that were met since the mount, by device.
    met: HashMap<u64, Met>,
    /// What META says of realms, or will say.
    recorded: HashMap<Realm, RealmRecord>,
    /// Those of them that META does not say yet.
    unsaved: Vec<Realm>,
}

#[derive(Clone, Copy)]
struct Met {
    realm: Realm,
    /// What the numbers of its objects were made with before there were realms.
    upper: u64,
}

/// What can be said of a device that was not met before.
struct Stranger {
    device: u64,
    fsid: u64,
    ino: u64,
    path: Box<[u8]>,
}

/// Whether a recorded realm is a stranger, the surest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// The recorded object is on it, and nothing speaks against it.
    Same,
    /// It has the recorded `f_fsid`, wherever it is mounted now.
    Fsid,
    /// The recorded object is on it, but for its `f_fsid`: a tmpfs gets another
    /// one each time.
    Object,
    /// It is where the realm was, made anew.
    Place,
}

/// What the recorded path of a realm leads to.
struct There {
    device: u64,
    fsid: u64,
    ino: u64,
}

impl Realms {
    /// `stat`: attributes of the base's root; `recorded`: what META says.
    pub fn new(base: OwnedFd, stat: &Statx, submounts: bool, recorded: Vec<RealmRecord>) -> Realms {
        let recorded = recorded.into_iter().map(|record| (record.realm, record)).collect();
        let table = RwLock::new(Table { recorded, ..Table::default() });
        Realms { root: sys::device(stat), base, submounts, table }
    }

    /// That of a base object; `spot`: where it is.
    pub fn of(&self, stat: &Statx, spot: Spot<'_>) -> Result<Realm> {
        let device = sys::device(stat);
        if device == self.root {
            return Ok(Realm::ROOT);
        }
        if let Some(met) = self.table.read().met.get(&device) {
            return Ok(met.realm);
        }
        self.meet(device, stat.stx_ino, spot)
    }

    /// What a base object is; `spot`: where it is.
    pub fn id(&self, stat: &Statx, spot: Spot<'_>) -> Result<BaseId> {
        Ok(BaseId { realm: self.of(stat, spot)?, ino: stat.stx_ino })
    }

    /// The base has objects on other file systems than its root's, as far as
    /// was seen.
    pub fn are_several(&self) -> bool {
        !self.table.read().met.is_empty()
    }

    /// The number that an object showed before there were realms, if that was
    /// another one.
    pub fn old_number(&self, stat: &Statx) -> Option<u64> {
        let (device, ino) = (sys::device(stat), stat.stx_ino);
        if device == self.root {
            return (ino >= STORAGE_BIT).then_some((ino ^ (ino >> 62)) & (STORAGE_BIT - 1));
        }
        let upper = self.table.read().met.get(&device)?.upper;
        Some(with_upper(ino, upper ^ spread(ino >> INO_BITS)))
    }

    /// What META has to say and does not yet.
    pub fn unsaved(&self) -> Vec<RealmRecord> {
        let table = self.table.read();
        table.unsaved.iter().filter_map(|realm| table.recorded.get(realm).cloned()).collect()
    }

    /// META says this now.
    pub fn saved(&self, records: &[RealmRecord]) {
        let mut table = self.table.write();
        let Table { recorded, unsaved, .. } = &mut *table;
        unsaved.retain(|realm| !records.iter().any(|saved| recorded.get(realm) == Some(saved)));
    }

    /// Finds out which realm a device is.
    fn meet(&self, device: u64, ino: u64, spot: Spot<'_>) -> Result<Realm> {
        let fd = sys::hold(spot)?;
        let fsid = rustix::fs::fstatvfs(&fd)?.f_fsid;
        let upper = spread(if fsid == 0 { device } else { fsid }).max(1);
        let path = self.path_of(fd.as_fd()).unwrap_or_default();
        let stranger = Stranger { device, fsid: sys::fsid(&fd)?, ino, path };
        // Where the recorded ones are now: looked up before the lock is taken.
        let free: Vec<RealmRecord> = {
            let table = self.table.read();
            table.recorded.values().filter(|known| !table.is_met(known.realm)).cloned().collect()
        };
        let mut like = Vec::new();
        let mut missing = false;
        for known in free {
            let there = self.there(&known.path);
            missing |= there.as_ref().is_none_or(|there| there.device == self.root);
            like.extend(
                stranger.likeness(&known, there.as_ref()).map(|likeness| (likeness, known.realm)),
            );
        }
        like.sort_unstable();
        let mut table = self.table.write();
        if let Some(met) = table.met.get(&device) {
            return Ok(met.realm);
        }
        let found = like.iter().map(|(_, realm)| *realm).find(|realm| !table.is_met(*realm));
        let realm = found.unwrap_or_else(|| table.free_realm(&stranger));
        if found.is_none() && missing {
            tracing::warn!(
                "the base has a file system at {} that was not there before, and lacks others: \
                 hard links that were changed on those show apart",
                String::from_utf8_lossy(&stranger.path)
            );
        }
        table.met.insert(device, Met { realm, upper });
        let Stranger { fsid, ino, path, .. } = stranger;
        // What still leads there is not written again.
        if like.iter().all(|(likeness, of)| *of != realm || *likeness != Likeness::Same) {
            table.recorded.insert(realm, RealmRecord { realm, fsid, ino, path });
            table.unsaved.push(realm);
        }
        Ok(realm)
    }

    /// Path of an object from the root of the base. `None`: it cannot be told.
    fn path_of(&self, fd: BorrowedFd<'_>) -> Option<Box<[u8]>> {
        let root = sys::path_of(self.base.as_fd()).ok()?;
        let path = sys::path_of(fd).ok()?;
        let below = path.strip_prefix(&*root)?;
        let below = match below.strip_prefix(b"/") {
            Some(below) => below,
            None if root.ends_with(b"/") => below,
            None => return None,
        };
        Some(below.into())
    }

    /// What a path in the base leads to.
    fn there(&self, path: &[u8]) -> Option<There> {
        if path.is_empty() {
            return None;
        }
        let mut at = rustix::io::fcntl_dupfd_cloexec(&self.base, 0).ok()?;
        for name in parent(path).split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = self.open_dir(at.as_fd(), name).ok()?;
        }
        let last = Spot::Across(at.as_fd(), file_name(path));
        let held = sys::hold(last).ok()?;
        let stat = sys::stat_fd(&held).ok()?;
        let fsid = sys::fsid(&held).ok()?;
        Some(There { device: sys::device(&stat), fsid, ino: stat.stx_ino })
    }

    fn open_dir(&self, dir: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
        if self.submounts {
            return sys::open(Spot::Across(dir, name), OFlags::PATH | OFlags::DIRECTORY);
        }
        sys::open_dir(dir, name)
    }
}

impl Table {
    fn is_met(&self, realm: Realm) -> bool {
        self.met.values().any(|met| met.realm == realm)
    }

    /// A realm that nothing has. Which one, says the stranger itself as far as
    /// it can, so that numbers are the same again where nothing is recorded.
    fn free_realm(&self, stranger: &Stranger) -> Realm {
        let seed = match (stranger.fsid, &*stranger.path) {
            (0, b"") => stranger.device,
            (0, path) => path.iter().fold(0, |seed, byte| mix(seed ^ u64::from(*byte))),
            (fsid, _) => fsid,
        };
        let most = Realm::LIMIT - 1;
        let first = (mix(seed) % u64::from(most)) as u32;
        let mut all = (0..most).map(|step| Realm((first + step) % most + 1));
        let taken = |realm: &Realm| self.recorded.contains_key(realm) || self.is_met(*realm);
        // A million of them cannot be mounted.
        all.find(|realm| !taken(realm)).unwrap_or(Realm(Realm::LIMIT))
    }
}

impl Stranger {
    /// `there`: what the recorded path leads to now.
    fn likeness(&self, known: &RealmRecord, there: Option<&There>) -> Option<Likeness> {
        let object = there.filter(|there| there.ino == known.ino);
        match object {
            Some(object) if object.fsid == known.fsid => {
                // On another device: it is that one.
                (object.device == self.device).then_some(Likeness::Same)
            }
            _ if known.fsid != 0 && known.fsid == self.fsid => Some(Likeness::Fsid),
            Some(object) if object.device == self.device => Some(Likeness::Object),
            _ => {
                let in_place = there.is_some_and(|there| there.device == self.device);
                in_place.then_some(Likeness::Place)
            }
        }
    }
}
