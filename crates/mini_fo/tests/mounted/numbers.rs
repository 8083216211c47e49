//! Which object is which: bases whose file systems number their objects in
//! ways that a mount must not trust.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::common::{
    META, WorkDir, engine_is_product, is_root, mini_fo, sh, skip, skip_unless, sys,
};

/// A base, a storage and a mount point of the program, and what the base is
/// put together from.
struct Layers {
    work: WorkDir,
    base: PathBuf,
    storage: PathBuf,
    mnt: PathBuf,
    options: &'static str,
    mounted: Cell<bool>,
}

impl Layers {
    /// `None`: not here, and why was said.
    fn new(options: &'static str) -> Option<Layers> {
        let work = WorkDir::new();
        if !is_root() || !engine_is_product() {
            skip("needs root to mount a base");
            return None;
        }
        let [base, storage, mnt] = ["base", "storage", "mnt"].map(|name| work.dir(name));
        Some(Layers { work, base, storage, mnt, options, mounted: Cell::new(false) })
    }

    fn mount(&self) -> String {
        let args = ["mount".as_ref(), self.base.as_path(), &self.mnt, "--storage".as_ref()];
        let args = [&args[..], &[&self.storage, self.options.as_ref()]].concat();
        let outcome = mini_fo(&args);
        let said = outcome.stderr.clone();
        outcome.ok();
        self.mounted.set(true);
        said
    }

    fn umount(&self) {
        mini_fo(&[Path::new("umount"), &self.mnt]).ok();
        self.mounted.set(false);
    }

    /// Runs `prepare` in the work directory while nothing is mounted, so that
    /// the next mount finds the base as after a boot.
    fn boot(&self, prepare: &str) {
        self.umount();
        sh(&self.work.0, prepare);
        self.mount();
    }

    /// Numbers of all names in the mount.
    fn numbers(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.mnt.clone()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(&dir).expect("list") {
                let path = entry.expect("entry").path();
                let stat = fs::symlink_metadata(&path).expect("stat");
                if stat.is_dir() {
                    left.push(path.clone());
                }
                found.insert(path, stat.ino());
            }
        }
        found
    }

    /// The same of names that are no directories.
    fn numbers_of_files(&self) -> BTreeMap<PathBuf, u64> {
        let mut numbers = self.numbers();
        numbers.retain(|path, _| !path.is_dir());
        numbers
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        if self.mounted.get() && !std::thread::panicking() {
            self.umount();
        }
    }
}

/// Two file systems with files of the same numbers, each under two names.
const TWO_LAYERS: &str = "mkdir -p l1 l2; mount -t tmpfs none l1; mount -t tmpfs none l2
    for l in 1 2; do for i in 1 2 3 4; do echo $l$i > l$l/$l$i; ln l$l/$l$i l$l/$l${i}link; done; done";

fn own_content(mnt: &Path, changed: &[&str]) {
    for l in 1..3 {
        for i in 1..5 {
            let name = format!("{l}{i}");
            let more = if changed.contains(&&*name) { "more\n" } else { "" };
            for path in [name.clone(), format!("{name}link")] {
                let read = fs::read_to_string(mnt.join(&path)).expect("read");
                assert_eq!(read, format!("{name}\n{more}"), "{path}");
            }
        }
    }
}

/// overlayfs numbers the objects of its layers from 2^62 and 2^63 on.
#[test]
fn objects_with_large_numbers_are_told_apart() {
    let Some(layers) = Layers::new("-orw") else { return };
    sh(&layers.work.0, TWO_LAYERS);
    sh(&layers.work.0, "mount -t overlay none -o lowerdir=l1:l2,xino=auto base");
    layers.mount();
    own_content(&layers.mnt, &[]);
    let listed = sh(&layers.mnt, "ls | wc -l");
    assert_eq!(listed.trim(), "16");
    let numbers = layers.numbers();
    let mut different: Vec<_> = numbers.values().collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 8);
    for entry in fs::read_dir(&layers.mnt).expect("list") {
        let entry = entry.expect("entry");
        assert_eq!(entry.ino(), numbers[&entry.path()]);
    }
    sh(&layers.mnt, "echo more >> 11; echo more >> 21link; echo more >> 24");
    for _ in 0..2 {
        own_content(&layers.mnt, &["11", "21", "24"]);
        assert_eq!(layers.numbers(), numbers);
        layers.boot("umount base; mount -t overlay none -o lowerdir=l1:l2,xino=auto base");
    }
    sh(&layers.mnt, "mv 11 moved; ln 21 new; rm 24");
    let after =
        "for n in moved 11link new 21 21link 24link; do cat $n; done; stat -c %h 11link new 24link";
    for _ in 0..2 {
        let shown = sh(&layers.mnt, after);
        assert_eq!(shown, "11\nmore\n11\nmore\n21\nmore\n21\nmore\n21\nmore\n24\nmore\n2\n3\n1\n");
        layers.boot("true");
    }
}

/// overlayfs without `xino` shows a device of its own for each layer, which is
/// another one after the next boot, and says nothing by which it is known again.
#[test]
fn hard_links_stay_together_where_devices_change() {
    let Some(layers) = Layers::new("-orw") else { return };
    sh(&layers.work.0, TWO_LAYERS);
    sh(&layers.work.0, "mkdir other; mount -t overlay none -o lowerdir=l1:l2,xino=off base");
    layers.mount();
    own_content(&layers.mnt, &[]);
    let numbers = layers.numbers_of_files();
    sh(&layers.mnt, "echo more >> 11; echo more >> 21link; mv 13 moved; ln 23 new");
    let device = |layers: &Layers| fs::metadata(layers.base.join("12")).expect("stat").dev();
    for _ in 0..2 {
        let before = device(&layers);
        for _ in 0..20 {
            layers.boot(
                "umount base; for i in 1 2 3; do mount -t tmpfs none other; done
                 mount -t overlay none -o lowerdir=l1:l2,xino=off base",
            );
            if device(&layers) != before {
                break;
            }
        }
        assert_ne!(device(&layers), before, "the test wants another device");
        // From the other end than the first time.
        sh(&layers.mnt, "cat 24 > /dev/null");
        for name in ["11", "11link", "21", "21link"] {
            let read = fs::read_to_string(layers.mnt.join(name)).expect("read");
            assert_eq!(read, format!("{}\nmore\n", &name[..2]), "{name}");
        }
        assert_eq!(sh(&layers.mnt, "cat moved 13link new 23"), "13\n13\n23\n23\n");
        let mut now = layers.numbers_of_files();
        assert_eq!(now.remove(&layers.mnt.join("moved")), Some(now[&layers.mnt.join("13link")]));
        assert_eq!(now.remove(&layers.mnt.join("new")), Some(now[&layers.mnt.join("23")]));
        let mut expected = numbers.clone();
        expected.remove(&layers.mnt.join("13"));
        assert_eq!(now, expected);
    }
}

/// What the index calls its objects by, before and after there were realms.
fn old_number(ino: u64) -> u64 {
    (ino ^ ino >> 62) & ((1 << 62) - 1)
}

/// Makes the index of a storage one of the version before there were realms.
fn make_old(layers: &Layers) {
    let index = layers.storage.join(format!("{META}_index"));
    let meta = fs::read_to_string(index.join(META)).expect("META");
    let old = meta.lines().map(|line| match line.split_once(' ').expect("a record") {
        ("l", rest) => {
            let (id, rest) = rest.split_once(' ').expect("fields");
            let ino: u64 = id.parse().expect("a number");
            let (from, to) = (format!("{ino:x}"), format!("{:x}", old_number(ino)));
            let _ = fs::rename(index.join(from), index.join(to));
            format!("l {} {rest}\n", old_number(ino))
        }
        _ => format!("{line}\n"),
    });
    let old: String = old.collect();
    fs::write(index.join(META), old).expect("META");
    let root = fs::read_to_string(layers.storage.join(META)).expect("META");
    assert!(root.contains("\nf realms index"), "{root}");
    let root = root.replace("f realms index", "f index").replace("f realms\n", "");
    fs::write(layers.storage.join(META), root).expect("META");
}

#[test]
fn an_index_of_an_earlier_version_is_understood() {
    let Some(layers) = Layers::new("-orw") else { return };
    sh(&layers.work.0, TWO_LAYERS);
    sh(
        &layers.work.0,
        "rm l2/*2 l2/*4link; mount -t overlay none -o lowerdir=l1:l2,xino=auto base",
    );
    layers.mount();
    sh(&layers.mnt, "echo more >> 12; rm 14");
    layers.umount();
    make_old(&layers);
    layers.mount();
    for _ in 0..2 {
        assert_eq!(
            sh(&layers.mnt, "cat 12 12link 14link; stat -c %h 12link 14link"),
            "12\nmore\n12\nmore\n14\n2\n1\n"
        );
        let number = |name: &str| fs::metadata(layers.mnt.join(name)).expect("stat").ino();
        assert_eq!(number("12"), number("12link"));
        layers.boot("true");
    }
    sh(&layers.mnt, "mv 12 moved; echo last >> 12link");
    for _ in 0..2 {
        assert_eq!(sh(&layers.mnt, "cat moved 12link"), "12\nmore\nlast\n12\nmore\nlast\n");
        layers.boot("true");
    }
}

/// A tree that is put into images and onto file systems below the base.
const TREE: &str = "mkdir tree; echo f > tree/f; ln tree/f tree/g; echo a > tree/a; ln tree/a tree/b; mkdir tree/d";

/// What is changed and then looked at, in directories `$*` of the mount.
fn change_and_boot(layers: &Layers, dirs: &[&str], boot: &str) {
    layers.mount();
    let numbers = layers.numbers();
    for dir in dirs {
        sh(&layers.mnt, &format!("cd {dir}; echo {dir} >> f; chmod 600 b"));
    }
    for _ in 0..2 {
        for dir in dirs.iter().rev() {
            let read = sh(&layers.mnt, &format!("cd {dir}; cat f g; stat -c %a a b"));
            assert_eq!(read, format!("f\n{dir}\nf\n{dir}\n600\n600\n"), "{dir}");
        }
        assert_eq!(layers.numbers(), numbers);
        layers.boot(boot);
    }
}

#[test]
fn hard_links_stay_together_where_images_get_other_devices() {
    let Some(layers) = Layers::new("-osubmounts") else { return };
    if skip_unless(&["mksquashfs", "mkfs.erofs", "mkfs.xfs"]) {
        return;
    }
    sh(&layers.work.0, TREE);
    sh(
        &layers.work.0,
        "mksquashfs tree one -quiet -no-progress; echo one more > tree/other
         mksquashfs tree two -quiet -no-progress; mkfs.erofs --quiet three tree
         truncate -s 300M four; mkfs.xfs -q four; mkdir spare base/{1,2,3,4}
         mount -o loop four base/4; cp -a tree/* base/4; umount base/4
         mount -o loop one base/1; mount -o loop two base/2
         mount -o loop,ro three base/3; mount -o loop,ro four base/4",
    );
    change_and_boot(
        &layers,
        &["1", "2", "3", "4"],
        "umount base/*; losetup -f --show one > spare/name
         mount -o loop,ro four base/4; mount -o loop,ro three base/3
         mount -o loop two base/2; mount -o loop one base/1; losetup -d $(cat spare/name)",
    );
}

#[test]
fn hard_links_stay_together_on_subvolumes() {
    let Some(layers) = Layers::new("-orw") else { return };
    if skip_unless(&["mkfs.btrfs"]) {
        return;
    }
    sh(&layers.work.0, TREE);
    sh(
        &layers.work.0,
        "truncate -s 200M image; mkfs.btrfs -q image; mount -o loop image base
         btrfs -q subvolume create base/1; btrfs -q subvolume create base/2
         cp -a tree/* base/1; cp -a tree/* base/2; btrfs -q subvolume snapshot base/1 base/3
         mkdir other",
    );
    let boot = "umount base; mount -t tmpfs none other; mount -t tmpfs none other; mount -o loop image base";
    change_and_boot(&layers, &["1", "2", "3"], boot);
}

/// Mounts that are made anew at each boot, in another order.
#[test]
fn hard_links_stay_together_on_mounts_that_are_made_anew() {
    let Some(layers) = Layers::new("-osubmounts") else { return };
    sh(&layers.work.0, TREE);
    let boot = "umount base/* || true; mkdir -p base/{1,2,3}
        for i in $(shuf -e 1 2 3); do mount -t tmpfs none base/$i; cp -a tree/. base/$i; done";
    sh(&layers.work.0, boot);
    change_and_boot(&layers, &["1", "2", "3"], boot);
}

/// What a bound directory shows again is not counted as links of its files.
#[test]
fn a_change_stays_under_names_that_a_bind_mount_adds() {
    let Some(layers) = Layers::new("-osubmounts") else { return };
    sh(&layers.work.0, TREE);
    sh(&layers.work.0, "mkdir base/{1,2}; cp -a tree/. base/1; mount --bind base/1 base/2");
    layers.mount();
    sh(&layers.mnt, "echo more >> 1/f; rm 1/f 1/g");
    for _ in 0..2 {
        assert_eq!(sh(&layers.mnt, "cat 2/f 2/g"), "f\nmore\nf\nmore\n");
        layers.boot("true");
    }
}

/// A handle of an object whose number its directory does not list.
#[test]
fn a_handle_leads_to_an_object_of_another_file_system() {
    let Some(layers) = Layers::new("-osubmounts") else { return };
    sh(&layers.work.0, TWO_LAYERS);
    sh(&layers.work.0, "mkdir base/d; mount -t overlay none -o lowerdir=l1:l2,xino=off base/d");
    layers.mount();
    let names = ["d", "d/11", "d/24link"];
    let handles = names.map(|name| sys::handle_of(&layers.mnt.join(name)).expect("handle"));
    fs::write("/proc/sys/vm/drop_caches", "2").expect("drop caches");
    for (name, handle) in names.iter().zip(&handles) {
        let file = sys::open_by_handle(&layers.mnt, handle);
        let file = file.unwrap_or_else(|error| panic!("{name}: {error}"));
        let number = file.metadata().expect("fstat").ino();
        assert_eq!(number, fs::metadata(layers.mnt.join(name)).expect("stat").ino(), "{name}");
    }
}

/// The device of an image says nothing of what is in it.
#[test]
fn an_image_on_another_device_is_the_same_base() {
    let Some(layers) = Layers::new("-orw") else { return };
    if skip_unless(&["mksquashfs"]) {
        return;
    }
    sh(&layers.work.0, TREE);
    sh(
        &layers.work.0,
        "mksquashfs tree one -quiet -no-progress; losetup -f --show one > dev1
         losetup -f --show one > dev2; mount $(cat dev1) base",
    );
    layers.mount();
    sh(&layers.mnt, "echo more >> f");
    layers.umount();
    sh(&layers.work.0, "umount base; mount $(cat dev2) base");
    let said = layers.mount();
    assert!(!said.contains("replaced") && !said.contains("another"), "{said}");
    assert_eq!(sh(&layers.mnt, "cat g"), "f\nmore\n");
    layers.umount();
    // Another image elsewhere, on the very device.
    sh(
        &layers.work.0,
        "umount base; mksquashfs tree two -quiet -no-progress; losetup -d $(cat dev1) $(cat dev2)
         losetup $(cat dev2) two; mkdir base2; mount $(cat dev2) base2",
    );
    let base2 = layers.work.0.join("base2");
    let args =
        ["mount".as_ref(), base2.as_path(), &layers.mnt, "--storage".as_ref(), &layers.storage];
    let refused = mini_fo(&args);
    sh(&layers.work.0, "umount base2; losetup -d $(cat dev2); mount -o loop one base");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("accept_base"), "{}", refused.stderr);
    layers.mount();
}
