//! Records of the file come in one after the other: what each of them changes.

use super::{Index, MOST_ACCESSES};
use crate::format::meta::{Loss, Record};

impl Index {
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

    /// Nothing is said of a name any more.
    fn restore(&mut self, name: &[u8]) {
        self.stale |= self.hidden.remove(name) | self.redirects.remove(name).is_some();
        self.identities.remove(name);
        self.ctimes.remove(name);
        self.prints.remove(name);
        self.unkeep(name);
    }

    fn lose(&mut self, loss: Loss) {
        let same = |open: &Loss| (open.id, open.dir, &open.name) == (loss.id, loss.dir, &loss.name);
        self.losses.retain(|open| !same(open));
        if !loss.decided {
            self.losses.push(loss);
        }
    }
}
