//! One walk over all directories of a storage: damage and leftovers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::lost::{BaseDir, Lost, Shows};
use super::marks::{self, Step};
use super::unfinished::{self, Losses};
use crate::format::meta::{Index, Record};
use crate::format::name::MetaName;
use crate::interface::error::{Foreign, Warning};
use crate::layers::Stack;
use crate::store::aside::remove_tree;
use crate::store::meta;
use crate::store::meta::{Loaded, Session};
use crate::store::meta_dir::decide;
use crate::sys::own::{Own, OwnAttributes, is_marked};
use crate::sys::trust::Unusable;
use crate::sys::{self, Spot, Within, Written, each_entry};

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

    /// One directory. The result are its subdirectories.
    fn visit(
        &mut self,
        dir: BorrowedFd<'_>,
        base: &BaseDir,
        above: &[Level],
        name: &[u8],
        empty: &mut bool,
    ) -> Result<Vec<Sub>, Errno> {
        let (mut subdirs, mut leftovers) = (Vec::new(), Vec::new());
        let (mut others, mut files, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
        let (mut has_meta, within) = (false, self.within(dir));
        let meta = self.session.meta;
        each_entry(within, |entry| {
            match entry.name {
                b"." | b".." => {}
                name if name == meta.as_bytes() => has_meta = true,
                // It has a META to look at, and may hold unfinished work.
                name if name == meta.index().as_bytes() && above.is_empty() => {
                    *empty = false;
                    subdirs.push(name.to_vec());
                }
                name if [meta.reserve(), meta.lock()].map(str::as_bytes).contains(&name)
                    && above.is_empty() => {}
                name if meta.is_leftover(name) => leftovers.push(name.to_vec()),
                // Nobody sees it.
                name if meta.reserves(name) => {
                    *empty = false;
                    unseen.push(name.to_vec());
                }
                name => {
                    *empty = false;
                    if matches!(entry.kind, 0 | libc::S_IFDIR) {
                        subdirs.push(name.to_vec());
                    } else if self.lost.list || matches!(self.task, Task::Marks(_)) {
                        others.push((name.to_vec(), entry.kind));
                    }
                    if matches!(entry.kind, 0 | libc::S_IFREG) && self.lost.may_look() {
                        files.push(name.to_vec());
                    }
                }
            }
            true
        })?;
        let mut loaded = Loaded::default();
        let has_own = has_meta || !leftovers.is_empty();
        let seen = if above.is_empty() { &mut self.root_meta } else { &mut self.meta_below };
        *seen |= has_own;
        let path = self.full_path(above, name);
        self.count_unseen(&unseen, &path);
        if has_meta && self.task == Task::Clean {
            self.settle(within, &path);
        }
        if has_meta && self.task == Task::Mend {
            // The session stands in the root alone.
            let session = if above.is_empty() { self.session } else { Session::none(meta) };
            unfinished::drop_damage(dir, self.session, session)?;
        }
        if has_meta && self.task == Task::Look {
            match meta::look(dir, self.session) {
                Ok(found) => {
                    loaded = found;
                    self.leftovers += u64::from(unfinished::is_unfinished(&loaded));
                    self.by_number |= unfinished::needs_numbers(&loaded.index);
                    decide(within, &mut loaded.index)?;
                }
                Err(Unusable::Failed(errno)) => return Err(errno),
                Err(Unusable::Foreign(foreign)) => self.foreign(foreign, &path),
            }
            self.storage_below |= !above.is_empty() && loaded.index.origin().is_some();
            self.report(&loaded, base, &path);
        }
        self.losses.visit(within, &loaded.index)?;
        self.leftovers += match self.task {
            Task::Look => leftovers.len() as u64,
            Task::Clean => remove_all(meta, dir, &leftovers),
            Task::Mend | Task::Marks(_) => 0,
        };
        if let Task::Marks(step) = self.task {
            for (name, _) in others.iter().filter(|(_, kind)| matches!(*kind, 0 | libc::S_IFREG)) {
                marks::take_over_one(within, name, step)?;
            }
            return Ok(below(meta, subdirs, &loaded.index));
        }
        let index = &loaded.index;
        for name in &files {
            self.lost.data((self.root.as_fd(), meta.index()), within, name, &path, self.warnings);
        }
        if let Some(base) = base.dir().filter(|_| self.task == Task::Look) {
            let dirs = subdirs.iter().map(|name| (name, libc::S_IFDIR));
            for (name, kind) in others.iter().map(|(name, kind)| (name, *kind)).chain(dirs) {
                if !index.hides(name) && index.redirect(name).is_none() && !meta.reserves(name) {
                    let device = index.kept(name).and_then(|kept| kept.device);
                    let kind = device.map_or(kind, |(kind, _)| kind);
                    self.lost.entry(name, kind, base, &path, self.warnings);
                }
            }
        }
        Ok(below(meta, subdirs, index))
    }

    /// Where it fails, what is below must be put in order all the same.
    fn settle(&mut self, dir: Within<'_>, path: &Path) {
        match unfinished::settle(dir, self.session) {
            Ok(()) => {}
            Err(Unusable::Foreign(_)) => self.unread = true,
            Err(Unusable::Failed(errno)) => {
                self.unread = true;
                self.warnings
                    .push(Warning::Unended { path: path.join(self.session.meta.as_str()), errno });
            }
        }
    }

    fn foreign(&mut self, foreign: Foreign, dir: &Path) {
        self.unread = true;
        self.foreign += 1;
        if self.foreign <= LISTED {
            let path = dir.join(self.session.meta.as_str());
            self.warnings.push(Warning::Foreign { path, foreign });
        }
    }

    fn count_unseen(&mut self, names: &[Vec<u8>], dir: &Path) {
        let (first, count) = &mut self.unseen;
        *count += names.len() as u64;
        if let (None, Some(name)) = (&first, names.first()) {
            *first = Some(dir.join(OsStr::from_bytes(name)));
        }
    }

    fn report(&mut self, loaded: &Loaded, base: &BaseDir, dir: &Path) {
        for damage in loaded.damage.iter().take(LISTED.saturating_sub(self.damages) as usize) {
            let (line, reason) = (damage.line, damage.reason);
            let path = dir.join(self.session.meta.as_str());
            self.warnings.push(Warning::DamagedMeta { path, line, reason });
        }
        self.damages += loaded.damages;
        if loaded.torn_at.is_some() {
            let path = dir.join(self.session.meta.as_str());
            self.warnings.push(Warning::UnfinishedMeta { path });
        }
        self.lost.meta(&loaded.index, base, dir, self.warnings);
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

/// The subdirectories that META speaks of by `index`.
fn below(meta: MetaName, names: Vec<Vec<u8>>, index: &Index) -> Vec<Sub> {
    let shows = |name: &[u8]| match index.redirect(name) {
        Some(path) => Shows::Path(path.into()),
        None if index.hides(name) || meta.reserves(name) => Shows::Nothing,
        None => Shows::Same,
    };
    names.into_iter().map(|name| Sub { shows: shows(&name), name }).collect()
}

/// Removes leftovers, which nobody sees in the time of modification. The result is how
/// many are gone.
fn remove_all(meta: MetaName, dir: BorrowedFd<'_>, leftovers: &[Vec<u8>]) -> u64 {
    if leftovers.is_empty() {
        return 0;
    }
    let before = sys::stat_fd(dir);
    let gone =
        leftovers.iter().filter(|name| remove_leftover(meta, dir, name).is_ok()).count() as u64;
    let times = before.and_then(|before| sys::copy_times(&before, Spot::Fd(dir)));
    if let Err(errno) = times {
        tracing::debug!("a directory shows that leftovers were removed: {errno}");
    }
    gone
}

/// Unfinished copies are files, or directories that hold META at most; what was set aside
/// by a discard may be a tree.
fn remove_leftover(meta: MetaName, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => remove_tree(meta, dir, name, &mut |_| {}),
        other => other,
    }
}
