//! The program: when mount returns, how the daemon lives and ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{
    BaseKind, Scene, StorageKind, engine_is_product, mini_fo, run, sh, skip, standard_base,
};

fn unmounted() -> Option<Scene> {
    if !engine_is_product() {
        return None;
    }
    Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base)
}

/// The daemon's process number, as `mini_fo list --json` tells it.
pub fn daemon(scene: &Scene) -> i32 {
    let list = mini_fo(&["list", "--json"]).ok();
    let mine = format!("\"mountpoint\":\"{}\"", scene.mnt.display());
    let entry = list
        .split('{')
        .find(|entry| entry.contains(&mine))
        .unwrap_or_else(|| panic!("not listed: {list}"));
    let pid = entry.split("\"pid\":").nth(1).expect("a pid");
    let digits: String = pid.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_mounted(mnt: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    mounts.contains(&format!(" {} ", mnt.display()))
}

#[test]
fn mount_returns_when_the_tree_is_usable() {
    let Some(mut s) = unmounted() else { return };
    for _ in 0..20 {
        s.mount(&[]);
        assert_eq!(fs::read(s.at("f")).expect("read at once"), b"base content of f\n");
        fs::write(s.at("w"), "w").expect("write at once");
        s.umount();
        assert!(!is_mounted(&s.mnt));
    }
}

/// The daemon keeps neither the terminal nor the pipes of its caller.
#[test]
fn the_daemon_lets_go_of_its_caller() {
    let Some(mut s) = unmounted() else { return };
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_mini_fo"))
        .args(["mount", "--storage"])
        .args([&s.storage, &s.base, &s.mnt])
        .stdin(Stdio::null())
        .output()
        .expect("run");
    assert!(output.status.success(), "{output:?}");
    assert!(start.elapsed() < Duration::from_secs(10), "the pipes stayed open");
    sh(&s.mnt, "cat f");
    let cwd = fs::read_link(format!("/proc/{}/cwd", daemon(&s))).expect("cwd");
    assert_eq!(cwd, Path::new("/"));
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    s.mount(&[]);
}

#[test]
fn in_the_foreground() {
    let Some(s) = unmounted() else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_mini_fo"))
        .args(["mount", "--foreground", "--storage"])
        .args([&s.storage, &s.base, &s.mnt])
        .stdin(Stdio::null())
        .spawn()
        .expect("spawn");
    wait_until("mounted", || is_mounted(&s.mnt));
    sh(&s.mnt, "echo x > f");
    assert_eq!(child.try_wait().expect("wait"), None, "left the foreground");
    sh(Path::new("/"), &format!("umount {0} 2>/dev/null || fusermount3 -u {0}", s.mnt.display()));
    assert!(child.wait().expect("wait").success());
}

#[test]
fn sigterm_ends_cleanly() {
    let Some(mut s) = unmounted() else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo kept > kept; rm f; mv d d2");
    let pid = daemon(&s);
    sh(Path::new("/"), &format!("kill -TERM {pid}"));
    wait_until("the mount is gone", || !is_mounted(&s.mnt));
    wait_until("the daemon is gone", || !Path::new(&format!("/proc/{pid}/fd/0")).exists());
    s.mount(&[]);
    sh(&s.mnt, "test $(cat kept) = kept; test ! -e f; test -e d2/one");
}

#[test]
fn killed_and_mounted_again() {
    let Some(mut s) = unmounted() else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo kept > kept; rm f; mv d d2");
    sh(Path::new("/"), &format!("kill -KILL {}", daemon(&s)));
    wait_until("the daemon is gone", || fs::metadata(s.at("kept")).is_err());
    mini_fo(&[Path::new("umount"), &s.mnt]).ok();
    s.mount(&[]);
    sh(&s.mnt, "test $(cat kept) = kept; test ! -e f; test -e d2/one");
}

/// A plain umount(8), and the next mount at once.
#[test]
fn umount_and_mount_at_once() {
    let Some(mut s) = unmounted() else { return };
    for round in 0..20 {
        s.mount(&[]);
        fs::write(s.at("round"), format!("{round}")).expect("write");
        sh(Path::new("/"), &format!("umount {0} || fusermount3 -u {0}", s.mnt.display()));
    }
    s.mount(&[]);
    assert_eq!(fs::read(s.at("round")).expect("read"), b"19");
}

#[test]
fn list_shows_what_is_mounted() {
    let Some(mut s) = unmounted() else { return };
    s.mount(&[]);
    let list = mini_fo(&["list"]).ok();
    for path in [&s.mnt, &s.base, &s.storage] {
        assert!(list.contains(path.to_str().expect("UTF-8")), "{list}");
    }
    s.umount();
    assert!(!mini_fo(&["list"]).ok().contains(s.mnt.to_str().expect("UTF-8")));
    let kind = {
        s.mount(&[]);
        sh(&s.mnt, "findmnt -no FSTYPE -T .")
    };
    assert!(kind.contains("mini_fo"), "{kind}");
}

#[test]
fn a_log_file() {
    let Some(mut s) = unmounted() else { return };
    let log = s.work.0.join("log");
    s.mount(&["--log", log.to_str().expect("UTF-8"), "--verbose"]);
    sh(&s.mnt, "touch x");
    s.umount();
    assert!(fs::metadata(&log).expect("the log").len() > 0);
}

#[test]
fn lazily_unmounted_while_in_use() {
    let Some(mut s) = unmounted() else { return };
    s.mount(&[]);
    let mut held = fs::File::options().append(true).open(s.at("f")).expect("open");
    mini_fo(&[Path::new("umount"), Path::new("--lazy"), &s.mnt]).ok();
    assert!(!is_mounted(&s.mnt));
    std::io::Write::write_all(&mut held, b"late\n").expect("write");
    drop(held);
    s.mount(&[]);
    assert!(fs::read_to_string(s.at("f")).expect("read").ends_with("late\n"));
}

#[test]
fn help_and_version() {
    if !engine_is_product() {
        return;
    }
    let help = mini_fo(&["--help"]).ok();
    for word in ["mount", "umount", "list"] {
        assert!(help.contains(word));
        assert!(mini_fo(&[word, "--help"]).ok().contains("Usage"));
    }
    assert!(mini_fo(&["--version"]).ok().starts_with("mini_fo "));
}

/// A base that lies on several file systems shows empty directories where
/// others are mounted, as in 2005.
#[test]
fn mounts_below_the_base_are_not_seen() {
    let Some(mut s) = unmounted() else { return };
    if run("mount", &["-t", "tmpfs", "none", s.base.join("empty").to_str().expect("UTF-8")]).code
        != 0
    {
        return skip("needs root");
    }
    fs::write(s.base.join("empty/inside"), "").expect("write");
    s.mount(&[]);
    assert_eq!(fs::read_dir(s.at("empty")).expect("readdir").count(), 0);
    sh(&s.mnt, "touch empty/ours; ls empty | grep -q ours");
    sh(&s.base, "umount empty");
}

/// What `list -v` says of the mount, and the log.
fn told(s: &mut Scene, options: &str) -> [String; 2] {
    let log = s.mnt.with_extension("log");
    let _ = fs::remove_file(&log);
    s.mount(&["-o", &format!("{options},log={}", log.display())]);
    let list = mini_fo(&["list", "-v"]).ok();
    let at = list.find(s.mnt.to_str().expect("UTF-8")).expect("listed");
    let own = list[at..].split("\n/").next().expect("its part").to_owned();
    s.umount();
    [own, fs::read_to_string(log).expect("the log")]
}

#[test]
fn what_a_mount_got_is_told_and_how_to_get_more() {
    let Some(mut s) = unmounted() else { return };
    let [list, log] = told(&mut s, "transport=classic,nopassthrough");
    for line in ["requests classic", "data     cached", "features "] {
        assert!(list.contains(line), "{line} in {list}");
    }
    assert!(log.contains("requests by classic, data cached, "), "{log}");
    let declined = "passthrough was declined (nopassthrough)";
    for unused in ["io_uring was not asked for (transport=classic)", declined] {
        assert!(list.contains(unused) && log.contains(unused), "{unused} in {list} and {log}");
    }
    // The defaults: whichever way requests come, the other one is explained.
    let [list, log] = told(&mut s, "rw");
    if list.contains("requests io_uring") {
        assert!(log.contains("requests by io_uring") && !list.contains("io_uring was not"));
    } else {
        let reasons = ["--enable-uring", "Linux 6.14", "io_uring cannot be used", "CPUs"];
        assert!(reasons.iter().any(|why| list.contains(why) && log.contains(why)), "{list}");
    }
    assert!(!list.contains(declined), "{list}");
    let explained = list.contains("passthrough needs root") || list.contains("Linux 6.9");
    assert!(list.contains("data     passthrough") != explained, "{list}");
}

#[test]
fn names_forge_neither_log_lines_nor_messages() {
    let Some(s) = unmounted() else { return };
    let dir = s.mnt.parent().expect("parent");
    let odd = dir.join("odd\nmini_fo: ERROR: \x1b[31mforged");
    let log = dir.join("log");
    let mount = |mnt: &Path| {
        let args: [&Path; 7] = [
            "mount".as_ref(),
            &s.base,
            mnt,
            "--storage".as_ref(),
            &s.storage,
            "--log".as_ref(),
            &log,
        ];
        mini_fo(&args)
    };
    let refused = mount(&odd).fails(8, &["odd\\012mini_fo: ERROR: \\033[31mforged"]);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    fs::create_dir(&odd).expect("mkdir");
    mount(&odd).ok();
    mini_fo(&[Path::new("umount"), &odd]).ok();
    let log = fs::read_to_string(&log).expect("log");
    assert!(log.contains("odd\\012mini_fo: ERROR"), "{log}");
    assert!(log.lines().all(|line| line.contains("Z mini_fo[")), "{log}");
}
