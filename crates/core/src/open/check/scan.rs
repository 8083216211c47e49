//! One walk over all directories of a storage: damage and leftovers.

mod visit;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::lost::{BaseDir, Lost, Shows};
use super::marks::Step;
use super::unfinished::{self, Losses};
use crate::format::meta::Record;
use crate::interface::error::Warning;
use crate::layers::Stack;
use crate::store::meta::Session;
use crate::sys::own::{Own, OwnAttributes, is_marked};
use crate::sys::{self, Within, Written};

/// Damaged lines that are listed one by one.
const LISTED: u64 = 100;

/// Directories whose descriptors are kept on the way down.
const HELD: usize = 64;

/// What the walk found.
pub(super) struct Scanned {
    /// A META file has damaged lines.
    pub damaged: bool,
    /// The storage holds no entry but META.
    pub empty: bool,
    /// Unfinished work that a crash has left.
    pub leftovers: u64,
    /// Some of it speaks of storage objects by their numbers, which only this
    /// directory has and no copy.
    pub by_number: bool,
    /// Entries that the base has not any more, and that were not listed.
    pub lost: u64,
    /// The root has a META, or unfinished work.
    root_meta: bool,
    /// So has some directory below.
    meta_below: bool,
    /// The root of another storage lies below.
    storage_below: bool,
    /// What META of the index has to be told of names that a crash has left
    /// undecided.
    pub decided: Vec<Record>,
    /// Objects of the index that no name leads to.
    pub orphans: Vec<Vec<u8>>,
    /// Files that lack data which the base has not any more, not listed.
    pub data_lost: u64,
    /// Files that have data of their own on top of a base file.
    pub dependent: u64,
    /// There was more than was compared with the base.
    pub skipped: bool,
    /// Some META was not read, so that it may have what a crash has left.
    pub unread: bool,
}

impl Scanned {
    /// Whether it looks like a storage: some need not have META in their root
    /// (those of 2005), but then no storage lies below.
    pub fn is_storage(&self) -> bool {
        self.root_meta || self.meta_below && !self.storage_below
    }

    /// Whether nothing of mini_fo's lies in it.
    pub fn is_unused(&self) -> bool {
        !self.root_meta && !self.meta_below
    }
}

/// A storage to walk over, and the base it is compared with.
pub(super) struct Walk<'a> {
    pub root: &'a OwnedFd,
    pub stack: &'a Stack,
    /// Path of the storage.
    pub path: &'a Path,
    pub names: OwnAttributes,
    /// How names are written in the storage.
    pub written: Written,
    /// The mount that did not end in order.
    pub session: Session,
}

struct Scan<'a> {
    root: &'a OwnedFd,
    lost: Lost<'a>,
    path: &'a Path,
    task: Task,
    written: Written,
    warnings: &'a mut Vec<Warning>,
    damages: u64,
    leftovers: u64,
    by_number: bool,
    losses: Losses,
    session: Session,
    root_meta: bool,
    meta_below: bool,
    storage_below: bool,
    /// META files that do not count.
    foreign: u64,
    /// Names that are not shown and not mini_fo's own: the first, and how many.
    unseen: (Option<PathBuf>, u64),
    /// Some META was not read, or not put in order.
    unread: bool,
}

/// What a walk is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// To report; nothing is written.
    Look,
    /// To remove unfinished work.
    Clean,
    /// To write META without its damaged lines.
    Mend,
    /// To take over marks of an earlier version.
    Marks(Step),
}

/// A directory on the way down: its name, the subdirectories still to visit,
/// and its descriptor unless it is too far up.
struct Level {
    name: Vec<u8>,
    left: Vec<Sub>,
    fd: Option<OwnedFd>,
    shows: Shows,
    base: BaseDir,
}

impl Level {
    fn close(&mut self) {
        self.fd = None;
        if matches!(self.base, BaseDir::Open(_)) {
            self.base = BaseDir::Closed;
        }
    }
}

/// A subdirectory to visit.
struct Sub {
    name: Vec<u8>,
    shows: Shows,
}

impl Walk<'_> {
    /// Looks at all META files and reports damage, and what is not in the base any
    /// more (`list`: entry by entry). What cannot be read is a warning. Nothing is
    /// written.
    pub fn look(&self, list: bool, warnings: &mut Vec<Warning>) -> Scanned {
        let mut empty = true;
        let mut scan = self.start(Task::Look, list, warnings);
        let root = self.root.as_fd();
        let walked = scan.walk(&mut empty).and_then(|()| {
            let mut orphans = scan.losses.orphans(root, self.session.meta)?;
            if scan.lost.partial && !scan.lost.unsure {
                orphans.extend(unfinished::orphaned_maps(
                    root,
                    self.session.meta,
                    &scan.lost.maps,
                )?);
            }
            Ok(orphans)
        });
        let orphans = walked.unwrap_or_else(|errno| {
            let path = self.path.to_path_buf();
            scan.unread = true;
            scan.warnings.push(Warning::Unchecked { path, errno });
            Vec::new()
        });
        if let (Some(first), count) = std::mem::take(&mut scan.unseen)
            && list
        {
            let name = self.session.meta.to_string();
            scan.warnings.push(Warning::UnseenNames { path: self.path.into(), name, first, count });
        }
        let Scan { damages, leftovers, by_number, foreign, unread, .. } = scan;
        let Scan { root_meta, meta_below, storage_below, .. } = scan;
        let (lost, decided) = (scan.lost.unlisted, scan.losses.records);
        let Lost { data_lost, dependent, skipped, .. } = scan.lost;
        let leftovers = leftovers + (decided.len() + orphans.len()) as u64;
        if damages > LISTED {
            warnings.push(Warning::MoreDamage { path: self.path.into(), count: damages - LISTED });
        }
        if foreign > LISTED {
            warnings.push(Warning::MoreForeign { path: self.path.into(), count: foreign - LISTED });
        }
        Scanned {
            damaged: damages > 0,
            empty,
            leftovers,
            by_number,
            lost,
            root_meta,
            meta_below,
            storage_below,
            decided,
            orphans,
            data_lost,
            dependent,
            skipped,
            unread,
        }
    }

    /// Removes unfinished work, once it is known that the storage may be written.
    /// The result tells whether all META that could not be read is in order now.
    pub fn remove_leftovers(&self, scanned: &Scanned, warnings: &mut Vec<Warning>) -> bool {
        let (decided, orphans) = (&scanned.decided, &scanned.orphans);
        if let Err(errno) = unfinished::finish(self.root.as_fd(), self.session, decided, orphans) {
            tracing::warn!("unfinished work of a crash is left in the index: {errno}");
        }
        let mut told = Vec::new();
        let mut scan = self.start(Task::Clean, false, &mut told);
        if let Err(errno) = scan.walk(&mut true) {
            tracing::warn!("unfinished work of a crash is not removed: {errno}");
            scan.unread = true;
        }
        let (count, unread) = (scan.leftovers, scan.unread);
        if count > 0 {
            warnings.push(Warning::Leftovers { path: self.path.into(), count });
        }
        // What cannot be read has been reported by the first walk.
        told.retain(|warning| matches!(warning, Warning::Unended { .. }));
        warnings.append(&mut told);
        !unread
    }

    /// Drops damaged lines: META of their directories is written anew.
    pub fn drop_damage(&self) {
        let mut unreported = Vec::new();
        if let Err(errno) = self.start(Task::Mend, false, &mut unreported).walk(&mut true) {
            tracing::warn!("damaged lines are left in META: {errno}");
        }
    }

    /// A step of taking over marks; all of it, or an error.
    pub fn take_over(&self, step: Step) -> Result<(), Errno> {
        let mut unread = Vec::new();
        self.start(Task::Marks(step), false, &mut unread).walk(&mut true)?;
        match unread.first() {
            Some(Warning::Unchecked { errno, .. }) => Err(*errno),
            _ => Ok(()),
        }
    }

    fn start<'w>(&'w self, task: Task, list: bool, warnings: &'w mut Vec<Warning>) -> Scan<'w> {
        let marked = |own| is_marked(self.root, self.names, own);
        let partial = task == Task::Look && (marked(Own::Storage) || marked(Own::Unclean));
        let lost = Lost::new(self.stack, self.names, list, partial);
        let (root, path) = (self.root, self.path);
        let (damages, leftovers, foreign) = (0, 0, 0);
        let losses = match task {
            Task::Look => Losses::of(root.as_fd(), self.session),
            Task::Clean | Task::Mend | Task::Marks(_) => Losses::default(),
        };
        Scan {
            root,
            lost,
            path,
            task,
            written: self.written,
            warnings,
            damages,
            leftovers,
            by_number: losses.are_open(),
            losses,
            session: self.session,
            root_meta: false,
            meta_below: false,
            storage_below: false,
            foreign,
            unseen: (None, 0),
            unread: false,
        }
    }
}

impl Scan<'_> {
    fn walk(&mut self, empty: &mut bool) -> Result<(), Errno> {
        let fd = rustix::io::fcntl_dupfd_cloexec(self.root, 0)?;
        let mut levels: Vec<Level> = Vec::new();
        let base = BaseDir::root(self.lost.stack);
        let mut left = self.visit(fd.as_fd(), &base, &levels, b"", empty)?;
        left.reverse();
        levels.push(Level { name: Vec::new(), left, fd: Some(fd), shows: Shows::Same, base });
        while let Some(level) = levels.last_mut() {
            let Some(Sub { name, shows }) = level.left.pop() else {
                levels.pop();
                continue;
            };
            let parent = self.descriptor(&mut levels)?;
            let opened = sys::open_dir(self.within(parent), &name);
            let base = self.base_below(&levels, &name, &shows);
            match opened {
                Ok(fd) => match self.visit(fd.as_fd(), &base, &levels, &name, &mut false) {
                    Ok(left) => {
                        let depth = levels.len();
                        // The top stays open: all others are reached from it.
                        if depth > HELD
                            && let Some(far) = levels.get_mut(depth - HELD)
                        {
                            far.close();
                        }
                        levels.push(Level { name, left, fd: Some(fd), shows, base });
                    }
                    Err(errno) => self.unchecked(&levels, &name, errno),
                },
                Err(errno) => self.unchecked(&levels, &name, errno),
            }
        }
        Ok(())
    }

    /// The descriptor of the last level, opened again from the top if it was
    /// closed on the way down.
    fn descriptor<'l>(&self, levels: &'l mut [Level]) -> Result<BorrowedFd<'l>, Errno> {
        let last = levels.len().saturating_sub(1);
        let held = levels.iter().rposition(|level| level.fd.is_some()).unwrap_or(0);
        for index in held..last {
            let (above, below) = levels.split_at_mut(index + 1);
            let (Some(above), Some(below)) = (above.last_mut(), below.first_mut()) else {
                break;
            };
            let parent = above.fd.as_ref().ok_or(Errno::BADF)?;
            below.fd = Some(sys::open_dir(self.within(parent.as_fd()), &below.name)?);
            // Keeping the last ones spares the next levels this way down.
            if index > held && index + HELD < last {
                above.close();
            }
        }
        let fd = levels.last().and_then(|level| level.fd.as_ref());
        fd.map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn within<'d>(&self, dir: BorrowedFd<'d>) -> Within<'d> {
        Within::new(dir, self.written)
    }

    /// The base directory of a subdirectory of the last level.
    fn base_below(&self, levels: &[Level], name: &[u8], shows: &Shows) -> BaseDir {
        let Some(parent) = levels.last().filter(|_| self.task == Task::Look) else {
            return BaseDir::None;
        };
        let above = levels.iter().skip(1).map(|level| (&*level.name, &level.shows));
        parent.base.below(self.lost.stack, name, shows, above)
    }

    fn unchecked(&mut self, above: &[Level], name: &[u8], errno: Errno) {
        // A type that getdents did not tell: no directory after all.
        if !matches!(errno, Errno::NOTDIR | Errno::LOOP) {
            self.lost.unsure = true;
            self.unread = true;
            let path = self.full_path(above, name);
            self.warnings.push(Warning::Unchecked { path, errno });
        }
    }

    fn full_path(&self, above: &[Level], name: &[u8]) -> PathBuf {
        let mut path = self.path.to_path_buf();
        for level in above.iter().filter(|level| !level.name.is_empty()) {
            path.push(OsStr::from_bytes(&level.name));
        }
        if !name.is_empty() {
            path.push(OsStr::from_bytes(name));
        }
        path
    }
}
