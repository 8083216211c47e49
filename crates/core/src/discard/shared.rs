//! Objects of the layers below with several names: each is one object, so all its names
//! go back at once.

use hashbrown::{HashMap, HashSet};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::scan::Scan;
use super::told::Discarded;
use crate::format::identity::BaseId;
use crate::format::meta::{Record, SharedRecord};
use crate::format::path::{Path, is_within, join, split};
use crate::interface::types::NodeId;
use crate::ops::gone::no_identity;
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::store::aside::is_fixed;
use crate::store::meta_dir::MetaEdit;
use crate::store::shared_index::{Indexed, whole};
use crate::sys::{self, Result, Spot};
use crate::tree::node::{Held, Names};
use crate::tree::table::node_id;

impl Overlay {
    /// Something is recorded of objects with several names.
    pub(crate) fn knows_shared(&self) -> bool {
        self.shared.dir().is_ok_and(|index| index.meta().shared_objects().next().is_some())
    }

    /// Objects that were copied up, of those that have a name at this path below, or
    /// below it; and those that the base has others for by now.
    pub(super) fn indexed_below(
        &self,
        base: &[u8],
        (ids, others): (&mut HashSet<BaseId>, &mut HashSet<BaseId>),
    ) -> Result<()> {
        self.each_below(base, &mut |_, below| {
            let Some(id) = self.shared_id(below) else { return Ok(()) };
            match self.shared.indexed(&below.stat, id)? {
                Indexed::As(_) => drop(ids.insert(id)),
                Indexed::Another => drop(others.insert(id)),
                Indexed::No => {}
            }
            Ok(())
        })
    }

    /// Names in these directories below are about to show nowhere: what is known of their
    /// objects is written down, to be counted anew.
    pub(super) fn record_lost(&self, dirs: &[Path]) -> Result<()> {
        let mut records = Vec::new();
        for dir in dirs {
            self.each_below(dir, &mut |_, below| {
                if let Some(id) = self.shared_id(below)
                    && self.shared.record(id).is_none()
                {
                    records.push(Record::Shared { id, record: whole(&below.stat) });
                }
                Ok(())
            })?;
        }
        if records.is_empty() { Ok(()) } else { self.prepare_index()?.edit().append(&records) }
    }

    /// Takes back what the storage has of an object: its names show what is below, and
    /// names that only the storage has stay, as another object.
    /// The result tells whether it can leave the index, which is the next step.
    pub(super) fn unname_shared(
        &self,
        id: BaseId,
        scan: &Scan,
        told: &mut Discarded,
    ) -> Result<bool> {
        let Some(copy) = self.shared.index_stat(id)? else { return Ok(false) };
        let names = || scan.links.get(&copy.stx_ino).into_iter().flatten();
        if is_fixed(&copy) || names().any(|at| told.holds(at).is_some()) {
            // None of its names can go, so that it is what it was under all of them.
            names().for_each(|at| {
                told.fails(at.clone(), told.holds(at).unwrap_or(Errno::PERM), true);
            });
            return Ok(false);
        }
        let mut stays = false;
        for at in scan.links.get(&copy.stx_ino).into_iter().flatten() {
            let (above, name) = split(at);
            let Some((parent, dir)) = self.reach_stored(above)? else { continue };
            let stored = sys::absent(sys::stat(Spot::at(dir.writable()?, name)))?;
            if stored.is_none_or(|stored| stored.stx_ino != copy.stx_ino) {
                continue;
            }
            // Also where it was hidden, and has become a name of the object again.
            let below = match dir.base() {
                Some(base) => self.stack.look(base, name)?,
                None => None,
            };
            let edit = dir.edit();
            if below.and_then(|below| self.shared_id(&below)) == Some(id) {
                match self.unlink_unseen(&edit, name) {
                    Err(errno) if Discarded::stays(errno) => {
                        told.fails(at.clone(), errno, true);
                        stays = true;
                        continue;
                    }
                    other => other?,
                }
            } else {
                self.part(&edit, name, Some(id))?;
            }
            told.forgotten(parent.id, name);
        }
        // What names still have must not come to be another object.
        Ok(!stays)
    }

    /// A name does not show the number of an object below any more. `id`: what that is in
    /// the index.
    fn part(&self, edit: &MetaEdit<'_>, name: &[u8], id: Option<BaseId>) -> Result<()> {
        let mut records = Vec::new();
        if let (Some(id), Ok(index)) = (id, self.shared.dir()) {
            let of_index = id.index_name();
            records = Overlay::kept_moved((&index, of_index.as_bytes()), (edit, name));
        }
        if edit.meta().has_identity(name) {
            records.push(no_identity(name));
        }
        edit.append(&records)
    }

    /// A further name of an object that is in the storage for itself.
    pub(super) fn part_at(&self, at: &[u8], told: &mut Discarded) -> Result<()> {
        let (above, name) = split(at);
        let Some((parent, dir)) = self.reach_stored(above)? else { return Ok(()) };
        let known = self.table.child(parent.id, name).map(|node| self.reference(node));
        let held = match &known {
            Some(node) => Some(Held::new(self.hold(node)?)),
            None => None,
        };
        let edit = dir.edit();
        self.part(&edit, name, None)?;
        if let Some(node) = &known {
            let mut place = node.place_mut();
            self.lose((&parent, name), node, &mut place, held);
        }
        told.forgotten(parent.id, name);
        Ok(())
    }

    /// An object leaves the index while names below show it. What META there says of it goes
    /// afterwards.
    pub(super) fn leave_base(&self, id: BaseId, told: &mut Discarded) -> Result<()> {
        let index = self.shared.dir()?;
        let name = id.index_name();
        let node = self.shared_node(id);
        let held = match &node {
            Some(node) => Some(Held::new(self.hold(node)?)),
            None => None,
        };
        let mut place = node.as_ref().map(|node| node.place_mut());
        let edit = index.edit();
        if node.is_none() {
            self.drop_map_of(Spot::at(index.writable()?, name.as_bytes()), &HashSet::new());
        }
        sys::unlink(index.writable()?, name.as_bytes(), AtFlags::empty())?;
        drop(edit);
        if let (Some(place), Some(held)) = (&mut place, held) {
            for link in place.names.iter() {
                self.table.remove_name(link.parent().id, link.name());
                told.forgotten(link.parent().id, link.name());
            }
            told.parted.extend(node.as_ref().map(|node| node.id));
            place.names = Names::None;
            place.hold(held);
            place.set_indexed(false);
        }
        Ok(())
    }

    /// Nothing is said any more of an object that has left the index.
    pub(super) fn unsay_shared(&self, id: BaseId) -> Result<()> {
        let (index, name) = (self.shared.dir()?, id.index_name());
        if index.meta().speaks_of(name.as_bytes()) {
            let record = Record::Restored { name: name.as_bytes().into() };
            index.edit().append_late(vec![record]);
        }
        Ok(())
    }

    /// The known node of an object that was copied up.
    fn shared_node(&self, id: BaseId) -> Option<NodeRef<'_>> {
        let own = [node_id(id.number()), NodeId(id.second_id())];
        let ids = own.into_iter().chain(self.shared.told_ids(id));
        let nodes = ids.filter_map(|id| self.table.referenced(id));
        let is =
            |node: &NodeRef<'_>| node.is_shared() && node.is_indexed() && self.base_id(node) == id;
        nodes.map(|node| self.reference(node)).find(is)
    }

    /// Objects of the index of which names lie at these places or below them.
    pub(super) fn indexed_at(&self, places: &[Path], scan: &Scan) -> Result<HashSet<BaseId>> {
        let ids = self.indexed_numbers()?;
        if places.iter().any(|place| place.is_empty()) {
            return Ok(ids.into_values().collect());
        }
        let within = |path: &Path| places.iter().any(|place| is_within(path, place));
        let gone = scan.links.iter().filter(|(_, names)| names.iter().any(within));
        Ok(gone.filter_map(|(ino, _)| ids.get(ino).copied()).collect())
    }

    /// Counts anew which names below show what they have. `lost`: objects that have lost
    /// names. What has none left in the storage, and was made from another object than the
    /// base has now, goes: nobody sees it.
    pub(super) fn count_shared(&self, lost: &HashSet<BaseId>, told: &mut Discarded) -> Result<()> {
        let Ok(index) = self.shared.dir() else { return Ok(()) };
        // Nobody is on the way of losing a name.
        let edit = loop {
            let edit = index.edit();
            if index.meta().losses().is_empty() {
                break edit;
            }
            drop(edit);
            std::thread::yield_now();
        };
        let mut shown: HashMap<BaseId, (u32, SharedRecord)> = HashMap::new();
        let scan = Scan::of(self)?;
        for (base, names) in &scan.covered {
            let Some(dir) = self.stack.open_path(0, base)? else { continue };
            let mut left: Vec<Path> = Vec::new();
            self.stack.list(&dir, &mut |entry| {
                if !names.contains(entry.name) {
                    left.push(entry.name.into());
                }
                true
            })?;
            for name in left {
                self.each_below(&join(base, &name), &mut |_, below| {
                    let Some(id) = self.shared_id(below) else { return Ok(()) };
                    let count = shown.entry(id).or_insert((0, whole(&below.stat)));
                    count.0 += 1;
                    Ok(())
                })?;
            }
        }
        let known: Vec<(BaseId, SharedRecord)> = index.meta().shared_objects().collect();
        let (mut records, mut unseen, mut outdated) = (Vec::new(), Vec::new(), false);
        let mut all_show = Vec::new();
        let all_shows = scan.hidden.is_empty() && scan.covered.values().all(HashSet::is_empty);
        for (id, known) in known {
            let mut stored = self.shared.index_stat(id)?;
            let shows = shown.get(&id);
            let now = shows.map(|(_, now)| *now).filter(|now| !known.is_same_object(now));
            let alone = stored.as_ref().is_some_and(|copy| copy.stx_nlink == 1);
            if now.is_some() && alone && lost.contains(&id) {
                unseen.push(id);
                stored = None;
            }
            // Of an object without a copy, the base tells what it is by now.
            let record = now.filter(|_| stored.is_none()).unwrap_or(known);
            let left = shows.map_or(0, |(count, _)| *count).min(record.nlink);
            let gone = shows.is_none() && all_shows;
            outdated |= gone || record != known;
            if (left == record.nlink || gone) && stored.is_none() {
                if known.left != record.nlink {
                    all_show.push(Record::Shared {
                        id,
                        record: SharedRecord { left: record.nlink, ..record },
                    });
                }
                let mut meta = edit.index_mut();
                meta.forget_shared(id);
                meta.apply(&Record::Restored { name: id.index_name().as_bytes().into() });
                continue;
            }
            if left != known.left || record != known {
                records.push(Record::Shared { id, record: SharedRecord { left, ..record } });
            }
        }
        edit.append(&records)?;
        match outdated {
            // Nobody is to believe it who reads it again.
            true => edit.rewrite_unseen()?,
            false if all_show.is_empty() => edit.tidy(),
            // Without that it would say that names are lost which show.
            false => edit.rewrite_unseen().or_else(|_| edit.append(&all_show))?,
        }
        drop(edit);
        for id in unseen {
            self.leave_base(id, told)?;
            self.unsay_shared(id)?;
        }
        self.drop_spent()
    }

    /// Objects of the index that have no name any more.
    fn drop_spent(&self) -> Result<()> {
        let index = self.shared.dir()?;
        let spent: Vec<BaseId> = index.meta().spent().collect();
        for id in spent.into_iter().filter(|_| !self.submounts) {
            if self.shared.index_stat(id)?.is_none_or(|stat| stat.stx_nlink > 1) {
                continue;
            }
            match self.shared_node(id) {
                Some(node) => self.leave_index(&node, &mut node.place_mut())?,
                None => {
                    let _edit = index.edit();
                    let spot = id.index_name();
                    let spot = Spot::at(index.writable()?, spot.as_bytes());
                    self.drop_map_of(spot, &HashSet::new());
                    sys::unlink(index.writable()?, id.index_name().as_bytes(), AtFlags::empty())?;
                }
            }
        }
        Ok(())
    }
}
