//! One walk over all directories of a storage: damage and leftovers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::lost::{BaseDir, Lost, Shows};
use super::{STORAGE_MARK, UNCLEAN_MARK, is_marked};
use crate::error::Warning;
use crate::meta::{self, Loaded};
use crate::name::{INDEX_NAME, META_NAME, is_reserved};
use crate::sys::{self, each_entry};

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
    /// Entries that the base has not any more, and that were not listed.
    pub lost: u64,
    /// Files that lack data which the base has not any more, not listed.
    pub data_lost: u64,
    /// Files that have data of their own on top of a base file.
    pub dependent: u64,
}

struct Scan<'a> {
    root: &'a OwnedFd,
    lost: Lost<'a>,
    path: &'a Path,
    task: Task,
    warnings: &'a mut Vec<Warning>,
    damages: u64,
    leftovers: u64,
}

/// What a walk is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// To report; nothing is written.
    Look,
    /// To remove unfinished work.
    Clean,
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

/// Looks at all META files and reports damage, and what is not in the base any
/// more (`list`: entry by entry). What cannot be read is a warning. Nothing is
/// written.
pub(super) fn scan(
    root: &OwnedFd,
    base: &OwnedFd,
    path: &Path,
    list: bool,
    warnings: &mut Vec<Warning>,
) -> Scanned {
    let partial = [STORAGE_MARK, UNCLEAN_MARK].iter().any(|mark| is_marked(root, mark));
    let (task, mut empty, lost) = (Task::Look, true, Lost::new(base, list, partial));
    let mut scan = Scan { root, lost, path, task, warnings, damages: 0, leftovers: 0 };
    if let Err(errno) = scan.walk(&mut empty) {
        let path = path.to_path_buf();
        scan.warnings.push(Warning::Unchecked { path, errno });
    }
    let (damages, leftovers, lost) = (scan.damages, scan.leftovers, scan.lost.unlisted);
    let (data_lost, dependent) = (scan.lost.data_lost, scan.lost.dependent);
    if damages > LISTED {
        warnings.push(Warning::MoreDamage { count: damages - LISTED });
    }
    Scanned { damaged: damages > 0, empty, leftovers, lost, data_lost, dependent }
}

/// Removes unfinished work, once it is known that the storage may be written.
pub(super) fn remove_leftovers(
    root: &OwnedFd,
    base: &OwnedFd,
    path: &Path,
    warnings: &mut Vec<Warning>,
) {
    // What cannot be read has been reported by the first walk.
    let mut unreported = Vec::new();
    let (task, warned, lost) = (Task::Clean, &mut unreported, Lost::new(base, false, false));
    let mut scan = Scan { root, lost, path, task, warnings: warned, damages: 0, leftovers: 0 };
    if let Err(errno) = scan.walk(&mut true) {
        tracing::warn!("unfinished work of a crash is not removed: {errno}");
    }
    let count = scan.leftovers;
    if count > 0 {
        warnings.push(Warning::Leftovers { count });
    }
}

impl Scan<'_> {
    fn walk(&mut self, empty: &mut bool) -> Result<(), Errno> {
        let fd = rustix::io::fcntl_dupfd_cloexec(self.root, 0)?;
        let mut levels: Vec<Level> = Vec::new();
        let base = BaseDir::root(self.lost.base);
        let mut left = self.visit(fd.as_fd(), &base, &levels, b"", empty)?;
        left.reverse();
        levels.push(Level { name: Vec::new(), left, fd: Some(fd), shows: Shows::Same, base });
        while let Some(level) = levels.last_mut() {
            let Some(Sub { name, shows }) = level.left.pop() else {
                levels.pop();
                continue;
            };
            let parent = self.descriptor(&mut levels)?;
            let opened = sys::open_dir(parent, &name);
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
            below.fd = Some(sys::open_dir(parent.as_fd(), &below.name)?);
            // Keeping the last ones spares the next levels this way down.
            if index > held && index + HELD < last {
                above.close();
            }
        }
        let fd = levels.last().and_then(|level| level.fd.as_ref());
        fd.map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// The base directory of a subdirectory of the last level.
    fn base_below(&self, levels: &[Level], name: &[u8], shows: &Shows) -> BaseDir {
        let Some(parent) = levels.last().filter(|_| self.task == Task::Look) else {
            return BaseDir::None;
        };
        let above = levels.iter().skip(1).map(|level| (&*level.name, &level.shows));
        parent.base.below(self.lost.base, name, shows, above)
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
        let (mut others, mut files) = (Vec::new(), Vec::new());
        let mut has_meta = false;
        each_entry(dir, |entry| {
            match entry.name {
                b"." | b".." => {}
                name if name == META_NAME.as_bytes() => has_meta = true,
                // It has a META to look at, and may hold unfinished work.
                name if name == INDEX_NAME.as_bytes() && above.is_empty() => {
                    *empty = false;
                    subdirs.push(name.to_vec());
                }
                name if is_reserved(name) => leftovers.push(name.to_vec()),
                name => {
                    *empty = false;
                    if matches!(entry.kind, 0 | libc::S_IFDIR) {
                        subdirs.push(name.to_vec());
                    } else if self.lost.list {
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
        if has_meta && self.task == Task::Look {
            loaded = meta::load(dir)?;
            self.report(&loaded, base, &self.full_path(above, name));
        }
        for leftover in leftovers {
            if self.task == Task::Look || remove_leftover(dir, &leftover).is_ok() {
                self.leftovers += 1;
            }
        }
        let index = &loaded.index;
        let path = self.full_path(above, name);
        for name in &files {
            self.lost.data(self.root.as_fd(), dir, name, &path, self.warnings);
        }
        if let Some(base) = base.fd().filter(|_| self.task == Task::Look) {
            let dirs = subdirs.iter().map(|name| (name, libc::S_IFDIR));
            for (name, kind) in others.iter().map(|(name, kind)| (name, *kind)).chain(dirs) {
                if !index.hides(name) && index.redirect(name).is_none() && !is_reserved(name) {
                    self.lost.entry(name, kind, base, &path, self.warnings);
                }
            }
        }
        let shows = |name: &[u8]| match index.redirect(name) {
            Some(path) => Shows::Path(path.into()),
            None if index.hides(name) || is_reserved(name) => Shows::Nothing,
            None => Shows::Same,
        };
        Ok(subdirs.into_iter().map(|name| Sub { shows: shows(&name), name }).collect())
    }

    fn report(&mut self, loaded: &Loaded, base: &BaseDir, dir: &Path) {
        for damage in loaded.damage.iter().take(LISTED.saturating_sub(self.damages) as usize) {
            let (line, reason) = (damage.line, damage.reason);
            let path = dir.join(META_NAME);
            self.warnings.push(Warning::DamagedMeta { path, line, reason });
        }
        self.damages += loaded.damages;
        if loaded.torn_at.is_some() {
            let path = dir.join(META_NAME);
            self.warnings.push(Warning::UnfinishedMeta { path });
        }
        self.lost.meta(&loaded.index, base.fd(), dir, self.warnings);
    }

    fn unchecked(&mut self, above: &[Level], name: &[u8], errno: Errno) {
        // A type that getdents did not tell: no directory after all.
        if !matches!(errno, Errno::NOTDIR | Errno::LOOP) {
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

/// Unfinished copies are files, or directories that hold META at most.
fn remove_leftover(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {
            let inner = sys::open_dir(dir, name)?;
            match rustix::fs::unlinkat(&inner, META_NAME, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
        }
        other => other,
    }
}
