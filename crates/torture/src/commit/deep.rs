//! Changes below a directory of a base of which nobody can write the root, as an ordinary user
//! cannot that of the system: so the stage of a commit lies deeper.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, Mode, OFlags};

/// The directory in which all is.
pub const TOP: &str = "in";

/// Where the changes are made.
pub fn top(root: &Path, deep: bool) -> PathBuf {
    if deep { root.join(TOP) } else { root.to_path_buf() }
}

/// Makes it, so that others cannot write in it: a stage lies in no other.
///
/// # Errors
/// Those of making.
pub fn make(top: &Path) -> io::Result<()> {
    fs::create_dir(top)?;
    fs::set_permissions(top, fs::Permissions::from_mode(0o755))
}

/// Closes a directory to all, or opens it again.
///
/// # Errors
/// The file system knows no such flag.
pub fn close(dir: &Path, closed: bool) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    let now = rustix::fs::ioctl_getflags(&dir)?;
    let then = if closed { now | IFlags::IMMUTABLE } else { now - IFlags::IMMUTABLE };
    if then != now {
        rustix::fs::ioctl_setflags(&dir, then)?;
    }
    Ok(())
}

/// Removes a base with all that is in it, closed or not.
///
/// # Errors
/// Those of removing.
pub fn remove(base: &Path) -> io::Result<()> {
    let _ = close(base, false);
    fs::remove_dir_all(base)
}
