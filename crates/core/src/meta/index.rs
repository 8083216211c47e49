//! What META of one directory says, for quick answers.

use hashbrown::{HashMap, HashSet};

use super::{Kept, Record, SharedRecord};
use crate::types::Timestamp;

/// Records below which a rewrite is never worth it.
const WASTE_FLOOR: usize = 4096;

/// What is said of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    hidden: bool,
    redirect: Option<Box<[u8]>>,
    identity: Option<(u64, u64)>,
    kept: Option<Kept>,
}

/// The records of one directory that count. Empty tables allocate nothing.
#[derive(Clone, Debug, Default)]
pub struct Index {
    hidden: HashSet<Box<[u8]>>,
    redirects: HashMap<Box<[u8]>, Box<[u8]>>,
    identities: HashMap<Box<[u8]>, (u64, u64)>,
    ctimes: HashMap<Box<[u8]>, (Timestamp, Timestamp)>,
    kept: HashMap<Box<[u8]>, Kept>,
    shared: HashMap<u64, SharedRecord>,
    accesses: HashMap<u64, Timestamp>,
    origin: Option<Record>,
    features: Vec<Box<[u8]>>,
    lines: usize,
}

impl Index {
    /// The base entry of this name is hidden.
    #[must_use]
    pub fn hides(&self, name: &[u8]) -> bool {
        self.hidden.contains(name)
    }

    /// Names whose base entries are hidden.
    pub fn hidden(&self) -> impl Iterator<Item = &[u8]> {
        self.hidden.iter().map(|name| &**name)
    }

    /// The base path, without a leading slash, that a directory shows.
    #[must_use]
    pub fn redirect(&self, name: &[u8]) -> Option<&[u8]> {
        self.redirects.get(name).map(|path| &**path)
    }

    /// The number that an entry shows whose own is `storage_ino`.
    #[must_use]
    pub fn identity(&self, name: &[u8], storage_ino: u64) -> Option<u64> {
        let (ino, real) = *self.identities.get(name)?;
        (real == storage_ino).then_some(ino)
    }

    /// There is a record of the number of this name.
    #[must_use]
    pub fn has_identity(&self, name: &[u8]) -> bool {
        self.identities.contains_key(name)
    }

    /// The ctime that an entry shows whose own is `real`.
    #[must_use]
    pub fn ctime(&self, name: &[u8], real: Timestamp) -> Option<Timestamp> {
        let (shown, recorded) = *self.ctimes.get(name)?;
        (recorded == real).then_some(shown)
    }

    /// There is a record of the ctime of this name.
    #[must_use]
    pub fn has_ctime(&self, name: &[u8]) -> bool {
        self.ctimes.contains_key(name)
    }

    /// Mode, owner and group that an entry shows instead of its own.
    #[must_use]
    pub fn owner(&self, name: &[u8]) -> Option<(u32, u32, u32)> {
        self.kept.get(name)?.owner
    }

    /// What an entry shows that its storage cannot hold.
    #[must_use]
    pub fn kept(&self, name: &[u8]) -> Option<&Kept> {
        self.kept.get(name)
    }

    fn keep(&mut self, name: Box<[u8]>, change: impl FnOnce(&mut Kept)) {
        let kept = self.kept.entry(name.clone()).or_default();
        change(kept);
        if kept.is_empty() {
            self.kept.remove(&name);
        }
    }

    /// What is known of the base object of this number, which has several
    /// names.
    #[must_use]
    pub fn shared(&self, number: u64) -> Option<SharedRecord> {
        self.shared.get(&number).copied()
    }

    /// Times of access of base objects, by number.
    pub fn accesses(&self) -> impl Iterator<Item = (u64, Timestamp)> {
        self.accesses.iter().map(|(number, at)| (*number, *at))
    }

    /// The base that the storage was made for ([`Record::Origin`]).
    #[must_use]
    pub fn origin(&self) -> Option<&Record> {
        self.origin.as_ref()
    }

    /// Words of the features that a writer must know.
    pub fn features(&self) -> impl Iterator<Item = &[u8]> {
        self.features.iter().map(|word| &**word)
    }

    /// Redirects, as (name, base path).
    pub fn redirects(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.redirects.iter().map(|(name, path)| (&**name, &**path))
    }

    /// Takes a record in.
    pub fn apply(&mut self, record: &Record) {
        self.lines += 1;
        match record.clone() {
            Record::Hide { name } => {
                self.hidden.insert(name);
            }
            Record::Redirect { path, name } => {
                self.redirects.insert(name, path);
            }
            Record::Identity { ino: 0, name, .. } => {
                self.identities.remove(&name);
            }
            Record::Identity { ino, storage_ino, name } => {
                self.identities.insert(name, (ino, storage_ino));
            }
            Record::Ctime { name, shown, real } => {
                self.ctimes.insert(name, (shown, real));
            }
            Record::Owner { mode, uid, gid, name } => {
                self.keep(name, |kept| kept.owner = Some((mode, uid, gid)));
            }
            Record::Device { kind, device, name } => {
                self.keep(name, |kept| kept.device = Some((kind, device)));
            }
            Record::Xattr { attribute, value, name } => self.keep(name, |kept| {
                match value {
                    Some(value) => kept.xattrs.insert(attribute, value),
                    None => kept.xattrs.remove(&attribute),
                };
            }),
            Record::Unkept { name } => {
                self.kept.remove(&name);
            }
            Record::Shared { number, record } => {
                self.shared.insert(number, record);
            }
            Record::Access { number, at } => {
                self.accesses.insert(number, at);
            }
            origin @ Record::Origin { .. } => self.origin = Some(origin),
            Record::Features { words } => self.features = words,
        }
    }

    /// What is said of a name, to be given back with [`Index::say`].
    #[must_use]
    pub fn said(&self, name: &[u8]) -> Said {
        Said {
            hidden: self.hidden.contains(name),
            redirect: self.redirects.get(name).cloned(),
            identity: self.identities.get(name).copied(),
            kept: self.kept.get(name).cloned(),
        }
    }

    /// Says this of a name, and nothing else.
    pub fn say(&mut self, name: &[u8], said: Said) {
        self.hidden.remove(name);
        self.redirects.remove(name);
        self.identities.remove(name);
        self.kept.remove(name);
        if let Some(kept) = said.kept {
            self.kept.insert(name.into(), kept);
        }
        if said.hidden {
            self.hidden.insert(name.into());
        }
        if let Some(path) = said.redirect {
            self.redirects.insert(name.into(), path);
        }
        if let Some(numbers) = said.identity {
            self.identities.insert(name.into(), numbers);
        }
    }

    /// Takes a redirect away; the result tells whether there was one. META
    /// must be rewritten for it.
    pub fn remove_redirect(&mut self, name: &[u8]) -> bool {
        self.redirects.remove(name).is_some()
    }

    /// Records that count.
    #[must_use]
    pub fn live(&self) -> usize {
        self.hidden.len()
            + self.redirects.len()
            + self.identities.len()
            + self.ctimes.len()
            + self.kept.values().map(Kept::records_len).sum::<usize>()
            + self.shared.len()
            + self.accesses.len()
            + usize::from(self.origin.is_some())
            + usize::from(!self.features.is_empty())
    }

    /// There is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live() == 0
    }

    /// Most lines of the file are dead: a rewrite would pay.
    #[must_use]
    pub fn is_wasteful(&self) -> bool {
        self.lines > WASTE_FLOOR && self.lines > 2 * self.live()
    }

    /// The file was written anew and holds nothing dead.
    pub(super) fn rewritten(&mut self) {
        self.lines = self.live();
    }

    /// Calls `each` for every record that counts, those of 2005 first.
    pub fn each_record(&self, mut each: impl FnMut(&Record)) {
        for name in &self.hidden {
            each(&Record::Hide { name: name.clone() });
        }
        for (name, path) in &self.redirects {
            each(&Record::Redirect { path: path.clone(), name: name.clone() });
        }
        for (name, (ino, storage_ino)) in &self.identities {
            each(&Record::Identity { ino: *ino, storage_ino: *storage_ino, name: name.clone() });
        }
        for (name, (shown, real)) in &self.ctimes {
            each(&Record::Ctime { name: name.clone(), shown: *shown, real: *real });
        }
        for (name, kept) in &self.kept {
            kept.records(name).iter().for_each(&mut each);
        }
        for (number, record) in &self.shared {
            each(&Record::Shared { number: *number, record: *record });
        }
        for (number, at) in &self.accesses {
            each(&Record::Access { number: *number, at: *at });
        }
        if let Some(origin) = &self.origin {
            each(origin);
        }
        if !self.features.is_empty() {
            each(&Record::Features { words: self.features.clone() });
        }
    }
}
