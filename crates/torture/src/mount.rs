//! The real program: started, unmounted, killed.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::OnceLock;

use rustix::mount::{UnmountFlags, unmount};

use crate::calls;
use crate::seccomp::{self, Listener};
use crate::supervisor::Supervisor;

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

impl Daemon {
    /// Mounts, and returns when the tree is usable.
    ///
    /// # Errors
    /// What the program said.
    pub fn start(layers: &Layers, options: &str) -> Result<Daemon, String> {
        let mut command = Command::new(program());
        command.arg("mount").arg("--foreground").arg("-o").arg(options).arg("--storage");
        command.args([&layers.storage, &layers.base, &layers.mnt]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        let device = fs::metadata(&layers.storage).map_err(|e| failed("storage", e))?.dev();
        let socket = seccomp::stop_at(&mut command, &calls::watched())
            .map_err(|e| failed("socketpair", e))?;
        let mut child = command.spawn().map_err(|e| failed(&program().display().to_string(), e))?;
        drop(command);
        let supervisor = Listener::receive(&socket)
            .and_then(|listener| Supervisor::start(listener, child.id(), device));
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
        let mut daemon =
            Daemon { child, stderr, said: String::new(), mnt, supervisor, ended: false };
        daemon.until_mounted()?;
        Ok(daemon)
    }

    fn until_mounted(&mut self) -> Result<(), String> {
        loop {
            let before = self.said.len();
            let read = self.stderr.read_line(&mut self.said);
            let line = self.said.get(before..).unwrap_or_default();
            if line.contains(" mounted on ") {
                return Ok(());
            }
            if read.unwrap_or(0) == 0 {
                return Err(format!("the mount failed: {}", self.said.trim()));
            }
        }
    }

    /// Unmounts, and waits for the daemon to end.
    ///
    /// # Errors
    /// The mount was busy, the daemon failed, hung or panicked.
    pub fn stop(mut self) -> Result<(), String> {
        self.supervisor.be_patient();
        let result = unmount(&self.mnt, UnmountFlags::empty());
        if let Err(errno) = result {
            return Err(format!("umount: {errno}"));
        }
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
