//! What META of one directory says, for quick answers.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::far::Far;
use super::{Kept, Loss, RealmRecord, Record, SharedRecord};
use crate::format::identity::{BaseId, Realm};
use crate::format::print::Print;
use crate::format::time::Timestamp;
use crate::locks::{Rank, RwLock};

/// Records below which a rewrite is never worth it.
const WASTE_FLOOR: usize = 4096;

/// Times of access of base objects by number, in nanoseconds since 1970.
pub type AccessTable = RwLock<HashMap<u64, i64>, { Rank::AccessTable as u8 }>;

/// Times of access that are kept at most; each takes up to 40 bytes.
pub const MOST_ACCESSES: usize = 1 << 20;

/// Bytes that a name takes in a table, about: its piece of memory, and its
/// share of the table.
const NAME_BYTES: usize = 72;

/// What is said of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSnapshot {
    hidden: bool,
    redirect: Option<Box<[u8]>>,
    identity: Option<(u64, u64)>,
    ctime: Option<(Timestamp, Timestamp)>,
    kept: Option<Kept>,
    print: Option<Print>,
}

/// The records of one directory that count. Empty tables allocate nothing.
#[derive(Clone, Debug, Default)]
pub struct Index {
    hidden: HashSet<Box<[u8]>>,
    redirects: HashMap<Box<[u8]>, Box<[u8]>>,
    identities: HashMap<Box<[u8]>, (u64, u64)>,
    ctimes: HashMap<Box<[u8]>, (Timestamp, Timestamp)>,
    far: Far,
    kept: HashMap<Box<[u8]>, Kept>,
    /// What changes were made from.
    prints: HashMap<Box<[u8]>, Print>,
    shared: HashMap<BaseId, SharedRecord>,
    /// Those of `shared` whose number is not their own, by number.
    numbered: HashMap<u64, Vec<BaseId>>,
    realms: HashMap<Realm, RealmRecord>,
    accesses: Option<Arc<AccessTable>>,
    /// Whoever appends records of times has them in the table already, and
    /// maybe later ones.
    accesses_kept: bool,
    /// Records that hold under a condition, in the order of the file.
    pending: Vec<Record>,
    /// Names that are about to be lost, or were.
    losses: Vec<Loss>,
    /// Paths of which a discard was begun, in the order of the file.
    discards: Vec<Box<[u8]>>,
    /// The file has a whiteout or redirect that does not count any more: readers of
    /// 2005 know no record that takes a whiteout back, and take the first redirect that
    /// they find.
    stale: bool,
    origin: Option<Record>,
    under: Option<Record>,
    storage: Option<Record>,
    features: Vec<Box<[u8]>>,
    lines: usize,
    /// Records of all `kept` together.
    kept_records: usize,
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

    /// What is hidden in other directories.
    #[must_use]
    pub fn far(&self) -> &Far {
        &self.far
    }

    /// The same, to take something out of it.
    pub fn far_mut(&mut self) -> &mut Far {
        &mut self.far
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

    /// What is recorded of the ctime of this name: the one that shows, and
    /// the real one for which it does.
    #[must_use]
    pub fn ctime_record(&self, name: &[u8]) -> Option<(Timestamp, Timestamp)> {
        self.ctimes.get(name).copied()
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

    /// What the change of an entry was made from. It says nothing where there is no change
    /// (a crash may have come before that).
    #[must_use]
    pub fn print(&self, name: &[u8]) -> Option<Print> {
        self.prints.get(name).copied()
    }

    /// Nothing is recorded of what the base had under this name; META is to be written anew.
    pub fn forget_print(&mut self, name: &[u8]) {
        self.prints.remove(name);
    }

    fn keep(&mut self, name: Box<[u8]>, change: impl FnOnce(&mut Kept)) {
        let kept = self.kept.entry(name.clone()).or_default();
        let before = kept.records_len();
        change(kept);
        let after = kept.records_len();
        if after == 0 {
            self.kept.remove(&name);
        }
        self.kept_records = (self.kept_records + after).saturating_sub(before);
    }

    fn unkeep(&mut self, name: &[u8]) {
        let gone = self.kept.remove(name).map_or(0, |kept| kept.records_len());
        self.kept_records = self.kept_records.saturating_sub(gone);
    }

    /// What is known of a base object that has several names.
    #[must_use]
    pub fn shared(&self, id: BaseId) -> Option<SharedRecord> {
        self.shared.get(&id).copied()
    }

    /// All base objects with several names of which something is known.
    pub fn shared_objects(&self) -> impl Iterator<Item = (BaseId, SharedRecord)> {
        self.shared.iter().map(|(id, record)| (*id, *record))
    }

    /// Nothing is to be known of such an object any more.
    pub fn forget_shared(&mut self, id: BaseId) {
        if self.shared.remove(&id).is_none() {
            return;
        }
        self.stale = true;
        if let Some(ids) = self.numbered.get_mut(&id.number()) {
            ids.retain(|known| *known != id);
        }
    }

    /// Base objects with several names that show this number: one, or more by
    /// a rare chance.
    pub fn shared_by_number(&self, number: u64) -> impl Iterator<Item = BaseId> {
        let own = BaseId { realm: Realm::ROOT, ino: number };
        let others = self.numbered.get(&number).into_iter().flatten().copied();
        self.shared.contains_key(&own).then_some(own).into_iter().chain(others)
    }

    /// File systems of the base other than its root's.
    pub fn realms(&self) -> impl Iterator<Item = &RealmRecord> {
        self.realms.values()
    }

    /// Times of access of base objects: the table, and not a copy, so that they
    /// are in memory once. From here on the caller keeps it up to date.
    pub fn keep_accesses(&mut self) -> Arc<AccessTable> {
        self.accesses_kept = true;
        Arc::clone(self.accesses.get_or_insert_default())
    }

    /// Times of access are kept in this table from here on.
    pub fn set_accesses(&mut self, accesses: Arc<AccessTable>) {
        self.accesses_kept = true;
        self.accesses = Some(accesses);
    }

    /// Times of access are kept where `before` keeps them.
    pub fn go_on_with_accesses(&mut self, before: &Index) {
        if before.accesses_kept {
            self.accesses_kept = true;
            self.accesses.clone_from(&before.accesses);
        }
    }

    /// Bytes of memory that the records take, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let names = self.hidden.len() + self.identities.len() + self.ctimes.len();
        let wide = self.identities.len() + self.ctimes.len() + self.shared.len();
        let wide = wide + 2 * self.prints.len();
        let rich = self.redirects.len() + self.kept_records + self.far.len();
        NAME_BYTES * (names + wide) + 3 * NAME_BYTES * rich
    }

    /// The directory that the storage was when it was last written
    /// ([`Record::Storage`]).
    #[must_use]
    pub fn storage(&self) -> Option<&Record> {
        self.storage.as_ref()
    }

    /// The base that the storage was made for ([`Record::Origin`]).
    #[must_use]
    pub fn origin(&self) -> Option<&Record> {
        self.origin.as_ref()
    }

    /// The layers below the base's uppermost ([`Record::Under`]).
    #[must_use]
    pub fn under(&self) -> Option<&Record> {
        self.under.as_ref()
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
        self.take(record.clone());
    }

    /// The same, of a record that nobody else needs.
    pub fn take(&mut self, record: Record) {
        self.lines += 1;
        match record {
            Record::Hide { name } => {
                self.hidden.insert(name);
            }
            Record::HideFar { at, path, name } => self.far.hide(at, path, name),
            Record::Redirect { path, name } => {
                let old = self.redirects.insert(name, path);
                self.stale |= old.is_some();
            }
            Record::Unredirect { name } => {
                self.stale |= self.redirects.remove(&name).is_some();
            }
            Record::Restored { name } => self.restore(&name),
            Record::Print { print, name } => {
                self.prints.insert(name, print);
            }
            Record::Discard { path: None } => self.discards = Vec::new(),
            Record::Discard { path: Some(path) } => self.discards.push(path),
            when @ Record::When { .. } => self.pending.push(when),
            Record::Settled { name } => self.pending.retain(|when| when.name() != Some(&name)),
            Record::Loss(loss) => self.lose(loss),
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
            Record::Unkept { name } => self.unkeep(&name),
            Record::Shared { id, record } => {
                let number = id.number();
                if self.shared.insert(id, record).is_none() && number != id.ino {
                    self.numbered.entry(number).or_default().push(id);
                }
            }
            Record::Realm(record) => {
                self.realms.insert(record.realm, record);
            }
            Record::Access { number, at } => {
                if self.accesses_kept {
                    return;
                }
                let mut accesses = self.accesses.get_or_insert_default().write();
                if accesses.len() < MOST_ACCESSES || accesses.contains_key(&number) {
                    accesses.insert(number, at.to_nanoseconds());
                }
            }
            origin @ Record::Origin { .. } => self.origin = Some(origin),
            under @ Record::Under { .. } => self.under = Some(under),
            storage @ Record::Storage { .. } => self.storage = Some(storage),
            Record::Features { words } => self.features = words,
        }
    }

    /// What is said of a name, to be given back with [`Index::say`].
    #[must_use]
    pub fn said(&self, name: &[u8]) -> NameSnapshot {
        NameSnapshot {
            hidden: self.hidden.contains(name),
            redirect: self.redirects.get(name).cloned(),
            identity: self.identities.get(name).copied(),
            ctime: self.ctimes.get(name).copied(),
            kept: self.kept.get(name).cloned(),
            print: self.print(name),
        }
    }

    /// Says this of a name, and nothing else.
    pub fn say(&mut self, name: &[u8], said: NameSnapshot) {
        self.hidden.remove(name);
        self.redirects.remove(name);
        self.identities.remove(name);
        self.ctimes.remove(name);
        self.prints.remove(name);
        self.pending.retain(|when| when.name() != Some(name));
        self.unkeep(name);
        if let Some(kept) = said.kept {
            self.kept_records += kept.records_len();
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
        if let Some(times) = said.ctime {
            self.ctimes.insert(name.into(), times);
        }
        if let Some(print) = said.print {
            self.prints.insert(name.into(), print);
        }
    }

    /// Something is said of a name.
    #[must_use]
    pub fn speaks_of(&self, name: &[u8]) -> bool {
        self.hidden.contains(name)
            || self.redirects.contains_key(name)
            || self.identities.contains_key(name)
            || self.ctimes.contains_key(name)
            || self.kept.contains_key(name)
            || self.prints.contains_key(name)
    }

    /// Nothing is said of a name any more.
    fn restore(&mut self, name: &[u8]) {
        self.stale |= self.hidden.remove(name) | self.redirects.remove(name).is_some();
        self.identities.remove(name);
        self.ctimes.remove(name);
        self.prints.remove(name);
        self.unkeep(name);
    }

    /// Paths of which a discard was begun.
    #[must_use]
    pub fn discards(&self) -> &[Box<[u8]>] {
        &self.discards
    }

    fn lose(&mut self, loss: Loss) {
        let same = |open: &Loss| (open.id, open.dir, &open.name) == (loss.id, loss.dir, &loss.name);
        self.losses.retain(|open| !same(open));
        if !loss.decided {
            self.losses.push(loss);
        }
    }

    /// Records that hold under a condition which nobody has looked at yet.
    #[must_use]
    pub fn pending(&self) -> &[Record] {
        &self.pending
    }

    /// Base objects with several names, none of which shows them any more.
    pub fn spent(&self) -> impl Iterator<Item = BaseId> {
        self.shared.iter().filter(|(_, record)| record.left == 0).map(|(id, _)| *id)
    }

    /// Names of base objects of which it is not decided whether they are lost.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// The file has a whiteout or redirect that does not count any more.
    #[must_use]
    pub fn has_stale(&self) -> bool {
        self.stale
    }

    /// The directory shows nothing of the base any more, and no entry of it
    /// that is hidden.
    pub fn forget_hidden(&mut self) {
        self.hidden = HashSet::new();
        self.prints = HashMap::new();
    }

    /// Records that count.
    #[must_use]
    pub fn live(&self) -> usize {
        self.hidden.len()
            + self.redirects.len()
            + self.identities.len()
            + self.ctimes.len()
            + self.far.len()
            + self.kept_records
            + self.prints.len()
            + self.shared.len()
            + self.pending.len()
            + self.losses.len()
            + self.discards.len()
            + self.realms.len()
            + self.accesses.as_ref().map_or(0, |table| table.read().len())
            + usize::from(self.origin.is_some())
            + usize::from(self.under.is_some())
            + usize::from(self.storage.is_some())
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

    /// More than half of the file is dead.
    #[must_use]
    pub fn is_mostly_dead(&self) -> bool {
        self.lines > 2 * self.live()
    }

    /// The file was written anew and holds nothing dead.
    pub fn rewritten(&mut self) {
        self.lines = self.live();
        self.stale = false;
    }

    /// Calls `each` for every record that counts, those of 2005 first.
    pub fn each_record(&self, mut each: impl FnMut(&Record)) {
        // First, so that a look at the beginning tells a storage.
        if let Some(origin) = &self.origin {
            each(origin);
        }
        if let Some(under) = &self.under {
            each(under);
        }
        if let Some(storage) = &self.storage {
            each(storage);
        }
        for name in &self.hidden {
            each(&Record::Hide { name: name.clone() });
        }
        for (name, path) in &self.redirects {
            each(&Record::Redirect { path: path.clone(), name: name.clone() });
        }
        self.far.each_record(&mut each);
        for (name, (ino, storage_ino)) in &self.identities {
            each(&Record::Identity { ino: *ino, storage_ino: *storage_ino, name: name.clone() });
        }
        for (name, (shown, real)) in &self.ctimes {
            each(&Record::Ctime { name: name.clone(), shown: *shown, real: *real });
        }
        for (name, kept) in &self.kept {
            kept.records(name).iter().for_each(&mut each);
        }
        for (name, print) in &self.prints {
            each(&Record::Print { print: *print, name: name.clone() });
        }
        self.pending.iter().for_each(&mut each);
        self.losses.iter().for_each(|loss| each(&Record::Loss(loss.clone())));
        for path in &self.discards {
            each(&Record::Discard { path: Some(path.clone()) });
        }
        for record in self.realms.values() {
            each(&Record::Realm(record.clone()));
        }
        for (id, record) in &self.shared {
            each(&Record::Shared { id: *id, record: *record });
        }
        if let Some(accesses) = &self.accesses {
            for (number, at) in &*accesses.read() {
                each(&Record::Access { number: *number, at: Timestamp::from_nanoseconds(*at) });
            }
        }
        if !self.features.is_empty() {
            each(&Record::Features { words: self.features.clone() });
        }
    }
}
