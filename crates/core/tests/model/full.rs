//! A storage that is too small: an operation succeeds, or it fails with ENOSPC
//! and leaves everything as it was, also after a remount.

use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use rustix::mount::{MountFlags, UnmountFlags};

use super::driver::Driver;
use super::ops::{self, Op};
use super::{drive, smallest};

const CASES: u64 = 40;
const OPS: usize = 200;

/// A tmpfs of its own; unmounted when dropped.
struct SmallFs(PathBuf);

impl SmallFs {
    /// `None` where this process may not mount.
    fn mount(at: &Path, pages: u64, inodes: u64) -> Option<SmallFs> {
        let options = format!("size={},nr_inodes={inodes},mode=755", pages * 4096);
        std::fs::create_dir(at).unwrap();
        // By the call: a forked child would share the locks of other tests.
        let options = CString::new(options).unwrap();
        let mounted =
            rustix::mount::mount("model", at, "tmpfs", MountFlags::empty(), options.as_c_str());
        mounted.is_ok().then(|| SmallFs(at.to_owned()))
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// How many operations were refused; `None`: nothing could be mounted.
fn run(seed: u64, ops: &[Op]) -> Result<Option<usize>, String> {
    let work = tempfile::tempdir().unwrap();
    // Some run out of space, some of inodes.
    let (pages, inodes) =
        if seed.is_multiple_of(3) { (400, 6 + seed % 30) } else { (6 + seed % 30, 400) };
    let small = SmallFs::mount(&work.path().join("storage"), pages, inodes);
    let Some(_small) = small else { return Ok(None) };
    let mut driver = Driver::new(work.path(), seed).with_a_small_storage();
    drive(&mut driver, ops)?;
    let refused = driver.refused;
    driver.finish().map_err(|what| format!("at the end: {what}"))?;
    Ok(Some(refused))
}

fn caught(seed: u64, ops: &[Op]) -> Result<Option<usize>, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, ops))).unwrap_or_else(|_| Err("a panic".to_owned()))
}

#[test]
fn a_full_storage_changes_nothing() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can mount a small storage");
        return;
    }
    let mut runner = super::runner();
    let strategy = (1..1000u64, prop::collection::vec(ops::any_op(), OPS));
    let mut refused = 0;
    for _ in 0..CASES {
        let (seed, ops) = strategy.new_tree(&mut runner).unwrap().current();
        match caught(seed, &ops) {
            Ok(None) => {
                println!("skipped: a small tmpfs cannot be mounted");
                return;
            }
            Ok(Some(count)) => refused += count,
            Err(what) => {
                let few = smallest(ops, |ops| caught(seed, ops).is_err());
                panic!("{what}\nof these, base {seed}: {:?}\n{few:?}", caught(seed, &few));
            }
        }
    }
    assert!(refused > 0, "the storage was never full");
}
