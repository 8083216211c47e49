//! A stage: a directory in the base that holds what is to come, and what has gone. It belongs
//! to one commit of one storage, and says so.

use std::path::PathBuf;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, Statx};
use rustix::io::Errno;

use super::base::Base;
use crate::format::commit::{Path, Slot, Token};
use crate::format::name::{MetaName, STAGE_IN_A_MOUNT, is_dot};
use crate::format::path::join;
use crate::store::aside::remove_tree;
use crate::store::commit_owner::{self, OWNER, StageOwner};
use crate::sys::{self, Result, Spot, trust};

/// The file in it that holds space back, for the way back on a full file system.
const SPARE: &[u8] = b"spare";

/// Files that are there while it is tried out what can be done.
const TRY: [&[u8]; 2] = [b"try-1", b"try-2"];

/// Bytes of that.
const SPARE_SIZE: u64 = 1 << 20;

/// A stage of a base.
pub(super) struct Stage {
    dir: OwnedFd,
    /// The directory of the base that it is in, and its name there.
    at: Path,
    name: &'static str,
}

/// Why there is no stage.
#[derive(Debug)]
pub(super) enum NoStage {
    /// Another storage, with this path, has it.
    Taken(PathBuf),
    /// It is there, in this directory of the base, and is nobody's, and there is something in
    /// it; or it is no directory.
    Odd(Path),
    /// The file system of the base cannot do what a commit needs.
    Poor(&'static str),
    /// It cannot be made.
    Failed(Errno),
}

impl From<Errno> for NoStage {
    fn from(errno: Errno) -> NoStage {
        NoStage::Failed(errno)
    }
}

/// To whom a stage belongs.
enum Owner {
    /// Nobody has written that yet: there is nothing in it.
    Nobody,
    /// It is not this user's, or others can write in it.
    Foreign,
    /// The commit with this token, of the storage with this path.
    Known(Token, PathBuf),
}

impl Stage {
    /// Makes it in a directory of the base, where there is none.
    pub fn make(
        base: &Base,
        (meta, at): (MetaName, &[u8]),
        (token, storage): (Token, &std::path::Path),
    ) -> std::result::Result<Stage, NoStage> {
        let odd = || NoStage::Odd(at.into());
        let dir = base.dir(at)?;
        let mut name = meta.stage().as_bytes();
        let made = sys::mkdir(&*dir, name, Mode::RWXU).or_else(|errno| match errno {
            Errno::PERM => {
                name = STAGE_IN_A_MOUNT.as_bytes();
                sys::mkdir(&*dir, name, Mode::RWXU)
            }
            errno => Err(errno),
        });
        match made {
            Err(Errno::EXIST) => {
                let left = match Stage::open_any(base, (meta, at)) {
                    Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Err(odd()),
                    left => left?.ok_or(Errno::EXIST)?,
                };
                match left.owner()? {
                    Owner::Known(_, path) => return Err(NoStage::Taken(path)),
                    Owner::Foreign => return Err(odd()),
                    Owner::Nobody if !left.is_bare()? => return Err(odd()),
                    Owner::Nobody => left.remove(base, meta)?,
                }
                sys::mkdir(&*dir, name, Mode::RWXU)?;
            }
            other => other?,
        }
        let stage = Stage::open_any(base, (meta, at))?.ok_or(Errno::NOENT)?;
        if matches!(stage.owner()?, Owner::Foreign) {
            return Err(odd());
        }
        match stage.furnish((token, storage)) {
            Ok(()) => Ok(stage),
            Err(why) => {
                let _ = stage.remove(base, meta);
                Err(why)
            }
        }
    }

    /// There is nothing in it but what is there before its owner is.
    fn is_bare(&self) -> Result<bool> {
        let mut bare = true;
        sys::each_entry(self.dir(), |entry| {
            let own = [OWNER, SPARE, TRY[0], TRY[1]].contains(&entry.name);
            bare &= own || is_dot(entry.name);
            bare
        })?;
        Ok(bare)
    }

    /// Makes of a new directory what a stage is to be.
    fn furnish(
        &self,
        (token, storage): (Token, &std::path::Path),
    ) -> std::result::Result<(), NoStage> {
        for list in [&b"system.posix_acl_default"[..], b"system.posix_acl_access"] {
            match sys::remove_xattr(Spot::Fd(self.dir()), list) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        sys::set_mode(Spot::Fd(self.dir()), 0o700)?;
        self.try_out()?;
        commit_owner::write(self.dir(), token, storage)?;
        self.keep_space_back();
        Ok(())
    }

    /// One that nobody has written his name in yet, in which nothing is.
    pub fn find_bare(base: &Base, place: (MetaName, &[u8])) -> Result<Option<Stage>> {
        let Ok(Some(stage)) = Stage::open_any(base, place) else { return Ok(None) };
        let bare = matches!(stage.owner()?, Owner::Nobody) && stage.is_bare()?;
        Ok(bare.then_some(stage))
    }

    /// That of this commit, if it is there.
    pub fn find(base: &Base, place: (MetaName, &[u8]), token: Token) -> Result<Option<Stage>> {
        let stage = match Stage::open_any(base, place) {
            // Somebody else's, who keeps it closed.
            Err(Errno::ACCESS) => return Ok(None),
            other => other?,
        };
        let Some(stage) = stage else { return Ok(None) };
        let own = matches!(stage.owner()?, Owner::Known(known, _) if known == token);
        Ok(own.then_some(stage))
    }

    fn open_any(base: &Base, (meta, at): (MetaName, &[u8])) -> Result<Option<Stage>> {
        let Some(above) = sys::absent(base.dir(at))? else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        for name in [meta.stage(), STAGE_IN_A_MOUNT] {
            let opened = sys::open_at(&*above, name.as_bytes(), flags);
            if let Some(dir) = sys::absent(opened)? {
                return Ok(Some(Stage { dir, at: at.into(), name }));
            }
        }
        Ok(None)
    }

    /// What the base's file system must be able to do.
    fn try_out(&self) -> std::result::Result<(), NoStage> {
        let [one, other] = TRY;
        for name in [one, other] {
            sys::create_private(self.dir(), name)?;
        }
        let end = |name| (self.dir().into(), name);
        let swapped = sys::rename(end(one), end(other), RenameFlags::EXCHANGE);
        let kept = sys::rename(end(one), end(other), RenameFlags::NOREPLACE);
        for name in [one, other] {
            sys::unlink(self.dir(), name, AtFlags::empty())?;
        }
        match (swapped, kept) {
            (Ok(()), Err(Errno::EXIST)) => Ok(()),
            (Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP), _) => {
                Err(NoStage::Poor("cannot exchange two names at once (renameat2(2))"))
            }
            (Err(errno), _) => Err(errno.into()),
            (Ok(()), _) => Err(NoStage::Poor("cannot rename without replacing (renameat2(2))")),
        }
    }

    fn owner(&self) -> Result<Owner> {
        // Somebody else who may write in that directory has put it there.
        if trust::check(&sys::stat_fd(&self.dir)?, false).is_err() {
            return Ok(Owner::Foreign);
        }
        Ok(match commit_owner::read(self.dir())? {
            StageOwner::Nobody | StageOwner::Unclear => Owner::Nobody,
            StageOwner::Commit(token, path) => Owner::Known(token, path),
        })
    }

    fn keep_space_back(&self) {
        if let Ok(file) = sys::create_private(self.dir(), SPARE) {
            let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SPARE_SIZE);
        }
    }

    /// Gives back the space that was kept for this.
    pub fn give_space(&self) {
        let _ = sys::unlink(self.dir(), SPARE, AtFlags::empty());
    }

    /// How names of unfinished work begin where it is.
    fn reserved(&self, meta: MetaName) -> MetaName {
        let is_usual = self.name == meta.stage();
        if is_usual { meta } else { MetaName::new("META_of_commit_").unwrap_or(meta) }
    }

    /// Its directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// What is in a slot.
    pub fn look(&self, slot: Slot) -> Result<Option<Statx>> {
        sys::absent(sys::stat(Spot::at(self.dir(), &slot.name())))
    }

    /// Removes it with all that is in it. The last that goes is to whom it belongs: so what
    /// is left of it after a crash is known again. Whatever it takes is done in it.
    pub fn remove(self, base: &Base, meta: MetaName) -> Result<()> {
        let meta = self.reserved(meta);
        let mut names = Vec::new();
        sys::each_entry(self.dir(), |entry| {
            if !is_dot(entry.name) && entry.name != OWNER {
                names.push(entry.name.to_vec());
            }
            true
        })?;
        for name in &names {
            match sys::unlink(self.dir(), name, AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) => {
                    remove_tree(meta, self.dir(), name, &mut |_| {})?;
                }
                other => drop(sys::absent(other)?),
            }
        }
        sys::absent(sys::unlink(self.dir(), OWNER, AtFlags::empty()))?;
        let (stage, above) = (self.name.as_bytes(), base.dir(&self.at)?);
        sys::absent(sys::unlink(&*above, stage, AtFlags::REMOVEDIR)).map(drop)
    }

    /// Gives it a name of unfinished work, so that it is nobody's way: something in it cannot
    /// be removed by this user. The result is its path in the base.
    pub fn set_aside(&self, base: &Base, meta: MetaName) -> Result<Path> {
        let (name, temp) = (self.name.as_bytes(), self.reserved(meta).temp());
        let above = base.dir(&self.at)?;
        let (from, to) = ((&*above).into(), (&*above).into());
        sys::rename((from, name), (to, &temp), RenameFlags::NOREPLACE)?;
        Ok(join(&self.at, &temp))
    }
}
