//! One walk over all directories of a storage: damage and leftovers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;

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
    /// A crash has left unfinished work.
    pub leftovers: bool,
}

struct Scan<'a> {
    root: &'a OwnedFd,
    base: &'a OwnedFd,
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
    left: Vec<Vec<u8>>,
    fd: Option<OwnedFd>,
}

/// Looks at all META files and reports damage, and redirects that lead
/// nowhere. What cannot be read is a warning. Nothing is written.
pub(super) fn scan(
    root: &OwnedFd,
    base: &OwnedFd,
    path: &Path,
    warnings: &mut Vec<Warning>,
) -> Scanned {
    let (task, mut empty) = (Task::Look, true);
    let mut scan = Scan { root, base, path, task, warnings, damages: 0, leftovers: 0 };
    if let Err(errno) = scan.walk(&mut empty) {
        let path = path.to_path_buf();
        scan.warnings.push(Warning::Unchecked { path, errno });
    }
    let (damages, leftovers) = (scan.damages, scan.leftovers);
    if damages > LISTED {
        warnings.push(Warning::MoreDamage { count: damages - LISTED });
    }
    Scanned { damaged: damages > 0, empty, leftovers: leftovers > 0 }
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
    let (task, warned) = (Task::Clean, &mut unreported);
    let mut scan = Scan { root, base, path, task, warnings: warned, damages: 0, leftovers: 0 };
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
        let mut left = self.visit(fd.as_fd(), &levels, b"", empty)?;
        left.reverse();
        levels.push(Level { name: Vec::new(), left, fd: Some(fd) });
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.left.pop() else {
                levels.pop();
                continue;
            };
            let parent = self.descriptor(&mut levels)?;
            match sys::open_dir(parent, &name) {
                Ok(fd) => match self.visit(fd.as_fd(), &levels, &name, &mut false) {
                    Ok(left) => {
                        let depth = levels.len();
                        // The top stays open: all others are reached from it.
                        if depth > HELD
                            && let Some(far) = levels.get_mut(depth - HELD)
                        {
                            far.fd = None;
                        }
                        levels.push(Level { name, left, fd: Some(fd) });
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
                above.fd = None;
            }
        }
        let fd = levels.last().and_then(|level| level.fd.as_ref());
        fd.map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// One directory. The result are the names of its subdirectories.
    fn visit(
        &mut self,
        dir: BorrowedFd<'_>,
        above: &[Level],
        name: &[u8],
        empty: &mut bool,
    ) -> Result<Vec<Vec<u8>>, Errno> {
        let (mut subdirs, mut leftovers) = (Vec::new(), Vec::new());
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
                    }
                }
            }
            true
        })?;
        if has_meta && self.task == Task::Look {
            let loaded = meta::load(dir)?;
            self.report(&loaded, &self.full_path(above, name));
        }
        for leftover in leftovers {
            if self.task == Task::Look || remove_leftover(dir, &leftover).is_ok() {
                self.leftovers += 1;
            }
        }
        Ok(subdirs)
    }

    fn report(&mut self, loaded: &Loaded, dir: &Path) {
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
        for (name, target) in loaded.index.redirects() {
            if !self.base_has_dir(target) {
                let target = PathBuf::from(OsStr::from_bytes(target));
                let path = dir.join(OsStr::from_bytes(name));
                self.warnings.push(Warning::RedirectLost { path, target });
            }
        }
    }

    fn base_has_dir(&self, path: &[u8]) -> bool {
        let Ok(mut at) = rustix::io::fcntl_dupfd_cloexec(self.base, 0) else {
            return true;
        };
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match sys::open_dir(at.as_fd(), name) {
                Ok(next) => at = next,
                Err(errno) => return !matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP),
            }
        }
        true
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
