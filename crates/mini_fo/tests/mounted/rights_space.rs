//! Space and the daemon's own rights: what the storage's file system decides, it
//! decides about the caller.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use crate::cli::daemon;
use crate::common::{Scene, StorageKind, sh, standard_base, sys};
use crate::rights::{NOBODY, mode, refused, scene};

/// A storage of 64 MiB, a fifth of which ext4 keeps for root.
fn with_reserve(fill: impl Fn(&Path)) -> Option<Scene> {
    if crate::common::skip_unless(&["mke2fs"]) {
        return None;
    }
    let mut s = scene(StorageKind::Plain, fill)?;
    let made = "truncate -s 64M image; mke2fs -q -t ext4 -b 4096 -m 20 image
         mount -o loop image storage; mkdir storage/s";
    sh(&s.work.0, made);
    s.storage = s.storage.join("s");
    Some(s)
}

/// Bytes that all may have, and that root may.
fn space(s: &Scene) -> (u64, u64) {
    let vfs = rustix::fs::statvfs(&s.storage).expect("statvfs");
    (vfs.f_bavail * vfs.f_frsize, vfs.f_bfree * vfs.f_frsize)
}

/// Writes until it is refused, at most `most` bytes; how many, and why.
fn fill(file: &File, most: u64) -> (u64, Option<i32>) {
    let piece = [7; 65536];
    let mut written = 0;
    while written < most {
        match (&*file).write(&piece) {
            Ok(count) => written += count as u64,
            Err(error) => return (written, error.raw_os_error()),
        }
    }
    (written, None)
}

#[test]
fn space_kept_for_root_is_root_s() {
    let Some(mut s) = with_reserve(|base| {
        standard_base(base);
        mode(base, 0o777);
        fs::write(base.join("large"), vec![7; 8 << 20]).expect("write");
        fs::write(base.join("held"), "x").expect("write");
        for name in ["large", "held", "big"] {
            mode(&base.join(name), 0o666);
        }
    }) else {
        return;
    };
    s.mount(&[]);
    let kept = 64 << 17;
    let at = |name: &str| s.at(name);
    let create = |name: &str| File::create(at(name)).expect(name);
    // One file is read meanwhile, so its data does not go past the daemon.
    let reader = File::open(at("held")).expect("open");
    sys::as_user(NOBODY, || {
        let by_daemon = File::options().append(true).open(at("held")).expect("open");
        assert_eq!(fill(&by_daemon, 8 << 20), (8 << 20, None));
        let (written, why) = fill(&create("by_kernel"), 64 << 20);
        assert!(written > 16 << 20, "{written}");
        assert_eq!(why, Some(libc::ENOSPC));
        assert_eq!(fill(&by_daemon, 8 << 20).1, Some(libc::ENOSPC));
        let opened = File::options().write(true).open(at("large"));
        refused(opened, libc::ENOSPC, "a copy-up");
        let file = create("allocated");
        let allocated =
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 20);
        assert_eq!(allocated, Err(sys::Errno::NOSPC));
        let made = (0..400).try_for_each(|n| fs::create_dir(at(&format!("dir{n}"))));
        refused(made, libc::ENOSPC, "directories");
        let long = "x".repeat(3000);
        let made = (0..400).try_for_each(|n| symlink(&long, at(&format!("link{n}"))));
        refused(made, libc::ENOSPC, "symlinks");
        let value = vec![b'v'; 3000];
        let set = (0..400).try_for_each(|n| {
            let path = at(&format!("dir{n}"));
            if path.exists() { sys::set_xattr(&path, "user.v", &value) } else { Ok(()) }
        });
        assert!(set.is_ok() || set == Err(sys::Errno::NOSPC), "{set:?}");
    });
    let (all, root) = space(&s);
    assert!(all < 1 << 20 && root > kept, "{all} left, {root} for root");
    // Root goes on: by what is new, what is there, and what has to be copied.
    assert_eq!(fill(&create("by_root"), 1 << 20), (1 << 20, None));
    let theirs = File::options().append(true).open(at("held")).expect("open");
    assert_eq!(fill(&theirs, 1 << 20), (1 << 20, None));
    let copied = File::options().append(true).open(at("big")).expect("open");
    assert_eq!(fill(&copied, 1 << 20), (1 << 20, None));
    fs::create_dir(at("root's")).expect("mkdir");
    // ... which opens it to nobody.
    sys::as_user(NOBODY, || {
        let there = File::options().append(true).open(at("by_kernel")).expect("open");
        assert_eq!(fill(&there, 8 << 20).1, Some(libc::ENOSPC));
        // What is in the way can be removed.
        fs::remove_file(at("by_kernel")).expect("unlink");
        fs::remove_file(at("large")).expect("unlink of a base file");
    });
    assert_eq!(fs::metadata(at("held")).expect("stat").uid(), 0);
    for made in ["by_root", "root's"] {
        assert_eq!(fs::metadata(s.storage.join(made)).expect("stat").uid(), 0, "{made}");
    }
    let reserved = sh(&s.storage, "find . -name 'META_*' ! -user 0");
    assert_eq!(reserved, "", "META belongs to the daemon");
    drop(reader);
}

#[test]
fn the_daemon_keeps_no_right_that_it_does_not_need() {
    let Some(mut s) = scene(StorageKind::Plain, standard_base) else { return };
    s.mount(&[]);
    let pid = daemon(&s);
    // sys_module, sys_rawio, sys_boot, sys_time, net_admin, bpf, kill, setpcap, setgid.
    let without = [16, 17, 22, 25, 12, 39, 5, 8, 6];
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("tasks") {
        let path = task.expect("task").path().join("status");
        let Ok(status) = fs::read_to_string(&path) else { continue };
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim().to_owned()
        };
        assert_eq!(field("NoNewPrivs:"), "1");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            let held = u64::from_str_radix(&field(set), 16).expect("a set");
            for bit in without {
                assert_eq!(held >> bit & 1, 0, "{set} {held:#x}, capability {bit}");
            }
        }
        let effective = u64::from_str_radix(&field("CapEff:"), 16).expect("a set");
        assert_eq!(effective >> 24 & 1, 0, "CAP_SYS_RESOURCE");
        assert_eq!(effective >> 21 & 1, 1, "CAP_SYS_ADMIN");
    }
}
