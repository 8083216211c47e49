//! What a storage does not need any more, once nothing has changed: at the end it holds
//! what a fresh one holds.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::format::features::{FEATURE_FAR, FEATURE_INDEX, FEATURE_PARTIAL, FEATURE_REALMS};
use crate::format::meta::Record;
use crate::format::name::is_dot;
use crate::ops::remove::remove_reserved;
use crate::reach::overlay::Overlay;
use crate::store::meta::Firm;
use crate::sys::own::Own;
use crate::sys::{self, Result, Spot, Within, each_entry};

impl Overlay {
    /// Takes away an index that has nothing to say, and features that nothing in the
    /// storage has. To be called at the end: nobody looks into the index any more.
    pub(crate) fn drop_needless(&self) {
        // What could not be put in order is not judged.
        if self.is_read_only() || self.durability.terms().goes_on {
            return;
        }
        if let Err(errno) = self.drop_index().and_then(|()| self.drop_features()) {
            tracing::debug!("the storage keeps what it does not need: {errno}");
        }
    }

    fn drop_index(&self) -> Result<()> {
        let Ok(index) = self.shared.dir() else { return Ok(()) };
        let root = self.root_dir.edit();
        let edit = index.edit();
        let inner = index.writable()?;
        // Its own time of change is nobody's.
        let said = {
            let meta = edit.meta();
            meta.live() > usize::from(meta.ctime_record(b".").is_some())
        };
        if said || !self.has_no_entry(inner)? {
            return Ok(());
        }
        let name = self.meta.index();
        root.unseen(
            |storage| {
                remove_reserved(self.meta, inner)?;
                sys::unlink(storage, name.as_bytes(), AtFlags::REMOVEDIR)
            },
            |()| Vec::new(),
        )?;
        edit.forget_below();
        self.shared.forget_dir();
        Ok(())
    }

    /// Without an index no name tells of it, and an empty tree has no partial file.
    fn drop_features(&self) -> Result<()> {
        if self.shared.dir().is_ok() {
            return Ok(());
        }
        let Some(storage) = self.root_dir.storage() else { return Ok(()) };
        let empty = self.has_no_entry(storage)?;
        let root = self.root_dir.edit();
        let far = !root.meta().far().is_empty();
        let needed = |word: &[u8]| match word {
            FEATURE_FAR => far,
            FEATURE_INDEX | FEATURE_REALMS => false,
            FEATURE_PARTIAL => !empty,
            _ => true,
        };
        let (before, after) = {
            let meta = root.meta();
            let words = meta.features().filter(|word| needed(word)).map(Box::from);
            (meta.features().count(), words.collect::<Vec<Box<[u8]>>>())
        };
        if after.len() < before {
            // An index without the words that announce it were one of an earlier version.
            self.all_synced()?;
            root.index_mut().apply(&Record::Features { words: after });
            root.rewrite_unseen()?;
        }
        if empty && self.partials.exist() {
            // The word without the mark would be a copy that has lost its marks.
            self.all_synced()?;
            let unmark = |dir: Within<'_>| match self.own.remove(Spot::Fd(dir.fd()), Own::Storage) {
                Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
                other => other,
            };
            root.unseen(unmark, |()| Vec::new())?;
            self.partials.exist.store(false, std::sync::atomic::Ordering::Release);
        }
        Ok(())
    }

    /// Nothing is in it but what belongs to META.
    pub(crate) fn has_no_entry(&self, dir: Within<'_>) -> Result<bool> {
        let mut bare = true;
        each_entry(dir, |entry| {
            bare = is_dot(entry.name) || self.meta.reserves(entry.name);
            bare
        })?;
        Ok(bare)
    }

    fn all_synced(&self) -> Result<()> {
        if self.durability.terms().firm == Firm::No {
            return Ok(());
        }
        rustix::fs::syncfs(self.storage_opened()?)
    }
}
