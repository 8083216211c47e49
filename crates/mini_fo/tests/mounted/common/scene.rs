//! One test's base, storage and mount point.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::kinds::{BaseKind, StorageKind};
use super::proof::BaseProof;
use super::run::{Outcome, is_root, run, skip, skip_unless};
use super::sys;

/// The file that the 2005 format keeps in a storage directory.
pub const META: &str = "META_dAfFgHE39ktF3HD2sr";

/// `MINI_FO_TEST_ENGINE=overlayfs` runs the tests on the kernel's overlay
/// instead: a check of the tests, not of the product.
pub fn engine_is_product() -> bool {
    std::env::var_os("MINI_FO_TEST_ENGINE").is_none_or(|engine| engine != "overlayfs")
}

/// Runs the program under test.
pub fn mini_fo<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Outcome {
    run(env!("CARGO_BIN_EXE_mini_fo"), args)
}

thread_local! {
    static ISOLATED: Cell<bool> = const { Cell::new(false) };
}

fn isolate() {
    if is_root() && !ISOLATED.get() {
        sys::own_mount_namespace().expect("a mount namespace for the test");
        ISOLATED.set(true);
    }
}

/// A directory that is removed, with all that is mounted in it, on drop.
pub struct WorkDir(pub PathBuf);

impl WorkDir {
    pub fn new() -> WorkDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        isolate();
        let path = std::env::temp_dir().join(format!(
            "mini_fo-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&path).expect("a work directory");
        // Closed to who searches all of the system, as a run of another user may: that would
        // move times of access.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).expect("chmod");
        WorkDir(path)
    }

    /// A new directory in it.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).expect("mkdir");
        path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        let prefix = format!("{}/", self.0.display());
        for line in mounts.lines().rev() {
            if let Some(point) = line.split(' ').nth(4)
                && point.starts_with(&prefix)
            {
                if is_root() {
                    run("umount", &["-l", point]);
                } else {
                    run("fusermount3", &["-u", "-z", point]);
                }
            }
        }
        if !is_root() {
            // What a test made unreadable, a user could not remove.
            let path = self.0.to_str().expect("UTF-8");
            run("chmod", &["-R", "u+rwX", path]);
        }
        if let Err(error) = fs::remove_dir_all(&self.0) {
            skip(&format!("could not remove {}: {error}", self.0.display()));
        }
    }
}

/// Whether nothing can be mounted here, which is said.
pub fn cannot_mount() -> bool {
    let device = Path::new("/dev/fuse");
    if !device.exists() {
        skip("no /dev/fuse");
        return true;
    }
    // The helper opens it with the user's rights.
    let opened = fs::File::options().read(true).write(true).open(device);
    if let Err(error) = opened {
        skip(&format!("this user may not open /dev/fuse: {error}"));
        return true;
    }
    !is_root() && skip_unless(&["fusermount3"])
}

/// A base with its proof, a storage and a mount point. When it goes, it is
/// unmounted and the base is proven untouched.
pub struct Scene {
    pub base: PathBuf,
    pub storage: PathBuf,
    pub mnt: PathBuf,
    mounted: bool,
    proof: BaseProof,
    pub work: WorkDir,
}

impl Scene {
    /// A mounted scene on plain directories; None where nothing can be mounted.
    pub fn new(fill: impl Fn(&Path)) -> Option<Scene> {
        Scene::on(BaseKind::Plain, StorageKind::Plain, fill)
    }

    /// A mounted scene on file systems of these kinds.
    pub fn on(base: BaseKind, storage: StorageKind, fill: impl Fn(&Path)) -> Option<Scene> {
        let mut scene = Scene::unmounted(base, storage, fill)?;
        scene.mount(&[]);
        Some(scene)
    }

    /// As [`Scene::on`], not yet mounted.
    pub fn unmounted(base: BaseKind, storage: StorageKind, fill: impl Fn(&Path)) -> Option<Scene> {
        if engine_is_product() && cannot_mount() {
            return None;
        }
        if !is_root() && (base, storage) != (BaseKind::Plain, StorageKind::Plain) {
            skip("mounting this kind of layer needs root");
            return None;
        }
        let work = WorkDir::new();
        let base = base.make(&work.0, &fill)?;
        let storage = storage.make(&work.0)?;
        let mnt = work.dir("mnt");
        let proof = BaseProof::take(&quiet_view(&work, &base));
        Some(Scene { base, storage, mnt, mounted: false, proof, work })
    }

    /// Mounts with further arguments; it must succeed.
    pub fn mount(&mut self, extra: &[&str]) {
        let outcome =
            if engine_is_product() { self.try_mount(extra) } else { self.mount_overlayfs() };
        outcome.ok();
        self.mounted = true;
    }

    /// Mounts with further arguments, whatever comes of it.
    pub fn try_mount(&mut self, extra: &[&str]) -> Outcome {
        let (base, storage, mnt) = (&self.base, &self.storage, &self.mnt);
        let mut args = vec![Path::new("mount"), base, mnt, Path::new("--storage"), storage];
        args.extend(extra.iter().map(Path::new));
        let outcome = mini_fo(&args);
        self.mounted |= outcome.code == 0;
        outcome
    }

    fn mount_overlayfs(&self) -> Outcome {
        for name in ["upper", "work"] {
            fs::create_dir_all(self.storage.join(name)).expect("mkdir");
        }
        let options = format!(
            "lowerdir={},upperdir={s}/upper,workdir={s}/work,redirect_dir=on,xino=auto",
            self.base.display(),
            s = self.storage.display()
        );
        let mnt = self.mnt.to_str().expect("UTF-8");
        run("mount", &["-t", "overlay", "overlay", "-o", &options, mnt])
    }

    pub fn umount(&mut self) {
        let outcome = if engine_is_product() {
            mini_fo(&[Path::new("umount"), &self.mnt])
        } else {
            run("umount", &[&self.mnt])
        };
        outcome.ok();
        self.mounted = false;
    }

    /// Unmounts and mounts again.
    pub fn remount(&mut self) {
        self.umount();
        self.mount(&[]);
    }

    /// A path in the mount.
    pub fn at(&self, path: &str) -> PathBuf {
        self.mnt.join(path)
    }

    /// The base, looking at which changes no time of access where we are root.
    pub fn quiet_base(&self) -> PathBuf {
        let view = self.work.0.join("proof");
        if view.exists() { view } else { self.base.clone() }
    }

    /// A copy of the base on a plain directory, to do the same work on.
    pub fn plain_copy(&self) -> PathBuf {
        let copy = self.work.0.join("plain");
        run("cp", &[Path::new("-a"), &self.quiet_base(), &copy]).ok();
        copy
    }

    /// Runs `check` on the mount as it is and after a remount.
    pub fn now_and_remounted(&mut self, check: impl Fn(&Path)) {
        check(&self.mnt);
        self.remount();
        check(&self.mnt);
    }

    /// The base was changed by the test itself: what it is now is proven at the end.
    pub fn retake_proof(&mut self) {
        self.proof = BaseProof::take(&self.quiet_base());
    }

    /// Fails if the base is not what it was.
    pub fn prove_base(&self) {
        self.proof.verify();
    }

    /// META of a storage directory, "" where there is none.
    pub fn meta(&self, dir: &str) -> String {
        let bytes = fs::read(self.storage.join(dir).join(META)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if self.mounted {
            self.umount();
        }
        self.proof.verify();
    }
}

/// A second view of the base on which looking leaves no trace; the base itself
/// where this needs rights we lack.
fn quiet_view(work: &WorkDir, base: &Path) -> PathBuf {
    if !is_root() {
        return base.to_owned();
    }
    let view = work.dir("proof");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    run("mount", &["--bind", &text(base), &text(&view)]).ok();
    run("mount", &["-o", "remount,bind,ro,noatime", &text(&view)]).ok();
    view
}

/// A small tree with every type of object, old times, odd modes and owners.
pub fn standard_base(base: &Path) {
    for dir in ["d", "d/sub", "d/sub/deep", "e", "empty", "long dir"] {
        fs::create_dir(base.join(dir)).expect("mkdir");
    }
    for (name, content) in [
        ("f", "base content of f\n"),
        ("g", "gggg\n"),
        ("d/one", "1\n"),
        ("d/two", "22\n"),
        ("d/sub/three", "333\n"),
        ("d/sub/deep/four", "4444\n"),
        ("e/five", "55555\n"),
        ("long dir/a b", "spaces\n"),
        ("script", "#!/bin/sh\necho run\n"),
    ] {
        fs::write(base.join(name), content).expect("write");
    }
    fs::write(base.join("big"), pattern(3 << 20)).expect("write");
    symlink("f", base.join("link")).expect("symlink");
    symlink("nowhere", base.join("d/dangling")).expect("symlink");
    let set = |name: &str, mode| {
        fs::set_permissions(base.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    };
    set("f", 0o640);
    set("script", 0o755);
    set("d/sub", 0o750);
    sys::mknod(&base.join("fifo"), libc::S_IFIFO | 0o622, 0);
    sys::mknod(&base.join("sock"), libc::S_IFSOCK | 0o755, 0);
    let _ = sys::set_xattr(&base.join("f"), "user.colour", b"red");
    if is_root() {
        sys::mknod(&base.join("null"), libc::S_IFCHR | 0o666, libc::makedev(1, 3));
        let own = |name: &str| std::os::unix::fs::lchown(base.join(name), Some(12), Some(34));
        for name in ["f", "link", "d/two", "fifo", "e"] {
            own(name).expect("chown");
        }
    }
    age(base);
}

/// Gives every object below `dir` a time in 2005 with odd nanoseconds.
fn age(dir: &Path) {
    for entry in fs::read_dir(dir).expect("readdir") {
        let path = entry.expect("readdir").path();
        if path.is_dir() && !path.is_symlink() {
            age(&path);
        }
        sys::set_times(&path, 1_109_678_400, 123_456_789);
    }
    sys::set_times(dir, 1_109_678_400, 123_456_789);
}

/// Bytes in which every page differs.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}
