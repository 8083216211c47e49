//! Names that come and go.

use super::{OLD, Scenario};
use crate::ops::Op::*;
use rustix::fs::OFlags;

pub fn all() -> Vec<Scenario> {
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let new = Scenario::new;
    let mut all = vec![
        new("create_in_root", &[], &[Open("new", create), Close]),
        new("create_in_base_dir", &[], &[Open("d/sub/new", create), Put(b'x', 0, 10), Close]),
        new("create_deleted_name", &[Unlink("d/one")], &[Open("d/one", create), Close]),
        new("mkdir_in_base_dir", &[], &[Mkdir("d/new")]),
        new("mkdir_deep", &[], &[Mkdir("d/sub/deep/new")]),
        new("mkfifo", &[], &[Mknod("d/new", libc::S_IFIFO, (0, 0))]),
        new("mknod_char", &[], &[Mknod("d/new", libc::S_IFCHR, (1, 5))]),
        new("mknod_deleted_name", &[Unlink("null")], &[Mknod("null", libc::S_IFCHR, (1, 5))]),
        new("symlink", &[], &[Symlink("target", "d/new")]),
        new("symlink_deleted_name", &[Unlink("link")], &[Symlink("g", "link")]),
        new("unlink_base_file", &[], &[Unlink("d/one")]),
        new("unlink_modified", &[Chmod("d/one", 0o600)], &[Unlink("d/one")]),
        new("unlink_created", &[Open("d/new", create), Close], &[Unlink("d/new")]),
        new("unlink_rewritten", &[Unlink("f"), Open("f", create), Close], &[Unlink("f")]),
        new("unlink_symlink", &[], &[Unlink("link")]),
        new("unlink_fifo_modified", &[Chmod("fifo", 0o600)], &[Unlink("fifo")]),
        new("unlink_in_redirected", &[Rename("d", "moved")], &[Unlink("moved/one")]),
        new("rmdir_empty_base", &[], &[Rmdir("empty")]),
        new("rmdir_empty_modified", &[Chmod("empty", 0o700)], &[Rmdir("empty")]),
        new(
            "rmdir_emptied",
            &[Unlink("full/a"), Unlink("full/x/b"), Rmdir("full/x")],
            &[Rmdir("full")],
        ),
        new(
            "rmdir_emptied_remounted",
            &[Unlink("full/a"), Unlink("full/x/b"), Rmdir("full/x"), Utimes("full", OLD), Remount],
            &[Rmdir("full")],
        ),
        new("rmdir_created", &[Mkdir("d/new")], &[Rmdir("d/new")]),
        new(
            "rmdir_redirected",
            &[Unlink("full/a"), Unlink("full/x/b"), Rmdir("full/x"), Rename("full", "moved")],
            &[Rmdir("moved")],
        ),
        new("rmdir_redirected_empty", &[Rename("empty", "moved")], &[Rmdir("moved")]),
        new(
            "rmdir_redirected_back",
            &[Rename("empty", "d/moved"), Rename("d/moved", "empty")],
            &[Rmdir("empty")],
        ),
        new("rmdir_not_empty", &[], &[Rmdir("full")]),
        new("rmdir_mkdir", &[], &[Rmdir("empty"), Mkdir("empty"), Chmod("empty", 0o711)]),
        new("mkdir_deleted_full", &remove_full(), &[Mkdir("full"), Open("full/a", create), Close]),
        new("rm_r_base_tree", &[], &remove_full()),
        new(
            "rm_r_changed_tree",
            &[Chmod("full/x/b", 0o600), Rename("full/a", "full/x/c"), Mkdir("full/y")],
            &[
                Unlink("full/x/b"),
                Unlink("full/x/c"),
                Rmdir("full/x"),
                Rmdir("full/y"),
                Rmdir("full"),
            ],
        ),
        new(
            "mv_tree_by_copy",
            &[],
            &[
                Mkdir("copy"),
                Open("copy/a", create),
                Put(b'a', 0, 2),
                Close,
                Unlink("full/a"),
                Mkdir("copy/x"),
                Rename("full/x/b", "copy/x/b"),
                Rmdir("full/x"),
                Rmdir("full"),
            ],
        ),
        new("fsync_dir", &[Unlink("d/one"), Mkdir("d/new")], &[FsyncDir("d")]),
    ];
    let quick = [
        "create_deleted_name",
        "mkdir_deep",
        "mknod_deleted_name",
        "unlink_modified",
        "rmdir_emptied",
        "rmdir_redirected",
        "rmdir_mkdir",
    ];
    all.iter_mut().for_each(|s| s.quick = quick.contains(&s.name));
    all
}

fn remove_full() -> Vec<crate::ops::Op> {
    vec![Unlink("full/a"), Unlink("full/x/b"), Rmdir("full/x"), Rmdir("full")]
}
