//! Files with several names.

use super::Scenario;
use crate::ops::Op::*;
use rustix::fs::OFlags;

pub fn all() -> Vec<Scenario> {
    let write = OFlags::WRONLY;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let new = Scenario::new;
    let mut all = vec![
        new("link_base_file", &[], &[Link("f", "d/new")]),
        new("link_base_file_deep", &[], &[Link("d/sub/deep/four", "e/in/new")]),
        new("link_modified", &[Chmod("f", 0o600)], &[Link("f", "d/new")]),
        new("link_created", &[Open("c", create), Close], &[Link("c", "d/new")]),
        new(
            "link_created_again",
            &[Open("c", create), Close, Link("c", "c2")],
            &[Link("c2", "e/c3")],
        ),
        new("link_shared", &[], &[Link("h1", "e/new")]),
        new("link_shared_other_name", &[], &[Link("d/h2", "e/new")]),
        new("link_shared_modified", &[Chmod("h1", 0o600)], &[Link("d/h2", "e/new")]),
        new("link_symlink", &[], &[Link("link", "d/new")]),
        new("link_fifo", &[], &[Link("fifo", "d/new")]),
        new("link_device", &[], &[Link("null", "d/new")]),
        new("link_to_deleted_name", &[Unlink("d/one")], &[Link("f", "d/one")]),
        new("link_exists", &[], &[Link("f", "d/one")]),
        new("unlink_shared_2", &[], &[Unlink("h1")]),
        new("unlink_shared_2_last", &[Unlink("h1")], &[Unlink("d/h2")]),
        new("unlink_shared_3", &[], &[Unlink("k1"), Unlink("e/k3"), Unlink("k2")]),
        new("unlink_shared_modified", &[Chmod("k1", 0o600)], &[Unlink("k1")]),
        new("unlink_shared_modified_other", &[Chmod("k1", 0o600)], &[Unlink("e/k3")]),
        new(
            "unlink_shared_modified_last",
            &[Chmod("k1", 0o600), Unlink("k1"), Unlink("e/k3")],
            &[Unlink("k2")],
        ),
        new(
            "unlink_shared_modified_remounted",
            &[Chmod("k1", 0o600), Unlink("k1"), Remount],
            &[Unlink("e/k3"), Unlink("k2")],
        ),
        new(
            "unlink_linked_created",
            &[Open("c", create), Close, Link("c", "d/c2")],
            &[Unlink("c")],
        ),
        new("unlink_linked_base", &[Link("f", "d/new")], &[Unlink("f")]),
        new("unlink_linked_base_new_name", &[Link("f", "d/new")], &[Unlink("d/new")]),
        new("chmod_shared_first", &[], &[Chmod("h1", 0o600)]),
        new("chmod_shared_second", &[], &[Chmod("d/h2", 0o600)]),
        new("chmod_shared_again", &[Chmod("k1", 0o600)], &[Chmod("e/k3", 0o640)]),
        new("chown_shared", &[], &[Chown("k2", 5, 6)]),
        new("write_shared_first", &[], &[Open("h1", write), Put(b'w', 0, 3), Close]),
        new("write_shared_second", &[], &[Open("d/h2", write), Put(b'w', 0, 3), Close]),
        new("write_shared_3", &[], &[Open("e/k3", write), Put(b'w', 0, 3), Fsync, Close]),
        new("truncate_shared", &[], &[Truncate("d/h2", 0)]),
        new("rename_shared", &[], &[Rename("h1", "e/new")]),
        new("rename_shared_modified", &[Chmod("h1", 0o600)], &[Rename("d/h2", "e/new")]),
        new("rename_shared_to_itself", &[], &[Rename("h1", "d/h2")]),
        new("rename_over_shared", &[], &[Rename("f", "h1")]),
        new("rename_over_shared_modified", &[Chmod("d/h2", 0o600)], &[Rename("g", "h1")]),
        new("rename_shared_over_file", &[], &[Rename("k1", "d/one")]),
        new("rename_shared_over_shared", &[], &[Rename("k1", "d/h2")]),
        new("rename_dir_with_shared", &[], &[Rename("e", "moved")]),
        new("rename_dir_with_shared_modified", &[Chmod("k1", 0o600)], &[Rename("e", "d/moved")]),
        new("open_trunc_shared", &[], &[Open("k2", write | OFlags::TRUNC), Close]),
    ];
    let quick = [
        "link_base_file",
        "link_shared",
        "unlink_shared_modified_last",
        "write_shared_second",
        "rename_shared",
        "rename_over_shared_modified",
    ];
    all.iter_mut().for_each(|s| s.quick = quick.contains(&s.name));
    all
}
