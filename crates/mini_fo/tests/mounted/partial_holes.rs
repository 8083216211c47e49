//! Sparse files keep their holes, however their data comes to the storage.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::FallocateFlags;

use crate::common::{BaseKind, Scene, StorageKind, skip};

const MIB: usize = 1 << 20;

/// Data at the beginning, in the middle and at the end of a sparse file.
fn sparse(path: &Path, size: usize) {
    let file = File::create(path).expect("create");
    file.set_len(size as u64).expect("truncate");
    for at in [0, size / 2, size - MIB] {
        file.write_all_at(&vec![7; MIB], at as u64).expect("write");
    }
}

fn check(path: &Path, size: usize, hole: std::ops::Range<usize>) {
    let got = fs::read(path).expect("read");
    let data = |at: usize| [0, size / 2, size - MIB].iter().any(|d| (*d..d + MIB).contains(&at));
    assert_eq!(got.len(), size);
    let wrong = (0..size).find(|at| {
        let expected = if data(*at) && !hole.contains(at) { 7 } else { 0 };
        got[*at] != expected
    });
    assert_eq!(wrong, None, "{}", path.display());
}

fn taken(path: &Path) -> usize {
    fs::metadata(path).expect("stat").blocks() as usize * 512
}

#[test]
fn what_is_completed_keeps_its_holes() {
    let size = 256 * MIB;
    let fill = |base: &Path| sparse(&base.join("disk"), size);
    let Some(mut s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, fill) else { return };
    s.mount(&[]);
    let file = OpenOptions::new().read(true).write(true).open(s.at("disk")).expect("open");
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if rustix::fs::fallocate(&file, punch, 4096, 128 << 10).is_err() {
        return skip("the storage's file system punches no holes");
    }
    drop(file);
    let hole = 4096..4096 + (128 << 10);
    check(&s.at("disk"), size, hole.clone());
    s.remount();
    check(&s.at("disk"), size, hole);
    let taken = taken(&s.storage.join("disk"));
    assert!(taken <= 4 * MIB, "{taken} bytes");
}

/// A read-only image stores holes, and does not tell where they are.
#[test]
fn what_is_copied_from_an_image_keeps_its_holes() {
    let size = 24 * MIB;
    let fill = |base: &Path| sparse(&base.join("disk"), size);
    for base in [BaseKind::Plain, BaseKind::Squashfs] {
        let Some(mut s) = Scene::unmounted(base, StorageKind::Plain, fill) else { continue };
        s.mount(&[]);
        let file = OpenOptions::new().write(true).open(s.at("disk")).expect("open");
        drop(file);
        check(&s.at("disk"), size, 0..0);
        let taken = taken(&s.storage.join("disk"));
        assert!(taken <= 4 * MIB, "{taken} bytes");
    }
}
