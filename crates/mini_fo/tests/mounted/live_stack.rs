//! Live mounts over layers: files that are open, written in blocks, cloned and mapped.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::common::{StorageKind, assert_same_tree, sh, standard_base, sys};
use crate::stack::{Place, copy};

const BLOCK: usize = 4096;

/// A stack whose uppermost layers are storages with files of blocks, and a plain tree that
/// shows the same. The layers are from the top down.
fn stack(place: &Place, storages: &Path) -> (Vec<PathBuf>, PathBuf) {
    let (base, plain) = (place.dir("base"), place.dir("plain"));
    standard_base(&base);
    let data: Vec<u8> = (0..120 * BLOCK).map(|at| (at / 7) as u8).collect();
    fs::write(base.join("large"), &data).expect("write");
    fs::write(base.join("other"), &data).expect("write");
    copy(&base, &plain);
    let mut layers = vec![base];
    for turn in 0..3 {
        let storage = storages.join(format!("storage{turn}"));
        fs::create_dir(&storage).expect("mkdir");
        let more = ["--storage", storage.to_str().expect("text"), "-o", "blocks_from=64K"];
        let shown: Vec<&Path> = layers.iter().map(|layer| &**layer).collect();
        place.shown(&shown, &more, |mnt| {
            for dir in [mnt, &plain] {
                for name in ["large", "other"] {
                    let file = OpenOptions::new().write(true).open(dir.join(name)).expect("open");
                    // Each layer has blocks beside, above and across those of the last one.
                    let at = (10 * turn + 5) * BLOCK - 100;
                    file.write_all_at(&vec![b'A' + turn as u8; 3 * BLOCK], at as u64)
                        .expect("write");
                    if name == "other" {
                        file.set_len(((110 - 20 * turn) * BLOCK + 17) as u64).expect("truncate");
                    }
                }
                sh(dir, &format!("echo {turn} >> f; chmod 7{turn}0 other"));
            }
            assert_same_tree(mnt, &plain);
        });
        layers.insert(0, storage);
    }
    (layers, plain)
}

fn on(kind: StorageKind) {
    let Some(place) = Place::new() else { return };
    let Some(device) = kind.make(&place.dir("device")) else { return };
    let (layers, plain) = stack(&place, &device);
    let layers: Vec<&Path> = layers.iter().map(|layer| &**layer).collect();
    let storage = device.join("top");
    fs::create_dir(&storage).expect("mkdir");
    place.shown(&layers, &["-r"], |mnt| reading(mnt, &plain));
    let more = ["--storage", storage.to_str().expect("text"), "-o", "blocks_from=64K"];
    place.shown(&layers, &more, |mnt| {
        let told: Vec<String> = [mnt, &plain].map(writing).into();
        assert_eq!(told[0], told[1]);
        assert_same_tree(mnt, &plain);
    });
    place.shown(&layers, &more, |mnt| assert_same_tree(mnt, &plain));
}

/// Where nothing will change, the kernel reads files of a stack itself.
fn reading(mnt: &Path, plain: &Path) {
    for name in ["large", "other", "f"] {
        let mut files = [mnt, plain].map(|dir| File::open(dir.join(name)).expect("open"));
        let length = files[1].metadata().expect("stat").len() as usize;
        let mapped =
            files.each_ref().map(|file| sys::Mapping::shared(file, length, false).read(length));
        assert!(mapped[0] == mapped[1], "{name}");
        let parts = files.each_mut().map(|file| {
            let mut part = Vec::new();
            file.seek(SeekFrom::Start(length as u64 / 3)).expect("seek");
            file.read_to_end(&mut part).expect("read");
            part
        });
        assert!(parts[0] == parts[1], "{name}");
    }
}

/// What programs do with files that they hold. The result is what they have seen.
fn writing(dir: &Path) -> String {
    let open =
        |name: &str| OpenOptions::new().read(true).write(true).open(dir.join(name)).expect("open");
    let (large, reader) = (open("large"), File::open(dir.join("large")).expect("open"));
    let mut seen = String::new();
    let mut look = |file: &File, what: &str| {
        let mut data = Vec::new();
        let mut file = file;
        file.seek(SeekFrom::Start(0)).expect("seek");
        file.read_to_end(&mut data).expect("read");
        let sum =
            data.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        seen += &format!("{what} {} {sum}\n", data.len());
    };
    large.write_all_at(&[b'z'; 2 * BLOCK], (25 * BLOCK + 9) as u64).expect("write");
    look(&reader, "who opened it before");
    sh(dir, "cp --reflink=auto large clone; echo x >> clone; ln large again");
    fs::remove_file(dir.join("large")).expect("unlink");
    large.write_all_at(b"after its name went", 3).expect("write");
    look(&reader, "one name less");
    fs::rename(dir.join("other"), dir.join("d/moved")).expect("rename");
    let other = open("d/moved");
    fs::remove_file(dir.join("d/moved")).expect("unlink");
    (&other).seek(SeekFrom::End(0)).expect("seek");
    (&other).write_all(b"the end").expect("write");
    other.set_len(40 * BLOCK as u64 + 1).expect("truncate");
    look(&other, "without a name");
    let mapping = sys::Mapping::shared(&large, 8, true);
    mapping.write(b"mapped!!");
    drop(mapping);
    look(&large, "mapped");
    sh(dir, "exec 7< f; rm f; echo new > f; cat <&7; cat f") + &seen
}

#[test]
fn on_a_plain_directory() {
    on(StorageKind::Plain);
}

#[test]
fn on_xfs() {
    on(StorageKind::Xfs);
}

#[test]
fn on_btrfs() {
    on(StorageKind::Btrfs);
}
