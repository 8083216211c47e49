//! Where stages are made, and whether this user may do what is to be done.
//!
//! A stage lies in the root of the base, if that can be written. An ordinary user cannot
//! write the root of the system: then it lies in a directory on the way to what changes, of
//! which nothing moves, and best in one in which nobody else can rename anything, so that what
//! finishes a commit after a crash finds it where the journal says.

use std::collections::{BTreeMap, BTreeSet};

use rustix::fs::{Access, AtFlags, Statx};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use super::CommitRefusal;
use super::lowers::Lowers;
use super::mounts::Mounts;
use super::steps::Work;
use crate::commit::path::on_the_way;
use crate::format::commit::{Path, StagePlace, Step};
use crate::format::name::MetaName;
use crate::format::path::join;
use crate::reach::overlay::Overlay;
use crate::store::dirs::Dirs;
use crate::sys::{self, Result, Spot, trust};

/// The user whom a user namespace shows for all that it has no number for, root outside of it
/// most of all.
const OVERFLOW: u32 = 65534;

/// What is done in the base, by the paths of before.
#[derive(Default)]
struct Touched {
    /// Directories in which names change, and a change in each.
    dirs: BTreeMap<Path, Path>,
    /// Directories that get other attributes.
    dressed: BTreeSet<Path>,
    /// Those of them in which their owner cannot change names any more.
    closing: BTreeSet<Path>,
    /// What is moved, taken away or replaced, with all in it, or closed.
    gone: BTreeSet<Path>,
}

impl Touched {
    fn of(lowers: &Lowers<'_>, work: &Work) -> Touched {
        let mut touched = Touched::default();
        let mut note = |dir: Path, at: &Path| {
            touched.dirs.entry(dir).or_insert_with(|| at.clone());
        };
        for step in work.takes.iter().chain(&work.steps) {
            match step {
                Step::Take { at, .. } => {
                    note(Lowers::parent(at), at);
                    touched.gone.insert(at.clone());
                }
                // In a directory that is new anybody may do anything who has made it.
                Step::Put { at, .. } | Step::Swap { at, .. } => {
                    if let Some(dir) = lowers.below(&Lowers::parent(at)) {
                        note(dir, at);
                    }
                    let swapped = matches!(step, Step::Swap { .. }).then(|| lowers.below(at));
                    touched.gone.extend(swapped.flatten());
                }
                Step::Dress { at, after, .. } => {
                    let below = lowers.below(at);
                    let closes = |bits: u32| below.clone().filter(|_| after.mode & bits != bits);
                    touched.closing.extend(closes(0o200));
                    // Nor is anything below it reached.
                    touched.gone.extend(closes(0o100));
                    touched.dressed.extend(below);
                }
                Step::Time { .. } => {}
            }
        }
        touched
    }

    /// It stays where it is, and open to who could change it before.
    fn stays(&self, dir: &[u8]) -> bool {
        let mut above = [&b""[..]].into_iter().chain(on_the_way(dir));
        !self.closing.contains(dir) && !above.any(|above| self.gone.contains(above))
    }

    /// Directories that are there before and after, on the way to all that changes.
    fn on_the_way(&self) -> BTreeSet<&[u8]> {
        let touched = self.dirs.keys().chain(&self.dressed);
        touched.flat_map(|dir| on_the_way(dir).filter(|dir| self.stays(dir))).collect()
    }
}

/// How good a place is. The least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    /// Of this user, and nobody else can rename anything there, or it.
    Own,
    /// Of root, who lets everybody rename only what is his (`/tmp`).
    Sticky,
    /// A group may rename things there, or somebody above it.
    Shared,
}

/// Finds a place on each mount that changes, after all that is touched was found to be open to
/// this user.
pub(super) fn places(
    overlay: &Overlay,
    (lowers, mounts): (&Lowers<'_>, &Mounts),
    work: &mut Work,
) -> std::result::Result<Vec<StagePlace>, CommitRefusal> {
    if let Some(across) = work.across.take() {
        return Err(CommitRefusal::Across(across));
    }
    let touched = Touched::of(lowers, work);
    for dir in &touched.dressed {
        work.stage_of(&mounts.of_path(dir));
    }
    let (user, is_free) = (trust::user(), is_free());
    let rules_all = is_free && is_initial();
    let site = Site { dirs: &mounts.dirs, user, is_free, rules_all, meta: overlay.meta };
    site.check(&touched, lowers, work)?;
    if work.mounts.is_empty() {
        return Ok(vec![StagePlace::default()]);
    }
    work.mounts.iter().map(|point| site.place(&touched, mounts, point)).collect()
}

/// The process may change what belongs to others.
fn is_free() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::FOWNER))
}

/// Names in a directory may be changed.
fn is_open(dirs: &Dirs, dir: &[u8]) -> Result<()> {
    let rights = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(&*dirs.dir(dir)?, c".", rights, AtFlags::EACCESS)
}

struct Site<'a> {
    dirs: &'a Dirs,
    user: u32,
    /// This user may change what belongs to others, ...
    is_free: bool,
    /// ... whoever it is.
    rules_all: bool,
    meta: MetaName,
}

impl Site<'_> {
    /// Finds a place on the mount with this point.
    fn place(
        &self,
        touched: &Touched,
        mounts: &Mounts,
        point: &Path,
    ) -> std::result::Result<StagePlace, CommitRefusal> {
        let in_root = || is_open(self.dirs, b"").is_ok() && (self.is_free || touched.stays(b""));
        if point.is_empty() && in_root() {
            return Ok(StagePlace::default());
        }
        let mut on_it = touched.on_the_way();
        on_it.retain(|dir| mounts.of_path(dir) == *point);
        let fitting = on_it.iter().filter_map(|dir| {
            let depth = on_the_way(dir).count();
            Some((self.fitness(dir)?, depth, dir))
        });
        let Some((_, _, dir)) = fitting.min() else {
            return Err(CommitRefusal::NoPlace(on_it.into_iter().find_map(|dir| self.taken(dir))));
        };
        Ok(StagePlace { dir: (*dir).into(), mount: point.clone(), ..StagePlace::default() })
    }

    /// All that is done there is open to this user.
    fn check(
        &self,
        touched: &Touched,
        lowers: &Lowers<'_>,
        work: &Work,
    ) -> std::result::Result<(), CommitRefusal> {
        let (mut closed, mut why) = (Vec::new(), None);
        let mut refuse = |path: &Path, errno| {
            closed.push(path.clone());
            why.get_or_insert(errno);
        };
        for (dir, at) in &touched.dirs {
            // What else is wrong its step finds.
            if let Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) =
                is_open(self.dirs, dir)
            {
                refuse(at, errno);
            }
        }
        for dir in touched.dressed.iter().filter(|dir| !self.is_own(dir)) {
            refuse(dir, Errno::PERM);
        }
        for step in work.takes.iter().chain(&work.steps) {
            let below = match step {
                Step::Take { at, .. } => Some(at.clone()),
                Step::Swap { at, .. } => lowers.below(at),
                _ => None,
            };
            if below.is_some_and(|below| self.is_held(&below)) {
                refuse(step.at(), Errno::PERM);
            }
        }
        closed.dedup();
        why.map_or(Ok(()), |errno| Err(CommitRefusal::Closed(closed, errno)))
    }

    /// Attributes of a directory can be changed.
    fn is_own(&self, dir: &[u8]) -> bool {
        let stat = self.dirs.dir(dir).and_then(|dir| sys::stat_fd(&*dir));
        stat.is_ok_and(|stat| stat.stx_uid == self.user || self.rules(&stat))
    }

    /// It lies where everybody can move and remove only what is his, and is not.
    fn is_held(&self, path: &[u8]) -> bool {
        let both = self
            .dirs
            .at(path, |dir, name| Ok((sys::stat_fd(dir)?, sys::stat(Spot::at(dir, name))?)));
        let Ok((dir, stat)) = both else { return false };
        let is_sticky = u32::from(dir.stx_mode) & libc::S_ISVTX != 0;
        is_sticky && ![dir.stx_uid, stat.stx_uid].contains(&self.user) && !self.rules(&stat)
    }

    /// This user may change somebody else's.
    fn rules(&self, stat: &Statx) -> bool {
        self.rules_all || self.is_free && stat.stx_uid != OVERFLOW
    }

    /// How well a stage lies in a directory; `None`: it cannot.
    fn fitness(&self, path: &[u8]) -> Option<Fitness> {
        let dir = self.dirs.dir(path).ok()?;
        is_open(self.dirs, path).ok()?;
        let stat = sys::stat_fd(&*dir).ok()?;
        let (open_to, is_sticky) = writers(&stat);
        if open_to & 0o002 != 0 && !is_sticky || self.taken(path).is_some() {
            return None;
        }
        let above = on_the_way(path).filter(|above| above.len() < path.len());
        let is_firm = above.chain([&b""[..]]).all(|above| self.is_firm(above));
        Some(match stat.stx_uid {
            _ if open_to != 0 && !is_sticky || !is_firm => Fitness::Shared,
            uid if uid == self.user => Fitness::Own,
            0 | OVERFLOW => Fitness::Sticky,
            _ => Fitness::Shared,
        })
    }

    /// Nobody else can rename what this user has in a directory.
    fn is_firm(&self, path: &[u8]) -> bool {
        let stat = self.dirs.dir(path).and_then(|dir| sys::stat_fd(&*dir));
        stat.is_ok_and(|stat| {
            let (open_to, is_sticky) = writers(&stat);
            [0, OVERFLOW, self.user].contains(&stat.stx_uid) && (open_to == 0 || is_sticky)
        })
    }

    /// Somebody else has put something into a directory that is called as a stage: its path.
    fn taken(&self, dir: &[u8]) -> Option<Path> {
        let path = join(dir, self.meta.stage().as_bytes());
        let stat = self.dirs.at(&path, |dir, name| sys::stat(Spot::at(dir, name))).ok()?;
        (stat.stx_uid != self.user).then_some(path)
    }
}

/// Which others may write, as bits of the mode, and whether each can move only what is his.
fn writers(stat: &Statx) -> (u32, bool) {
    let mode = u32::from(stat.stx_mode);
    (mode & 0o022, mode & libc::S_ISVTX != 0)
}

/// The process is in no user namespace of its own, or its rights hold for all numbers.
fn is_initial() -> bool {
    let map = sys::procfs::read("self/uid_map").unwrap_or_default();
    let mut words = map.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    [&b"0"[..], b"0", b"4294967295"].iter().all(|word| words.next() == Some(word))
}
