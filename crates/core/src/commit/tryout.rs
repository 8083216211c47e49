//! Whether the base lets its objects be moved, found out before any is: by moves that cannot
//! succeed. So a base in which they never could is not left half way again and again.

use hashbrown::{HashMap, HashSet};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Access, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::base::Base;
use super::known::Known;
use super::stage::Stage;
use super::stages::Stages;
use crate::format::commit::{CommitProgram, Path, Slot, Step};
use crate::format::name::parent;
use crate::sys::{self, Result, Spot, project};

/// A directory in the stage that no other one can replace, as it is not empty.
const FULL: &[u8] = b"try-full";
const IN_IT: &[u8] = b"in";

/// A path that does not let it be, and how.
type Refused = (Path, Errno);

/// Tries all that a program does with names.
pub(super) fn try_out(
    (base, stages): (&Base, &Stages),
    program: &CommitProgram,
) -> std::result::Result<(), Refused> {
    let own = |errno| (Path::default(), errno);
    stages.all().try_for_each(put_full).map_err(own)?;
    let given = stages.all().map(|stage| project_of(stage.dir())).collect();
    let projects = Projects { base, stages: given, known: HashMap::new() };
    let tried = Tryout { base, stages, known: Known::of(program), projects };
    let outcome = tried.all(program);
    stages.all().try_for_each(take_full).map_err(own)?;
    outcome
}

fn put_full(stage: &Stage) -> Result<()> {
    sys::mkdir(stage.dir(), FULL, Mode::RWXU)?;
    sys::create_private(sys::open_dir(stage.dir(), FULL)?.as_fd(), IN_IT).map(drop)
}

fn take_full(stage: &Stage) -> Result<()> {
    sys::unlink(sys::open_dir(stage.dir(), FULL)?.as_fd(), IN_IT, AtFlags::empty())?;
    sys::unlink(stage.dir(), FULL, AtFlags::REMOVEDIR)
}

struct Tryout<'a> {
    base: &'a Base,
    stages: &'a Stages,
    known: Known<'a>,
    projects: Projects<'a>,
}

impl Tryout<'_> {
    fn all(mut self, program: &CommitProgram) -> std::result::Result<(), Refused> {
        let mut written: HashSet<Path> = HashSet::new();
        let mut given: HashMap<Slot, Option<u32>> = HashMap::new();
        for step in &program.steps {
            let (Step::Take { at, .. } | Step::Put { at, .. } | Step::Swap { at, .. }) = step
            else {
                continue;
            };
            // Before any step it is where it was.
            let is_take = matches!(step, Step::Take { .. });
            let at: Path = if is_take { at.clone() } else { self.known.origin(at).into() };
            let failed = |errno| (at.clone(), errno);
            let dir: Path = parent(&at).into();
            if written.insert(dir.clone()) {
                self.is_open(&dir).map_err(|errno| (dir.clone(), errno))?;
            }
            match step {
                Step::Take { slot, was, .. } => {
                    given.insert(*slot, self.projects.given_by(&dir));
                    self.projects.leaves(&dir, *slot).map_err(failed)?;
                    self.moves(&at, (*slot, was.kind())).map_err(failed)?;
                }
                Step::Put { slot, .. } => {
                    let from = given.get(slot).copied();
                    let from = from.unwrap_or_else(|| self.projects.of_stage(*slot));
                    self.projects.enters(&dir, from).map_err(failed)?;
                }
                Step::Swap { slot, was, .. } => {
                    self.projects.leaves(&dir, *slot).map_err(failed)?;
                    let from = self.projects.of_stage(*slot);
                    self.projects.enters(&dir, from).map_err(failed)?;
                    self.moves(&at, (*slot, was.kind())).map_err(failed)?;
                }
                Step::Dress { .. } | Step::Time { .. } => {}
            }
        }
        Ok(())
    }

    /// Names in a directory may be changed. One that is new is ours.
    fn is_open(&self, dir: &[u8]) -> Result<()> {
        let may = |dir: BorrowedFd<'_>| {
            let rights = Access::WRITE_OK | Access::EXEC_OK;
            rustix::fs::accessat(dir, c".", rights, AtFlags::EACCESS)
        };
        match self.base.dir(dir) {
            Ok(dir) => may((*dir).as_fd()),
            Err(_) => Ok(()),
        }
    }

    /// A directory can be moved. What else is wrong with it its step finds.
    fn moves(&self, at: &[u8], (slot, kind): (Slot, u32)) -> Result<()> {
        if kind != libc::S_IFDIR {
            return Ok(());
        }
        let full = (self.stages.of(slot)?.dir().into(), FULL);
        let rename = |dir: BorrowedFd<'_>, name: &[u8]| {
            sys::rename((dir.into(), name), full, RenameFlags::empty())
        };
        match self.base.at(at, rename) {
            Err(
                errno @ (Errno::XDEV | Errno::ACCESS | Errno::PERM | Errno::BUSY | Errno::ROFS),
            ) => Err(errno),
            _ => Ok(()),
        }
    }
}

/// The projects of directories of the base.
struct Projects<'a> {
    base: &'a Base,
    /// That of each stage.
    stages: Vec<Option<u32>>,
    known: HashMap<Path, Option<u32>>,
}

impl Projects<'_> {
    fn given_by(&mut self, dir: &Path) -> Option<u32> {
        if let Some(known) = self.known.get(dir) {
            return *known;
        }
        let found = self.base.dir(dir).ok().and_then(|dir| project_of((*dir).as_fd()));
        self.known.insert(dir.clone(), found);
        found
    }

    fn of_stage(&self, slot: Slot) -> Option<u32> {
        self.stages.get(usize::from(slot.stage)).copied().flatten()
    }

    /// What is in a directory may come to the stage of a slot.
    fn leaves(&mut self, dir: &Path, slot: Slot) -> Result<()> {
        let stage = self.of_stage(slot);
        if stage.is_none() || self.given_by(dir) == stage { Ok(()) } else { Err(Errno::XDEV) }
    }

    /// What is of this project may come to a directory.
    fn enters(&mut self, dir: &Path, from: Option<u32>) -> Result<()> {
        match self.given_by(dir) {
            Some(given) if from != Some(given) => Err(Errno::XDEV),
            _ => Ok(()),
        }
    }
}

fn project_of(dir: BorrowedFd<'_>) -> Option<u32> {
    let opened = sys::open(Spot::at(dir, b"."), OFlags::RDONLY | OFlags::DIRECTORY);
    project::given_by(opened.ok()?).ok().flatten()
}
