//! Contents: small files, files with a part in the base, unnamed ones.

use super::Scenario;
use crate::ops::Op::{self, *};
use rustix::fs::{FallocateFlags, OFlags};

/// Files from 64 KiB on are written block by block.
const PARTIAL: &str = "blocks_from=64K";
/// All data goes through the daemon, and small holes are filled.
const OWN_DATA: &str = "nopassthrough";
const PARTIAL_OWN_DATA: &str = "blocks_from=64K,nopassthrough";

pub fn all() -> Vec<Scenario> {
    let mut all = small();
    all.extend(partial("", PARTIAL));
    all.extend(partial("own_data_", PARTIAL_OWN_DATA));
    let quick = ["write_small", "tmpfile_link", "partial_write_fsync", "partial_cut_grow"];
    all.iter_mut().for_each(|s| s.quick = quick.contains(&s.name));
    all
}

fn small() -> Vec<Scenario> {
    let (write, append) = (OFlags::WRONLY, OFlags::WRONLY | OFlags::APPEND);
    let new = Scenario::new;
    let with = |options, scenario: Scenario| Scenario { options, ..scenario };
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let put = [Open("f", write), Put(b'w', 3, 4), Fsync, Put(b'v', 9, 20), Close];
    let tmpfile = OFlags::TMPFILE | OFlags::RDWR;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    vec![
        new("write_small", &[], &put),
        with(OWN_DATA, new("write_small_own_data", &[], &put)),
        with(
            "whole_copies",
            new("write_whole_copy", &[], &[Open("mid", write), Put(b'w', 5, 9), Close]),
        ),
        with("whole_copies", new("chmod_whole_copy", &[], &[Chmod("mid", 0o600)])),
        new("open_trunc", &[], &[Open("mid", write | OFlags::TRUNC), Put(b'w', 0, 9), Close]),
        new("truncate_to_0", &[], &[Truncate("mid", 0)]),
        new("truncate_shorter", &[], &[Truncate("mid", 5000)]),
        new("truncate_longer", &[], &[Truncate("mid", 20_000)]),
        new("truncate_modified", &[Chmod("mid", 0o600)], &[Truncate("mid", 5000)]),
        new("ftruncate", &[], &[Open("mid", write), Cut(100), Cut(9000), Close]),
        new("append_small", &[], &[Open("f", append), Append(b'+', 30), Close]),
        new("append_settles", &[], &[Open("mid", append), Append(b'+', 30), Close, Wait(250)]),
        new(
            "append_after_chmod",
            &[Chmod("mid", 0o600)],
            &[Open("mid", append), Append(b'+', 30), Close],
        ),
        with(
            OWN_DATA,
            new("append_own_data", &[], &[Open("mid", append), Append(b'+', 30), Fsync, Close]),
        ),
        new(
            "write_after_chmod",
            &[Chmod("mid", 0o600)],
            &[Open("mid", write), Put(b'w', 4090, 6), Close],
        ),
        new(
            "fallocate",
            &[],
            &[Open("mid", write), Allocate(FallocateFlags::empty(), 9000, 9000), Close],
        ),
        new("punch_hole", &[], &[Open("mid", write), Allocate(punch, 4096, 4096), Close]),
        new("copy_range", &[], &[Open("f", write), CopyFrom("mid", 0, 4096), Close]),
        new("tmpfile_link", &[], &[Open("d", tmpfile), Put(b't', 0, 9), LinkOpen("d/new"), Close]),
        new("tmpfile_link_deep", &[], &[Open("d/sub", tmpfile), LinkOpen("e/in/new"), Close]),
        new("tmpfile_alone", &[], &[Open("d", tmpfile), Put(b't', 0, 9), Close]),
        new(
            "unlink_open",
            &[Open("d/one", OFlags::RDWR)],
            &[Unlink("d/one"), Put(b'w', 0, 1), Close],
        ),
        new(
            "write_replace",
            &[],
            &[
                Open("f.tmp", create),
                Put(b'n', 0, 99),
                Fsync,
                Close,
                Rename("f.tmp", "f"),
                FsyncDir("."),
            ],
        ),
    ]
}

/// `big` is above the limit, `mid` below it.
fn partial(prefix: &str, options: &'static str) -> Vec<Scenario> {
    let (write, append) = (OFlags::WRONLY, OFlags::WRONLY | OFlags::APPEND);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let open = Open("big", write);
    let cases: [(&'static str, &'static str, &[Op], &[Op]); 12] = [
        ("partial_write", "own_data_partial_write", &[], &[open, Put(b'w', 70_001, 999), Close]),
        (
            "partial_write_fsync",
            "own_data_partial_write_fsync",
            &[],
            &[open, Put(b'w', 8192, 4096), Fsync, Put(b'v', 8200, 8), Fdatasync, Close],
        ),
        (
            "partial_write_again",
            "own_data_partial_write_again",
            &[open, Put(b'w', 8192, 100), Fsync, Close, Remount],
            &[open, Put(b'v', 8200, 100), Put(b'u', 50_000, 1), Close],
        ),
        (
            "partial_write_end",
            "own_data_partial_write_end",
            &[],
            &[open, Put(b'w', 159_990, 90), Close],
        ),
        (
            "partial_append",
            "own_data_partial_append",
            &[],
            &[Open("big", append), Append(b'+', 90), Close],
        ),
        (
            "partial_append_fsync_settles",
            "own_data_partial_append_fsync_settles",
            &[],
            &[Open("big", append), Append(b'+', 90), Fsync, Close, Wait(250)],
        ),
        ("partial_truncate", "own_data_partial_truncate", &[], &[Truncate("big", 100_001)]),
        (
            "partial_truncate_0",
            "own_data_partial_truncate_0",
            &[Chmod("big", 0o600)],
            &[Truncate("big", 0)],
        ),
        (
            "partial_cut_grow",
            "own_data_partial_cut_grow",
            &[open, Put(b'w', 8192, 4096), Close],
            &[open, Cut(9000), Cut(120_000), Put(b'v', 9001, 9), Close],
        ),
        (
            "partial_punch",
            "own_data_partial_punch",
            &[],
            &[open, Allocate(punch, 8192, 8192), Close],
        ),
        (
            "partial_allocate",
            "own_data_partial_allocate",
            &[],
            &[open, Allocate(FallocateFlags::empty(), 150_000, 50_000), Close],
        ),
        (
            "partial_rename",
            "own_data_partial_rename",
            &[open, Put(b'w', 8192, 100), Close],
            &[Rename("big", "d/moved"), Link("d/moved", "big"), Unlink("d/moved")],
        ),
    ];
    let named = cases.into_iter().map(|(name, own, before, steps)| {
        let name = if prefix.is_empty() { name } else { own };
        Scenario { options, ..Scenario::new(name, before, steps) }
    });
    named.collect()
}
