//! One directory of a storage on the walk.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::super::lost::{BaseDir, Shows};
use super::super::{marks, unfinished};
use super::{LISTED, Level, Scan, Sub, Task};
use crate::format::meta::Index;
use crate::format::name::MetaName;
use crate::interface::error::{Foreign, Warning};
use crate::store::aside::remove_tree;
use crate::store::meta;
use crate::store::meta::{Loaded, Session};
use crate::store::meta_dir::decide;
use crate::sys::trust::Unusable;
use crate::sys::{self, Spot, Within, each_entry};

/// What a directory of a storage holds.
#[derive(Default)]
struct Listed {
    has_meta: bool,
    /// What is a directory, or may be one.
    subdirs: Vec<Vec<u8>>,
    /// Unfinished work.
    leftovers: Vec<Vec<u8>>,
    /// All else, where somebody wants to know.
    others: Vec<(Vec<u8>, u32)>,
    /// What may have data in the base.
    files: Vec<Vec<u8>>,
    /// Names that nobody sees, and that are not mini_fo's own.
    unseen: Vec<Vec<u8>>,
}

impl Scan<'_> {
    /// One directory. The result are its subdirectories.
    pub(super) fn visit(
        &mut self,
        dir: BorrowedFd<'_>,
        base: &BaseDir,
        above: &[Level],
        name: &[u8],
        empty: &mut bool,
    ) -> Result<Vec<Sub>, Errno> {
        let (meta, within) = (self.session.meta, self.within(dir));
        let listed = self.list(within, above.is_empty(), empty)?;
        let has_own = listed.has_meta || !listed.leftovers.is_empty();
        let seen = if above.is_empty() { &mut self.root_meta } else { &mut self.meta_below };
        *seen |= has_own;
        let path = self.full_path(above, name);
        self.count_unseen(&listed.unseen, &path);
        let mut loaded = Loaded::default();
        if listed.has_meta {
            loaded = self.hear(within, (base, &path), above.is_empty())?;
        }
        self.losses.visit(within, &loaded.index)?;
        self.leftovers += match self.task {
            Task::Look => listed.leftovers.len() as u64,
            Task::Clean => remove_all(meta, dir, &listed.leftovers),
            Task::Mend | Task::Marks(_) => 0,
        };
        match self.task {
            Task::Marks(step) => {
                let may_be_file = |kind| matches!(kind, 0 | libc::S_IFREG);
                for (name, _) in listed.others.iter().filter(|(_, kind)| may_be_file(*kind)) {
                    marks::take_over_one(within, name, step)?;
                }
            }
            _ => self.compare(&listed, within, (&loaded.index, base), &path),
        }
        Ok(below(meta, listed.subdirs, &loaded.index))
    }

    /// What is in a directory. `empty`: nothing but mini_fo's own was met so far.
    fn list(&mut self, dir: Within<'_>, is_root: bool, empty: &mut bool) -> Result<Listed, Errno> {
        let (meta, mut listed) = (self.session.meta, Listed::default());
        each_entry(dir, |entry| {
            match entry.name {
                b"." | b".." => {}
                name if name == meta.as_bytes() => listed.has_meta = true,
                // It has a META to look at, and may hold unfinished work.
                name if name == meta.index().as_bytes() && is_root => {
                    *empty = false;
                    listed.subdirs.push(name.to_vec());
                }
                name if is_root
                    && [meta.reserve(), meta.lock(), meta.commit()]
                        .map(str::as_bytes)
                        .contains(&name) => {}
                name if meta.is_leftover(name) => listed.leftovers.push(name.to_vec()),
                // Nobody sees it.
                name if meta.reserves(name) => {
                    *empty = false;
                    listed.unseen.push(name.to_vec());
                }
                name => {
                    *empty = false;
                    if matches!(entry.kind, 0 | libc::S_IFDIR) {
                        listed.subdirs.push(name.to_vec());
                    } else if self.lost.list || matches!(self.task, Task::Marks(_)) {
                        listed.others.push((name.to_vec(), entry.kind));
                    }
                    if matches!(entry.kind, 0 | libc::S_IFREG) && self.lost.may_look() {
                        listed.files.push(name.to_vec());
                    }
                }
            }
            true
        })?;
        Ok(listed)
    }

    /// META of a directory: read, or put in order, as the task is.
    fn hear(
        &mut self,
        dir: Within<'_>,
        (base, path): (&BaseDir, &Path),
        is_root: bool,
    ) -> Result<Loaded, Errno> {
        let mut loaded = Loaded::default();
        match self.task {
            Task::Clean => self.settle(dir, path),
            Task::Mend => {
                // The session stands in the root alone.
                let session = if is_root { self.session } else { Session::none(self.session.meta) };
                unfinished::drop_damage(dir.fd(), self.session, session)?;
            }
            Task::Look => {
                match meta::look(dir.fd(), self.session) {
                    Ok(found) => {
                        loaded = found;
                        self.leftovers += u64::from(unfinished::is_unfinished(&loaded));
                        self.by_number |= unfinished::needs_numbers(&loaded.index);
                        decide(dir, &mut loaded.index)?;
                    }
                    Err(Unusable::Failed(errno)) => return Err(errno),
                    Err(Unusable::Foreign(foreign)) => self.foreign(foreign, path),
                }
                self.storage_below |= !is_root && loaded.index.origin().is_some();
                self.report(&loaded, base, path);
            }
            Task::Marks(_) => {}
        }
        Ok(loaded)
    }

    /// Compares entries with the base.
    fn compare(
        &mut self,
        listed: &Listed,
        dir: Within<'_>,
        (index, base): (&Index, &BaseDir),
        path: &Path,
    ) {
        let meta = self.session.meta;
        for name in &listed.files {
            let places = (self.root.as_fd(), meta.index());
            self.lost.data(places, dir, name, path, self.warnings);
        }
        let Some(base) = base.dir().filter(|_| self.task == Task::Look) else { return };
        let dirs = listed.subdirs.iter().map(|name| (name, libc::S_IFDIR));
        let others = listed.others.iter().map(|(name, kind)| (name, *kind));
        for (name, kind) in others.chain(dirs) {
            if !index.hides(name) && index.redirect(name).is_none() && !meta.reserves(name) {
                let device = index.kept(name).and_then(|kept| kept.device);
                let kind = device.map_or(kind, |(kind, _)| kind);
                self.lost.entry(name, kind, base, path, self.warnings);
            }
        }
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
