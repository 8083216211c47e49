//! The systems compared: how each is mounted and unmounted.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::fs::{FlockOperation, flock};
use rustix::mount::{MountFlags, UnmountFlags, mount as mount_fs, unmount};

use crate::tree;

/// How long a server may take to mount or to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A plain directory.
    Native,
    /// The kernel's.
    Overlayfs,
    /// The peer of containers.
    FuseOverlayfs,
    /// This project.
    #[value(name = "mini_fo")]
    MiniFo,
}

impl Kind {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Overlayfs => "overlayfs",
            Self::FuseOverlayfs => "fuse-overlayfs",
            Self::MiniFo => "mini_fo",
        }
    }
}

/// An error with what it is about.
pub fn within(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The programs measured.
pub struct Programs {
    /// `$MINI_FO`, or the release build.
    pub mini_fo: PathBuf,
    /// `$FUSE_OVERLAYFS`, or what `scripts/bench-setup.sh` installs.
    pub fuse_overlayfs: PathBuf,
}

impl Programs {
    /// Where they should be.
    pub fn find() -> Self {
        let path = |variable: &str, default: &str| {
            std::env::var_os(variable).map_or_else(|| default.into(), PathBuf::from)
        };
        Self {
            mini_fo: path("MINI_FO", "target/release/mini_fo"),
            fuse_overlayfs: path("FUSE_OVERLAYFS", "target/peers/bin/fuse-overlayfs"),
        }
    }
}

/// The systems asked for, or all, without those that cannot run here.
///
/// # Errors
/// None can.
pub fn usable(asked: &[Kind], programs: &Programs) -> io::Result<Vec<Kind>> {
    let all = Kind::value_variants();
    let asked = if asked.is_empty() { all } else { asked };
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not root: names that the kernel remembers are not dropped before a round");
    }
    let mut kinds = Vec::new();
    for &kind in asked {
        let lack = match kind {
            Kind::Overlayfs if !root => Some("only root may mount it here".into()),
            Kind::FuseOverlayfs => missing(&programs.fuse_overlayfs),
            Kind::MiniFo => missing(&programs.mini_fo),
            _ => None,
        };
        match lack {
            Some(lack) => eprintln!("{} is left out: {lack}", kind.name()),
            None if kinds.contains(&kind) => {}
            None => kinds.push(kind),
        }
    }
    if kinds.is_empty() { Err(io::Error::other("nothing to measure")) } else { Ok(kinds) }
}

fn missing(program: &Path) -> Option<String> {
    (!program.is_file()).then(|| format!("{} is missing", program.display()))
}

/// The directory of all that is made here; removed when dropped.
pub struct WorkDir {
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
    pub fn create(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir).map_err(|e| within(&dir.display().to_string(), &e))?;
        let lock = fs::File::open(dir)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::other(format!("{}: another comparison runs there", dir.display()))
        })?;
        let work = dir.canonicalize()?.join("mini_fo_bench");
        for kind in Kind::value_variants() {
            let _ = detach(&work.join(kind.name()).join("mnt"));
        }
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir(&work)?;
        Ok(Self { path: work, _lock: lock })
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("mini_fo_bench: {}: {error}", self.path.display());
        }
    }
}

/// The directories of one system.
pub struct Places {
    /// Never changed by a system that keeps its word.
    pub base: PathBuf,
    /// Fresh in every round.
    pub storage: PathBuf,
    /// Scratch space of those that ask for it.
    pub scratch: PathBuf,
    /// Where it is mounted; for a native directory, the copy itself.
    pub mountpoint: PathBuf,
    log: PathBuf,
}

impl Places {
    /// Where `kind` works.
    pub fn of(work: &WorkDir, kind: Kind) -> Self {
        let at = |name: &str| work.path.join(kind.name()).join(name);
        Self {
            base: at("base"),
            storage: at("storage"),
            scratch: at("scratch"),
            mountpoint: at("mnt"),
            log: at("log"),
        }
    }

    fn refresh(&self) -> io::Result<()> {
        for dir in [&self.storage, &self.scratch, &self.mountpoint] {
            if dir.exists() {
                fs::remove_dir_all(dir)?;
            }
            fs::create_dir_all(dir)?;
        }
        Ok(())
    }

    fn overlay_options(&self) -> String {
        let [base, storage, scratch] =
            [&self.base, &self.storage, &self.scratch].map(|path| path.display());
        format!("lowerdir={base},upperdir={storage},workdir={scratch}")
    }
}

/// A mounted system; unmounted when dropped.
pub struct Mounted {
    kind: Kind,
    mountpoint: PathBuf,
    server: Option<Child>,
    /// For `mini_fo umount`, which waits until the daemon has ended.
    mini_fo: PathBuf,
    live: bool,
}

/// Mounts `kind` over its base, with fresh storage.
///
/// # Errors
/// It does not mount; with what its server wrote.
pub fn mount(kind: Kind, places: &Places, programs: &Programs) -> io::Result<Mounted> {
    places.refresh()?;
    let mountpoint = places.mountpoint.clone();
    let mini_fo = programs.mini_fo.clone();
    // Not live before the mount is there: a drop must not unmount another.
    let mut mounted = Mounted { kind, mountpoint, server: None, mini_fo, live: false };
    match kind {
        Kind::Native => tree::copy(&places.base, &places.mountpoint)?,
        Kind::Overlayfs => {
            let options = std::ffi::CString::new(places.overlay_options())?;
            let flags = MountFlags::empty();
            mount_fs("overlay", &places.mountpoint, "overlay", flags, Some(options.as_c_str()))?;
        }
        Kind::FuseOverlayfs => {
            let server = Command::new(&programs.fuse_overlayfs)
                .args(["-f", "-o", &places.overlay_options()])
                .arg(&places.mountpoint)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(&places.log)?)
                .spawn()?;
            mounted.server = Some(server);
            mounted.wait_for_mount(places)?;
        }
        Kind::MiniFo => {
            let mut command = Command::new(&programs.mini_fo);
            command.arg("mount").arg(&places.base).arg(&places.mountpoint);
            succeed(command.arg("--storage").arg(&places.storage))?;
        }
    }
    mounted.live = kind != Kind::Native;
    Ok(mounted)
}

/// Runs a program; its standard error becomes the error's text.
fn succeed(command: &mut Command) -> io::Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(match said.trim() {
        "" => format!("{}: {}", command.get_program().display(), output.status),
        text => text.to_string(),
    }))
}

fn detach(mountpoint: &Path) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(unmount(mountpoint, UnmountFlags::DETACH)?);
    }
    succeed(Command::new("fusermount3").args(["-u", "-z"]).arg(mountpoint)).map(drop)
}

impl Mounted {
    fn wait_for_mount(&mut self, places: &Places) -> io::Result<()> {
        let outside = fs::metadata(&places.storage)?.dev();
        let start = Instant::now();
        while fs::metadata(&self.mountpoint)?.dev() == outside {
            let ended = self.server.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || start.elapsed() > PATIENCE {
                let log = fs::read_to_string(&places.log).unwrap_or_default();
                return Err(io::Error::other(format!("does not mount: {}", log.trim())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Unmounts, and waits until the server has ended; ends one that does not.
    ///
    /// # Errors
    /// The mount is busy.
    pub fn unmount(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        if self.live {
            match self.kind {
                Kind::Native => {}
                Kind::Overlayfs => unmount(&self.mountpoint, UnmountFlags::empty())?,
                Kind::FuseOverlayfs => detach(&self.mountpoint)?,
                Kind::MiniFo => {
                    drop(succeed(Command::new(&self.mini_fo).arg("umount").arg(&self.mountpoint))?)
                }
            }
            self.live = false;
        }
        let start = Instant::now();
        while let Some(server) = self.server.as_mut() {
            if server.try_wait()?.is_some() {
                self.server = None;
            } else if start.elapsed() > PATIENCE {
                server.kill()?;
                server.wait()?;
                self.server = None;
                eprintln!("{}: had to be killed after unmounting", self.kind.name());
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.live && self.server.is_none() || self.live && self.end().is_ok() {
            return;
        }
        let _ = detach(&self.mountpoint);
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Writes all back, and makes the kernel forget names and attributes (as root).
///
/// # Errors
/// What the kernel says.
pub fn forget_names(base: &Path) -> io::Result<()> {
    rustix::fs::syncfs(fs::File::open(base)?)?;
    if rustix::process::geteuid().is_root() {
        fs::write("/proc/sys/vm/drop_caches", "2")?;
    }
    Ok(())
}

/// Resident memory of the mini_fo daemon behind `mountpoint`, in KiB.
pub fn resident_kib(programs: &Programs, mountpoint: &Path) -> Option<u64> {
    let list = succeed(Command::new(&programs.mini_fo).args(["list", "--json"])).ok()?;
    let list: serde_json::Value = serde_json::from_slice(&list).ok()?;
    let at = mountpoint.to_str()?;
    let ours = list.as_array()?.iter().find(|item| item["mountpoint"] == at)?;
    let status = fs::read_to_string(format!("/proc/{}/status", ours["pid"].as_u64()?)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
