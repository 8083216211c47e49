//! What is mounted in the base, and where: nothing can be moved from one mount to another, also
//! where both show one file system.

use std::cell::RefCell;
use std::os::unix::ffi::OsStrExt;

use hashbrown::HashMap;

use super::CommitRefusal;
use crate::commit::base;
use crate::commit::path::{is_within, on_the_way};
use crate::format::commit::Path;
use crate::format::name::parent;
use crate::reach::overlay::Overlay;
use crate::store::dirs::Dirs;
use crate::sys::{self, Result, procfs};

/// The mounts of a base, each by the path in it at which it is.
pub(super) struct Mounts {
    /// Points in the base, as far as this process is told of them; not its root.
    points: Vec<Path>,
    /// What is mounted there is part of the tree (`-o submounts`).
    pub are_part: bool,
    /// The base, to be written.
    pub dirs: Dirs,
    devices: RefCell<HashMap<Path, u64>>,
    /// Directories that were looked at, and whether they are such points.
    known: RefCell<HashMap<Path, bool>>,
}

impl Mounts {
    pub fn of(overlay: &Overlay) -> std::result::Result<Mounts, CommitRefusal> {
        let failed = |errno| CommitRefusal::Base(Path::default(), errno);
        let root = base::root_of(overlay).map_err(failed)?;
        let dirs = Dirs::of(root).across(overlay.submounts);
        let points = points(overlay)?;
        let (devices, known) = (RefCell::default(), RefCell::default());
        Ok(Mounts { points, are_part: overlay.submounts, dirs, devices, known })
    }

    /// The point of the mount that a path of the base lies on; empty: that of its root.
    pub fn of_path(&self, path: &[u8]) -> Path {
        let mut above = on_the_way(path).filter(|_| self.are_part).rev();
        above.find(|dir| self.is_point(dir)).map(Path::from).unwrap_or_default()
    }

    /// Something is mounted on a directory. The daemon of a run sees other mounts by its own
    /// root than by that of the base, so that is asked of the directory.
    fn is_point(&self, dir: &[u8]) -> bool {
        if let Some(known) = self.known.borrow().get(dir) {
            return *known;
        }
        let mount = |dir: &[u8]| Some(sys::stat_fd(&*self.dirs.dir(dir).ok()?).ok()?.stx_mnt_id);
        // What is not there is new.
        let is_point = mount(dir).is_some_and(|own| mount(parent(dir)) != Some(own));
        self.known.borrow_mut().insert(dir.into(), is_point);
        is_point
    }

    /// A mount that covers a path of the base.
    pub fn covering(&self, path: &[u8]) -> Option<&Path> {
        self.points.iter().find(|point| is_within(path, point))
    }

    /// A mount at a path of the base or below it.
    pub fn below(&self, path: &[u8]) -> Option<&Path> {
        self.points.iter().find(|point| is_within(point, path))
    }

    /// The device of a mount.
    pub fn device(&self, point: &[u8]) -> Result<u64> {
        if let Some(known) = self.devices.borrow().get(point) {
            return Ok(*known);
        }
        let device = sys::device(&sys::stat_fd(&*self.dirs.dir(point)?)?);
        self.devices.borrow_mut().insert(point.into(), device);
        Ok(device)
    }
}

/// The part of a full path that is below the base's root.
pub(super) fn inside(overlay: &Overlay, path: &[u8]) -> Option<Path> {
    let base = overlay.stack.layers().first()?.full.as_os_str().as_bytes();
    let rest = path.strip_prefix(base.strip_suffix(b"/").unwrap_or(base))?;
    rest.strip_prefix(b"/").map(Path::from).filter(|rest| !rest.is_empty())
}

fn points(overlay: &Overlay) -> std::result::Result<Vec<Path>, CommitRefusal> {
    overlay.stack.layers().first().ok_or(CommitRefusal::NotPlain)?;
    // Without /proc a step fails where something is mounted, and all is taken back.
    let told = procfs::read("self/mountinfo").unwrap_or_default();
    let points = told.split(|byte| *byte == b'\n').filter_map(|line| {
        let point = procfs::unescape(line.split(|byte| *byte == b' ').nth(4)?);
        inside(overlay, point.as_bytes())
    });
    let mut points: Vec<Path> = points.collect();
    points.sort_unstable();
    points.dedup();
    Ok(points)
}
