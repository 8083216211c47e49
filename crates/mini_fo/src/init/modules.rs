//! Modules of the kernel: by modprobe(8) where there is one, else by hand.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

/// Where programs are; pid 1 may have no `PATH`.
pub const DIRECTORIES: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];

/// The kernel unpacks the module (`MODULE_INIT_COMPRESSED_FILE`).
const COMPRESSED: i32 = 4;

/// Makes sure that there is a `/dev/fuse`.
///
/// # Errors
/// There is none.
pub fn fuse(root: &Path) -> Result<(), String> {
    if !is_known("fuse") {
        load(root, "fuse");
    }
    if !is_known("fuse") {
        let release = release();
        return Err(format!(
            "the kernel has no FUSE: there is no module fuse for {release} in /lib/modules"
        ));
    }
    let device = Path::new("/dev/fuse");
    // The kernel makes the node in the background.
    let begun = Instant::now();
    while !device.exists() && begun.elapsed() < Duration::from_millis(200) {
        std::thread::sleep(Duration::from_millis(10));
    }
    if device.exists() {
        return Ok(());
    }
    // A /dev that the kernel does not fill.
    let number = rustix::fs::makedev(10, 229);
    rustix::fs::mknodat(CWD, device, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, number)
        .map_err(|errno| format!("there is no /dev/fuse, and it cannot be made: {errno}"))
}

/// Whether the kernel has a type of file system.
pub fn is_known(fs_type: &str) -> bool {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split('\t').next_back() == Some(fs_type))
}

/// Loads a module and what it needs, from the root of this process or from
/// `root`. Whether it is there is asked of the kernel afterwards.
pub fn load(root: &Path, name: &str) {
    if let Some(modprobe) = program("modprobe") {
        let mut command = Command::new(modprobe);
        command.arg(name).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return;
        }
    }
    for root in [Path::new("/"), root] {
        let modules = root.join("lib/modules").join(release());
        for path in needed(&modules, name) {
            insert(&modules.join(path));
        }
    }
}

/// A program, by its name.
pub fn program(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The files of a module, what it needs first.
fn needed(modules: &Path, name: &str) -> Vec<PathBuf> {
    let list = fs::read_to_string(modules.join("modules.dep")).unwrap_or_default();
    if let Some(files) = listed(&list, name) {
        return files;
    }
    find(modules, name, 0).into_iter().collect()
}

/// What `modules.dep` says: `a.ko: b.ko c.ko`, where c is wanted before b.
fn listed(list: &str, name: &str) -> Option<Vec<PathBuf>> {
    let (file, needs) = list
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(file, _)| is_module(Path::new(file), name))?;
    let needs = needs.split_whitespace().rev();
    Some(needs.chain([file]).map(PathBuf::from).collect())
}

fn find(dir: &Path, name: &str, depth: u32) -> Option<PathBuf> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(dir).ok()?.flatten() {
        match entry.file_type() {
            // Links lead to the kernel's sources.
            Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
            Ok(kind) if kind.is_file() && is_module(&entry.path(), name) => {
                return Some(entry.path());
            }
            _ => {}
        }
    }
    dirs.iter().filter(|_| depth < 8).find_map(|dir| find(dir, name, depth + 1))
}

fn is_module(path: &Path, name: &str) -> bool {
    let Some(file) = path.file_name().and_then(OsStr::to_str) else { return false };
    let ends = [".ko", ".ko.xz", ".ko.gz", ".ko.zst"];
    ends.iter().any(|end| file.strip_suffix(end).is_some_and(|stem| stem.replace('-', "_") == name))
}

fn insert(path: &Path) {
    let flags = if path.extension() == Some(OsStr::new("ko")) { 0 } else { COMPRESSED };
    let inserted = File::open(path)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .and_then(|file| rustix::system::finit_module(&file, c"", flags));
    match inserted {
        // What the root does not have is told by what needs it.
        Ok(()) | Err(Errno::EXIST | Errno::NOENT) => {}
        Err(errno) => super::console::warn(format!("module {}: {errno}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_by_list_and_by_search() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("kernel/fs/fuse");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("fuse.ko.xz"), "").unwrap();
        fs::write(deep.join("not-fuse.ko"), "").unwrap();
        assert_eq!(needed(dir.path(), "fuse"), [deep.join("fuse.ko.xz")]);
        assert_eq!(needed(dir.path(), "not_fuse"), [deep.join("not-fuse.ko")]);
        assert!(needed(dir.path(), "ext4").is_empty());
        let list = "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\nx:\n";
        fs::write(dir.path().join("modules.dep"), list).unwrap();
        let wanted = ["kernel/lib/crc16.ko", "kernel/fs/jbd2/jbd2.ko", "kernel/fs/ext4/ext4.ko"];
        assert_eq!(needed(dir.path(), "ext4"), wanted.map(PathBuf::from));
    }

    #[test]
    fn the_kernel_tells_its_file_systems() {
        assert!(is_known("tmpfs") && !is_known("nosuchfs"));
    }
}
