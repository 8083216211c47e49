//! Partial files: a copy-up that leaves data in the base.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

use crate::cli::daemon;
use crate::common::{
    BaseKind, Scene, StorageKind, WorkDir, engine_is_product, is_root, mini_fo, run, sh, skip, sys,
};

/// The attribute that marks a partial file.
fn mark() -> &'static str {
    if is_root() { "trusted.mini_fo.partial" } else { "user.mini_fo.partial" }
}
const SIZE: usize = 3 << 20;

pub fn bytes() -> Vec<u8> {
    (0..SIZE).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8 | 1).collect()
}

/// A base with a large file, on a storage that can hold partial files.
pub fn scene(options: &[&str]) -> Option<Scene> {
    if !engine_is_product() {
        return None;
    }
    let fill = |base: &Path| {
        fs::create_dir(base.join("d")).expect("mkdir");
        fs::write(base.join("d/big"), bytes()).expect("write");
        fs::write(base.join("small"), b"a small file\n").expect("write");
        sys::set_times(&base.join("d/big"), 1_109_678_400, 5);
    };
    let mut scene = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, fill)?;
    let probe = scene.storage.join("probe");
    File::create(&probe).expect("create");
    let holds = sys::set_xattr(&probe, "user.x", b"").is_ok();
    fs::remove_file(&probe).expect("unlink");
    if !holds {
        skip("the storage's file system has no extended attributes");
        return None;
    }
    scene.mount(options);
    Some(scene)
}

/// Bytes that a storage file takes.
fn space(scene: &Scene, name: &str) -> u64 {
    fs::metadata(scene.storage.join(name)).expect("stat").blocks() * 512
}

pub fn is_partial(scene: &Scene, name: &str) -> bool {
    sys::get_xattr(&scene.storage.join(name), mark()).is_ok()
}

fn maps(scene: &Scene) -> usize {
    let index = scene.storage.join("META_dAfFgHE39ktF3HD2sr_index");
    let Ok(entries) = fs::read_dir(index) else { return 0 };
    let names = entries.map(|entry| entry.expect("readdir").file_name());
    names.filter(|name| name.to_string_lossy().starts_with('p')).count()
}

pub fn same(path: &Path, expected: &[u8]) {
    let got = fs::read(path).expect("read");
    assert_eq!(got.len(), expected.len());
    let first = got.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(first, None, "{} differs", path.display());
}

/// Ends the daemon as a crash does, and mounts again.
pub fn crash(scene: &mut Scene, options: &[&str]) {
    sh(Path::new("/"), &format!("kill -KILL {}", daemon(scene)));
    run("umount", &["-l", scene.mnt.to_str().expect("UTF-8")]);
    scene.mount(options);
}

#[test]
fn new_attributes_and_names_copy_no_data() {
    let Some(mut s) = scene(&[]) else { return };
    let blocks = fs::metadata(s.at("d/big")).expect("stat").blocks();
    sh(&s.mnt, "chmod 600 d/big; touch -d 2011-11-11 d/big");
    assert_eq!(sys::set_xattr(&s.at("d/big"), "user.own", b"v"), Ok(()));
    sh(&s.mnt, "mv d/big moved; mkdir e; mv moved e; mv e f; mv f/moved .");
    let space_before_links = is_partial(&s, "moved").then(|| space(&s, "moved"));
    sh(&s.mnt, "ln moved f/second");
    let check = |s: &Scene| {
        for name in ["moved", "f/second"] {
            same(&s.at(name), &bytes());
            let stat = fs::metadata(s.at(name)).expect("stat");
            assert_eq!((stat.mode() & 0o7777, stat.nlink()), (0o600, 2));
            assert!(stat.blocks() >= blocks, "programs take it for sparse");
            assert_eq!(sys::xattrs(&s.at(name)), [(b"user.own".to_vec(), b"v".to_vec())]);
            assert_eq!(sys::get_xattr(&s.at(name), mark()), Err(rustix::io::Errno::NODATA));
        }
        sh(
            &s.mnt,
            "cp --sparse=auto moved /dev/shm/$$.cp && cmp moved /dev/shm/$$.cp; rm /dev/shm/$$.cp",
        );
        sh(&s.mnt, "tar -cSf - moved | tar -xOf - | cmp - moved");
    };
    check(&s);
    s.remount();
    check(&s);
    assert!(sys::set_xattr(&s.at("moved"), mark(), b"1").is_err());
    for names in ["user", "trusted"] {
        let name = format!("{names}.mini_fo.storage");
        assert!(sys::set_xattr(&s.mnt, &name, b"1").is_err());
        assert!(sys::get_xattr(&s.mnt, &name).is_err());
    }
    assert_eq!(sys::xattrs(&s.mnt), []);
    match space_before_links {
        Some(space) => assert!(space < 64 << 10, "{space}"),
        // Its data was shared with the base's.
        None => skip("the storage's file system has reflinks"),
    }
}

#[test]
fn a_write_copies_the_blocks_it_changes() {
    let options = ["-o", "blocks_from=1M"];
    let Some(mut s) = scene(&options) else { return };
    let mut model = bytes();
    let file = OpenOptions::new().read(true).write(true).open(s.at("d/big")).expect("open");
    let reader = File::open(s.at("d/big")).expect("open");
    let mut put = |at: usize, data: &[u8]| {
        file.write_all_at(data, at as u64).expect("write");
        model[at..at + data.len()].copy_from_slice(data);
    };
    put(0, b"x");
    put(1_000_000, &[7; 10_000]);
    put(SIZE - 1, b"y");
    put(4096 * 9, &[0; 4096]);
    let mut piece = vec![0; 20_000];
    reader.read_exact_at(&mut piece, 995_000).expect("read");
    assert_eq!(piece, &model[995_000..1_015_000]);
    if is_partial(&s, "d/big") {
        assert!(space(&s, "d/big") < 128 << 10, "{}", space(&s, "d/big"));
    }
    same(&s.at("d/big"), &model);
    // Killed with everything unsynced, and with everything synced.
    for sync in [false, true] {
        if sync {
            File::open(s.at("d/big")).expect("open").sync_all().expect("fsync");
        }
        crash(&mut s, &options);
        same(&s.at("d/big"), &model);
    }
    s.umount();
    s.mount(&options);
    same(&s.at("d/big"), &model);
    assert_eq!(fs::metadata(s.at("d/big")).expect("stat").len(), SIZE as u64);
    fs::remove_file(s.at("d/big")).expect("unlink");
    // Once the kernel has told that nobody has the file open.
    let begun = Instant::now();
    while maps(&s) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the map of a removed file stays");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn cutting_and_growing_show_zeros() {
    let options = ["-o", "blocks_from=1M"];
    let Some(mut s) = scene(&options) else { return };
    let mut model = bytes();
    let file = OpenOptions::new().read(true).write(true).open(s.at("d/big")).expect("open");
    for (size, after) in [(2_000_001, 2_500_000), (1_999_000, 2_100_000), (4096, 1_000_000)] {
        file.set_len(size as u64).expect("truncate");
        model.truncate(size);
        file.set_len(after as u64).expect("truncate");
        model.resize(after, 0);
        same(&s.at("d/big"), &model);
    }
    file.write_all_at(b"grown", 1_500_000).expect("write");
    model.resize(1_500_000, 0);
    model.extend_from_slice(b"grown");
    drop(file);
    same(&s.at("d/big"), &model);
    crash(&mut s, &options);
    same(&s.at("d/big"), &model);
    let file = OpenOptions::new().read(true).write(true).open(s.at("d/big")).expect("open");
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if rustix::fs::fallocate(&file, punch, 100, 2000).is_ok() {
        model[100..2100].fill(0);
    }
    same(&s.at("d/big"), &model);
    file.set_len(0).expect("truncate");
    file.set_len(5000).expect("truncate");
    same(&s.at("d/big"), &[0; 5000]);
    drop(file);
    s.remount();
    same(&s.at("d/big"), &[0; 5000]);
    assert_eq!(maps(&s), 0);
}

/// Found by the interleavings: the map went with the name.
#[test]
fn a_cut_file_that_was_removed_shows_zeros_to_who_has_it_open() {
    let Some(s) = scene(&[]) else { return };
    let file = File::open(s.at("d/big")).expect("open");
    for size in [4097, 12288] {
        // As touch(1) opens: the file stays partial.
        let mut options = OpenOptions::new();
        let options = options.write(true).custom_flags(libc::O_NONBLOCK);
        let by_name = options.open(s.at("d/big")).expect("open");
        by_name.set_len(size).expect("truncate");
    }
    fs::remove_file(s.at("d/big")).expect("unlink");
    let (mut got, mut expected) = (vec![9; 12288], bytes());
    expected.truncate(4097);
    expected.resize(12288, 0);
    file.read_exact_at(&mut got, 0).expect("read");
    assert!(got == expected);
}

#[test]
fn mappings_write_to_partial_files() {
    let options = ["-o", "blocks_from=1M"];
    let Some(mut s) = scene(&options) else { return };
    let mut model = bytes();
    let file = OpenOptions::new().read(true).write(true).open(s.at("d/big")).expect("open");
    let map = sys::Mapping::shared(&file, SIZE, true);
    map.write(b"by a mapping");
    model[..12].copy_from_slice(b"by a mapping");
    same(&s.at("d/big"), &model);
    drop((map, file));
    s.remount();
    same(&s.at("d/big"), &model);
}

/// What a power cut leaves: the map tells of data that never came.
#[test]
fn blocks_whose_data_was_lost_show_the_base() {
    let options = ["-o", "blocks_from=1M"];
    let Some(mut s) = scene(&options) else { return };
    let file = OpenOptions::new().read(true).write(true).open(s.at("d/big")).expect("open");
    file.write_all_at(b"synced", 8192).expect("write");
    file.sync_all().expect("fsync");
    file.write_all_at(b"not synced", 1_000_000).expect("write");
    if !is_partial(&s, "d/big") {
        return skip("the storage's file system has reflinks");
    }
    sh(Path::new("/"), &format!("kill -KILL {}", daemon(&s)));
    drop(file);
    run("umount", &["-l", s.mnt.to_str().expect("UTF-8")]);
    let stored = OpenOptions::new().write(true).open(s.storage.join("d/big")).expect("open");
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&stored, punch, 999_424, 4096).expect("punch");
    drop(stored);
    s.mount(&options);
    let mut model = bytes();
    model[8192..8198].copy_from_slice(b"synced");
    same(&s.at("d/big"), &model);
}

#[test]
fn what_is_appended_to_is_made_whole_later() {
    let Some(mut s) = scene(&[]) else { return };
    let before = fs::metadata(s.at("small")).expect("stat");
    let mut file = OpenOptions::new().append(true).open(s.at("small")).expect("open");
    file.write_all(b"more\n").expect("write");
    let (after, begun) = (fs::metadata(s.at("small")).expect("stat"), Instant::now());
    drop(file);
    while is_partial(&s, "small") {
        assert!(begun.elapsed() < Duration::from_secs(20), "it stays partial");
        std::thread::sleep(Duration::from_millis(20));
    }
    same(&s.storage.join("small"), b"a small file\nmore\n");
    s.remount();
    let settled = fs::metadata(s.at("small")).expect("stat");
    let times = |stat: &fs::Metadata| (stat.mtime_nsec(), stat.ctime_nsec(), stat.ino());
    assert_eq!(times(&settled), times(&after), "filling shows in the times");
    assert_eq!(settled.ino(), before.ino());
    same(&s.at("small"), b"a small file\nmore\n");
}

#[test]
fn one_byte_into_a_huge_file() {
    let Some(mut s) = scene(&[]) else { return };
    s.umount();
    // Too large to be copied in any test; made below the proof, and removed.
    let (work, size) = (WorkDir::new(), 10_u64 << 30);
    let (base, storage, mnt) = (work.dir("base"), work.dir("storage"), work.dir("mnt"));
    let made = File::create(base.join("huge")).and_then(|file| {
        file.write_all_at(b"end", size - 3)?;
        file.set_len(size)
    });
    if let Err(error) = made {
        return skip(&format!("no room for a sparse file: {error}"));
    }
    mini_fo(&["mount".as_ref(), &*base, &*mnt, "-s".as_ref(), &*storage]).ok();
    let file = OpenOptions::new().read(true).write(true).open(mnt.join("huge")).expect("open");
    file.write_all_at(b"x", 5_000_000_000).expect("write");
    OpenOptions::new()
        .append(true)
        .open(mnt.join("huge"))
        .and_then(|mut file| file.write_all(b"!"))
        .expect("append");
    let mut piece = [9; 3];
    file.read_exact_at(&mut piece, 4_999_999_999).expect("read");
    assert_eq!(piece, [0, b'x', 0]);
    let mut piece = [0; 4];
    file.read_exact_at(&mut piece, size - 3).expect("read");
    assert_eq!(&piece, b"end!");
    let stored = fs::metadata(storage.join("huge")).expect("stat");
    assert!(stored.blocks() * 512 < 1 << 20, "{} blocks", stored.blocks());
    drop(file);
    mini_fo(&[Path::new("umount"), &mnt]).ok();
}

#[test]
fn a_copy_of_the_storage_without_attributes_is_refused() {
    let Some(mut s) = scene(&[]) else { return };
    sh(&s.mnt, "chmod 600 d/big");
    if !is_partial(&s, "d/big") {
        return skip("the storage's file system has reflinks");
    }
    s.umount();
    let (good, bad) = (s.work.0.join("good"), s.work.0.join("bad"));
    run("cp", &["-a".as_ref(), &*s.storage, &*good]).ok();
    run("cp", &["-r".as_ref(), &*s.storage, &*bad]).ok();
    s.storage = bad;
    s.try_mount(&[]).fails(4, &["extended attributes", "cp -a", "damaged=rw"]);
    s.mount(&["-o", "damaged=rw"]);
    s.umount();
    s.storage = good;
    s.mount(&[]);
    same(&s.at("d/big"), &bytes());
}

#[test]
fn whole_copies_leave_nothing_in_the_base() {
    let Some(mut s) = scene(&["-o", "whole_copies"]) else { return };
    sh(&s.mnt, "chmod 600 d/big");
    assert!(!is_partial(&s, "d/big"));
    same(&s.storage.join("d/big"), &bytes());
    s.umount();
    s.try_mount(&["-o", "blocks_from=many"]).fails(2, &["blocks_from", "many", "K, M or G"]);
    s.mount(&[]);
}

/// A kill between taking a mark away and its map leaves the map.
#[test]
fn a_map_that_belongs_to_no_file_goes_at_the_next_mount() {
    let options = ["-o", "blocks_from=64K"];
    let Some(mut s) = scene(&options) else { return };
    let expected = {
        let file = OpenOptions::new().write(true).open(s.at("d/big")).expect("open");
        file.write_all_at(b"changed", 1 << 20).expect("write");
        let mut expected = bytes();
        expected[1 << 20..][..7].copy_from_slice(b"changed");
        expected
    };
    s.umount();
    if maps(&s) != 1 {
        return skip("the file has no map here");
    }
    let orphan = s.storage.join("META_dAfFgHE39ktF3HD2sr_index/p0123456789abcdef");
    fs::write(&orphan, "").expect("write");
    fs::set_permissions(&orphan, fs::Permissions::from_mode(0o600)).expect("chmod");
    s.mount(&options);
    assert_eq!(maps(&s), 1);
    same(&s.at("d/big"), &expected);
    s.umount();
    s.mount(&options);
    same(&s.at("d/big"), &expected);
}
