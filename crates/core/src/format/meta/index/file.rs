//! What the file would hold if it were written anew, and whether that pays.

use super::Index;
use crate::format::meta::Record;
use crate::format::time::Timestamp;

/// Records below which a rewrite is never worth it.
const WASTE_FLOOR: usize = 4096;

impl Index {
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
