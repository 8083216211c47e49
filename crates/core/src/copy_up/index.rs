//! Making the index of objects with several names.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::Mode;
use rustix::io::Errno;

use crate::format::features::{FEATURE_INDEX, FEATURE_REALMS};
use crate::format::meta::Record;
use crate::locks::{Rank, is_free};
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::{MetaDir, MetaEdit};
use crate::store::shared_index::index_dir;
use crate::sys::{self, Result, Spot};

impl Overlay {
    /// Makes sure that there is an index, and that it says which file system of
    /// the base is which.
    pub(crate) fn prepare_index(&self) -> Result<Arc<MetaDir>> {
        debug_assert!(is_free(Rank::Mutate));
        let dir = self.make_index()?;
        let realms = self.stack.realms.unsaved();
        if !realms.is_empty() {
            let edit = dir.edit();
            edit.append(&realms.iter().cloned().map(Record::Realm).collect::<Vec<_>>())?;
            self.stack.realms.saved(&realms);
        }
        Ok(dir)
    }

    /// Writes which file system of the base is which, so that numbers stay.
    pub(crate) fn save_realms(&self) {
        if self.is_read_only() || self.stack.realms.unsaved().is_empty() {
            return;
        }
        if let Err(errno) = self.prepare_index() {
            tracing::debug!("the file systems of the base are not recorded: {errno}");
        }
    }

    fn make_index(&self) -> Result<Arc<MetaDir>> {
        if let Ok(dir) = self.shared.dir() {
            return Ok(dir);
        }
        let root = self.root_dir.edit();
        if let Ok(dir) = self.shared.dir() {
            return Ok(dir);
        }
        let storage = self.storage.as_fd();
        // Those who do not know the index must not write from now on.
        // In this order: `index` alone means an earlier version.
        self.add_feature(&root, FEATURE_REALMS)?;
        self.add_feature(&root, FEATURE_INDEX)?;
        root.unseen(
            |dir| match sys::mkdir(dir, self.meta.index().as_bytes(), Mode::RWXU) {
                Err(Errno::EXIST) => Ok(()),
                other => other,
            },
            |()| Vec::new(),
        )?;
        let fd = sys::open_dir(storage, self.meta.index().as_bytes())?;
        // The umask of this thread is that of some caller.
        sys::set_mode(Spot::Fd(fd.as_fd()), 0o700)?;
        let dir = index_dir(fd, &self.durability)?;
        dir.edit().index_mut().set_accesses(self.shared.accesses());
        self.shared.set_dir(&dir);
        Ok(dir)
    }

    /// Adds a feature to META of the root, unless it is there.
    pub(crate) fn add_feature(&self, root: &MetaEdit<'_>, word: &[u8]) -> Result<()> {
        let mut words: Vec<Box<[u8]>> = root.meta().features().map(Into::into).collect();
        if words.iter().any(|known| **known == *word) {
            return Ok(());
        }
        words.push(word.into());
        root.append(&[Record::Features { words }])
    }
}
