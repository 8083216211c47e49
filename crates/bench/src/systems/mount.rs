//! How each system is mounted and unmounted.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount as mount_fs, unmount};

use super::programs::succeed;
use super::{Family, Programs, System, Usage, is_root, within};
use crate::work::{NOBODY, Places};

/// How long a server may take to mount or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// A mounted system; unmounted when dropped.
pub struct Mounted {
    system: &'static System,
    mountpoint: PathBuf,
    server: Option<Child>,
    live: bool,
}

/// Mounts `system` over its base, with fresh storage.
///
/// # Errors
/// It does not mount; with what its server wrote.
pub fn mount(system: &'static System, places: &Places, programs: &Programs) -> io::Result<Mounted> {
    refresh(system, places)?;
    let mountpoint = places.mountpoint.clone();
    // Not live before the mount is there: a drop must not unmount another.
    let mut mounted = Mounted { system, mountpoint, server: None, live: false };
    match system.family {
        Family::Native => {
            let mut copy = Command::new("cp");
            succeed(copy.arg("-a").arg(places.base.join(".")).arg(&places.mountpoint))?;
            return Ok(mounted);
        }
        Family::Overlayfs => {
            let options = CString::new(overlay_options(places) + system.options)?;
            let flags = MountFlags::empty();
            mount_fs("overlay", &places.mountpoint, "overlay", flags, Some(options.as_c_str()))?;
        }
        Family::FuseOverlayfs | Family::UnionfsFuse | Family::MiniFo => {
            let log = fs::File::create(&places.log)?;
            let mut command = server(system, places, programs)?;
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            mounted.server = Some(command.spawn().map_err(|error| within(system.name, &error))?);
            mounted.wait_for_mount(places)?;
        }
    }
    mounted.live = true;
    if system.family == Family::MiniFo {
        mounted.check_data_path(programs)?;
    }
    Ok(mounted)
}

fn refresh(system: &System, places: &Places) -> io::Result<()> {
    for dir in [&places.storage, &places.scratch, &places.mountpoint] {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        // As open as the base's own root.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        if system.user && is_root() {
            chown(dir, Some(NOBODY), Some(NOBODY))?;
        }
    }
    Ok(())
}

fn overlay_options(places: &Places) -> String {
    let [base, storage, scratch] =
        [&places.base, &places.storage, &places.scratch].map(|path| path.display());
    format!("lowerdir={base},upperdir={storage},workdir={scratch}")
}

/// The command that serves it in the foreground.
fn server(system: &System, places: &Places, programs: &Programs) -> io::Result<Command> {
    let mut words: Vec<OsString> = Vec::new();
    match system.family {
        Family::FuseOverlayfs => {
            words.extend([programs.fuse_overlayfs.clone().into(), "-f".into(), "-o".into()]);
            words.extend([overlay_options(places).into(), places.mountpoint.clone().into()]);
        }
        Family::UnionfsFuse => {
            let program = programs.unionfs.clone().unwrap_or_default();
            let branches = format!("{}=RW:{}=RO", places.storage.display(), places.base.display());
            let options = "cow,allow_other,use_ino,default_permissions";
            words.extend([program.into(), "-f".into(), "-o".into(), options.into()]);
            words.extend([branches.into(), places.mountpoint.clone().into()]);
        }
        Family::MiniFo => {
            words.extend([programs.mini_fo.clone().into(), "mount".into(), "-f".into()]);
            words.extend([places.base.clone().into(), places.mountpoint.clone().into()]);
            words.extend(["-o".into(), system.options.into()]);
            words.extend(["--storage".into(), places.storage.clone().into()]);
        }
        Family::Native | Family::Overlayfs => {
            return Err(io::Error::other(format!("{} has no server", system.name)));
        }
    }
    Ok(command_as(system, programs, &words))
}

/// A command run by whoever uses `system`.
pub fn command_as(system: &System, programs: &Programs, words: &[OsString]) -> Command {
    let mut all = words.iter();
    if let Some(setpriv) = programs.setpriv.as_ref().filter(|_| system.user && is_root()) {
        let mut command = Command::new(setpriv);
        command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}"));
        command.arg("--clear-groups").args(all).env_remove("XDG_RUNTIME_DIR");
        return command;
    }
    let mut command = Command::new(all.next().cloned().unwrap_or_default());
    command.args(all);
    command
}

/// Unmounts what is at `mountpoint`, busy or not.
///
/// # Errors
/// What the kernel says; nothing is mounted there.
pub fn detach(mountpoint: &Path) -> io::Result<()> {
    if is_root() {
        return Ok(unmount(mountpoint, UnmountFlags::DETACH)?);
    }
    succeed(Command::new("fusermount3").args(["-u", "-z"]).arg(mountpoint)).map(drop)
}

impl Mounted {
    fn wait_for_mount(&mut self, places: &Places) -> io::Result<()> {
        let start = Instant::now();
        // Only the user who mounted may look into it: the table tells everybody.
        while !is_mounted(&self.mountpoint)? {
            let ended = self.server.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || start.elapsed() > PATIENCE {
                let log = fs::read_to_string(&places.log).unwrap_or_default();
                return Err(io::Error::other(format!("does not mount: {}", log.trim())));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Refuses a mount that did not get the data path that its name promises.
    fn check_data_path(&self, programs: &Programs) -> io::Result<()> {
        if self.system.user {
            return Ok(());
        }
        let wanted = match self.system.options.contains("nopassthrough") {
            true => "cached",
            false => "passthrough",
        };
        let start = Instant::now();
        loop {
            let list = succeed(Command::new(&programs.mini_fo).args(["list", "--json"]))?;
            let list: serde_json::Value = serde_json::from_slice(&list)?;
            let mut items = list.as_array().into_iter().flatten();
            let ours = items.find(|item| item["mountpoint"] == *self.mountpoint.to_string_lossy());
            match ours.and_then(|item| item["data"].as_str()) {
                Some(data) if data == wanted => return Ok(()),
                Some(data) if !data.is_empty() => {
                    return Err(io::Error::other(format!("data is {data}, not {wanted}")));
                }
                _ if start.elapsed() > PATIENCE => {
                    return Err(io::Error::other("mini_fo does not list the mount"));
                }
                _ => std::thread::sleep(PAUSE),
            }
        }
    }

    /// What its daemon has used so far; nothing for those without.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.server.as_ref()?.id())
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
            match self.server {
                None => unmount(&self.mountpoint, UnmountFlags::empty())?,
                Some(_) => detach(&self.mountpoint)?,
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
                eprintln!("{}: had to be killed after unmounting", self.system.name);
            } else {
                std::thread::sleep(PAUSE);
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

/// Whether the table of mounts names `mountpoint`.
fn is_mounted(mountpoint: &Path) -> io::Result<bool> {
    let table = fs::read("/proc/self/mountinfo")?;
    let table = String::from_utf8_lossy(&table);
    // As the kernel escapes them.
    let escapes = [("\\", "\\134"), (" ", "\\040"), ("\t", "\\011"), ("\n", "\\012")];
    let plain = mountpoint.to_string_lossy().into_owned();
    let wanted = escapes.iter().fold(plain, |path, (from, to)| path.replace(from, to));
    Ok(table.lines().any(|line| line.split(' ').nth(4) == Some(&*wanted)))
}
