//! All that is said of one name.

use super::Index;
use crate::format::meta::Kept;
use crate::format::print::Print;
use crate::format::time::Timestamp;

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

impl Index {
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

    /// Names of which something is said that is about what the storage has there.
    pub fn described(&self) -> impl Iterator<Item = &[u8]> {
        let names = self.identities.keys().chain(self.ctimes.keys());
        let names = names.chain(self.kept.keys()).chain(self.prints.keys()).map(|name| &**name);
        names.filter(|name| !self.hidden.contains(*name) && !self.redirects.contains_key(*name))
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
}
