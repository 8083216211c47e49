//! Partial files after their base was updated.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::common::{WorkDir, cannot_mount, engine_is_product, is_root, mini_fo, sh, skip, sys};

fn mark() -> &'static str {
    if is_root() { "trusted.mini_fo.partial" } else { "user.mini_fo.partial" }
}

/// A base that is changed between mounts, which a `Scene` would not take.
struct Updated {
    base: PathBuf,
    storage: PathBuf,
    mnt: PathBuf,
    _work: WorkDir,
}

impl Updated {
    fn new() -> Option<Updated> {
        if !engine_is_product() || cannot_mount() {
            return None;
        }
        let work = WorkDir::new();
        let (base, storage, mnt) = (work.dir("base"), work.dir("storage"), work.dir("mnt"));
        Some(Updated { base, storage, mnt, _work: work })
    }

    /// A base file that is too large to be copied for a new attribute.
    fn fill(&self, name: &str, byte: u8, size: usize) {
        fs::write(self.base.join(name), vec![byte; size]).expect("write");
        sys::set_times(&self.base.join(name), 1_109_678_400 + i64::from(byte), 5);
    }

    fn mount(&self, options: &str) {
        let options = if options.is_empty() { "rw" } else { options };
        let (mount, storage, o) = (Path::new("mount"), Path::new("-s"), Path::new("-o"));
        let options = Path::new(options);
        mini_fo(&[mount, &self.base, &self.mnt, storage, &self.storage, o, options]).ok();
    }

    fn umount(&self) {
        mini_fo(&[Path::new("umount"), &self.mnt]).ok();
    }

    /// Content, mode and mtime (in seconds) of a file in the mount.
    fn is(&self, name: &str, (byte, size): (u8, usize), mode: u32, mtime: i64) {
        let path = self.mnt.join(name);
        let stat = fs::metadata(&path).expect("stat");
        let attributes = (stat.len(), stat.mode() & 0o7777, stat.mtime());
        assert_eq!(attributes, (size as u64, mode, mtime), "{name}");
        assert!(fs::read(&path).expect(name) == vec![byte; size], "{name}");
    }

    fn is_partial(&self, name: &str) -> bool {
        sys::get_xattr(&self.storage.join(name), mark()).is_ok()
    }
}

const SIZE: usize = 200_000;

const fn time(byte: u8) -> i64 {
    1_109_678_400 + byte as i64
}

#[test]
fn new_attributes_and_names_go_on_top_of_an_updated_base() {
    let Some(u) = Updated::new() else { return };
    for name in ["mode", "name", "time", "same", "linked"] {
        u.fill(name, 1, SIZE);
    }
    fs::hard_link(u.base.join("linked"), u.base.join("second")).expect("link");
    u.fill("small", 1, 100);
    u.mount("");
    sh(&u.mnt, "chmod 600 *; mv name moved; touch -d @1700000000 time; mv time time2");
    u.umount();
    if !u.is_partial("mode") {
        return skip("the storage's file system has reflinks, or no attributes");
    }
    u.fill("mode", 2, SIZE + 100_000);
    u.fill("name", 3, 5);
    u.fill("time", 4, SIZE);
    u.fill("linked", 5, SIZE);
    u.fill("small", 6, 100);
    let check = |options| {
        u.mount(options);
        u.is("mode", (2, SIZE + 100_000), 0o600, time(2));
        u.is("moved", (3, 5), 0o600, time(3));
        u.is("time2", (4, SIZE), 0o600, 1_700_000_000);
        u.is("same", (1, SIZE), 0o600, time(1));
        u.is("small", (1, 100), 0o600, time(1));
        assert!(fs::read(u.mnt.join("linked")).expect("read") == vec![5; SIZE]);
        u.umount();
    };
    for options in ["ro", "", "ro", ""] {
        check(options);
        assert_eq!(mini_fo(&[Path::new("check"), &u.base, Path::new("-s"), &u.storage]).code, 0);
    }
    // From now on it is the user's.
    u.mount("");
    sh(&u.mnt, "printf x | dd of=mode bs=1 seek=9 conv=notrunc status=none; echo more >> moved");
    u.umount();
    u.mount("");
    let mut mode = vec![2; SIZE + 100_000];
    mode[9] = b'x';
    assert!(fs::read(u.mnt.join("mode")).expect("read") == mode);
    assert_eq!(fs::read(u.mnt.join("moved")).expect("read"), b"\x03\x03\x03\x03\x03more\n");
    u.umount();
}

/// The daemon was killed while a file took over what a new base file has.
#[test]
fn following_a_new_base_file_is_finished_after_a_crash() {
    let Some(u) = Updated::new() else { return };
    u.fill("cut", 1, SIZE);
    u.fill("grown", 1, SIZE);
    u.mount("");
    sh(&u.mnt, "chmod 600 cut grown");
    u.umount();
    if !u.is_partial("cut") {
        return skip("the storage's file system has reflinks, or no attributes");
    }
    u.fill("cut", 2, 100_000);
    u.fill("grown", 2, 300_000);
    for (name, size) in [("cut", 100_000), ("grown", 300_000)] {
        let path = u.storage.join(name);
        let found = String::from_utf8(sys::get_xattr(&path, mark()).expect("mark")).expect("UTF-8");
        let map = found.split(' ').nth(1).expect("map");
        let time = format!("{}.000000005", time(2));
        let text = format!("2 {map} {size} {time} 200 {time} /{name}");
        sys::set_xattr(&path, mark(), text.as_bytes()).expect("setxattr");
        if name == "grown" {
            OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(size))
                .expect("truncate");
        }
    }
    for options in ["ro", "", ""] {
        u.mount(options);
        u.is("cut", (2, 100_000), 0o600, time(2));
        u.is("grown", (2, 300_000), 0o600, time(2));
        u.umount();
    }
}

#[test]
fn data_of_one_s_own_is_not_mixed_with_a_new_base_file() {
    let Some(u) = Updated::new() else { return };
    for name in ["written", "appended", "cut", "gone", "dir"] {
        u.fill(name, 1, 3 << 20);
    }
    u.mount("blocks_from=64K");
    sh(
        &u.mnt,
        "printf x | dd of=written bs=1 seek=9 conv=notrunc,fsync status=none
         truncate -s 1M cut; truncate -s 4M appended; chmod 600 gone dir",
    );
    u.umount();
    if !u.is_partial("gone") {
        return skip("the storage's file system has reflinks, or no attributes");
    }
    let check = || mini_fo(&[Path::new("check"), &u.base, Path::new("-s"), &u.storage]);
    let found = check();
    assert_eq!(found.code, 0, "{found:?}");
    assert!(found.stdout.contains("3 of its files have data of their own"), "{found:?}");
    for name in ["written", "appended", "cut"] {
        u.fill(name, 2, 3 << 20);
    }
    fs::remove_file(u.base.join("gone")).expect("unlink");
    fs::remove_file(u.base.join("dir")).expect("unlink");
    fs::create_dir(u.base.join("dir")).expect("mkdir");
    let found = check();
    assert_eq!(found.code, 11, "{found:?}");
    let log = u.storage.with_extension("log");
    let option = format!("log={}", log.display());
    u.mount(&option);
    for name in ["written", "appended", "cut", "gone", "dir"] {
        assert!(found.stdout.contains(&format!("/storage/{name}: its data is in")), "{found:?}");
        let error = fs::read(u.mnt.join(name)).expect_err("read");
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}");
    }
    // What was written whole can be replaced.
    fs::write(u.mnt.join("written"), "mine\n").expect("write");
    u.umount();
    let told = fs::read_to_string(&log).expect("log");
    assert!(told.contains("at least 5 files of the storage cannot be read"), "{told}");
    assert!(told.contains("3 of its files have data of their own"), "{told}");
}

#[test]
fn small_files_are_whole_at_once() {
    let Some(u) = Updated::new() else { return };
    u.fill("small", 1, 64 << 10);
    u.mount("");
    sh(&u.mnt, "chmod 600 small");
    u.umount();
    assert!(!u.is_partial("small"));
    assert!(fs::read(u.storage.join("small")).expect("read") == vec![1; 64 << 10]);
}

/// A file that cannot be changed shows the new base file all the same.
#[test]
fn protected_files_follow_a_new_base_file_too() {
    let Some(u) = Updated::new() else { return };
    u.fill("a", 1, SIZE);
    u.mount("");
    sh(&u.mnt, "chmod 640 a");
    u.umount();
    if !u.is_partial("a") || sys_immutable(&u.storage.join("a"), '+') != 0 {
        return skip("no partial files, or no flags, in this storage");
    }
    u.fill("a", 2, SIZE - 100_000);
    u.mount("");
    u.is("a", (2, SIZE - 100_000), 0o640, time(2));
    let file = fs::File::open(u.mnt.join("a")).expect("open");
    sys_immutable(&u.mnt.join("a"), '-');
    let open = OpenOptions::new().write(true).open(u.mnt.join("a")).expect("open");
    open.write_all_at(b"x", SIZE as u64).expect("write");
    let mut got = [9; 2];
    assert_eq!(file.read_at(&mut got, SIZE as u64 - 1).expect("read"), 2);
    assert_eq!(&got, b"\0x");
    drop((file, open));
    u.umount();
}

fn sys_immutable(path: &Path, sign: char) -> i32 {
    let flag = format!("{sign}i");
    crate::common::run("chattr", &[flag.as_ref(), path.as_os_str()]).code
}

/// Images that can be built again give all files one time, and a file that was
/// changed keeps its size.
#[test]
fn another_base_file_of_the_same_size_and_time_is_noticed() {
    let Some(u) = Updated::new() else { return };
    for name in ["replaced", "rewritten", "bare", "as it was"] {
        u.fill(name, 1, 3 << 20);
    }
    u.mount("blocks_from=64K");
    let write = "printf x | dd bs=1 seek=9 conv=notrunc,fsync status=none of=";
    sh(&u.mnt, &format!("{write}replaced; {write}rewritten; {write}'as it was'; chmod 600 bare"));
    u.umount();
    if !u.is_partial("bare") {
        return skip("no partial files on this storage's file system");
    }
    let again = |name: &str| {
        fs::write(u.base.join(name), vec![2; 3 << 20]).expect("write");
        sys::set_times(&u.base.join(name), time(1), 5);
    };
    for name in ["replaced", "bare"] {
        fs::remove_file(u.base.join(name)).expect("unlink");
        again(name);
    }
    again("rewritten");
    let found = mini_fo(&[Path::new("check"), &u.base, Path::new("-s"), &u.storage]);
    assert_eq!(found.code, 11, "{found:?}");
    let mut expected = vec![1; 3 << 20];
    expected[9] = b'x';
    for options in ["ro", "rw", "rw"] {
        u.mount(options);
        for name in ["replaced", "rewritten"] {
            assert!(
                found.stdout.contains(&format!("/storage/{name}: its data is in")),
                "{found:?}"
            );
            let error = fs::read(u.mnt.join(name)).expect_err("read");
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}");
        }
        assert!(fs::read(u.mnt.join("as it was")).expect("read") == expected);
        u.is("bare", (2, 3 << 20), 0o600, time(1));
        u.umount();
    }
    // As for a base that was copied: who knows that it is the same can say so, once.
    expected.fill(2);
    expected[..4096].fill(1);
    expected[9] = b'x';
    for options in ["accept_base", "rw"] {
        u.mount(options);
        for name in ["replaced", "rewritten"] {
            assert!(fs::read(u.mnt.join(name)).expect("read") == expected, "{name}");
        }
        u.umount();
    }
}

#[test]
fn the_log_says_in_a_line_what_failed() {
    let Some(s) = Updated::new() else { return };
    s.fill("large file", b'a', 200_000);
    s.mount("");
    sh(&s.mnt, "chmod 600 'large file'");
    s.umount();
    fs::remove_file(s.base.join("large file")).expect("rm");
    let log = s.base.with_file_name("log");
    s.mount(&format!("log={}", log.display()));
    for _ in 0..50 {
        let error = fs::read(s.mnt.join("large file")).expect_err("there is no data");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
    s.umount();
    let log = fs::read_to_string(&log).expect("the log");
    let told = log.lines().filter(|told| told.contains(" at /large file for process ")).count();
    assert!(told > 0 && told <= 20, "{log}");
    assert!(log.contains(": Input/output error"), "{log}");
}
