//! What META of one directory says, for quick answers.

mod file;
mod name;
mod take;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::far::Far;
use super::{Kept, Loss, RealmRecord, Record, SharedRecord};
use crate::format::identity::{BaseId, Realm};
use crate::format::print::Print;
use crate::format::time::Timestamp;
use crate::locks::{Rank, RwLock};

pub use name::NameSnapshot;

/// Times of access of base objects by number, in nanoseconds since 1970.
pub type AccessTable = RwLock<HashMap<u64, i64>, { Rank::AccessTable as u8 }>;

/// Times of access that are kept at most; each takes up to 40 bytes.
pub const MOST_ACCESSES: usize = 1 << 20;

/// Bytes that a name takes in a table, about: its piece of memory, and its
/// share of the table.
const NAME_BYTES: usize = 72;

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

    /// Nothing is recorded of what the base had under this name, and nothing of it is hidden;
    /// META is to be written anew.
    pub fn forget_base(&mut self, name: &[u8]) {
        self.hidden.remove(name);
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

    /// Paths of which a discard was begun.
    #[must_use]
    pub fn discards(&self) -> &[Box<[u8]>] {
        &self.discards
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
}
