//! A base that comes as an image which was built anew: new firmware, say.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::common::{
    Outcome, WorkDir, cannot_mount, engine_is_product, is_root, mini_fo, run, sh, skip,
    skip_unless, sys,
};

/// Layers whose base is the squashfs image of a tree.
struct Firmware {
    /// The tree that images are built of.
    tree: PathBuf,
    image: PathBuf,
    base: PathBuf,
    storage: PathBuf,
    mnt: PathBuf,
    log: PathBuf,
    _work: WorkDir,
}

impl Firmware {
    fn new() -> Option<Firmware> {
        if !engine_is_product() || cannot_mount() || skip_unless(&["mksquashfs"]) {
            return None;
        }
        if !is_root() {
            skip("mounting an image needs root");
            return None;
        }
        let work = WorkDir::new();
        let [tree, base, storage, mnt] = ["tree", "base", "storage", "mnt"].map(|n| work.dir(n));
        let (image, log) = (work.0.join("image"), work.0.join("log"));
        Some(Firmware { tree, image, base, storage, mnt, log, _work: work })
    }

    /// Builds the image of what the tree is now. `false`: it cannot be mounted.
    fn build(&self) -> bool {
        let _ = fs::remove_file(&self.image);
        let options = ["-noappend", "-quiet", "-no-progress", "-comp", "gzip"].map(Path::new);
        let args: Vec<_> = [&*self.tree, &self.image].into_iter().chain(options).collect();
        run("mksquashfs", &args).ok();
        let mounted = self.mount_image();
        if mounted.code != 0 {
            skip(&format!("no squashfs: {}", mounted.stderr.trim()));
        } else {
            run("umount", &[&self.base]).ok();
        }
        mounted.code == 0
    }

    fn mount_image(&self) -> Outcome {
        run("mount", &[Path::new("-o"), Path::new("loop,ro"), &self.image, &self.base])
    }

    fn mount(&self, options: &str) {
        self.mount_image().ok();
        let options = format!("log={},{options}", self.log.display());
        let [mount, s, o] = ["mount", "-s", "-o"].map(Path::new);
        mini_fo(&[mount, &self.base, &self.mnt, s, &self.storage, o, Path::new(&options)]).ok();
    }

    fn umount(&self) {
        mini_fo(&[Path::new("umount"), &self.mnt]).ok();
        run("umount", &[&self.base]).ok();
    }

    fn check(&self) -> Outcome {
        self.mount_image().ok();
        let found = mini_fo(&[Path::new("check"), &self.base, Path::new("-s"), &self.storage]);
        run("umount", &[&self.base]).ok();
        found
    }

    /// What the log has said since the last call.
    fn told(&self) -> String {
        let told = fs::read_to_string(&self.log).unwrap_or_default();
        let _ = fs::remove_file(&self.log);
        told
    }

    /// A file of the tree, full of one byte.
    fn fill(&self, name: &str, byte: u8, size: usize) {
        let path = self.tree.join(name);
        fs::write(&path, vec![byte; size]).expect("write");
        sys::set_times(&path, time(byte), 0);
    }

    #[track_caller]
    fn holds(&self, name: &str, data: &[u8]) {
        let found = fs::read(self.mnt.join(name));
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found == data, "{name}: {} bytes", found.len());
    }

    /// Content, mode, owner and mtime of a file in the mount.
    #[track_caller]
    fn is(&self, name: &str, data: &[u8], (mode, uid, mtime): (u32, u32, i64)) {
        self.holds(name, data);
        let stat = fs::metadata(self.mnt.join(name)).expect("stat");
        let attributes = (stat.len(), stat.mode() & 0o7777, stat.uid(), stat.mtime());
        assert_eq!(attributes, (data.len() as u64, mode, uid, mtime), "{name}");
    }
}

const fn time(byte: u8) -> i64 {
    1_109_678_400 + byte as i64
}

/// Copied as a whole whatever is changed of it.
const SMALL: usize = 3000;
/// Its data stays in the base.
const MIDDLE: usize = 200_000;
/// So does it when something is appended.
const LARGE: usize = 8 << 20;

const CHANGES: &str = "chmod 600 mode small/mode
    chown 12:34 owner small/owner
    mv name moved; mv small/name small/moved
    touch -d @77 touched small/touched
    setfattr -n user.colour -v red attribute small/attribute
    echo more >> log; echo more >> small/log; echo more >> large-log
    chmod 640 linked; rm gone; mv dir moved-dir; chmod 700 moved-dir/file; mv same dir2/
    mv replaced kept";

fn first_tree(fw: &Firmware) {
    for dir in ["small", "dir", "dir2"] {
        fs::create_dir(fw.tree.join(dir)).expect("mkdir");
    }
    for name in ["mode", "owner", "name", "touched", "attribute", "log"] {
        fw.fill(name, 1, MIDDLE);
        fw.fill(&format!("small/{name}"), 1, SMALL);
    }
    for name in ["linked", "gone", "dir/file", "same", "replaced", "never"] {
        fw.fill(name, 1, MIDDLE);
    }
    fs::hard_link(fw.tree.join("linked"), fw.tree.join("second")).expect("link");
    for name in ["large-log", "written", "cut", "removed"] {
        fw.fill(name, 1, LARGE);
    }
}

/// Everything has other data, another size, another time, and another number.
fn second_tree(fw: &Firmware) {
    for n in 0..100 {
        fw.fill(&format!("0new{n}"), 2, 10);
    }
    for name in ["mode", "owner", "name", "touched", "attribute", "log"] {
        fw.fill(name, 2, MIDDLE + 5000);
        fw.fill(&format!("small/{name}"), 2, SMALL + 50);
    }
    // "linked" and its second name stay one file.
    for name in ["linked", "gone", "dir/file", "replaced", "never"] {
        fw.fill(name, 2, MIDDLE - 5000);
    }
    for name in ["large-log", "written", "cut"] {
        fw.fill(name, 2, LARGE);
    }
    fs::remove_file(fw.tree.join("removed")).expect("unlink");
}

/// All of this is shown after the base was built anew, however often.
fn after_the_update(fw: &Firmware) {
    let (new, shorter) = (vec![2; MIDDLE + 5000], vec![2; MIDDLE - 5000]);
    fw.is("mode", &new, (0o600, 0, time(2)));
    fw.is("owner", &new, (0o644, 12, time(2)));
    fw.is("moved", &new, (0o644, 0, time(2)));
    fw.is("touched", &new, (0o644, 0, 77));
    fw.is("attribute", &new, (0o644, 0, time(2)));
    fw.is("kept", &shorter, (0o644, 0, time(2)));
    fw.is("moved-dir/file", &shorter, (0o700, 0, time(2)));
    fw.is("dir2/same", &[1; MIDDLE], (0o644, 0, time(1)));
    fw.holds("linked", &shorter);
    fw.holds("second", &shorter);
    // Small ones are whole, and what they were.
    let old = vec![1; SMALL];
    fw.is("small/mode", &old, (0o600, 0, time(1)));
    fw.is("small/owner", &old, (0o644, 12, time(1)));
    fw.is("small/moved", &old, (0o644, 0, time(1)));
    fw.is("small/touched", &old, (0o644, 0, 77));
    fw.holds("small/attribute", &old);
    for name in ["attribute", "small/attribute"] {
        let value = sys::get_xattr(&fw.mnt.join(name), "user.colour");
        assert_eq!(value.as_deref(), Ok(&b"red"[..]), "{name}");
    }
    fw.holds("small/log", &[&old[..], b"more\n"].concat());
    // What was appended to had become whole.
    fw.holds("log", &[&[1; MIDDLE][..], b"more\n"].concat());
    // Nobody has touched these.
    fw.is("never", &shorter, (0o644, 0, time(2)));
    fw.is("0new99", &[2; 10], (0o644, 0, time(2)));
    for name in ["name", "dir", "gone", "same", "replaced", "small/name"] {
        assert!(!fw.mnt.join(name).exists(), "{name}");
    }
}

#[test]
fn a_rebuilt_image_shows_below_what_was_changed() {
    let Some(fw) = Firmware::new() else { return };
    if skip_unless(&["setfattr"]) {
        return;
    }
    first_tree(&fw);
    if !fw.build() {
        return;
    }
    fw.mount("blocks_from=1M");
    sh(&fw.mnt, CHANGES);
    // These have data of their own on top of base files.
    let file = OpenOptions::new().write(true).open(fw.mnt.join("written")).expect("open");
    file.write_all_at(b"x", 5 << 20).expect("write");
    drop(file);
    sh(&fw.mnt, "truncate -s 3M cut; chmod 600 removed; sleep 1");
    fw.umount();
    if sys::get_xattr(&fw.storage.join("mode"), "trusted.mini_fo.partial").is_err() {
        return skip("no partial files on this storage's file system");
    }
    // The first base is still there: nothing is lost, and what needs it is counted.
    let found = fw.check();
    assert_eq!(found.code, 0, "{found:?}");
    assert!(found.stdout.contains("3 of its files have data of their own"), "{found:?}");
    fw.told();

    second_tree(&fw);
    assert!(fw.build());
    let found = fw.check();
    assert_eq!(found.code, 11, "{found:?}");
    let lost = ["large-log", "written", "cut", "removed"];
    for name in lost {
        assert!(found.stdout.contains(&format!("/storage/{name}: its data is in")), "{found:?}");
    }
    assert_eq!(found.stdout.matches(": its data is in").count(), lost.len(), "{found:?}");
    for options in ["ro", "rw", "ro", "rw"] {
        fw.mount(options);
        let told = fw.told();
        assert!(told.contains("3 of its files have data of their own"), "{told}");
        assert!(told.contains("at least 4 files of the storage cannot be read"), "{told}");
        after_the_update(&fw);
        for name in lost {
            let error = fs::read(fw.mnt.join(name)).expect_err(name);
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}");
        }
        fw.umount();
    }
    // The image that they were made for brings them back.
    going_back(&fw);
}

/// The tree is built a third time, with what the files need that have data of
/// their own.
fn going_back(fw: &Firmware) {
    for name in ["large-log", "written", "cut", "removed"] {
        fw.fill(name, 1, LARGE);
    }
    assert!(fw.build());
    fw.mount("rw");
    let mut written = vec![1; LARGE];
    written[5 << 20] = b'x';
    fw.holds("written", &written);
    fw.holds("cut", &[1; 3 << 20]);
    fw.holds("removed", &[1; LARGE]);
    fw.holds("large-log", &[&[1; LARGE][..], b"more\n"].concat());
    after_the_update(fw);
    fw.umount();
    let found = fw.check();
    assert_eq!(found.code, 0, "{found:?}");
}
