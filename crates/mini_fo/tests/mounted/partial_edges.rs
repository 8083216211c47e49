//! Partial files where something refuses, fails or comes in between.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::cli::daemon;
use crate::common::{
    BaseKind, Scene, StorageKind, WorkDir, is_root, mini_fo, run, sh, skip, skip_unless,
    standard_base, sys,
};
use crate::partial::{bytes, crash, is_partial, same, scene};
use crate::user::{as_nobody, skipped};

const CLOSED: &str = "
    mount() { $MINI_FO mount base mnt --storage storage; }
    mount; chmod 640 mnt/d/one; echo own > mnt/own; chmod 0 mnt/own
    echo write > mnt/write; chmod 200 mnt/write
    setfacl -m u::- mnt/f 2>/dev/null || chmod 0 mnt/f
    $MINI_FO umount mnt; mount
    test $(stat -c %a:%s mnt/own) = 0:4; test $(stat -c %s mnt/f) = 8
    echo more >> mnt/write; chmod 600 mnt/own mnt/write mnt/f
    test $(cat mnt/own) = own; test $(tr '\\n' , < mnt/write) = write,more,
    test $(cat mnt/f) = content
    $MINI_FO umount mnt; echo done";

#[test]
fn a_user_s_closed_files_are_no_partial_ones() {
    if skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    let work = WorkDir::new();
    let said = as_nobody(&work, true, &[], CLOSED).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_file_that_may_only_be_appended_to_is_appended_to() {
    let Some(s) = scene(&[]) else { return };
    if skip_unless(&["chattr"]) || run("chattr", &["+a", s.at("small").to_str().unwrap()]).code != 0
    {
        return skip("the storage's file system, or this user, cannot set flags");
    }
    sh(&s.mnt, "echo more >> small; chattr -a small");
    same(&s.at("small"), b"a small file\nmore\n");
}

/// A power cut has left a file that was cut, and nothing of its map.
#[test]
fn what_is_appended_to_a_cut_file_stays_after_its_map_was_lost() {
    let options = ["-o", "blocks_from=1M"];
    let Some(mut s) = scene(&options) else { return };
    sh(&s.mnt, "truncate -s 100000 d/big");
    if !is_partial(&s, "d/big") {
        return skip("the storage's file system has reflinks");
    }
    sh(Path::new("/"), &format!("kill -KILL {}", daemon(&s)));
    run("umount", &["-l", s.mnt.to_str().expect("UTF-8")]);
    sh(&s.storage, "truncate -s 0 META_dAfFgHE39ktF3HD2sr_index/p*");
    s.mount(&options);
    let mut model = bytes();
    model.truncate(100_000);
    same(&s.at("d/big"), &model);
    let file = OpenOptions::new().write(true).open(s.at("d/big")).expect("open");
    file.write_all_at(b"behind", 100_000).expect("write");
    file.set_len(200_000).expect("truncate");
    drop(file);
    crash(&mut s, &options);
    model.extend(b"behind");
    model.resize(200_000, 0);
    same(&s.at("d/big"), &model);
}

/// Others open a file while it is cut to nothing and written anew.
#[test]
fn nobody_sees_the_base_in_a_file_that_was_cut_to_nothing() {
    let fill = |base: &Path| {
        for round in 0..100 {
            fs::write(base.join(format!("f{round}")), [b'b'; 100_000]).expect("write");
        }
    };
    let Some(mut s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, fill) else { return };
    s.mount(&[]);
    for round in 0..100 {
        let path = s.at(&format!("f{round}"));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("chmod");
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..3).map(|_| scope.spawn(|| fs::File::open(&path))).collect();
            fs::write(&path, b"0123456789").expect("write");
            for file in opened {
                let file = file.join().expect("no panic").expect("open");
                let mut piece = [0; 10];
                file.read_exact_at(&mut piece, 0).expect("read");
                assert_eq!(&piece, b"0123456789");
            }
        });
    }
}

#[test]
fn reading_past_the_page_cache_reads_all_of_it() {
    let Some(s) = scene(&["-o", "blocks_from=0"]) else { return };
    let mut model = bytes();
    model.truncate(5000);
    sh(&s.mnt, "truncate -s 5000 d/big");
    let file = OpenOptions::new().append(true).open(s.at("d/big")).expect("open");
    for piece in [&[b'1'; 3000][..], &[b'2'; 9000]] {
        (&file).write_all(piece).expect("append");
        model.extend(piece);
    }
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let flags = OpenOptions::new().read(true).custom_flags(direct).open(s.at("d/big"));
    let Ok(file) = flags else { return skip("the storage's file system has no O_DIRECT") };
    // Aligned as such reads must be.
    let mut space = vec![0; 32768 + 4096];
    let from = space.as_ptr().align_offset(4096);
    let buf = &mut space[from..from + 32768];
    let got = file.read_at(buf, 0).expect("read");
    assert_eq!(got, model.len());
    assert!(buf[..got] == model);
    let got = file.read_at(buf, 4096).expect("read");
    assert!(buf[..got] == model[4096..]);
}

/// A fetch writes, and a write takes capabilities and set-ID bits away.
#[test]
fn what_a_write_takes_away_stays_when_data_is_fetched() {
    let Some(mut s) = scene(&[]) else { return };
    let caps = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    sh(&s.mnt, "touch d/big small; chmod 4755 d/big");
    let set = sys::set_xattr(&s.at("small"), "security.capability", &caps);
    drop(OpenOptions::new().write(true).open(s.at("d/big")).expect("open"));
    drop(OpenOptions::new().write(true).open(s.at("small")).expect("open"));
    let check = |s: &Scene| {
        sh(&s.mnt, "test $(stat -c %a d/big) = 4755");
        if set.is_ok() {
            let got = sys::get_xattr(&s.at("small"), "security.capability");
            assert_eq!(got.as_deref(), Ok(&caps[..]));
        }
    };
    check(&s);
    s.remount();
    check(&s);
}

const UMASK: &str = "
    for i in 1 2 3 4 5 6 7 8; do head -c 300000 /dev/zero | tr '\\0' a > base/big$i; done
    cp base/big1 model; echo changed | dd of=model bs=1 seek=100000 conv=notrunc status=none
    mount() { $MINI_FO mount base mnt --storage storage -o blocks_from=64K,transport=classic; }
    mount; umask 0777
    for i in 1 2 3 4 5 6 7 8; do
        mkdir mnt/one$i; mkdir mnt/two$i & mkdir mnt/three$i & wait
        echo changed | dd of=mnt/big$i bs=1 seek=100000 conv=notrunc,fsync status=none
    done
    chmod 640 mnt/f; mv mnt/d/one mnt/two; chmod 700 mnt/*[1-8]
    umask 022
    $MINI_FO umount mnt
    find storage -name 'META*' \\( -type f ! -perm 600 -o -type d ! -perm 700 \\) -ls
    mount; for i in 1 2 3 4 5 6 7 8; do cmp model mnt/big$i; done
    test $(cat mnt/f) = content; test $(cat mnt/two) = 1
    $MINI_FO umount mnt; echo done";

/// What the daemon makes for itself under the umask of a caller.
#[test]
fn no_umask_closes_what_the_daemon_needs() {
    if skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    let work = WorkDir::new();
    let said = as_nobody(&work, true, &[], UMASK).ok();
    assert_eq!(said, "done\n");
}

/// The flag of the mount's root is that of the storage's: it says nothing of who we are.
#[test]
fn an_append_only_root_keeps_the_data_of_its_files() {
    let scene = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base);
    let Some(mut s) = scene else { return };
    if !is_root() {
        return skip("needs root for flags");
    }
    s.mount(&["-o", "blocks_from=64K"]);
    sh(&s.mnt, "printf x | dd of=big bs=1 seek=9 conv=notrunc,fsync status=none");
    if run("chattr", &["+a".as_ref(), s.mnt.as_os_str()]).code != 0 {
        return skip("the storage's file system has no flags");
    }
    sh(&s.mnt, "cp big copy; cmp -n 9 big ../proof/big; cmp -i 10 big ../proof/big");
    s.umount();
    let check = mini_fo(&[Path::new("check"), &s.base, Path::new("-s"), &s.storage]);
    assert_eq!(check.code, 0, "{check:?}");
    s.mount(&["-o", "ro"]);
    sh(&s.mnt, "cmp -i 10 big ../proof/big");
    s.umount();
    s.mount(&[]);
    sh(&s.mnt, "cmp -i 10 big ../proof/big");
    sh(&s.mnt, "printf y | dd of=big bs=1 seek=99 conv=notrunc status=none");
    sh(&s.mnt, "rm f 2>/dev/null && exit 1; chattr -a .; chattr +i .");
    s.umount();
    s.try_mount(&[]).fails(4, &["immutable", "chattr -i"]);
    sh(&s.work.0, "chattr -i storage");
    s.mount(&[]);
    sh(&s.mnt, "rm f; cmp -i 100 big ../proof/big");
}
