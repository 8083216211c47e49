//! What the storage cannot hold and META keeps: owners, devices, extended
//! attributes.

use super::Scenario;
use crate::ops::Op::*;
use rustix::fs::{OFlags, RenameFlags};

pub fn all() -> Vec<Scenario> {
    let new = |name, before: &[_], steps: &[_]| Scenario {
        poor: true,
        ..Scenario::new(name, before, steps)
    };
    let write = OFlags::WRONLY;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let swap = |a, b| RenameWith(a, b, RenameFlags::EXCHANGE);
    let device = Mknod("d/new", libc::S_IFCHR, (1, 5));
    let mut all = vec![
        new("kept_chmod_owned", &[], &[Chmod("f", 0o600)]),
        new("kept_chmod_owned_dir", &[], &[Chmod("e", 0o700)]),
        new("kept_chown", &[], &[Chown("d/one", 5, 6)]),
        new("kept_chown_again", &[Chown("d/one", 5, 6)], &[Chown("d/one", 7, 8)]),
        new("kept_chown_dir", &[], &[Chown("d/sub", 5, 6)]),
        new("kept_chown_symlink", &[], &[Chown("link", 5, 6)]),
        new("kept_chown_shared", &[], &[Chown("d/h2", 5, 6)]),
        new("kept_mknod", &[], &[device]),
        new("kept_mknod_deleted_name", &[Unlink("null")], &[Mknod("null", libc::S_IFCHR, (1, 5))]),
        new("kept_device_chmod", &[], &[Chmod("null", 0o600)]),
        new("kept_device_rename", &[device], &[Rename("d/new", "e/moved")]),
        new("kept_device_rename_over", &[device], &[Rename("d/new", "f")]),
        new("kept_device_unlink", &[device], &[Unlink("d/new")]),
        new("kept_setxattr", &[], &[SetXattr("d/one", "user.mood", b"good")]),
        new("kept_setxattr_dir", &[], &[SetXattr("d", "user.mood", b"good")]),
        new("kept_removexattr", &[], &[RemoveXattr("f", "user.colour")]),
        new("kept_rename", &[], &[Rename("f", "d/moved")]),
        new("kept_rename_modified", &[Chown("f", 5, 6)], &[Rename("f", "d/moved")]),
        new("kept_rename_over", &[], &[Rename("f", "d/two")]),
        new("kept_rename_over_modified", &[Chown("d/two", 5, 6)], &[Rename("g", "d/two")]),
        new("kept_rename_dir", &[], &[Rename("e", "moved")]),
        new(
            "kept_rename_dir_changed",
            &[Chown("e", 5, 6), Chown("e/five", 5, 6)],
            &[Rename("e", "d/moved")],
        ),
        new("kept_exchange", &[], &[swap("f", "d/two")]),
        new("kept_exchange_dirs", &[], &[swap("d", "e")]),
        new("kept_link", &[], &[Link("f", "d/new")]),
        new("kept_unlink_create", &[Chown("f", 5, 6)], &[Unlink("f"), Open("f", create), Close]),
        new("kept_write", &[], &[Open("f", write), Put(b'w', 0, 3), Close]),
        new(
            "kept_replace",
            &[Open("new", create), Close, Chown("new", 5, 6)],
            &[Rename("new", "f")],
        ),
    ];
    let quick = ["kept_chown", "kept_rename_modified", "kept_unlink_create"];
    all.iter_mut().for_each(|s| s.quick = quick.contains(&s.name));
    all
}
