//! What the storage cannot hold is kept in META, and shows all the same.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::common::{WorkDir, engine_is_product, is_root, mini_fo, sh, skip_unless, sys};
use crate::user::{as_nobody, skipped};

const ACROSS: &str = "user.kept";

fn mount(base: &Path, storage: &Path, mnt: &Path) {
    mini_fo(&["mount".as_ref(), base, mnt, "--storage".as_ref(), storage]).ok();
}

/// ramfs has no extended attributes at all.
#[test]
fn attributes_on_a_storage_without_any() {
    let work = WorkDir::new();
    if !is_root() || !engine_is_product() {
        return;
    }
    let (base, storage, mnt) = (work.dir("base"), work.dir("storage"), work.dir("mnt"));
    sh(&base, "echo 1 > f; echo 2 > g; mkdir d; echo 3 > d/one; ln d/one d/two; ln -s x link");
    sh(&work.0, "mount -t ramfs none storage");
    let value = b"a value\nwith \\ and \0 and \xff in it";
    for name in ["f", "d", "d/one"] {
        sys::set_xattr(&base.join(name), ACROSS, value).expect("setxattr");
    }
    sys::set_xattr(&base.join("link"), "trusted.link", b"t").expect("setxattr");
    mount(&base, &storage, &mnt);
    let at = |name: &str| mnt.join(name);
    sh(&mnt, "echo x >> f; chmod 700 d; echo x >> d/two; chown -h 5 link");
    sys::set_xattr(&at("g"), "user.new", b"").expect("setxattr");
    sys::set_xattr(&at("f"), "user.second", b"2").expect("setxattr");
    rustix::fs::removexattr(at("d"), ACROSS).expect("removexattr");
    let check = |f: &str, g: &str, link: &str| {
        let both = [(ACROSS.into(), value.to_vec()), (b"user.second".to_vec(), b"2".to_vec())];
        assert_eq!(sys::xattrs(&at(f)), both);
        assert_eq!(sys::xattrs(&at(g)), [(b"user.new".to_vec(), Vec::new())]);
        for name in ["d/one", "d/two"] {
            assert_eq!(sys::xattrs(&at(name)), [(ACROSS.into(), value.to_vec())], "{name}");
        }
        assert_eq!(sys::xattrs(&at("d")), []);
        assert_eq!(sys::get_xattr(&at(link), "trusted.link"), Ok(b"t".to_vec()));
    };
    check("f", "g", "link");
    sh(&mnt, "mv f d/moved; mv link link2; touch h; mv g h");
    sys::exchange(&at("h"), &at("link2")).expect("exchange");
    check("d/moved", "link2", "h");
    // Another object of the name begins anew.
    sh(&mnt, "echo other > f; echo other > g");
    assert_eq!(sys::xattrs(&at("f")), []);
    for _ in 0..2 {
        mini_fo(&[Path::new("umount"), &mnt]).ok();
        mount(&base, &storage, &mnt);
        check("d/moved", "link2", "h");
        assert_eq!(sys::xattrs(&at("f")), []);
    }
    mini_fo(&[Path::new("umount"), &mnt]).ok();
}

/// A user's storage holds neither foreign owners nor devices.
#[test]
fn owners_and_devices_of_a_user() {
    if skipped() || skip_unless(&["setpriv"]) {
        return;
    }
    let work = WorkDir::new();
    let tree = work.dir("tree");
    sh(
        &tree,
        "echo 1 > theirs; chown 5:6 theirs; chmod 4755 theirs; mknod null c 1 3; chmod 640 null
         mkdir dir; echo 2 > dir/in; chown -R 7:8 dir; chmod 1777 .",
    );
    let script = "
        mount() { $MINI_FO mount ../tree mnt --storage storage -o nodefault_permissions; }
        show() { stat -c '%n %A %u:%g %t:%T' $(find mnt | sort); }
        mount
        echo more >> mnt/theirs; mv mnt/null mnt/null2; mv mnt/dir mnt/dir2; echo 3 >> mnt/dir2/in
        chown 9:10 mnt/dir2/in; chmod 600 mnt/dir2/in
        echo mine > mnt/mine
        show > first; $MINI_FO umount mnt; mount; show > second; $MINI_FO umount mnt
        cmp first second; cat first";
    let said = as_nobody(&work, true, &[], script).ok();
    let shown: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(
        shown,
        [
            "mnt/dir2 drwxr-xr-x 7:8 0:0",
            "mnt/dir2/in -rw------- 9:10 0:0",
            "mnt/mine -rw-r--r-- 65534:65534 0:0",
            "mnt/null2 crw-r----- 0:0 1:3",
            "mnt/theirs -rwxr-xr-x 5:6 0:0",
        ],
        "{said}"
    );
    let stored = work.0.join("home/storage");
    let kind = fs::symlink_metadata(stored.join("null2")).expect("lstat").file_type();
    assert!(kind.is_file() && !kind.is_char_device());
    assert_eq!(fs::metadata(stored.join("theirs")).expect("stat").uid(), 65534);
    assert_eq!(fs::metadata(stored.join("theirs")).expect("stat").mode() & 0o6000, 0);
}
