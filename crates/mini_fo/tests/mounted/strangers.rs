//! Users other than the one who mounts, and what they are taken for.

use std::fs;

use crate::common::{StorageKind, standard_base, sys};
use crate::rights::{NOBODY, mode, refused, scene};

#[test]
fn nobody_enters_where_the_kernel_does_not_judge() {
    let Some(mut s) = scene(StorageKind::Plain, |base| {
        standard_base(base);
        mode(&base.join("f"), 0o600);
    }) else {
        return;
    };
    s.mount(&["-o", "nodefault_permissions"]);
    sys::as_user(NOBODY, || {
        refused(fs::read(s.at("f")), libc::EACCES, "read");
        refused(fs::write(s.at("new"), "x"), libc::EACCES, "create");
        refused(fs::read_dir(&s.mnt), libc::EACCES, "list");
    });
    fs::write(s.at("new"), "root").expect("root works");
    s.umount();
    s.try_mount(&["-o", "nodefault_permissions,allow_other"]).fails(2, &["every user"]);
}
