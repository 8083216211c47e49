//! Names that move.

use super::Scenario;
use crate::ops::Op::*;
use rustix::fs::{OFlags, RenameFlags};

pub fn all() -> Vec<Scenario> {
    let mut all = files();
    all.extend(directories());
    all.extend(exchanges());
    let quick = [
        "rename_base_file",
        "rename_modified_over_modified",
        "rename_base_dir",
        "rename_base_dir_changed",
        "rename_dir_over_emptied",
        "rename_redirected_again",
        "exchange_files",
        "exchange_base_dirs",
        "exchange_base_and_created_dir",
    ];
    all.iter_mut().for_each(|s| s.quick = quick.contains(&s.name));
    all
}

fn files() -> Vec<Scenario> {
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let new = Scenario::new;
    vec![
        new("rename_base_file", &[], &[Rename("f", "moved")]),
        new("rename_base_file_across", &[], &[Rename("d/sub/three", "e/moved")]),
        new("rename_modified", &[Chmod("f", 0o600)], &[Rename("f", "d/moved")]),
        new("rename_created", &[Open("c", create), Close], &[Rename("c", "d/moved")]),
        new(
            "rename_rewritten",
            &[Unlink("f"), Open("f", create), Close],
            &[Rename("f", "e/moved")],
        ),
        new("rename_back", &[Rename("f", "moved")], &[Rename("moved", "f")]),
        new("rename_base_over_base", &[], &[Rename("f", "d/one")]),
        new("rename_base_over_modified", &[Chmod("d/one", 0o600)], &[Rename("f", "d/one")]),
        new("rename_modified_over_base", &[Chmod("f", 0o600)], &[Rename("f", "d/one")]),
        new(
            "rename_modified_over_modified",
            &[Chmod("f", 0o600), Chmod("d/one", 0o600)],
            &[Rename("f", "d/one")],
        ),
        new("rename_created_over_base", &[Open("c", create), Close], &[Rename("c", "d/one")]),
        new("rename_to_deleted_name", &[Unlink("d/one")], &[Rename("f", "d/one")]),
        new("rename_symlink", &[], &[Rename("link", "d/moved")]),
        new("rename_symlink_over_file", &[], &[Rename("link", "f")]),
        new("rename_device", &[], &[Rename("null", "d/moved")]),
        new("rename_fifo", &[], &[Rename("fifo", "d/moved")]),
        new("rename_noreplace", &[], &[RenameWith("f", "d/new", RenameFlags::NOREPLACE)]),
        new("rename_noreplace_exists", &[], &[RenameWith("f", "d/one", RenameFlags::NOREPLACE)]),
        new("rename_whiteout", &[], &[RenameWith("f", "d/new", RenameFlags::WHITEOUT)]),
        new(
            "rename_whiteout_modified",
            &[Chmod("f", 0o600)],
            &[RenameWith("f", "d/new", RenameFlags::WHITEOUT)],
        ),
        new("rename_file_over_dir", &[], &[Rename("f", "empty")]),
        new(
            "rename_in_redirected",
            &[Rename("d", "moved")],
            &[Rename("moved/one", "moved/sub/new")],
        ),
        new("rename_out_of_redirected", &[Rename("d", "moved")], &[Rename("moved/one", "new")]),
    ]
}

fn directories() -> Vec<Scenario> {
    let new = Scenario::new;
    let emptied = [Unlink("full/a"), Unlink("full/x/b"), Rmdir("full/x")];
    vec![
        new("rename_base_dir", &[], &[Rename("d", "moved")]),
        new("rename_base_dir_empty", &[], &[Rename("empty", "moved")]),
        new(
            "rename_base_dir_changed",
            &[Chmod("d/one", 0o600), Unlink("d/two"), Mkdir("d/new")],
            &[Rename("d", "moved")],
        ),
        new("rename_base_dir_deleted_inside", &[Unlink("d/one")], &[Rename("d", "e/moved")]),
        new("rename_base_dir_modified", &[Chmod("d", 0o700)], &[Rename("d", "moved")]),
        new("rename_base_dir_into_dir", &[], &[Rename("d", "e/moved")]),
        new("rename_base_dir_deep", &[], &[Rename("d/sub", "e/in/moved")]),
        new("rename_base_dir_up", &[], &[Rename("d/sub/deep", "moved")]),
        new("rename_redirected_again", &[Rename("d", "moved")], &[Rename("moved", "again")]),
        new("rename_redirected_into", &[Rename("d", "moved")], &[Rename("moved", "e/again")]),
        new("rename_redirected_back", &[Rename("d", "moved")], &[Rename("moved", "d")]),
        new(
            "rename_redirected_changed",
            &[Rename("d", "moved"), Unlink("moved/one"), Chmod("moved/two", 0o600), Remount],
            &[Rename("moved", "e/again")],
        ),
        new(
            "rename_inside_redirected",
            &[Rename("d", "moved")],
            &[Rename("moved/sub", "moved/in")],
        ),
        new("rename_created_dir", &[Mkdir("c"), Mkdir("c/in")], &[Rename("c", "e/moved")]),
        new(
            "rename_created_dir_with_base_inside",
            &[Mkdir("c"), Rename("d", "c/d")],
            &[Rename("c", "moved")],
        ),
        new("rename_dir_over_empty", &[], &[Rename("d", "empty")]),
        new("rename_dir_over_created", &[Mkdir("c")], &[Rename("d", "c")]),
        new("rename_created_over_empty", &[Mkdir("c"), Mkdir("c/in")], &[Rename("c", "empty")]),
        new("rename_dir_over_emptied", &emptied, &[Rename("d", "full")]),
        new(
            "rename_created_over_emptied",
            &[&emptied[..], &[Mkdir("c")]].concat(),
            &[Rename("c", "full")],
        ),
        new("rename_dir_over_redirected", &[Rename("empty", "moved")], &[Rename("d", "moved")]),
        new(
            "rename_redirected_over_emptied",
            &[&emptied[..], &[Rename("d", "m")]].concat(),
            &[Rename("m", "full")],
        ),
        new("rename_dir_over_full", &[], &[Rename("d", "full")]),
        new("rename_dir_to_deleted_name", &[Rmdir("empty")], &[Rename("d", "empty")]),
        new("rename_dir_to_deleted_file", &[Unlink("f")], &[Rename("d", "f")]),
        new("rename_chain", &[], &[Rename("d", "x"), Rename("e", "d"), Rename("x", "e")]),
        new("rename_dir_noreplace", &[], &[RenameWith("d", "new", RenameFlags::NOREPLACE)]),
    ]
}

fn exchanges() -> Vec<Scenario> {
    let new = Scenario::new;
    let swap = |a, b| RenameWith(a, b, RenameFlags::EXCHANGE);
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    vec![
        new("exchange_files", &[], &[swap("f", "d/one")]),
        new(
            "exchange_modified",
            &[Chmod("f", 0o600), Chmod("d/one", 0o600)],
            &[swap("f", "d/one")],
        ),
        new("exchange_base_and_created", &[Open("c", create), Close], &[swap("f", "c")]),
        new(
            "exchange_created",
            &[Open("c", create), Close, Open("d/c", create), Close],
            &[swap("c", "d/c")],
        ),
        new("exchange_shared_and_file", &[], &[swap("h1", "e/five")]),
        new("exchange_shared_two", &[], &[swap("h1", "e/k3")]),
        new("exchange_file_and_base_dir", &[], &[swap("f", "d")]),
        new("exchange_file_and_created_dir", &[Mkdir("c")], &[swap("f", "c")]),
        new("exchange_base_dirs", &[], &[swap("d", "e")]),
        new("exchange_base_dirs_across", &[], &[swap("d/sub", "e/in")]),
        new(
            "exchange_base_dirs_changed",
            &[Chmod("d/one", 0o600), Unlink("e/five"), Mkdir("e/new")],
            &[swap("d", "e")],
        ),
        new("exchange_base_and_created_dir", &[Mkdir("c"), Mkdir("c/in")], &[swap("d", "c")]),
        new("exchange_redirected", &[Rename("d", "m"), Rename("e", "n")], &[swap("m", "n")]),
        new("exchange_redirected_and_base", &[Rename("d", "m")], &[swap("m", "full")]),
        new("exchange_back", &[swap("d", "e")], &[swap("d", "e")]),
        new(
            "exchange_created_dirs",
            &[Mkdir("c"), Mkdir("c/in"), Mkdir("e/c")],
            &[swap("c", "e/c")],
        ),
    ]
}
