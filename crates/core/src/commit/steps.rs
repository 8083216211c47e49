//! The steps in the base, forward and back.
//!
//! Each looks at the stage to find out whether it was done, and after it was done whether
//! what it met was what the plan saw: if not, it is taken back at once. So nothing that
//! somebody else does in the base meanwhile is lost.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{RenameFlags, Statx};
use rustix::io::Errno;

use super::base::{Base, set_time};
use super::dress::{is_between, is_dressed, put_on};
use super::known::Known;
use super::stages::Stages;
use crate::format::commit::{Dress, Path, Seen, Slot, Step};
use crate::format::name::is_dot;
use crate::format::time::Timestamp;
use crate::sys::{self, Result, Spot, each_entry};

/// Where a step is done, and by what is known what was done.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub base: &'a Base,
    pub stages: &'a Stages,
    pub known: &'a Known<'a>,
    /// An earlier process may have done it.
    pub resumed: bool,
}

/// Why a step was not done: nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Something else is at this path than was seen.
    Changed(Path),
    /// A call has failed.
    Failed(Path, Errno),
}

impl Fault {
    fn of(at: &Path) -> impl Fn(Errno) -> Fault {
        |errno| Fault::Failed(at.clone(), errno)
    }
}

type Done = std::result::Result<(), Fault>;

impl Site<'_> {
    /// Does a step, unless it was done.
    pub fn forward(self, step: &Step) -> Done {
        match step {
            Step::Take { slot, at, was } => self.take(*slot, at, was),
            Step::Put { slot, at } => self.put(*slot, at),
            Step::Swap { slot, at, was } => self.swap(*slot, at, was),
            Step::Dress { at, before, after } => self.dress(at, (before, after)),
            Step::Time { at, after, .. } => self.set_time(at, *after).map_err(Fault::of(at)),
        }
    }

    /// Nobody has changed what was taken since.
    pub fn look_again(self, step: &Step) -> Done {
        let (Step::Take { slot, at, was } | Step::Swap { slot, at, was }) = step else {
            return Ok(());
        };
        let failed = Fault::of(at);
        let stays = self.stages.look(*slot).map_err(&failed)?.is_some();
        match !stays || self.is_what_was_seen(*slot, at, was).map_err(&failed)? {
            true => Ok(()),
            false => Err(Fault::Changed(at.clone())),
        }
    }

    /// Takes a step back, if it was done. Times are not among them: every step moves some.
    pub fn back(self, step: &Step) -> Done {
        match step {
            Step::Take { slot, at, .. } => self.untake(*slot, at).map_err(Fault::of(at)),
            Step::Put { slot, at } => self.unput(*slot, at),
            Step::Swap { slot, at, was } => self.unswap(*slot, at, was),
            Step::Dress { at, before, after } => {
                self.undress(at, before, after).map_err(Fault::of(at))
            }
            Step::Time { .. } => Ok(()),
        }
    }

    /// Gives a directory the time that it had, when all else is back.
    pub fn time_back(self, at: &Path, time: Timestamp) -> Done {
        match self.set_time(at, time) {
            // Somebody has removed it meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            other => other.map_err(Fault::of(at)),
        }
    }

    fn take(self, slot: Slot, at: &Path, was: &Seen) -> Done {
        let failed = Fault::of(at);
        if self.stages.look(slot).map_err(&failed)?.is_none() {
            self.check_untouched(at, was)?;
            match self.fetch(at, slot) {
                Err(Errno::NOENT) => return Err(Fault::Changed(at.clone())),
                other => other.map_err(&failed)?,
            }
        }
        if self.is_what_was_seen(slot, at, was).map_err(&failed)? {
            return Ok(());
        }
        self.deliver(slot, at).map_err(&failed)?;
        Err(Fault::Changed(at.clone()))
    }

    /// Of what one look tells, and a rename moves: so it is looked at before.
    fn check_untouched(self, at: &Path, was: &Seen) -> Done {
        let look = |dir: BorrowedFd<'_>, name: &[u8]| sys::stat(Spot::at(dir, name));
        match self.base.at(at, look) {
            Ok(stat) if was.is_untouched(&stat) => Ok(()),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                Err(Fault::Changed(at.clone()))
            }
            Err(errno) => Err(Fault::Failed(at.clone(), errno)),
        }
    }

    /// What has come to a slot is what the plan has seen.
    fn is_what_was_seen(self, slot: Slot, at: &Path, was: &Seen) -> Result<bool> {
        match self.stages.look(slot)? {
            Some(stat) if was.is(&stat) => {
                self.known.is_tree_untouched(self.stages.of(slot)?, slot, at)
            }
            _ => Ok(false),
        }
    }

    fn untake(self, slot: Slot, at: &Path) -> Result<()> {
        match self.stages.look(slot)? {
            Some(_) => self.deliver(slot, at),
            None => Ok(()),
        }
    }

    fn put(self, slot: Slot, at: &Path) -> Done {
        let failed = Fault::of(at);
        if self.stages.look(slot).map_err(&failed)?.is_none() {
            return Ok(());
        }
        match self.deliver(slot, at) {
            Err(Errno::EXIST) => Err(Fault::Changed(at.clone())),
            other => other.map_err(failed),
        }
    }

    /// What somebody else has put there, or into it, is not taken away with it.
    fn unput(self, slot: Slot, at: &Path) -> Done {
        let failed = Fault::of(at);
        if self.stages.look(slot).map_err(&failed)?.is_some() {
            return Ok(());
        }
        // Somebody may have removed it meanwhile.
        let Some(there) = self.look(at).map_err(&failed)? else { return Ok(()) };
        let own = match (self.known.made(slot), self.known.taken(slot)) {
            (Some(made), _) => {
                made.is(&there)
                    && (made.kind() != libc::S_IFDIR || self.is_empty(at).map_err(&failed)?)
            }
            (None, Some(taken)) => (taken.ino, taken.kind()) == (there.stx_ino, sys::kind(&there)),
            (None, None) => false,
        };
        if !own {
            return Err(Fault::Changed(at.clone()));
        }
        self.fetch(at, slot).map_err(&failed)?;
        // What has come into a new directory in between goes back with it.
        let made = self.known.made(slot).filter(|made| made.kind() == libc::S_IFDIR);
        if made.is_none() || self.is_empty_slot(slot).map_err(&failed)? {
            return Ok(());
        }
        self.deliver(slot, at).map_err(&failed)?;
        Err(Fault::Changed(at.clone()))
    }

    fn swap(self, slot: Slot, at: &Path, was: &Seen) -> Done {
        let failed = Fault::of(at);
        let there = self.stages.look(slot).map_err(&failed)?;
        if !self.is_exchanged(slot, there.as_ref(), was) {
            self.check_untouched(at, was)?;
            match self.exchange(slot, at) {
                Err(Errno::NOENT) => return Err(Fault::Changed(at.clone())),
                other => other.map_err(&failed)?,
            }
        }
        if self.is_what_was_seen(slot, at, was).map_err(&failed)? {
            return Ok(());
        }
        self.exchange(slot, at).map_err(&failed)?;
        Err(Fault::Changed(at.clone()))
    }

    /// What was made for a swap is in its place, whatever has come to the slot for it.
    fn is_exchanged(self, slot: Slot, there: Option<&Statx>, was: &Seen) -> bool {
        let Some(there) = there else { return true };
        match self.known.made(slot) {
            Some(made) => made.ino != there.stx_ino,
            None => was.ino == there.stx_ino,
        }
    }

    fn unswap(self, slot: Slot, at: &Path, was: &Seen) -> Done {
        let failed = Fault::of(at);
        let in_slot = self.stages.look(slot).map_err(&failed)?;
        if in_slot.is_none() || !self.is_exchanged(slot, in_slot.as_ref(), was) {
            return Ok(());
        }
        match self.look(at).map_err(&failed)? {
            // What was put there has been removed meanwhile.
            None => self.deliver(slot, at).map_err(failed),
            Some(there) => {
                let made = self.known.made(slot);
                if !made.is_none_or(|made| made.is(&there)) {
                    return Err(Fault::Changed(at.clone()));
                }
                self.exchange(slot, at).map_err(failed)
            }
        }
    }

    /// What the base has at a path.
    fn look(self, at: &Path) -> Result<Option<Statx>> {
        match self.base.at(at, |dir, name| sys::stat(Spot::at(dir, name))) {
            Err(Errno::NOTDIR) => Ok(None),
            other => sys::absent(other),
        }
    }

    fn is_empty(self, at: &Path) -> Result<bool> {
        is_empty((*self.base.dir(at)?).as_fd())
    }

    fn is_empty_slot(self, slot: Slot) -> Result<bool> {
        is_empty(sys::open_dir(self.stages.of(slot)?.dir(), &slot.name())?.as_fd())
    }

    fn fetch(self, at: &Path, slot: Slot) -> Result<()> {
        self.moving(at, |dir, name| {
            let to = (self.stages.of(slot)?.dir().into(), &*slot.name());
            sys::rename((dir.into(), name), to, RenameFlags::NOREPLACE)
        })
    }

    fn deliver(self, slot: Slot, at: &Path) -> Result<()> {
        self.moving(at, |dir, name| {
            let from = (self.stages.of(slot)?.dir().into(), &*slot.name());
            sys::rename(from, (dir.into(), name), RenameFlags::NOREPLACE)
        })
    }

    fn exchange(self, slot: Slot, at: &Path) -> Result<()> {
        self.moving(at, |dir, name| {
            let from = (self.stages.of(slot)?.dir().into(), &*slot.name());
            sys::rename(from, (dir.into(), name), RenameFlags::EXCHANGE)
        })
    }

    fn moving(
        self,
        at: &Path,
        rename: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let done = self.base.at(at, rename);
        self.base.moved(at);
        done
    }

    fn dress(self, at: &Path, (before, after): (&Dress, &Dress)) -> Done {
        let failed = Fault::of(at);
        let dir = match self.base.dir(at) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Fault::Changed(at.clone())),
            other => other.map_err(&failed)?,
        };
        let expected = match self.resumed {
            true => is_between(dir.as_fd(), before, after),
            false => is_dressed(dir.as_fd(), before),
        };
        if !expected.map_err(&failed)? {
            return Err(Fault::Changed(at.clone()));
        }
        put_on(dir.as_fd(), after).map_err(failed)
    }

    /// What somebody else has changed meanwhile stays as it is.
    fn undress(self, at: &Path, before: &Dress, after: &Dress) -> Result<()> {
        let dir = match self.base.dir(at) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other?,
        };
        let fd = dir.as_fd();
        if is_dressed(fd, before)? || !is_between(fd, before, after)? {
            return Ok(());
        }
        put_on(fd, before)
    }

    fn set_time(self, at: &[u8], time: Timestamp) -> Result<()> {
        set_time((*self.base.dir(at)?).as_fd(), time);
        Ok(())
    }
}

fn is_empty(dir: BorrowedFd<'_>) -> Result<bool> {
    let mut empty = true;
    each_entry(dir, |entry| {
        empty &= is_dot(entry.name);
        empty
    })?;
    Ok(empty)
}
