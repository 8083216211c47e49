//! Directories of a tree by their paths, reached by no link, and by no mount that is no part
//! of it.

use std::cell::RefCell;
use std::rc::Rc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use crate::format::name::is_dot;
use crate::format::path::{Path, is_within, join, split};
use crate::sys::{self, Result, Spot};

/// Longest piece of a path that is resolved by one call, in bytes.
const PIECE: usize = 4000;

/// The directories of a tree.
pub(crate) struct Dirs {
    root: OwnedFd,
    /// What is mounted in it is part of it.
    across: bool,
    /// The one that was asked for last.
    near: RefCell<Option<(Path, Rc<OwnedFd>)>>,
}

impl Dirs {
    /// Those of the tree with this root.
    pub fn of(root: OwnedFd) -> Dirs {
        Dirs { root, across: false, near: RefCell::new(None) }
    }

    /// The same, with what is mounted in it or not.
    pub fn across(self, across: bool) -> Dirs {
        Dirs { across, ..self }
    }

    /// The root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// One by its path.
    pub fn dir(&self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if let Some((known, dir)) = &*self.near.borrow()
            && **known == *path
        {
            return Ok(Rc::clone(dir));
        }
        let dir = open_below_with(self.root(), path, self.across)?;
        let dir = Rc::new(dir);
        *self.near.borrow_mut() = Some((path.into(), Rc::clone(&dir)));
        Ok(dir)
    }

    /// Runs `f` with the directory of a path and the name in it. EBUSY: it is the root, which
    /// has none.
    pub fn at<T>(
        &self,
        path: &[u8],
        f: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let (dir, name) = split(path);
        if name.is_empty() {
            return Err(Errno::BUSY);
        }
        f((*self.dir(dir)?).as_fd(), name)
    }

    /// Calls `each` for all that is below a directory: with its path and its attributes. No
    /// descriptor is held but that of one directory.
    pub fn walk(
        &self,
        top: &[u8],
        each: &mut dyn FnMut(&[u8], &Statx) -> Result<()>,
    ) -> Result<()> {
        let mut left: Vec<Path> = vec![top.into()];
        while let Some(path) = left.pop() {
            let dir = self.dir(&path)?;
            let mut names = Vec::new();
            sys::each_entry(&*dir, |entry| {
                if !is_dot(entry.name) {
                    names.push(entry.name.to_vec());
                }
                true
            })?;
            for name in names {
                let (below, stat) =
                    (join(&path, &name), sys::stat(Spot::at((*dir).as_fd(), &name))?);
                each(&below, &stat)?;
                if sys::kind(&stat) == libc::S_IFDIR {
                    left.push(below);
                }
            }
        }
        Ok(())
    }

    /// Something else may be at this path, and below it, than before.
    pub fn moved(&self, path: &[u8]) {
        let mut near = self.near.borrow_mut();
        if near.as_ref().is_some_and(|(known, _)| is_within(known, path)) {
            *near = None;
        }
    }
}

/// A directory by its path in another one, reached by no link and no mount.
pub(crate) fn open_below(top: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    open_below_with(top, path, false)
}

fn open_below_with(top: BorrowedFd<'_>, path: &[u8], across: bool) -> Result<OwnedFd> {
    let mut dir = sys::open_dir(top, b".")?;
    let mut rest = path;
    while !rest.is_empty() {
        let (piece, left) = cut(rest)?;
        dir = match across {
            true => sys::open(Spot::Across(dir.as_fd(), piece), OFlags::PATH | OFlags::DIRECTORY)?,
            false => sys::open_dir(dir.as_fd(), piece)?,
        };
        rest = left;
    }
    Ok(dir)
}

/// The first names of a path, as many as one call takes, and the rest.
fn cut(path: &[u8]) -> Result<(&[u8], &[u8])> {
    if path.len() <= PIECE {
        return Ok((path, &[]));
    }
    let head = path.get(..PIECE).unwrap_or_default();
    let end = head.iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
    let (piece, rest) = path.split_at(end);
    Ok((piece, rest.strip_prefix(b"/").unwrap_or(rest)))
}
