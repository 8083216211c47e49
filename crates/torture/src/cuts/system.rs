//! What is tested: mini_fo, and two others as a measure, on a file system that
//! was prepared for all of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::image::{leave, run};

/// How long a mount may take.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);

/// A system that shows a writable tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// mini_fo over a base on another file system, its storage on this one.
    #[value(name = "mini_fo")]
    MiniFo,
    /// A copy of the base as an ordinary directory.
    Plain,
    /// The kernel's overlayfs, its upper directory on this file system.
    Overlayfs,
}

impl System {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            System::MiniFo => "mini_fo",
            System::Plain => "plain",
            System::Overlayfs => "overlayfs",
        }
    }

    /// The directory of the file system that holds its changes.
    pub fn storage(self, fs: &Path) -> PathBuf {
        fs.join(match self {
            System::MiniFo => "storage",
            System::Plain => "plain",
            System::Overlayfs => "upper",
        })
    }
}

/// Where everything is.
pub struct Places {
    /// The program.
    pub mini_fo: PathBuf,
    /// The tree that is only read.
    pub base: PathBuf,
    /// Where a tree is mounted.
    pub mountpoint: PathBuf,
    /// What the daemon writes.
    pub log: PathBuf,
}

/// A usable tree; unmounted, and its server waited for, when dropped.
pub struct Live {
    root: PathBuf,
    mounted: bool,
    server: Option<Child>,
}

impl Live {
    /// Mounts `system` with its storage on the file system at `fs`.
    ///
    /// # Errors
    /// It does not mount; with what it says.
    pub fn new(system: System, places: &Places, fs: &Path, options: &str) -> io::Result<Self> {
        let storage = system.storage(fs);
        let root = places.mountpoint.clone();
        match system {
            System::Plain => Ok(Self { root: storage, mounted: false, server: None }),
            System::Overlayfs => {
                let (lower, upper, work) =
                    (places.base.display(), storage.display(), fs.join("work"));
                let work = work.display();
                let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
                let options = format!("{layers},index=on,redirect_dir=on");
                run(Command::new("mount")
                    .args(["-t", "overlay", "overlay", "-o", &options])
                    .arg(&root))?;
                Ok(Self { root, mounted: true, server: None })
            }
            System::MiniFo => {
                let mut command = Command::new(&places.mini_fo);
                command.args(["mount", "-f"]).arg(&places.base).arg(&root);
                command.arg("--storage").arg(&storage);
                if !options.is_empty() {
                    command.args(["-o", options]);
                }
                let log = File::create(&places.log)?;
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
                // SAFETY: one system call between fork and exec, nothing else.
                unsafe {
                    command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
                }
                let mut server = command.spawn()?;
                let mounted = wait_for_mount(&root, &mut server);
                let live = Self { root, mounted: mounted.is_ok(), server: Some(server) };
                mounted.map(|()| live).map_err(|error| {
                    let log = fs::read_to_string(&places.log).unwrap_or_default();
                    io::Error::other(format!("mini_fo: {error}: {}", log.trim()))
                })
            }
        }
    }

    /// The root of the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Waits until something is mounted on `dir`.
///
/// # Errors
/// Its server ended, or takes too long.
pub fn wait_for_mount(dir: &Path, server: &mut Child) -> io::Result<()> {
    let start = Instant::now();
    while !is_mounted(dir)? {
        if let Some(status) = server.try_wait()? {
            return Err(io::Error::other(format!("nothing is mounted: {status}")));
        }
        if start.elapsed() > PATIENCE {
            return Err(io::Error::other("mounting takes too long"));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.mounted {
            leave(&self.root);
        }
        let Some(mut server) = self.server.take() else { return };
        let start = Instant::now();
        while let Ok(None) = server.try_wait() {
            if !self.mounted || start.elapsed() > PATIENCE {
                let _ = server.kill();
                let _ = server.wait();
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whether something is mounted on `dir`, a path without strange characters.
fn is_mounted(dir: &Path) -> io::Result<bool> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let dir = dir.to_string_lossy();
    Ok(table.lines().any(|line| line.split(' ').nth(4) == Some(&*dir)))
}
