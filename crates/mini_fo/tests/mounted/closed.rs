//! A storage that others can enter: what they write there does not count, and a
//! mount for writing closes it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::common::{
    META, Outcome, WorkDir, cannot_mount, engine_is_product, is_root, mini_fo, run, sh, skip, sys,
};

/// The exit code for a storage that is refused.
pub const STORAGE: i32 = 4;
const FOUND: i32 = 11;
/// The other user.
pub const USER: u32 = 65534;

/// A base in which another user has a directory, and a storage.
pub struct Layers {
    pub work: WorkDir,
    mounted: bool,
}

impl Layers {
    pub fn new() -> Option<Layers> {
        if !engine_is_product() || cannot_mount() {
            return None;
        }
        if !is_root() {
            skip("becomes another user and needs root for it");
            return None;
        }
        let work = WorkDir::new();
        for dir in ["base/home/sub", "base/closed", "storage", "mnt"] {
            work.dir(dir);
        }
        sh(
            &work.0,
            &format!(
                "cd base; chmod 700 closed; echo secret > closed/secret
                 echo tool > home/tool; chmod 755 home/tool; echo gone > home/gone
                 chown -R {USER}:{USER} home"
            ),
        );
        Some(Layers { work, mounted: false })
    }

    pub fn at(&self, path: &str) -> std::path::PathBuf {
        self.work.0.join(path)
    }

    pub fn try_mount(&mut self, extra: &[&str]) -> Outcome {
        let (base, mnt, storage) = (self.at("base"), self.at("mnt"), self.at("storage"));
        let mut args = vec![Path::new("mount"), &base, &mnt, Path::new("-s"), &storage];
        args.extend(extra.iter().map(Path::new));
        let outcome = mini_fo(&args);
        self.mounted |= outcome.code == 0;
        outcome
    }

    /// Mounts; what that said.
    pub fn mount(&mut self) -> String {
        let said = self.try_mount(&[]);
        let log = said.stderr.clone();
        said.ok();
        log
    }

    pub fn umount(&mut self) {
        mini_fo(&[Path::new("umount"), &self.at("mnt")]).ok();
        self.mounted = false;
    }

    pub fn check(&self) -> Outcome {
        let (base, storage) = (self.at("base"), self.at("storage"));
        mini_fo(&[Path::new("check"), &base, Path::new("-s"), &storage])
    }

    /// Runs a script in the mount as the other user.
    pub fn as_user(&self, script: &str) -> Outcome {
        let user = format!("--reuid={USER}");
        let group = format!("--regid={USER}");
        let script = format!("cd {} && {script}", self.at("mnt").display());
        run("setpriv", &[&user, &group, "--clear-groups", "sh", "-ec", &script])
    }

    pub fn mode(&self) -> u32 {
        fs::metadata(self.at("storage")).expect("stat").mode() & 0o7777
    }

    pub fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.at("storage"), fs::Permissions::from_mode(mode)).expect("chmod");
    }

    /// Work that leaves a storage with directories of the other user, a partial
    /// file and an index.
    pub fn worked(mut self) -> Layers {
        self.mount();
        sh(&self.at("base"), "head -c 100000 /dev/zero | tr '\\0' x > big");
        self.umount();
        self.mount();
        let script = "chmod 600 big; echo more >> closed/secret; rm home/gone";
        sh(&self.at("mnt"), script);
        self.as_user("touch home/sub/new; chmod 700 home/tool").ok();
        self.umount();
        self
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        if self.mounted && !std::thread::panicking() {
            self.umount();
        }
    }
}

#[test]
fn a_mount_for_writing_closes_its_storage() {
    let Some(mut layers) = Layers::new() else { return };
    fs::set_permissions(layers.at("base"), fs::Permissions::from_mode(0o755)).expect("chmod");
    for (before, after) in [(0o755, 0o700), (0o2775, 0o2700), (0o1777, 0o1700), (0o700, 0o700)] {
        sh(&layers.at("storage"), "find . -mindepth 1 -delete");
        layers.set_mode(before);
        layers.mount();
        assert_eq!(layers.mode(), after, "{before:o}");
        let shown = fs::metadata(layers.at("mnt")).expect("stat");
        assert_eq!((shown.mode() & 0o7777, shown.uid()), (0o755, 0));
        // All of the tree is there for others as before.
        layers.as_user("cat home/tool; echo x > home/new; ls . home > /dev/null").ok();
        layers.umount();
        layers.check().ok();
    }
}

#[test]
fn a_mount_for_reading_leaves_the_storage_as_it_is() {
    let Some(layers) = Layers::new() else { return };
    let mut layers = layers.worked();
    layers.set_mode(0o755);
    layers.try_mount(&["-o", "ro"]).ok();
    assert_eq!(layers.mode(), 0o755);
    layers.umount();
    layers.check().fails(FOUND, &[]);
    layers.set_mode(0o777);
    layers.try_mount(&["-o", "ro"]).fails(STORAGE, &["others", "chmod 700"]);
}

#[test]
fn meta_of_another_user_does_not_count() {
    let Some(layers) = Layers::new() else { return };
    let mut layers = layers.worked();
    let meta = layers.at("storage/home").join(META);
    let honest = fs::read(&meta).expect("META");
    let forged = "o 4755 0 0 tool\nR /closed sub\nn b 7 0 new\n";
    for line in forged.lines() {
        fs::write(&meta, format!("{line}\n")).expect("write");
        chown(&meta, Some(USER), Some(USER)).expect("chown");
        let said = layers.mount();
        let name = format!("{}: it belongs to user {USER}", meta.display());
        assert!(said.contains(&name), "{said}");
        let seen = layers.as_user("ls home/tool home/sub/secret home/gone");
        assert!(seen.stdout.is_empty(), "{seen:?}");
        assert!(seen.stderr.contains("Input/output error"), "{seen:?}");
        // The rest of the tree is as it was.
        sh(&layers.at("mnt"), "grep -q more closed/secret; touch closed/x; rm closed/x");
        layers.umount();
        let found = layers.check().fails(FOUND, &[]);
        assert!(found.stdout.contains(&name), "{found:?}");
    }
    fs::write(&meta, honest).expect("write");
    chown(&meta, Some(0), Some(0)).expect("chown");
    layers.mount();
    sh(&layers.at("mnt"), "test ! -e home/gone; test $(stat -c %a home/tool) = 700");
}

#[test]
fn meta_that_others_may_write_or_that_has_two_names_does_not_count() {
    let Some(layers) = Layers::new() else { return };
    let mut layers = layers.worked();
    let home = layers.at("storage/home");
    for (spoil, mend, word) in [
        (format!("chmod 660 {META}"), format!("chmod 600 {META}"), "mode 0660"),
        (format!("chown 65534 {META}"), format!("chown 0 {META}"), "user 65534"),
        (format!("ln {META} sub/second"), "rm sub/second".to_owned(), "2 names"),
    ] {
        sh(&home, &spoil);
        let said = layers.mount();
        assert!(said.contains(word), "{said}");
        assert!(fs::read_dir(layers.at("mnt/home")).is_err());
        layers.umount();
        sh(&home, &mend);
    }
    layers.mount();
    sh(&layers.at("mnt"), "test ! -e home/gone");
}

/// Without META of the root nothing can be shown at all.
#[test]
fn a_root_meta_that_does_not_count_is_refused() {
    let Some(layers) = Layers::new() else { return };
    let mut layers = layers.worked();
    let storage = layers.at("storage");
    for (spoil, mend, word) in [
        (format!("chmod 620 {META}"), format!("chmod 600 {META}"), "mode 0620"),
        (format!("chown 65534 {META}"), format!("chown 0 {META}"), "user 65534"),
        (format!("ln {META} home/second"), "rm home/second".to_owned(), "2 names"),
    ] {
        sh(&storage, &spoil);
        layers.try_mount(&[]).fails(STORAGE, &[META, word]);
        layers.try_mount(&["-o", "ro"]).fails(STORAGE, &[META, word]);
        layers.try_mount(&["-o", "damaged=rw"]).fails(STORAGE, &[META, word]);
        layers.check().fails(STORAGE, &[META, word]);
        sh(&storage, &mend);
    }
    layers.mount();
}

#[test]
fn an_index_of_another_user_does_not_count() {
    let Some(layers) = Layers::new() else { return };
    sh(&layers.at("base"), "echo x > one; ln one two");
    let mut layers = layers.worked();
    layers.mount();
    sh(&layers.at("mnt"), "echo y >> one");
    layers.umount();
    let index = format!("{META}_index");
    let storage = layers.at("storage");
    for what in [&index, &format!("{index}/{META}")] {
        sh(&storage, &format!("chown {USER} {what}"));
        layers.try_mount(&[]).fails(STORAGE, &[&index, "belongs to user 65534"]);
        layers.try_mount(&["-o", "ro"]).fails(STORAGE, &[&index]);
        sh(&storage, &format!("chown 0 {what}; chmod g+w {what}"));
        layers.try_mount(&[]).fails(STORAGE, &[&index, "others may write"]);
        sh(&storage, &format!("chmod g-w {what}"));
        layers.mount();
        sh(&layers.at("mnt"), "test $(cat two | wc -l) = 2");
        layers.umount();
    }
}

#[test]
fn a_mark_that_a_user_can_write_is_not_believed() {
    let Some(layers) = Layers::new() else { return };
    let mut layers = layers.worked();
    let secret = fs::metadata(layers.at("base/closed/secret")).expect("stat");
    let mtime = format!("{}.{:09}", secret.mtime(), secret.mtime_nsec());
    let mark = format!("1 00000000000000aa {} {mtime} 8 /closed/secret", secret.size());
    let forged = layers.at("storage/home/sub/forged");
    fs::write(&forged, vec![0; secret.size() as usize]).expect("write");
    sys::set_xattr(&forged, "user.mini_fo.partial", mark.as_bytes()).expect("setxattr");
    chown(&forged, Some(USER), Some(USER)).expect("chown");
    layers.mount();
    let seen = layers.as_user("cat home/sub/forged").ok();
    assert!(!seen.contains("secret"), "{seen:?}");
    // The marks of this mount are read.
    sh(
        &layers.at("mnt"),
        "test $(tr -d '\\nx' < big | wc -c) = 0; test $(stat -c %s big) = 100000",
    );
}

#[test]
fn marks_of_an_earlier_version_are_taken_over() {
    let Some(layers) = Layers::new() else { return };
    let mut layers = layers.worked();
    let storage = layers.at("storage");
    let files = ["", "big", "closed/secret", "home/tool"].map(|name| storage.join(name));
    let count = |names: &str| {
        let has = |path: &Path, what: &str| {
            sys::get_xattr(path, &format!("{names}.mini_fo.{what}")).is_ok()
        };
        files.iter().filter(|file| has(file, "partial") || has(file, "storage")).count()
    };
    let all = count("trusted");
    if all < 2 {
        return skip("no partial files here");
    }
    for (file, what) in files.iter().flat_map(|file| [(file, "partial"), (file, "storage")]) {
        let (new, old) = (format!("trusted.mini_fo.{what}"), format!("user.mini_fo.{what}"));
        if let Ok(value) = sys::get_xattr(file, &new) {
            sys::set_xattr(file, &old, &value).expect("setxattr");
            rustix::fs::removexattr(file, &*new).expect("removexattr");
        }
    }
    sh(&storage, "chattr +i big || true");
    assert_eq!((count("trusted"), count("user")), (0, all));
    // What a first try left that a crash cut short.
    let stale = storage.join("home/sub/new");
    sys::set_xattr(&stale, "trusted.mini_fo.partial", b"1").expect("setxattr");
    // Others could have written them.
    layers.set_mode(0o755);
    for extra in [&[][..], &["-o", "ro"], &["-o", "damaged=rw"]] {
        layers.try_mount(extra).fails(STORAGE, &["marks", "chmod 700"]);
    }
    layers.set_mode(0o700);
    layers.try_mount(&["-o", "ro"]).fails(STORAGE, &["once for writing"]);
    assert_eq!(count("user"), all);
    layers.mount();
    let whole = "test $(tr -d '\\nx' < big | wc -c) = 0; test $(stat -c %s big) = 100000";
    sh(&layers.at("mnt"), whole);
    layers.umount();
    assert_eq!((count("trusted"), count("user")), (all, 0));
    assert!(sys::get_xattr(&stale, "trusted.mini_fo.partial").is_err());
    layers.check().ok();
    layers.mount();
    sh(&layers.at("mnt"), whole);
    sh(&layers.at("mnt"), "chattr -i big || true");
}

/// Whoever was inside before stays inside; what he does there does not count.
#[test]
fn a_user_who_was_inside_before_it_was_closed() {
    let Some(layers) = Layers::new() else { return };
    let mut layers = layers.worked();
    layers.set_mode(0o755);
    let script = format!(
        "cd {}; touch {}; while ! test -e go 2>/dev/null; do sleep 0.05; done
         rm -f {META}; echo 'o 4755 0 0 new' > {META}; mkdir planted; touch done; sleep 60",
        layers.at("storage/home/sub").display(),
        layers.at("ready").display()
    );
    sh(&layers.work.0, "chmod 777 .");
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script];
    let mut inside = std::process::Command::new("setpriv").args(user).spawn().expect("setpriv");
    sh(&layers.work.0, "while ! test -e ready; do sleep 0.05; done; chmod 755 .");
    layers.mount();
    sh(&layers.at("storage/home/sub"), "touch go; while ! test -e done; do sleep 0.05; done");
    let seen = layers.as_user("stat -c %a:%u home/sub/new 2>&1 || true");
    assert!(!seen.stdout.contains("4755"), "{seen:?}");
    layers.umount();
    layers.mount();
    let seen = layers.as_user("stat -c %a:%u home/sub/new 2>&1 || true");
    assert!(seen.stdout.contains("Input/output error"), "{seen:?}");
    inside.kill().expect("kill");
    inside.wait().expect("wait");
}

#[test]
fn a_map_of_another_user_does_not_count() {
    let Some(mut layers) = Layers::new() else { return };
    sh(&layers.at("base"), "head -c 5000000 /dev/zero | tr '\\0' x > huge");
    layers.try_mount(&["-o", "blocks_from=4096"]).ok();
    sh(&layers.at("mnt"), "printf y | dd of=huge conv=notrunc 2>/dev/null");
    layers.umount();
    let maps = format!("{META}_index/p*");
    if sh(&layers.at("storage"), &format!("ls {maps} 2>/dev/null || true")).is_empty() {
        return skip("no partial files here");
    }
    for (spoil, mend) in [("chown 65534", "chown 0"), ("chmod o+w", "chmod o-w")] {
        sh(&layers.at("storage"), &format!("{spoil} {maps}"));
        layers.mount();
        let error = fs::read(layers.at("mnt/huge")).expect_err("read");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        layers.umount();
        sh(&layers.at("storage"), &format!("{mend} {maps}"));
    }
    layers.mount();
    sh(&layers.at("mnt"), "test \"$(head -c 3 huge)\" = yxx; test $(stat -c %s huge) = 5000000");
}
