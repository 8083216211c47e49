//! What the daemon lives with and ends with, and what `list` says of it.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use crate::cli::daemon;
use crate::common::{
    BaseKind, Scene, StorageKind, engine_is_product, is_root, mini_fo, run, sh, skip, standard_base,
};
use crate::own_root::ends;

const SOON: Duration = Duration::from_secs(5);

fn unmounted(storage: StorageKind) -> Option<Scene> {
    if !engine_is_product() {
        return None;
    }
    if !is_root() {
        skip("mounts and kills as root");
        return None;
    }
    Scene::unmounted(BaseKind::Plain, storage, standard_base)
}

fn send(signal: &str, pid: i32) {
    run("kill", &[&format!("-{signal}"), &pid.to_string()]).ok();
}

/// What `list` says of a mount, to people.
fn listed(s: &Scene) -> String {
    let list = mini_fo(&["list"]).ok();
    let mine = format!("{}\n", s.mnt.display());
    let after = list.split_once(&mine).map_or("", |(_, after)| after);
    after.lines().take_while(|line| line.starts_with(' ')).collect::<Vec<_>>().join("\n")
}

fn type_at(path: &Path) -> String {
    sh(Path::new("/"), &format!("findmnt -no FSTYPE --mountpoint {} || true", path.display()))
}

#[test]
fn the_oom_killer_and_the_shutdown_spare_it() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    s.mount(&[]);
    let pid = daemon(&s);
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("a score");
    // Containers may lack the right to, CAP_SYS_RESOURCE.
    let may = sh(Path::new("/"), "(echo -1000 >/proc/self/oom_score_adj) 2>&1 || true");
    assert!(score.trim() == "-1000" || !may.is_empty(), "{score}");
    let line = fs::read(format!("/proc/{pid}/cmdline")).expect("a command line");
    assert_eq!(line.first(), Some(&b'@'), "{}", String::from_utf8_lossy(&line));
}

#[test]
fn what_is_mounted_there_next_stays() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    let (mnt, other) = (s.mnt.display().to_string(), s.work.dir("other"));
    // Another kind, and one that may get the same device number.
    let next = format!(
        "{} mount {} {mnt} --storage {}",
        env!("CARGO_BIN_EXE_mini_fo"),
        s.base.display(),
        other.display()
    );
    for (mount, kind) in [("mount -t tmpfs t $m", "tmpfs\n"), (&next, "fuse.mini_fo\n")] {
        s.mount(&[]);
        let pid = daemon(&s);
        send("STOP", pid);
        let done = run("bash", &["-c", &format!("m={mnt}; umount -l $m && {mount}")]);
        send("CONT", pid);
        assert!(ends(pid as u32, SOON), "{done:?}");
        done.ok();
        assert_eq!(type_at(&s.mnt), kind);
        sh(Path::new("/"), &format!("umount {mnt}"));
    }
    s.mount(&[]);
}

#[test]
fn sigterm_finds_the_mount_where_it_is_now() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    let (above, moved) = (s.work.dir("above"), s.work.0.join("moved"));
    s.mnt = s.work.dir("above/mnt");
    s.mount(&[]);
    let pid = daemon(&s);
    fs::rename(&above, &moved).expect("rename");
    assert_eq!(type_at(&moved.join("mnt")), "fuse.mini_fo\n");
    send("TERM", pid);
    assert!(ends(pid as u32, SOON));
    assert_eq!(type_at(&moved.join("mnt")), "");
    fs::rename(&moved, &above).expect("rename");
    s.mount(&[]);
}

#[test]
fn a_killed_daemon_s_mount_is_shown_as_dead_and_mounted_over() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    s.mount(&[]);
    fs::write(s.at("kept"), "kept").expect("write");
    let pid = daemon(&s);
    // The kernel remembers that, and answers by it also when the daemon is dead.
    fs::metadata(&s.mnt).expect("stat");
    send("KILL", pid);
    assert!(ends(pid as u32, SOON));
    let said = listed(&s);
    assert!(said.contains(&format!("dead: its daemon (process {pid}) has ended")), "{said}");
    assert!(said.contains(s.storage.to_str().expect("UTF-8")), "{said}");
    s.mount(&[]);
    assert_eq!(fs::read(s.at("kept")).expect("read"), b"kept");
    assert!(!listed(&s).contains("dead"), "{}", listed(&s));
    let all = sh(Path::new("/"), &format!("findmnt -no FSTYPE {}", s.mnt.display()));
    assert_eq!(all, "fuse.mini_fo\n", "the dead one is gone");
}

#[test]
fn a_lazily_unmounted_mount_is_listed_until_it_ends() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    s.mount(&[]);
    let (pid, file) = (daemon(&s), File::open(s.at("f")).expect("open"));
    sh(Path::new("/"), &format!("umount -l {}", s.mnt.display()));
    let said = listed(&s);
    assert!(said.contains(&format!("programs still use it: process {pid}")), "{said}");
    drop(file);
    assert!(ends(pid as u32, SOON));
    assert_eq!(listed(&s), "");
    s.mount(&[]);
}

#[test]
fn the_daemon_ends_with_the_mount_namespace() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    let (base, mnt, storage) = (s.base.display(), s.mnt.display(), s.storage.display());
    let script = format!(
        "{own} mount {base} {mnt} --storage {storage}; echo x > {mnt}/x
         {own} list --json | grep -o '\"{mnt}\"[^}}]*' | grep -o '\"pid\":[0-9]*' | cut -d: -f2",
        own = env!("CARGO_BIN_EXE_mini_fo")
    );
    let said = run("unshare", &["-m", "bash", "-ec", &script]).ok();
    let pid: u32 = said.trim().parse().expect("a number");
    assert!(ends(pid, SOON));
    s.mount(&[]);
    assert_eq!(fs::read(s.at("x")).expect("read"), b"x\n");
}

#[test]
fn another_pid_namespace_takes_no_record_away() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    s.mount(&[]);
    let before = listed(&s);
    let own = env!("CARGO_BIN_EXE_mini_fo");
    let said = run("unshare", &["-mpf", "--mount-proc", own, "list"]).ok();
    assert!(said.contains(s.storage.to_str().expect("UTF-8")), "{said}");
    assert_eq!(listed(&s), before);
    assert!(before.contains("process"), "{before}");
}

/// `mount` must not say that the tree is there before it is served.
#[test]
fn without_room_for_threads_nothing_is_mounted() {
    let Some(mut s) = unmounted(StorageKind::Plain) else { return };
    let (base, mnt, storage) = (s.base.display(), s.mnt.display(), s.storage.display());
    let group = format!("/sys/fs/cgroup/mini_fo-test-{}", std::process::id());
    if fs::create_dir(&group).is_err() || !Path::new(&group).join("pids.max").exists() {
        let _ = fs::remove_dir(&group);
        return skip("no cgroup with pids.max");
    }
    for most in 2..9 {
        let script = format!(
            "echo {most} > {group}/pids.max; echo $$ > {group}/cgroup.procs
             exec {own} mount {base} {mnt} --storage {storage}",
            own = env!("CARGO_BIN_EXE_mini_fo")
        );
        let done = run("bash", &["-c", &script]);
        if done.code == 0 {
            let told = fs::read(s.at("f"));
            let ended = mini_fo(&[Path::new("umount"), &s.mnt]);
            assert_eq!(told.expect("served"), b"base content of f\n", "{most}");
            ended.ok();
        }
        assert_eq!(type_at(&s.mnt), "", "{most}: {}", done.stderr);
    }
    std::thread::sleep(Duration::from_millis(200));
    let _ = fs::remove_dir(&group);
    s.mount(&[]);
}

/// After `remount,ro` the storage's own file system can become read-only, and is
/// clean then. Both by mount(2) alone, as a shutdown does it, and by the helper.
#[test]
fn a_read_only_mount_lets_its_storage_become_read_only() {
    let Some(mut s) = unmounted(StorageKind::Ext4) else { return };
    s.mount(&[]);
    let (mnt, root) = (s.mnt.clone(), Path::new("/"));
    let stored = sh(root, &format!("findmnt -no TARGET -T {}", s.storage.display()));
    let device = sh(root, &format!("findmnt -no SOURCE {}", stored.trim()));
    let (mnt, stored, device) = (mnt.display(), stored.trim(), device.trim());
    let helper = format!("{} -o remount,ro none {mnt}", s.work.0.join("mount.mini_fo").display());
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mini_fo"), s.work.0.join("mount.mini_fo"))
        .expect("symlink");
    let bare = format!("mount -i -o remount,ro {mnt}; sleep 3");
    for (n, remount) in [bare, helper].iter().enumerate() {
        sh(&s.mnt, &format!("echo {n} > new{n}; rm d/one; echo {n} > d/one; mkdir -p dir{n}/sub"));
        sh(root, remount);
        let state =
            sh(root, &format!("mount -o remount,ro {stored}; dumpe2fs -h {device} 2>/dev/null"));
        assert!(state.contains("has_journal") && !state.contains("needs_recovery"), "{state}");
        assert_eq!(fs::read(s.at("d/one")).expect("read"), format!("{n}\n").as_bytes());
        sh(root, &format!("mount -o remount,rw {stored}; mount -i -o remount,rw {mnt}"));
        sh(&s.mnt, &format!("echo more >> new{n}; rmdir dir{n}/sub"));
    }
    s.now_and_remounted(|mnt| {
        assert_eq!(fs::read(mnt.join("new1")).expect("read"), b"1\nmore\n");
        assert!(!mnt.join("dir0/sub").exists());
    });
}
