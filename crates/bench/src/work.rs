//! Where everything lies that is made here, and how it goes away again.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FileType, FlockOperation, Mode, flock, makedev, mknodat};
use rustix::mount::{MountFlags, mount, mount_bind};

use crate::systems::{ENABLE_URING, Programs, SYSTEMS, System, is_root, within};

/// The user and the group that ordinary users stand for.
pub const NOBODY: u32 = 65534;

/// Where the work directory is found inside the namespaces of [`crate::cage`]:
/// at a path that all users can follow.
const INSIDE: &str = "/run/mini_fo_bench";
/// Holds what the switch for io_uring was set to before.
const SWITCH: &str = "enable_uring-was";

/// The directory of all that is made here; removed when dropped.
pub struct WorkDir {
    /// Where it is for good.
    home: PathBuf,
    /// Where it is used.
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: fs::File,
}

impl WorkDir {
    /// Makes `mini_fo_bench` below `dir`, and clears what an interrupted run
    /// has left there.
    ///
    /// # Errors
    /// What the file system says; another run works there.
    pub fn create(dir: &Path, caged: bool) -> io::Result<Self> {
        fs::create_dir_all(dir).map_err(|e| within(&dir.display().to_string(), &e))?;
        let lock = lock(dir)?;
        let home = dir.canonicalize()?.join("mini_fo_bench");
        clear(&home)?;
        fs::create_dir(&home)?;
        let path = if caged { open_to_all(&home)? } else { home.clone() };
        Ok(Self { home, path, _lock: lock })
    }

    /// A path below it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Lets the kernel's fuse module use io_uring until the end, as root.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn switch_rings_on(&self) -> io::Result<()> {
        let now = fs::read_to_string(ENABLE_URING)?;
        if now.starts_with('Y') {
            return Ok(());
        }
        fs::write(self.home.join(SWITCH), &now)?;
        fs::write(ENABLE_URING, "Y").map_err(|error| within(ENABLE_URING, &error))
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.home) {
            eprintln!("mini_fo_bench: {}: {error}", self.home.display());
        }
    }
}

fn lock(dir: &Path) -> io::Result<fs::File> {
    let lock = fs::File::open(dir)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        io::Error::other(format!("{}: another comparison runs there", dir.display()))
    })?;
    Ok(lock)
}

/// Removes what a run below `dir` has left, unless one still works there.
///
/// # Errors
/// What the file system says; another run works there.
pub fn sweep(dir: &Path) -> io::Result<()> {
    let Ok(dir) = dir.canonicalize() else { return Ok(()) };
    let _lock = lock(&dir)?;
    clear(&dir.join("mini_fo_bench"))
}

fn clear(home: &Path) -> io::Result<()> {
    if !home.exists() {
        return Ok(());
    }
    if let Ok(before) = fs::read_to_string(home.join(SWITCH)) {
        fs::write(ENABLE_URING, before.trim())?;
    }
    for system in &SYSTEMS {
        // Busy ones, and those of an interrupted run without namespaces.
        while is_root() || home.join(system.name).join("mnt").exists() {
            if crate::systems::detach(&home.join(system.name).join("mnt")).is_err() {
                break;
            }
        }
    }
    // rm finds its way into directories that programs have taken rights from.
    let made_free = Command::new("rm").arg("-rf").arg("--one-file-system").arg(home).status()?;
    match made_free.success() {
        true => Ok(()),
        false => Err(io::Error::other("could not be removed")),
    }
}

/// Makes the directory reachable for all users, who may open /dev/fuse then;
/// in this mount namespace only.
fn open_to_all(home: &Path) -> io::Result<PathBuf> {
    let device = fs::File::open("/dev/fuse").is_ok();
    let options = Some(c"mode=755");
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID, options)?;
    fs::create_dir(INSIDE)?;
    mount_bind(home, INSIDE)?;
    if device {
        let mode = Mode::from(0o666);
        let numbers = makedev(10, 229);
        mknodat(rustix::fs::CWD, "/run/fuse", FileType::CharacterDevice, mode, numbers)?;
        rustix::fs::chmod("/run/fuse", mode)?;
        mount_bind("/run/fuse", "/dev/fuse")?;
    }
    Ok(PathBuf::from(INSIDE))
}

/// Makes programs and the compiler reachable for all users, inside the
/// namespaces.
///
/// # Errors
/// What the file system says.
pub fn share_programs(work: &WorkDir, programs: &mut Programs) -> io::Result<()> {
    programs.copy_to(&work.join("bin"))?;
    if let Some(toolchain) = &mut programs.toolchain {
        let shared = Path::new("/run/toolchain");
        fs::create_dir(shared)?;
        mount_bind(toolchain.as_path(), shared)?;
        *toolchain = shared.to_path_buf();
    }
    Ok(())
}

/// The directories of one system for one stage.
pub struct Places {
    /// Never changed by a system that keeps its word.
    pub base: PathBuf,
    /// Fresh for every stage of every round.
    pub storage: PathBuf,
    /// Scratch space of those that ask for it.
    pub scratch: PathBuf,
    /// Where it is mounted; for a native directory, the copy itself.
    pub mountpoint: PathBuf,
    /// What the server says.
    pub log: PathBuf,
    /// Where the client's programs keep their own things.
    pub home: PathBuf,
}

impl Places {
    /// Where `system` works; `base` is the name of the tree.
    pub fn of(work: &WorkDir, system: &System, base: &str) -> Self {
        let at = |name: &str| work.join(system.name).join(name);
        Self {
            base: base_of(work, system.user, base),
            storage: at("storage"),
            scratch: at("scratch"),
            mountpoint: at("mnt"),
            log: at("log"),
            home: at("home"),
        }
    }

    /// Makes the directory of the client's programs, empty.
    ///
    /// # Errors
    /// What the file system says.
    pub fn make_home(&self, system: &System) -> io::Result<()> {
        if self.home.exists() {
            fs::remove_dir_all(&self.home)?;
        }
        fs::create_dir_all(&self.home)?;
        if system.user && is_root() {
            chown(&self.home, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }
}

/// The tree called `name`, as its owner has it: all systems that the same user
/// uses lie over one.
pub fn base_of(work: &WorkDir, user: bool, name: &str) -> PathBuf {
    work.join(if user && is_root() { "bases-user" } else { "bases" }).join(name)
}

/// Writes all back, and makes the kernel forget (as root): with 2 names and
/// attributes, with 3 data too.
///
/// # Errors
/// What the kernel says.
pub fn forget(on: &Path, what: u8) -> io::Result<()> {
    rustix::fs::syncfs(fs::File::open(on)?)?;
    if is_root() {
        let mut switch = fs::OpenOptions::new().write(true).open("/proc/sys/vm/drop_caches")?;
        switch.write_all(&[b'0' + what.min(3)])?;
    }
    Ok(())
}
