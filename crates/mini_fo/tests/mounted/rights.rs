//! Nobody gets by the mount what he would not get on a plain directory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::common::{
    BaseKind, Scene, StorageKind, engine_is_product, is_root, sh, skip, standard_base, sys,
};

pub const NOBODY: u32 = 65_534;
const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

pub fn scene(storage: StorageKind, fill: impl Fn(&Path)) -> Option<Scene> {
    if !engine_is_product() {
        return None;
    }
    if !is_root() {
        skip("acts as several users, which needs root");
        return None;
    }
    Scene::unmounted(BaseKind::Plain, storage, fill)
}

pub fn refused<T>(result: io::Result<T>, errno: i32, what: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what}: not refused"));
    assert_eq!(error.raw_os_error(), Some(errno), "{what}: {error}");
}

pub fn mode(path: &Path, mode: u32) {
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
        let changed = |path| fs::metadata(path).map(|of| (of.ctime(), of.ctime_nsec()));
        let before = changed(&own).expect("stat");
        std::thread::sleep(std::time::Duration::from_millis(20));
        set(&own, had | NODUMP).expect("the owner");
        assert!(changed(&own).expect("stat") > before, "the time of change shows at once");
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

/// Access for user 7 beside the modes; the mask is what the group bits show.
fn for_seven(group: u16, other: u16) -> Vec<u8> {
    let none = u32::MAX;
    sys::acl(&[(1, 7, none), (2, 7, 7), (4, group, none), (16, 7, none), (32, other, none)])
}

/// An object's mode and extended attributes.
type Lists = (u32, Vec<(Vec<u8>, Vec<u8>)>);

fn lists(path: &Path) -> Lists {
    (fs::symlink_metadata(path).expect("lstat").mode(), sys::xattrs(path))
}

/// A directory whose new objects are open to user 7, and in it objects of every
/// kind that are not, because they came otherwise.
fn base_with_lists(base: &Path) {
    standard_base(base);
    sys::set_xattr(&base.join("d"), DEFAULT, &for_seven(5, 0)).expect("set the default ACL");
    mode(&base.join("d/one"), 0o640);
    sys::mknod(&base.join("d/fifo"), libc::S_IFIFO | 0o660, 0);
    sys::mknod(&base.join("d/device"), libc::S_IFCHR | 0o660, libc::makedev(1, 3));
    for name in ["d/fifo", "d/device"] {
        let _ = rustix::fs::lremovexattr(base.join(name), ACCESS);
        mode(&base.join(name), 0o660);
    }
    fs::hard_link(base.join("d/two"), base.join("d/zwei")).expect("link");
    mode(&base.join("d/two"), 0o660);
    mode(&base.join("d/sub"), 0o770);
    sys::set_xattr(&base.join("e/five"), ACCESS, &for_seven(4, 0)).expect("set the ACL");
}

#[test]
fn a_copy_up_adds_no_access_control_list() {
    let Some(mut s) = scene(StorageKind::Plain, base_with_lists) else { return };
    // The storage was made in a directory with a list for what is made there.
    sys::set_xattr(&s.storage, DEFAULT, &for_seven(7, 7)).expect("set the default ACL");
    s.mount(&[]);
    let names = [
        "f",
        "d",
        "d/one",
        "d/fifo",
        "d/device",
        "d/two",
        "d/zwei",
        "d/sub",
        "d/sub/three",
        "d/sub/deep",
        "e",
        "e/five",
        "fifo",
        "null",
        "empty",
        "link",
        ".",
    ];
    let before: Vec<_> = names.iter().map(|name| lists(&s.at(name))).collect();
    for name in names {
        sys::set_times(&s.at(name), 77, 0);
    }
    s.now_and_remounted(|mnt| {
        for (name, before) in names.iter().zip(&before) {
            assert_eq!(&lists(&mnt.join(name)), before, "{name}");
        }
        sys::as_user(7, || {
            for name in ["d/one", "d/two", "d/zwei", "f"] {
                refused(File::open(mnt.join(name)), libc::EACCES, name);
            }
            refused(fs::read_dir(mnt.join("d/sub")), libc::EACCES, "d/sub");
            File::open(mnt.join("e/five")).expect("what the base's own ACL gives");
        });
    });
    // What is made in the mount gets what the base's directory says.
    fs::write(s.at("d/made"), "x").expect("write");
    fs::create_dir(s.at("d/dir")).expect("mkdir");
    fs::write(s.at("empty/made"), "x").expect("write");
    assert_eq!(lists(&s.at("empty/made")).1, []);
    sys::as_user(7, || File::open(s.at("d/made")).expect("by the default ACL"));
    assert_eq!(sys::get_xattr(&s.at("d/dir"), DEFAULT), Ok(for_seven(5, 0)));
}

#[test]
fn a_list_that_the_storage_cannot_hold_opens_nothing() {
    let Some(mut s) = scene(StorageKind::Plain, |base| {
        fs::create_dir(base.join("d")).expect("mkdir");
        for (name, named, group, other) in
            [("wide", 7, 4, 4), ("closed", 0, 6, 6), ("d/own", 7, 0, 0), ("d", 7, 5, 5)]
        {
            let path = base.join(name);
            if name != "d" {
                fs::write(&path, name).expect("write");
            }
            chown(&path, Some(1), Some(9)).expect("chown");
            let none = u32::MAX;
            let entries =
                [(1, 7, none), (2, named, 7), (4, group, none), (16, 7, none), (32, other, none)];
            sys::set_xattr(&path, ACCESS, &sys::acl(&entries)).expect("set the ACL");
        }
        // The root of a mount shows no list either.
        sys::set_xattr(base, ACCESS, &for_seven(5, 5)).expect("set the ACL");
    }) else {
        return;
    };
    sh(&s.work.0, "mount -t ramfs ramfs storage; mkdir storage/s");
    s.storage = s.storage.join("s");
    s.mount(&[]);
    for name in ["wide", "closed", "d/own", "d"] {
        sys::set_times(&s.at(name), 77, 0);
    }
    s.now_and_remounted(|mnt| {
        let bits = |name: &str| lists(&mnt.join(name)).0 & 0o7777;
        assert_eq!(bits("."), 0o755);
        assert_eq!(bits("wide"), 0o744, "the mask was 7, the group's own rights 4");
        assert_eq!(bits("closed"), 0o700, "user 7 had less than all others");
        assert_eq!(bits("d/own"), 0o700);
        assert_eq!(bits("d"), 0o755);
        sys::as_user(7, || {
            refused(File::open(mnt.join("closed")), libc::EACCES, "closed");
        });
    });
}

#[test]
fn a_whiteout_belongs_to_who_renames() {
    let Some(mut s) = scene(StorageKind::Plain, standard_base) else { return };
    s.mount(&[]);
    mode(&s.at("d"), 0o777);
    let (from, to) = (s.at("d/one"), s.at("d/moved"));
    sys::as_user(NOBODY, || sys::rename_with(&from, &to, rustix::fs::RenameFlags::WHITEOUT))
        .expect("rename");
    s.now_and_remounted(|mnt| {
        let device = fs::symlink_metadata(mnt.join("d/one")).expect("lstat");
        assert_eq!((device.mode(), device.rdev()), (libc::S_IFCHR, 0));
        assert_eq!((device.uid(), device.gid()), (NOBODY, NOBODY));
    });
}

/// `security.capability`, version 2: CAP_SETUID, permitted and effective.
const SETUID_CAPABLE: [u8; 20] = [1, 0, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn who_is_shown_as_the_owner_gets_no_set_id_file_of_another() {
    let Some(mut s) = scene(StorageKind::Plain, |base| {
        standard_base(base);
        for (name, bits) in [("su", 0o4755), ("sg", 0o2755), ("both", 0o6755), ("plain", 0o755)] {
            fs::write(base.join(name), [b'x'; 8192]).expect("write");
            mode(&base.join(name), bits);
        }
        fs::write(base.join("capable"), [b'x'; 8192]).expect("write");
        let capable = base.join("capable");
        sys::set_xattr(&capable, "security.capability", &SETUID_CAPABLE).expect("setxattr");
    }) else {
        return;
    };
    // One of root's own in the storage, from before.
    s.mount(&[]);
    mode(&s.at("script"), 0o4755);
    s.umount();
    let squashed = format!("squash_to_uid={NOBODY},squash_to_gid={NOBODY}");
    for options in [squashed, format!("squash_to_uid={NOBODY}")] {
        s.mount(&["-o", &options]);
        let map = |name: &str| {
            let file = File::options().read(true).write(true).open(s.at(name)).expect(name);
            sys::Mapping::shared(&file, 4096, true).write(b"#!");
        };
        let shown = |name: &str| fs::metadata(s.at(name)).expect("stat").mode() & 0o7777;
        sys::as_user(NOBODY, || {
            for name in ["su", "sg", "both", "script", "capable"] {
                map(name);
            }
            mode(&s.at("plain"), 0o4755);
            map("plain");
        });
        assert_eq!((shown("su"), shown("script"), shown("plain")), (0o4755, 0o4755, 0o4755));
        sh(
            &s.storage,
            "found=$(find . -type f ! -name 'META_*' \\( -perm /4000 ! -user nobody -o \
             -perm /2000 ! -group nogroup \\)); test -z \"$found\" || { ls -ln; exit 1; }",
        );
        let capability = sys::get_xattr(&s.storage.join("capable"), "security.capability");
        assert_eq!(capability, Err(sys::Errno::NODATA));
        s.umount();
        // As the base has them, for the other options.
        sh(&s.storage, "rm -f su sg both plain capable");
    }
    s.mount(&[]);
    assert_eq!(fs::metadata(s.at("script")).expect("stat").uid(), NOBODY);
}
