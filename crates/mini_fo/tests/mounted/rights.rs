//! Nobody gets by the mount what he would not get on a plain directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use crate::common::{
    BaseKind, Scene, StorageKind, engine_is_product, is_root, sh, skip, standard_base, sys,
};

const NOBODY: u32 = 65_534;
const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

fn scene(storage: StorageKind, fill: impl Fn(&Path)) -> Option<Scene> {
    if !engine_is_product() {
        return None;
    }
    if !is_root() {
        skip("acts as several users, which needs root");
        return None;
    }
    Scene::unmounted(BaseKind::Plain, storage, fill)
}

fn refused<T>(result: io::Result<T>, errno: i32, what: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what}: not refused"));
    assert_eq!(error.raw_os_error(), Some(errno), "{what}: {error}");
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// Whether this process has a capability, by its number: containers may lack
/// some of them even for root.
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("CapEff");
    u64::from_str_radix(set.trim(), 16).expect("a set") >> number & 1 == 1
}

/// `FS_IMMUTABLE_FL`, `FS_APPEND_FL`, `FS_NODUMP_FL`, `FS_JOURNAL_DATA_FL`.
const IMMUTABLE: u32 = 0x10;
const APPEND: u32 = 0x20;
const NODUMP: u32 = 0x40;
const JOURNAL_DATA: u32 = 0x4000;

#[test]
fn flags_are_set_by_those_who_may() {
    let Some(mut s) = scene(StorageKind::Ext4, |base| {
        standard_base(base);
        mode(&base.join("f"), 0o666);
    }) else {
        return;
    };
    s.mount(&[]);
    let (mnt, file, own) = (s.mnt.clone(), s.at("f"), s.at("own"));
    fs::write(&own, "x").expect("write");
    chown(&own, Some(NOBODY), Some(NOBODY)).expect("chown");
    // By another number, which the kernel hands on without a look at it.
    for number in [0x4004_6602, 0x4010_6602, 0x4008_6603, 0x401c_5821, 0xc008_6602] {
        for path in [&mnt, &file, &own] {
            let set = sys::as_user(NOBODY, || sys::set_flags_by(number, path, IMMUTABLE));
            refused(set, libc::ENOTTY, &format!("{number:#x} {}", path.display()));
        }
        refused(sys::set_flags_by(number, &file, NODUMP), libc::ENOTTY, "by root");
    }
    assert!(!s.storage.join("f").exists(), "copied up for nothing");
    let set = |path: &Path, flags| sys::set_flags_by(sys::SETFLAGS, path, flags);
    sys::as_user(NOBODY, || {
        for path in [&mnt, &file] {
            refused(set(path, NODUMP), libc::EPERM, "not the owner");
        }
        for flags in [IMMUTABLE, APPEND, JOURNAL_DATA] {
            refused(set(&own, flags), libc::EPERM, &format!("the owner, {flags:#x}"));
        }
        let had = sys::flags(&own).expect("getflags");
        set(&own, had | NODUMP).expect("the owner");
    });
    assert_eq!(sys::flags(&s.storage.join("own")).expect("getflags") & NODUMP, NODUMP);
    let all = [APPEND, IMMUTABLE, JOURNAL_DATA];
    let held = if has_capability(24) { &all[..] } else { &all[..2] };
    for flags in held {
        let had = sys::flags(&own).expect("getflags");
        set(&own, had | flags).unwrap_or_else(|error| panic!("root, {flags:#x}: {error}"));
        set(&own, had).unwrap_or_else(|error| panic!("root, back: {error}"));
    }
}

#[test]
fn attributes_that_only_the_storage_could_judge() {
    let Some(mut s) = scene(StorageKind::Plain, standard_base) else { return };
    s.mount(&[]);
    sys::as_user(NOBODY, || {
        for name in ["system.nfs4_acl", "system.ntfs_attrib", "system.data"] {
            let set = sys::set_xattr(&s.at("g"), name, b"x");
            assert_eq!(set, Err(sys::Errno::OPNOTSUPP), "{name}");
            let removed = rustix::fs::lremovexattr(s.at("g"), name);
            assert_eq!(removed, Err(sys::Errno::OPNOTSUPP), "{name}");
        }
        let set = sys::set_xattr(&s.at("g"), ACCESS, &sys::acl(&[(1, 6, u32::MAX)]));
        assert!(set.is_err(), "an ACL by another than the owner");
    });
    assert!(!s.storage.join("g").exists(), "copied up for nothing");
}
