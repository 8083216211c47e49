//! Modes, owners, times, extended attributes, access control lists.

use super::{OLD, Scenario};
use crate::ops::ACL;
use crate::ops::Op::*;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

pub fn all() -> Vec<Scenario> {
    let new = Scenario::new;
    let mut all = vec![
        new("chmod_base_file", &[], &[Chmod("f", 0o600)]),
        new("chmod_deep_file", &[], &[Chmod("d/sub/deep/four", 0o600)]),
        new("chmod_modified", &[Chmod("f", 0o600)], &[Chmod("f", 0o4711)]),
        new("chmod_base_dir", &[], &[Chmod("d/sub", 0o700)]),
        new("chmod_redirected_dir", &[Rename("d", "moved")], &[Chmod("moved", 0o700)]),
        new("chmod_root", &[], &[Chmod(".", 0o711)]),
        new("chmod_fifo", &[], &[Chmod("fifo", 0o600)]),
        new("chmod_device", &[], &[Chmod("null", 0o600)]),
        new("chmod_big_file", &[], &[Chmod("big", 0o600)]),
        new("chown_base_file", &[], &[Chown("d/two", 5, 6)]),
        new("chown_base_dir", &[], &[Chown("d", 5, 6)]),
        new("chown_symlink", &[], &[Chown("link", 5, 6)]),
        new("chown_root", &[], &[Chown(".", 5, 6)]),
        new("chown_setuid", &[Chmod("f", 0o4755)], &[Chown("f", 5, 6)]),
        new("utimes_base_file", &[], &[Utimes("f", OLD + 7)]),
        new("utimes_base_dir", &[], &[Utimes("d/sub", OLD + 7)]),
        new("utimes_symlink", &[], &[Utimes("link", OLD + 7)]),
        new("utimes_root", &[], &[Utimes(".", OLD + 7)]),
        new("setxattr_base_file", &[], &[SetXattr("d/one", "user.mood", b"good")]),
        new("setxattr_replace", &[], &[SetXattr("f", "user.colour", b"blue")]),
        new("setxattr_base_dir", &[], &[SetXattr("d", "trusted.mood", b"good")]),
        new("setxattr_root", &[], &[SetXattr(".", "user.mood", b"good")]),
        new("removexattr_base_file", &[], &[RemoveXattr("f", "user.colour")]),
        new("removexattr_base_dir", &[], &[RemoveXattr("d", "user.colour")]),
        new("removexattr_missing", &[], &[RemoveXattr("g", "user.colour")]),
        new("acl_base_file", &[], &[SetXattr("f", ACCESS, ACL)]),
        new("acl_base_dir", &[], &[SetXattr("d", ACCESS, ACL)]),
        new("acl_default_base_dir", &[], &[SetXattr("d", DEFAULT, ACL)]),
        new("acl_remove", &[SetXattr("f", ACCESS, ACL)], &[RemoveXattr("f", ACCESS)]),
        new("create_under_default_acl", &[SetXattr("d", DEFAULT, ACL)], &[Mkdir("d/new")]),
    ];
    let quick = ["chmod_deep_file", "chmod_root", "setxattr_base_dir", "acl_base_file"];
    all.iter_mut().for_each(|s| s.quick = quick.contains(&s.name));
    all
}
