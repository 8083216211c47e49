//! From changes to what is done in the base.

mod bonds;
mod check;
mod evidence;
mod found;
mod lost;
mod lowers;
mod mounts;
mod places;
mod shown;
mod steps;
mod times;
mod tops;

use rustix::io::Errno;

use self::bonds::Web;
use self::found::{AllFound, Found};
use self::lowers::Lowers;
use self::mounts::Mounts;
use self::steps::{Maker, Work};
use self::tops::Tops;
use super::path::is_within;
use crate::changes::{BaseState, Change};
use crate::format::commit::{CommitProgram, Part, Path, Slot, StagePlace};
use crate::reach::overlay::Overlay;

/// Who is right where the base is no longer what a change was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitSide {
    /// Nobody: such changes are conflicts, and nothing can be committed.
    #[default]
    Neither,
    /// The storage: the change is written over what the base has now.
    Ours,
    /// The base: the change is not committed, and the storage forgets it.
    Theirs,
}

/// Whether a change is to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitWish {
    /// It is asked for.
    Goes,
    /// It goes if something needs it that is asked for.
    MayGo,
    /// It must stay, and so must whatever needs it.
    Stays,
}

/// What a commit does with one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFate {
    /// Was not asked for, and stays in the storage.
    Stays,
    /// Was asked for, but belongs together with something that was not, and stays.
    Held,
    /// Is committed.
    Goes,
    /// Was not asked for, but belongs together with something that was, and is committed.
    Follows,
    /// A part of it is committed, and the rest stays.
    Part,
    /// The base has something else now ([`CommitSide::Neither`]).
    Conflict(BaseState),
    /// The same; it is given up for what the base has ([`CommitSide::Theirs`]).
    Dropped(BaseState),
}

/// One change, in the order in which they were told.
#[derive(Clone, Debug)]
pub struct CommitEntry {
    /// Where the tree has it.
    pub path: Box<[u8]>,
    /// What becomes of it.
    pub fate: CommitFate,
    /// Bytes of content that are written.
    pub bytes: u64,
    /// A part of it can be committed.
    pub in_parts: bool,
}

/// Why nothing can be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitRefusal {
    /// There is no base of its own: it consists of several layers, or the storage is none.
    NotPlain,
    /// An entry cannot be read.
    Unread(Box<[u8]>, Errno),
    /// An entry of the base, or its directory, cannot be changed (`chattr +i`, `+a`).
    Fixed(Box<[u8]>),
    /// What is at this path would have to go from one mount in the base to another, as a whole
    /// or with its names: a directory that was renamed, or a file that has names on both.
    Across(Box<[u8]>),
    /// At these paths the base cannot be changed by this user, or by nobody: why.
    Closed(Vec<Box<[u8]>>, Errno),
    /// None of the directories that this user can write is one in which a stage can lie; one of
    /// them, if there is any, because there something of somebody else is called so.
    NoPlace(Option<Box<[u8]>>),
    /// What would be moved or replaced in the base has the storage in it.
    HoldsStorage(Box<[u8]>),
    /// An entry of the base lies on another file system than its root, or is a mount point.
    Elsewhere(Box<[u8]>),
    /// [`CommitSide::Theirs`]: these would be given up with a conflict, and are none.
    WouldDrop(Vec<Box<[u8]>>),
    /// A part of this was to be committed, and that cannot be; or it is no change any more.
    NotInParts(Box<[u8]>),
    /// The base cannot be read.
    Base(Box<[u8]>, Errno),
}

/// What is made in the stage before anything of the base is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Make {
    /// A new object that is what the tree shows at a path: content, owner, mode, times,
    /// extended attributes. Of a directory nothing that is in it.
    Object {
        /// Where it comes to.
        slot: Slot,
        /// What it is to be like.
        path: Path,
    },
    /// A new file that has a part of a change.
    Part {
        /// Where it comes to.
        slot: Slot,
        /// Which.
        part: Box<Part>,
    },
    /// Another name of what is in a slot.
    Link {
        /// Where it comes to.
        slot: Slot,
        /// What has it already.
        of: Slot,
    },
    /// Another name of what the base has at a path.
    LinkBase {
        /// Where it comes to.
        slot: Slot,
        /// What has it already.
        at: Path,
    },
}

/// What would be committed, and how.
///
/// A change *needs* others, without which the base or the tree would be something that
/// nobody has seen:
///
/// - what is in a directory that was added needs that directory (and not the other entries
///   of it);
/// - a directory that was renamed, that replaces another one, or is one where a file was,
///   is a *unit*: it and all changes in it need each other. It shows other things than the
///   directory of its name in the base;
/// - whatever changes at a place from which something was moved, or a directory above that,
///   needs what was moved. The other way round only where nothing else has the place;
/// - all changes of names of one object with several names need each other, be it one above
///   or below.
///
/// What is asked for goes, with all that it needs; unless any of that must stay: then it is
/// held back.
#[derive(Clone, Debug)]
pub struct CommitPlan {
    /// All changes of the tree.
    pub entries: Vec<CommitEntry>,
    pub(crate) makes: Vec<Make>,
    pub(crate) program: CommitProgram,
    /// Where stages are made; their times are not known yet.
    pub(crate) stages: Vec<StagePlace>,
}

/// What becomes of each change, and of what holds some of them together.
pub(super) struct Fates {
    goes: Vec<bool>,
    dropped: Vec<bool>,
}

impl Fates {
    /// It is committed.
    fn goes(&self, point: u32) -> bool {
        self.goes.get(point as usize) == Some(&true) && !self.is_dropped(point)
    }

    fn is_dropped(&self, point: u32) -> bool {
        self.dropped.get(point as usize) == Some(&true)
    }

    /// The storage has nothing of it afterwards.
    fn leaves(&self, point: u32) -> bool {
        self.goes(point) || self.is_dropped(point)
    }

    fn of(all: &AllFound, web: &Web) -> Fates {
        let wish = |wanted: CommitWish| {
            all.list.iter().map(|found| found.wish == wanted).collect::<Vec<bool>>()
        };
        let mut stays = wish(CommitWish::Stays);
        stays.resize(web.len(), false);
        for point in web.staying() {
            stays.get_mut(point as usize).into_iter().for_each(|stays| *stays = true);
        }
        let held = web.reach(&stays, true);
        let mut asked = wish(CommitWish::Goes);
        asked.iter_mut().zip(&held).for_each(|(asked, held)| *asked &= !held);
        let goes = web.reach(&asked, false);
        Fates { goes, dropped: Vec::new() }
    }

    fn fate(&self, change: u32, found: &Found, conflict: bool) -> CommitFate {
        let asked = found.wish == CommitWish::Goes;
        match (self.goes.get(change as usize) == Some(&true), asked) {
            _ if found.part.is_some() && conflict => CommitFate::Conflict(found.state),
            _ if found.part.is_some() => CommitFate::Part,
            _ if self.is_dropped(change) => CommitFate::Dropped(found.state),
            (true, _) if conflict => CommitFate::Conflict(found.state),
            (true, true) => CommitFate::Goes,
            (true, false) => CommitFate::Follows,
            (false, true) => CommitFate::Held,
            (false, false) => CommitFate::Stays,
        }
    }
}

impl Overlay {
    /// Finds out what a commit comes to. `asked` is told of each change of the tree, and
    /// says whether it is to be committed; what belongs together goes or stays together.
    /// Nothing is written.
    ///
    /// # Errors
    /// It cannot be done at all.
    pub fn plan_commit(
        &self,
        side: CommitSide,
        asked: &mut dyn FnMut(&Change<'_>) -> CommitWish,
    ) -> Result<CommitPlan, CommitRefusal> {
        self.plan_commit_but(side, &[], asked)
    }

    /// The same. What lies in the storage at the paths of `stays` stays there, whether that
    /// is a change or not.
    ///
    /// # Errors
    /// As there.
    pub fn plan_commit_but(
        &self,
        side: CommitSide,
        stays: &[Path],
        asked: &mut dyn FnMut(&Change<'_>) -> CommitWish,
    ) -> Result<CommitPlan, CommitRefusal> {
        self.plan_commit_parts(side, (stays, &[]), asked)
    }

    /// The same. Of changes that are in `parts` these go, whatever is asked for; the rest of
    /// them stays.
    ///
    /// # Errors
    /// As there; [`CommitRefusal::NotInParts`].
    pub fn plan_commit_parts(
        &self,
        side: CommitSide,
        (stays, parts): (&[Path], &[Part]),
        asked: &mut dyn FnMut(&Change<'_>) -> CommitWish,
    ) -> Result<CommitPlan, CommitRefusal> {
        check::is_plain(self)?;
        let mut all = AllFound::of(self, asked)?;
        all.take_parts(parts)?;
        let root = |errno| CommitRefusal::Base(Path::default(), errno);
        let bonds = self.bonds().map_err(root)?;
        evidence::settle(self, &mut all, &bonds.alone).map_err(root)?;
        let web = Web::of(self, &all, (bonds, stays)).map_err(root)?;
        web.check_parts(&mut all)?;
        let mut fates = Fates::of(&all, &web);
        let in_conflict = |found: &Found| {
            matches!(found.state, BaseState::Changed(_)) && side != CommitSide::Ours
        };
        let conflicts: Vec<u32> = (0..)
            .zip(&all.list)
            .filter(|(change, found)| {
                (fates.goes(*change) || found.part.is_some()) && in_conflict(found)
            })
            .map(|(change, _)| change)
            .collect();
        if side == CommitSide::Theirs && !conflicts.is_empty() {
            fates.dropped = web.discarded_with(&all, &conflicts);
            check::drops_conflicts_only(&all, &fates)?;
        }
        let told = (0..).zip(&all.list).filter(|(_, found)| !found.times_only);
        let entries = told
            .map(|(change, found)| CommitEntry {
                path: found.path.clone(),
                fate: fates.fate(change, found, in_conflict(found)),
                bytes: found.bytes(),
                in_parts: found.in_parts,
            })
            .collect();
        let undecided = side == CommitSide::Neither && !conflicts.is_empty();
        let mut plan = CommitPlan {
            entries,
            makes: Vec::new(),
            program: CommitProgram::default(),
            stages: vec![StagePlace::default()],
        };
        if !undecided && plan.entries.iter().any(|entry| entry.is_done()) {
            plan.work_out(self, (&all, &web, &fates))?;
        }
        Ok(plan)
    }
}

impl CommitEntry {
    /// Something is done with it.
    fn is_done(&self) -> bool {
        matches!(
            self.fate,
            CommitFate::Goes | CommitFate::Follows | CommitFate::Part | CommitFate::Dropped(_)
        )
    }
}

impl CommitPlan {
    /// Something is not to be decided by itself.
    #[must_use]
    pub fn has_conflicts(&self) -> bool {
        self.first_conflict().is_some()
    }

    /// The path of the first that is.
    pub(super) fn first_conflict(&self) -> Option<&[u8]> {
        let conflict = |entry: &&CommitEntry| matches!(entry.fate, CommitFate::Conflict(_));
        self.entries.iter().find(conflict).map(|entry| &*entry.path)
    }

    /// What is made before anything of the base is touched, in this order.
    #[must_use]
    pub fn makes(&self) -> &[Make] {
        &self.makes
    }

    /// What is done then.
    #[must_use]
    pub fn program(&self) -> &CommitProgram {
        &self.program
    }

    /// From what becomes of the changes to what is done.
    fn work_out(
        &mut self,
        overlay: &Overlay,
        (all, web, fates): (&AllFound, &Web, &Fates),
    ) -> Result<(), CommitRefusal> {
        let failed = |errno| CommitRefusal::Base(Path::default(), errno);
        let lowers = Lowers::new(overlay, all, web, &|change| fates.goes(change));
        let tops = Tops::of(all, web, fates);
        check::all_is_read(all, &tops)?;
        let mounts = Mounts::of(overlay)?;
        let mut maker = Maker::new(all, &lowers, &mounts);
        for group in web.linked.iter().filter(|group| tops.is_all() || fates.goes(group.point)) {
            if !fates.is_dropped(group.point) {
                maker.link(group).map_err(failed)?;
            }
        }
        let count = u32::try_from(all.list.len()).unwrap_or(u32::MAX);
        (0..count).filter(|change| fates.goes(*change)).for_each(|change| maker.change(change));
        all.list.iter().for_each(|found| maker.part(found));
        let mut work = maker.finish();
        let checks = check::Checks::of(overlay, &mounts);
        checks.changes(all, fates)?;
        checks.links(&work, &lowers)?;
        self.stages = places::places(overlay, (&lowers, &mounts), &mut work)?;
        let inputs = ((all, web, fates), (&lowers, &work, &tops));
        let mut check = |path: &[u8], placed| checks.directory(path, placed);
        let times = times::times(inputs.0, inputs.1, &self.stages, &mut check)?;
        let Work { makes, takes, steps, trees, .. } = work;
        self.makes = makes;
        self.program.steps = takes.into_iter().chain(steps).chain(times).collect();
        self.program.tops = tops.tops;
        self.program.kept = tops.kept;
        self.program.trees = trees;
        Ok(())
    }
}
