//! The whole of a discard: what it comes to is written down, done, and crossed out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashSet;
use rustix::io::Errno;

use super::plan::Plan;
use super::told::Discarded;
use crate::format::features::FEATURE_FAR;
use crate::format::identity::BaseId;
use crate::format::meta::Record;
use crate::format::name::Name;
use crate::format::path::{Path, join, split};
use crate::interface::types::NodeId;
use crate::ops::far::Settled;
use crate::reach::overlay::Overlay;
use crate::store::meta::Firm;
use crate::sys::{self, Result, Spot};
use crate::tree::node::Node;
use crate::tree::path::path_below;

impl Overlay {
    /// Lets a name show what is below the storage, and so all that is below it: content,
    /// attributes, names. A rename is undone at both ends, and an object with several names
    /// goes back under all of them. What programs have open lives on, as after an unlink.
    ///
    /// Nothing to be discarded is no error.
    ///
    /// # Errors
    /// ENOENT: the name is one of mini_fo's own, or the directory was removed. EROFS. After
    /// any other each entry is as it was or as below; what is left is to be discarded again.
    pub fn discard(&self, parent: NodeId, name: &[u8]) -> Result<Discarded> {
        let name = Name::new(name)?.as_bytes();
        let node = self.dir_node(parent)?;
        let mut told = Discarded::default();
        self.discard_paths(&[join(&self.tree_path(&node)?, name)], &[], &mut told)?;
        match told.failed.pop() {
            Some((_, errno)) => Err(errno),
            None => Ok(told),
        }
    }

    /// The same of several paths of the tree, without a leading slash; the empty one is the
    /// root, and so everything. What cannot go is `told`, ENOENT among it: the name is one of
    /// mini_fo's own, or the directory is not there (discard that). `mounted`: paths on which
    /// something is mounted, so that they, and the directories that they are in, are not taken
    /// away (EBUSY).
    ///
    /// # Errors
    /// EROFS. EIO and the like: each entry is as it was or as below then, and nobody goes on
    /// with the rest by himself. Where that cannot be written down either, nothing is written
    /// any more (EROFS from then on).
    pub fn discard_paths(
        &self,
        paths: &[Box<[u8]>],
        mounted: &[Box<[u8]>],
        told: &mut Discarded,
    ) -> Result<()> {
        self.check_writable()?;
        told.mounted = mounted.iter().cloned().collect();
        let _alone = self.discarding.write();
        let done = self.discard_these(paths, told);
        self.refill_reserve();
        done
    }

    fn discard_these(&self, paths: &[Box<[u8]>], told: &mut Discarded) -> Result<()> {
        if paths.iter().any(|path| path.is_empty()) {
            return self.run(vec![Path::default()], told);
        }
        self.finish_begun(told)?;
        let mut tops = Vec::with_capacity(paths.len());
        for path in paths {
            let (above, name) = split(path);
            let is_path = path.split(|byte| *byte == b'/').all(|name| Name::new(name).is_ok());
            let node = if is_path { self.reach(above)? } else { None };
            match node.filter(|node| node.is_dir() && !self.meta.reserves(name)) {
                Some(_) => tops.push(path.clone()),
                None => told.fails(path.clone(), Errno::NOENT, false),
            }
        }
        if let [path] = &tops[..] {
            let (above, name) = split(path);
            let node = self.reach(above)?.ok_or(Errno::NOENT)?;
            if self.is_simple(&node, name)? {
                self.restore(&node, name, told)?;
                return self.tidy_up(&tops, told);
            }
        }
        if tops.is_empty() { Ok(()) } else { self.run(tops, told) }
    }

    /// Lets everything show what is below the storage.
    ///
    /// # Errors
    /// As [`Overlay::discard`].
    pub fn discard_all(&self) -> Result<Discarded> {
        let mut told = Discarded::default();
        self.discard_paths(&[Path::default()], &[], &mut told)?;
        Ok(told)
    }

    /// Finishes what a crash has left of discards.
    ///
    /// # Errors
    /// As [`Overlay::discard`].
    pub(crate) fn finish_discards(&self) -> Result<()> {
        let _alone = self.discarding.write();
        self.finish_begun(&mut Discarded::default())
    }

    fn finish_begun(&self, told: &mut Discarded) -> Result<()> {
        let begun = self.root_dir.meta().discards().to_vec();
        if begun.is_empty() { Ok(()) } else { self.run(begun, told) }
    }

    /// META of the root says nothing any more of these places of the base, and of what is
    /// below them: copies do; whether any copy was told. Of a directory that was removed,
    /// lines may be left that nobody counted, and its memory may know of none.
    fn settle_far_below(&self, bases: &[Path]) -> Result<bool> {
        if !self.may_hide_far() {
            return Ok(false);
        }
        let mut dirs: HashSet<Path> = HashSet::new();
        {
            let meta = self.root_dir.meta();
            for base in bases {
                let (above, name) = split(base);
                let is_hidden = meta.far().in_dir(above).any(|known| known == name);
                dirs.extend(is_hidden.then(|| above.into()));
                match base.is_empty() {
                    true => dirs.extend(meta.far().dirs().map(Path::from)),
                    false => dirs.extend(meta.far().tree(base).map(Path::from)),
                }
            }
        }
        let mut settled: Vec<Settled> = Vec::with_capacity(dirs.len());
        for dir in dirs {
            let names = self.root_dir.meta().far().in_dir(&dir).map(Into::into).collect();
            self.with_reserve(|| self.settle_far_dir(&dir))?;
            settled.push((dir, names));
        }
        self.with_reserve(|| self.forget_far(&settled))?;
        Ok(!settled.is_empty())
    }

    /// META of the root may have lines of what is hidden elsewhere.
    fn may_hide_far(&self) -> bool {
        self.root_dir.meta().features().any(|word| word == FEATURE_FAR)
    }

    /// It concerns one entry and nothing else.
    fn is_simple(&self, parent: &Arc<Node>, name: &[u8]) -> Result<bool> {
        if self.knows_shared() || self.may_hide_far() {
            return Ok(false);
        }
        let dir = self.dir(parent)?;
        let Some(storage) = dir.storage() else { return Ok(true) };
        let (hidden, redirected, numbered) = {
            let meta = dir.meta();
            (meta.hides(name), meta.redirect(name).is_some(), meta.has_identity(name))
        };
        let stored = sys::absent(sys::stat(Spot::at(storage, name)))?;
        let alone =
            stored.is_none_or(|stat| sys::kind(&stat) != libc::S_IFDIR && stat.stx_nlink == 1);
        Ok(alone && !hidden && !redirected && !numbered)
    }

    fn run(&self, paths: Vec<Path>, told: &mut Discarded) -> Result<()> {
        let done = self.run_through(paths, told);
        if done.is_err() {
            told.left = self.root_dir.meta().discards().to_vec();
            self.give_up();
        }
        done
    }

    /// After an error nobody goes on by himself with what was written down: what programs
    /// put at these places from now on would go with it.
    fn give_up(&self) {
        let crossed_out = self.with_reserve(|| {
            let root = self.root_dir.edit();
            let begun = !root.meta().discards().is_empty();
            if begun { root.append(&[Record::Discard { path: None }]) } else { Ok(()) }
        });
        if let Err(errno) = crossed_out {
            tracing::error!("a discard cannot be ended, so nothing is written any more: {errno}");
            self.read_only.store(true, Ordering::Release);
        }
        if self.knows_shared()
            && let Err(errno) = self.count_shared(&HashSet::new(), &mut Discarded::default())
        {
            tracing::warn!("names of hard links could not be counted: {errno}");
        }
    }

    fn run_through(&self, paths: Vec<Path>, told: &mut Discarded) -> Result<()> {
        let mut tops = Vec::with_capacity(paths.len());
        for path in paths {
            let base = match self.reach(split(&path).0)? {
                Some(above) if above.is_dir() => path_below(&above, true),
                _ => None,
            };
            tops.push((path, base.map(Path::from)));
        }
        let mut plan = self.plan_discard(&tops)?;
        if self.settle_far_below(&plan.bases)? {
            // There are copies now that it does not know.
            plan = self.plan_discard(&tops)?;
        }
        self.with_reserve(|| self.write_down(&plan))?;
        self.carry_out(&plan, told)?;
        self.names_are_safe()?;
        let end = Record::Discard { path: None };
        self.with_reserve(|| self.root_dir.edit().append(std::slice::from_ref(&end)))?;
        if !plan.places.iter().any(|path| path.is_empty()) {
            return Ok(());
        }
        self.with_reserve(|| self.forget_absent())?;
        if self.accesses.forget_all()
            && let Ok(index) = self.shared.dir()
        {
            self.with_reserve(|| index.edit().rewrite_unseen())?;
        }
        Ok(())
    }

    /// META of the root says nothing of what is not there any more: a commit takes files away
    /// before it.
    fn forget_absent(&self) -> Result<()> {
        let (storage, edit) = (self.root_dir.writable()?, self.root_dir.edit());
        let described: HashSet<Path> =
            edit.meta().described().filter(|name| *name != b".").map(Into::into).collect();
        for name in described {
            if sys::absent(sys::stat(Spot::at(storage, &name)))?.is_none() {
                edit.index_mut().apply(&Record::Restored { name });
            }
        }
        edit.rewrite_unseen()
    }

    /// What is going to be done, so that it can be gone on with.
    fn write_down(&self, plan: &Plan) -> Result<()> {
        let root = self.root_dir.edit();
        // What is written down of an earlier attempt stays: it may be interrupted again.
        let known = root.meta().discards().to_vec();
        let places = plan.places.iter().filter(|path| !known.contains(path)).cloned();
        let records: Vec<Record> =
            places.map(|path| Record::Discard { path: Some(path) }).collect();
        root.append(&records)?;
        root.secure()
    }

    /// Where the device may get META of the root before names of other directories, as when
    /// a program syncs something in the root, the end could be told of what has not happened.
    fn names_are_safe(&self) -> Result<()> {
        if matches!(self.durability.terms().firm, Firm::No | Firm::Attribute) {
            return Ok(());
        }
        let _slow = self.slow_section();
        rustix::fs::syncfs(self.storage_opened()?)
    }

    /// Names go before what the index has of their objects, and that before what META says of it,
    /// also on the device: what is in the index no more is not known to have had them, and of
    /// what META does not know there it is not known what it is.
    fn reset_all_shared(
        &self,
        ids: HashSet<BaseId>,
        plan: &Plan,
        told: &mut Discarded,
    ) -> Result<()> {
        let mut leaving = Vec::new();
        for id in ids {
            if self.with_reserve(|| self.unname_shared(id, &plan.scan, told))? {
                leaving.push(id);
            }
        }
        if leaving.is_empty() {
            return Ok(());
        }
        self.names_are_safe()?;
        leaving.iter().try_for_each(|id| self.with_reserve(|| self.leave_base(*id, told)))?;
        self.names_are_safe()?;
        leaving.into_iter().try_for_each(|id| self.with_reserve(|| self.unsay_shared(id)))
    }

    fn carry_out(&self, plan: &Plan, told: &mut Discarded) -> Result<()> {
        self.find_staying(plan, told)?;
        self.with_reserve(|| self.record_lost(&plan.lost))?;
        let shared = self.knows_shared();
        let mut lost = HashSet::new();
        if shared {
            lost = self.indexed_at(&plan.places, &plan.scan)?;
            let mut ids = HashSet::new();
            plan.bases
                .iter()
                .try_for_each(|base| self.indexed_below(base, (&mut ids, &mut lost)))?;
            self.reset_all_shared(ids, plan, told)?;
        }
        for at in &plan.parted {
            self.with_reserve(|| self.part_at(at, told))?;
        }
        for place in &plan.places {
            if place.is_empty() {
                self.restore_tree(self.reference_root(), None, told)?;
                continue;
            }
            let (above, name) = split(place);
            if let Some((parent, _)) = self.reach_stored(above)? {
                self.restore(&parent, name, told)?;
            }
        }
        if shared {
            self.with_reserve(|| self.count_shared(&lost, told))?;
        }
        self.tidy_up(&plan.places, told)
    }

    /// Directories that lost something in the storage.
    fn tidy_up(&self, places: &[Path], told: &mut Discarded) -> Result<()> {
        for place in places.iter().filter(|place| !place.is_empty()) {
            let Some((parent, dir)) = self.reach_stored(split(place).0)? else { continue };
            dir.edit().tidy();
            told.nodes.push(parent.id);
            drop(dir);
            self.prune(&parent, told)?;
        }
        Ok(())
    }
}
