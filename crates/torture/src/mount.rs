//! The real program: started, unmounted, killed.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::calls;
use crate::seccomp::{self, Listener};
use crate::supervisor::{Plan, Record, Supervisor};

/// Base, storage and mount point.
#[derive(Clone, Debug)]
pub struct Layers {
    pub base: PathBuf,
    /// On a file system that holds nothing of the base.
    pub storage: PathBuf,
    pub mnt: PathBuf,
}

/// The program under test: `MINI_FO`, or what was built here.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("MINI_FO") {
            return fs::canonicalize(&path).unwrap_or(path.into());
        }
        let own = std::env::current_exe().unwrap_or_default();
        let profile = own.parent().unwrap_or(Path::new("target/debug"));
        let other =
            profile.with_file_name(if profile.ends_with("debug") { "release" } else { "debug" });
        let here = profile.join("mini_fo");
        if here.exists() { here } else { other.join("mini_fo") }
    })
}

/// CAP_CHOWN and CAP_MKNOD.
const POOR: &[i32] = &[0, 27];

/// Where the kernel lists its FUSE connections.
pub const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// A mount and its daemon. Dropped, the daemon is killed and the mount gone.
pub struct Daemon {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    mnt: PathBuf,
    /// Asked at each storage call.
    pub supervisor: Supervisor,
    ended: bool,
}

/// A command that has come to its end.
pub struct Ended {
    pub record: Record,
    /// `None`: it was killed.
    pub code: Option<i32>,
    /// On standard error.
    pub said: String,
}

impl Daemon {
    /// Mounts, and returns when the tree is usable. A poor daemon may neither
    /// give objects to others nor make devices.
    ///
    /// # Errors
    /// What the program said.
    pub fn start(layers: &Layers, options: &str, poor: bool) -> Result<Daemon, String> {
        let mut daemon = Daemon::begin(layers, options, poor, None)?;
        daemon.until_mounted(options)?;
        Ok(daemon)
    }

    /// Begins to mount and is killed at that storage call, or as soon as the
    /// tree would be usable; whether there were so many calls.
    ///
    /// # Errors
    /// It failed by itself.
    pub fn kill_at_start(
        layers: &Layers,
        options: &str,
        poor: bool,
        at: usize,
    ) -> Result<bool, String> {
        let mut daemon = Daemon::begin(layers, options, poor, Some(Plan::Kill(at)))?;
        let mounted = daemon.until_mounted(options);
        let killed = daemon.supervisor.has_killed();
        daemon.kill()?;
        if killed { Ok(true) } else { mounted.map(|()| false) }
    }

    fn begin(
        layers: &Layers,
        options: &str,
        poor: bool,
        plan: Option<Plan>,
    ) -> Result<Daemon, String> {
        let mut command = Command::new(program());
        // The calls for the reserve are the same in all scenarios, and no part of them.
        let options = format!("reserve=0,{options}");
        let options = options.trim_end_matches(',');
        command.arg("mount").arg("--foreground").arg("-o").arg(options).arg("--storage");
        command.args([&layers.storage, &layers.base, &layers.mnt]);
        Daemon::spawn(command, layers, poor, plan)
    }

    /// Lets `mini_fo discard` work on a storage that is not mounted: what it met, and
    /// whether it came to a good end.
    ///
    /// # Errors
    /// It could not be started, hung or panicked.
    pub fn discard_at_rest(
        layers: &Layers,
        paths: &[&str],
        poor: bool,
        plan: Plan,
    ) -> Result<(Record, bool), String> {
        let mut command = Command::new(program());
        // A poor file system does not tell whether the storage is the one that knows its base.
        command.args(["discard", "--yes", "--base"]).arg(&layers.base);
        match paths {
            [""] => command.arg("--all").arg(&layers.storage),
            paths => command.arg(&layers.storage).args(paths),
        };
        let ended = Daemon::at_rest(command, layers, poor, plan)?;
        Ok((ended.record, ended.code == Some(0)))
    }

    /// Lets a command work on a storage that is not mounted, and waits for its end.
    ///
    /// # Errors
    /// It could not be started, hung or panicked.
    pub fn at_rest(
        command: Command,
        layers: &Layers,
        poor: bool,
        plan: Plan,
    ) -> Result<Ended, String> {
        let mut worker = Daemon::spawn(command, layers, poor, Some(plan))?;
        let mut said = String::new();
        worker.stderr.read_to_string(&mut said).map_err(|e| format!("its words: {e}"))?;
        let status = worker.child.wait().map_err(|e| format!("wait: {e}"))?;
        let record = worker.supervisor.disarm();
        worker.said = said.clone();
        worker.kill()?;
        Ok(Ended { record, code: status.code(), said })
    }

    fn spawn(
        mut command: Command,
        layers: &Layers,
        poor: bool,
        plan: Option<Plan>,
    ) -> Result<Daemon, String> {
        // What the terminal sends to this program must not reach the daemon.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        let device = fs::metadata(&layers.storage).map_err(|e| failed("storage", e))?.dev();
        let without = if poor { POOR } else { &[] };
        let socket = seccomp::stop_at(&mut command, &calls::watched(), without)
            .map_err(|e| failed("socketpair", e))?;
        let mut child = command.spawn().map_err(|e| failed(&program().display().to_string(), e))?;
        drop(command);
        let supervisor = Listener::receive(&socket)
            .and_then(|listener| Supervisor::start(listener, child.id(), device, plan));
        let supervisor = match supervisor {
            Ok(supervisor) => supervisor,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("supervisor", error));
            }
        };
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let (stderr, mnt) = (BufReader::new(stderr), layers.mnt.clone());
        Ok(Daemon { child, stderr, said: String::new(), mnt, supervisor, ended: false })
    }

    fn until_mounted(&mut self, options: &str) -> Result<(), String> {
        let asked = options.contains("transport=");
        let uring = options.contains("transport=uring");
        loop {
            let before = self.said.len();
            let read = self.stderr.read_line(&mut self.said);
            let line = self.said.get(before..).unwrap_or_default();
            if let Some((_, by)) = line.split_once("requests by ") {
                let rings = by.starts_with("io_uring");
                return match !asked || uring == rings {
                    true => self.learn_abort(),
                    false => Err(format!("another transport than asked for: {line}")),
                };
            }
            if read.unwrap_or(0) == 0 {
                return Err(format!("the mount failed: {}", self.said.trim()));
            }
        }
    }

    fn learn_abort(&self) -> Result<(), String> {
        let meta = fs::metadata(&self.mnt).map_err(|e| format!("the new mount: {e}"))?;
        // Connections have the numbers of their devices.
        let number = rustix::fs::minor(meta.dev());
        self.supervisor.set_abort(Path::new(CONNECTIONS).join(number.to_string()).join("abort"));
        Ok(())
    }

    /// Unmounts, and waits for the daemon to end.
    ///
    /// # Errors
    /// The mount was busy, the daemon failed, hung or panicked.
    pub fn stop(mut self) -> Result<(), String> {
        self.supervisor.be_patient();
        unmount_patiently(&self.mnt).map_err(|errno| format!("umount: {errno}"))?;
        self.ended = true;
        let status = self.child.wait().map_err(|e| format!("wait: {e}"))?;
        let _ = self.stderr.read_to_string(&mut self.said);
        if self.supervisor.has_hung() {
            return Err(format!("the daemon hung at unmounting: {}", self.said.trim()));
        }
        self.sane()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("the daemon ended with {status}: {}", self.said.trim())),
        }
    }

    /// Kills the daemon, and clears the mount away.
    ///
    /// # Errors
    /// It had panicked or hung before.
    pub fn kill(mut self) -> Result<(), String> {
        self.end();
        let hung = self.supervisor.has_hung();
        let _ = self.stderr.read_to_string(&mut self.said);
        if self.supervisor.was_undead() {
            return Err("THE KILLED DAEMON DID NOT END, and clients waited for it".to_owned());
        }
        if hung {
            return Err("the daemon hung".to_owned());
        }
        self.sane()
    }

    fn sane(&self) -> Result<(), String> {
        match self.said.lines().find(|line| line.contains("panicked")) {
            Some(line) => Err(format!("the daemon panicked: {line}")),
            None => Ok(()),
        }
    }

    fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.supervisor.kill();
        let _ = self.child.wait();
        if unmount(&self.mnt, UnmountFlags::empty()).is_err() {
            let _ = unmount(&self.mnt, UnmountFlags::DETACH);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// A process that another thread has just forked holds what is open here until
/// it runs its program.
fn unmount_patiently(at: &Path) -> rustix::io::Result<()> {
    let begun = Instant::now();
    loop {
        match unmount(at, UnmountFlags::empty()) {
            Err(Errno::BUSY) if begun.elapsed() < Duration::from_secs(2) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// What `mini_fo check` prints, and its exit code.
///
/// # Errors
/// It could not be started, or was killed.
pub fn check(layers: &Layers) -> Result<(i32, String), String> {
    let mut command = Command::new(program());
    command.arg("check").arg(&layers.base).arg("--storage").arg(&layers.storage);
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("check: {e}"))?;
    let code = output.status.code().ok_or(format!("check: {}", output.status))?;
    let said = [output.stdout, output.stderr].concat();
    Ok((code, String::from_utf8_lossy(&said).into_owned()))
}
