//! Users other than the one who mounts, and what they are taken for.

use std::fs;

use crate::common::{StorageKind, sh, skip_unless, standard_base, sys};
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

/// The daemon counts processes as its PID namespace does, and /proc here does not: it
/// has a /proc of its own.
#[test]
fn callers_are_not_taken_for_other_processes() {
    let Some(s) = scene(StorageKind::Plain, |base| {
        standard_base(base);
        sys::set_xattr(&base.join("f"), "trusted.secret", b"x").expect("setxattr");
        sys::set_xattr(&base.join("f"), "user.open", b"x").expect("setxattr");
        mode(&base.join("f"), 0o644);
    }) else {
        return;
    };
    if skip_unless(&["unshare", "setpriv", "getfattr"]) {
        return;
    }
    let said = sh(
        s.mnt.parent().expect("parent"),
        &format!(
            "unshare -pf --kill-child sh -euc '
                 {program} mount {base} {mnt} --storage {storage} 2>&1
                 for n in 1 2 3 4 5 6 7 8; do
                     setpriv --reuid=65534 --regid=65534 --clear-groups \
                         getfattr --absolute-names -m - {mnt}/f
                 done
                 {program} umount {mnt}'",
            program = env!("CARGO_BIN_EXE_mini_fo"),
            base = s.base.display(),
            mnt = s.mnt.display(),
            storage = s.storage.display(),
        ),
    );
    assert!(said.contains("user.open") && !said.contains("trusted.secret"), "{said}");
}
