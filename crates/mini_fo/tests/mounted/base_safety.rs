//! The base is never written: first the case in which a peer writes into it,
//! then every other way that a write could take.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::common::{META, Scene, engine_is_product, is_root, sh, standard_base, sys};

fn read_write(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).expect("open for reading and writing")
}

/// What the storage holds under a name, wherever the engine keeps it.
fn stored(scene: &Scene, name: &str) -> Vec<u8> {
    let place = if engine_is_product() { "." } else { "upper" };
    fs::read(scene.storage.join(place).join(name)).unwrap_or_default()
}

/// With passthrough, a peer gives the writer the backing file of the reader,
/// and the bytes land in the base.
#[test]
fn a_read_write_open_beside_a_held_read_only_one() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let path = scene.at("f");
    let mut reader = File::open(&path).expect("open");
    let mut before = String::new();
    reader.read_to_string(&mut before).expect("read");
    let mapping = sys::Mapping::shared(&reader, 18, false);
    assert_eq!(mapping.read(4), b"base");

    let mut writer = read_write(&path);
    writer.write_all(b"WRITTEN").expect("write");
    writer.sync_all().expect("fsync");

    scene.prove_base();
    assert!(stored(&scene, "f").starts_with(b"WRITTENntent of f"));
    if engine_is_product() {
        assert_eq!(mapping.read(7), b"WRITTEN", "an older mapping sees the new bytes");
    }
    let mut now = vec![0; 7];
    reader.read_exact_at(&mut now, 0).expect("pread");
    assert_eq!(now, b"WRITTEN", "an older descriptor sees the new bytes");
    drop(writer);
    reader.seek(SeekFrom::Start(0)).expect("seek");
    reader.read_to_string(&mut before).expect("read");
    assert!(before.contains("WRITTEN"));
}

#[test]
fn the_same_with_the_writer_first_and_many_readers() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let path = scene.at("big");
    let writer = read_write(&path);
    let readers: Vec<_> = (0..8).map(|_| File::open(&path).expect("open")).collect();
    writer.write_all_at(b"XYZ", 2 << 20).expect("pwrite");
    let second = read_write(&path);
    second.write_all_at(b"abc", (2 << 20) + 3).expect("pwrite");
    for reader in readers {
        let mut found = [0; 6];
        reader.read_exact_at(&mut found, 2 << 20).expect("pread");
        assert_eq!(&found, b"XYZabc");
    }
}

#[test]
fn a_write_through_a_mapping() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let held = File::open(scene.at("f")).expect("open");
    let writer = read_write(&scene.at("f"));
    let mapping = sys::Mapping::shared(&writer, 18, true);
    mapping.write(b"MAPPED");
    scene.prove_base();
    drop((held, mapping, writer));
    scene.now_and_remounted(|mnt| {
        assert_eq!(fs::read(mnt.join("f")).expect("read"), b"MAPPEDontent of f\n");
    });
}

#[test]
fn truncations_of_a_held_file() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    for (name, length) in [("f", 0), ("g", 2), ("d/one", 100)] {
        let held = File::open(scene.at(name)).expect("open");
        sh(&scene.mnt, &format!("truncate -s {length} {name}"));
        assert_eq!(held.metadata().expect("fstat").len(), length, "{name}");
    }
    let held = File::open(scene.at("d/two")).expect("open");
    let emptied =
        OpenOptions::new().write(true).truncate(true).open(scene.at("d/two")).expect("O_TRUNC");
    assert_eq!(held.metadata().expect("fstat").len(), 0);
    drop(emptied);
}

#[test]
fn changes_through_descriptors_opened_for_reading() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let file = File::open(scene.at("g")).expect("open");
    file.set_permissions(fs::Permissions::from_mode(0o600)).expect("fchmod");
    rustix::fs::fsetxattr(&file, "user.new", b"1", rustix::fs::XattrFlags::empty())
        .expect("fsetxattr");
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    file.set_times(fs::FileTimes::new().set_modified(past).set_accessed(past)).expect("futimens");
    let seen = file.metadata().expect("fstat");
    assert_eq!(seen.permissions().mode() & 0o7777, 0o600);
    assert_eq!(seen.modified().expect("mtime"), past);
    assert_eq!(sys::get_xattr(&scene.at("g"), "user.new").as_deref(), Ok(&b"1"[..]));

    let dir = File::open(scene.at("d")).expect("open a directory");
    dir.set_permissions(fs::Permissions::from_mode(0o700)).expect("fchmod");
    dir.sync_all().expect("fsync of a directory");
}

#[test]
fn every_other_way_to_write() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    sh(
        &scene.mnt,
        "setfattr -n user.x -v 1 g; setfattr -x user.colour f; chmod 4711 script
         touch -d @1 d/one; touch -h -d @2 link; touch fifo; touch d/sub
         ln d/two d/two-again; ln link link2; echo more >> e/five; : > big
         dd if=/dev/zero of=d/sub/three bs=1 count=2 conv=notrunc status=none
         mv d/sub/deep e/; mv fifo sock d/; rm -rf empty 'long dir'",
    );
    if is_root() {
        sh(&scene.mnt, "chown 1:2 f g d; chown -h 3:4 link; chown 5 null");
    }
}

/// Looking at the base leaves no trace, not even a time of access.
#[test]
fn reading_everything() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    for _ in 0..2 {
        sh(&scene.mnt, "find . -type f -exec cat {} + > /dev/null; ls -lR . > /dev/null");
        scene.remount();
    }
    if !engine_is_product() {
        return;
    }
    // Times of access are all that the storage gets of it,
    let left: Vec<_> = fs::read_dir(&scene.storage).expect("readdir").flatten().collect();
    let ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(META);
    assert!(left.iter().all(ours), "reading wrote to the storage: {left:?}");
    // and under noatime not even those.
    scene.umount();
    let before = sh(&scene.storage, "find . -type f -exec cksum {} +");
    scene.mount(&["-o", "noatime"]);
    sh(&scene.mnt, "find . -type f -exec cat {} + > /dev/null; ls -lR . > /dev/null");
    scene.umount();
    assert_eq!(sh(&scene.storage, "find . -type f -exec cksum {} +"), before);
}

#[test]
fn direct_io_beside_cached_io() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    let held = File::open(scene.at("big")).expect("open");
    let direct = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DSYNC)
        .open(scene.at("big"))
        .expect("O_DSYNC");
    direct.write_all_at(&[7; 8192], 4096).expect("pwrite");
    let mut found = vec![0; 8192];
    held.read_exact_at(&mut found, 4096).expect("pread");
    assert_eq!(found, vec![7; 8192]);
}
