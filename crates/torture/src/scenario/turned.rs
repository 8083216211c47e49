//! The first changes of a mount that was read-only before: the storage is put in order and
//! taken into use by them.

use super::Scenario;
use crate::ops::Op::{
    Append, Chmod, Close, Fsync, Link, MakeWritable, Mkdir, MountReadOnly, Open, Rename, Unlink,
};
use rustix::fs::OFlags;

pub(super) fn all() -> Vec<Scenario> {
    let new = Scenario::new;
    let append = OFlags::WRONLY | OFlags::APPEND;
    let mut all = vec![
        new("turned_fresh", &[MountReadOnly], &[MakeWritable, Chmod("d/two", 0o600)]),
        new(
            "turned_unlink",
            &[Chmod("f", 0o600), Unlink("d/one"), MountReadOnly],
            &[MakeWritable, Unlink("g"), Mkdir("n")],
        ),
        new(
            "turned_rename",
            &[Rename("d", "moved"), MountReadOnly],
            &[MakeWritable, Rename("moved/sub", "s"), Unlink("s/three")],
        ),
        new(
            "turned_append",
            &[Link("k1", "k4"), MountReadOnly],
            &[MakeWritable, Open("k4", append), Append(b'+', 9), Fsync, Close],
        ),
    ];
    all.iter_mut().for_each(|s| s.quick = s.name == "turned_unlink");
    all
}
