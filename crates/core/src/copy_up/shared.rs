//! Base objects with several names (hard links).
//!
//! They are *shared*: all names lead to one node, also after a copy-up, whose
//! result lies in an index directory under the object's number
//! (docs/FORMAT.md, section 6). A name has a storage entry of its own only
//! where that was needed: the name by which it was copied up, and those that
//! were made or moved.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Statx};

use crate::copy_up::object::Source;
use crate::copy_up::partial::Need;
use crate::format::meta::{Kept, Loss, Record, SharedRecord};
use crate::format::time::Timestamp;
use crate::interface::types::SetTime;
use crate::layers::Hold;
use crate::locks::{Rank, is_held};
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::{MetaDir, MetaEdit};
use crate::store::shared_index::whole;
use crate::sys::{self, Result, Spot};
use crate::tree::node::{Held, Node, PlaceMut};

impl Overlay {
    /// Names of the base that nobody has looked up may show a node.
    pub(crate) fn has_base_names(&self, node: &Node) -> bool {
        self.shared.record(self.base_id(node)).is_none_or(|record| record.left > 0)
    }

    /// A name of the base is about to show a shared node no more: it will be
    /// hidden, or get a storage entry. `base`: the object there, if it still is
    /// the one that shows. `None`: nothing is known of its names.
    pub(crate) fn losing(
        &self,
        node: &Node,
        base: Option<&Statx>,
        dir: &MetaDir,
        name: &[u8],
    ) -> Result<Option<Losing>> {
        let above = sys::stat_fd(dir.writable()?.fd())?.stx_ino;
        let (index, id) = (self.shared.dir()?, self.base_id(node));
        let edit = index.edit();
        let first = match (self.shared.record(id), base) {
            (Some(_), _) => None,
            (None, Some(base)) => Some(Record::Shared { id, record: whole(base) }),
            (None, None) => return Ok(None),
        };
        let loss = Loss { id, dir: above, name: name.into(), decided: false };
        let records: Vec<Record> = first.into_iter().chain([Record::Loss(loss.clone())]).collect();
        edit.append(&records)?;
        drop(edit);
        Ok(Some(Losing { index, loss: Some(loss) }))
    }

    /// Copies a shared object up into the index.
    /// `unseen`: the ctime shown stays that of the base object.
    pub(crate) fn copy_up_shared(&self, node: &Arc<Node>, need: Need, unseen: bool) -> Result<()> {
        debug_assert!(is_held(Rank::CopyUp, Some(node.id.0)));
        let dir = self.prepare_index()?;
        let index = dir.writable()?;
        let source = self.hold(node)?;
        let from = source.object();
        let (stat, print) = self.stat_for_copy(node, from)?;
        let shown = self.shared_ctime(node, stat.stx_ctime.into());
        // One that has lost its known names shows when that was.
        let since = node.place().held().map(|held| held.since);
        let shown = since.map_or(shown, |since| shown.max(since));
        let plan = self.plan(node, &stat, need)?;
        let source = &Source { node, at: from, data: None, stat: &stat, plan, print };
        let unnamed = match node.kind() {
            libc::S_IFREG => self.unnamed_copy(source, None, &dir)?,
            _ => None,
        };
        let (unnamed, kept) = unnamed.map(|copy| (copy.file, copy.kept)).unzip();
        let name = self.base_id(node).index_name();
        let mut place = node.place_mut();
        {
            let edit = dir.edit();
            if self.shared.record(self.base_id(node)).is_none() {
                let record = whole(&stat);
                edit.append(&[Record::Shared { id: self.base_id(node), record }])?;
            }
            self.drop_kept(&edit, name.as_bytes())?;
            let keep = |kept: &Kept| edit.append(&kept.records(name.as_bytes()));
            kept.as_ref().map_or(Ok(()), keep)?;
            match unnamed {
                Some(fd) => sys::link_fd(fd.as_fd(), index, name.as_bytes())?,
                None => {
                    self.named_copy(source, index, name.as_bytes(), &keep)?;
                }
            }
            self.shared.note_copy();
            if let Ok(Some(copy)) = self.shared.index_stat(self.base_id(node)) {
                self.shared.note_stored(&copy, self.base_id(node));
            }
            place.let_go();
            place.set_indexed(true);
            place.set_in_storage();
        }
        let link = place.names.first().cloned();
        drop(place);
        // By the old rules the change is seen under this name, at least.
        if let Some(link) = link
            && let Ok(parent) = self.dir(link.parent())
        {
            let edit = parent.edit();
            let there = node.place().names.iter().any(|now| now.is_same(&link));
            if there && let Err(errno) = self.materialise(&edit, link.name(), node) {
                tracing::debug!("a shared object has no entry under its name: {errno}");
            }
        }
        let mut records = vec![source.print(name.as_bytes())];
        if unseen && let Ok(stat) = self.stat(node) {
            let (name, real) = (name.into_bytes().into(), stat.stx_ctime.into());
            records.push(Record::Ctime { name, shown, real });
        }
        // The copy is there, whatever time it shows.
        log_failure(dir.edit().append(&records));
        Ok(())
    }

    /// Gives a shared node that lies in the index a storage entry under one of
    /// its names.
    pub(crate) fn materialise(
        &self,
        dir: &MetaEdit<'_>,
        name: &[u8],
        node: &Arc<Node>,
    ) -> Result<()> {
        if !node.is_indexed() {
            return Ok(());
        }
        let storage = dir.writable()?;
        if sys::absent(sys::stat(Spot::at(storage, name)))?.is_some() {
            return Ok(());
        }
        let held = self.hold(node)?.fd;
        let losing = self.losing(node, None, dir, name)?;
        dir.unseen(|storage| sys::link_fd(held.as_fd(), storage, name), |()| Vec::new())?;
        self.durability.copied_up();
        self.durability.settle_copies(self.storage_opened()?)?;
        if let Some(losing) = losing {
            losing.happened(dir);
        }
        Ok(())
    }

    /// What is left to do when a name of a shared node is gone for good.
    /// Failures cost a wrong change time, or space.
    pub(crate) fn shared_name_removed(&self, node: &Node, place: &mut PlaceMut<'_>, stored: bool) {
        if !stored && node.is_indexed() {
            log_failure(self.move_ctime(node));
        }
        log_failure(self.leave_index(node, place));
    }

    /// Moves the ctime of an object in the index: one of its names went, which
    /// the storage did not see.
    fn move_ctime(&self, node: &Node) -> Result<()> {
        debug_assert!(is_held(Rank::Place, Some(node.id.0)));
        let dir = self.shared.dir()?;
        let name = self.base_id(node).index_name();
        let spot = Spot::at(dir.writable()?, name.as_bytes());
        let mtime = SetTime::At(sys::stat(spot)?.stx_mtime.into());
        sys::set_times(spot, None, Some(mtime))
    }

    /// Takes a shared node out of the index once it has no name left.
    pub(crate) fn leave_index(&self, node: &Node, place: &mut PlaceMut<'_>) -> Result<()> {
        let left = self.shared.record(self.base_id(node)).map_or(0, |record| record.left);
        // Through mounts the base may have more names than its link count says.
        if !node.is_indexed() || left > 0 || self.submounts {
            return Ok(());
        }
        let dir = self.shared.dir()?;
        let (index, name) = (dir.writable()?, self.base_id(node).index_name());
        let _edit = dir.edit();
        let spot = Spot::at(index, name.as_bytes());
        if sys::stat(spot)?.stx_nlink > 1 {
            return Ok(());
        }
        place.hold(Held::new(Hold::stored(sys::hold(spot)?)));
        sys::unlink(index, name.as_bytes(), AtFlags::empty())?;
        place.set_indexed(false);
        Ok(())
    }
}

/// A name of a shared object that is about to be lost: META of the index says
/// so, and after a crash the next mount looks whether it has happened. Dropped
/// without [`Losing::happened`] it has not.
pub(crate) struct Losing {
    index: Arc<MetaDir>,
    /// Until it is decided.
    loss: Option<Loss>,
}

impl Losing {
    /// The name is lost, as the directory says that had it.
    pub fn happened(mut self, dir: &MetaEdit<'_>) {
        // Else it stays open, and the next mount decides.
        if let Err(errno) = dir.secure() {
            tracing::warn!("a lost name is counted at the next mount: {errno}");
            self.loss = None;
        }
        let Some(loss) = self.loss.take() else { return };
        let edit = self.index.edit();
        let record = self.index.meta().shared(loss.id);
        let fewer = record.map(|record| Record::Shared {
            id: loss.id,
            record: SharedRecord {
                left: record.left.saturating_sub(1),
                ctime: Timestamp::now(),
                ..record
            },
        });
        let decided = Record::Loss(Loss { decided: true, ..loss });
        // In this order: a crash that takes the second leaves one name too many,
        // the other way round the name would be counted again.
        edit.append_late([decided].into_iter().chain(fewer).collect());
    }
}

impl Drop for Losing {
    fn drop(&mut self) {
        if let Some(loss) = self.loss.take() {
            self.index.edit().append_late(vec![Record::Loss(Loss { decided: true, ..loss })]);
        }
    }
}

fn log_failure(done: Result<()>) {
    if let Err(errno) = done {
        tracing::warn!("the index of objects with several names is not up to date: {errno}");
    }
}
