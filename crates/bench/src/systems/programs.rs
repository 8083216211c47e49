//! The programs measured and those that measure.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where they are.
pub struct Programs {
    /// `$MINI_FO`, or the release build.
    pub mini_fo: PathBuf,
    /// `$FUSE_OVERLAYFS`, or what `scripts/bench-setup.sh` installs.
    pub fuse_overlayfs: PathBuf,
    /// From the search path.
    pub unionfs: Option<PathBuf>,
    /// Becomes another user.
    pub setpriv: Option<PathBuf>,
    /// The directory of cargo, rustc and their libraries.
    pub toolchain: Option<PathBuf>,
    /// This program, for the clients.
    pub bench: PathBuf,
}

impl Programs {
    /// Where they should be.
    ///
    /// # Errors
    /// The kernel does not say which program this is.
    pub fn find() -> io::Result<Self> {
        let path = |variable: &str, default: &str| {
            let path = std::env::var_os(variable).map_or_else(|| default.into(), PathBuf::from);
            std::path::absolute(path)
        };
        Ok(Self {
            mini_fo: path("MINI_FO", "target/release/mini_fo")?,
            fuse_overlayfs: path("FUSE_OVERLAYFS", "target/peers/bin/fuse-overlayfs")?,
            unionfs: which("unionfs-fuse"),
            setpriv: which("setpriv"),
            toolchain: toolchain(),
            bench: std::env::current_exe()?,
        })
    }

    /// Copies what an ordinary user runs to `dir`, which this user can reach.
    ///
    /// # Errors
    /// What the file system says.
    pub fn copy_to(&mut self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        for program in [&mut self.mini_fo, &mut self.fuse_overlayfs, &mut self.bench] {
            let Some(name) = program.file_name().filter(|_| program.is_file()) else { continue };
            let copy = dir.join(name);
            std::fs::copy(&program, &copy)?;
            *program = copy;
        }
        Ok(())
    }
}

/// A program on the search path.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn toolchain() -> Option<PathBuf> {
    let output =
        Command::new("rustc").args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.join("bin/cargo").is_file().then_some(path)
}

/// Runs a program; its standard error becomes the error's text.
///
/// # Errors
/// It cannot be run, or does not succeed.
pub fn succeed(command: &mut Command) -> io::Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| crate::systems::within(&program, &error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(match said.trim() {
        "" => format!("{program}: {}", output.status),
        text => text.lines().take(5).collect::<Vec<_>>().join("; "),
    }))
}
