//! What the program says to somebody who does not know it yet.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::common::{
    BaseKind, META, Scene, StorageKind, engine_is_product, is_root, mini_fo, run, sh, skip,
    standard_base,
};
use crate::user::as_nobody;

fn scene() -> Option<Scene> {
    engine_is_product()
        .then(|| Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base))?
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn help_has_the_exit_codes_and_the_options() {
    if !engine_is_product() {
        return;
    }
    assert_eq!(mini_fo(&["help"]).ok(), mini_fo(&["--help"]).ok());
    for command in ["mount", "umount", "list", "check"] {
        let help = mini_fo(&["help", command]).ok();
        assert_eq!(help, mini_fo(&[command, "--help"]).ok());
        assert!(help.contains("\nExit codes:\n   0  success\n"), "{help}");
        assert_eq!(help.contains("  11  mini_fo check found"), command == "check", "{help}");
    }
    let help = mini_fo(&["help", "mount"]).ok();
    assert!(help.contains("\n  damaged=ro|rw\n") && help.contains("\n  live_base[=SECONDS]\n"));
    mini_fo(&["help", "frobnicate"]).fails(2, &["frobnicate"]);
}

#[test]
fn several_mounts_are_unmounted_at_once() {
    let Some(mut s) = scene() else { return };
    let (second, storage) = (s.work.dir("second"), s.work.dir("storage2"));
    s.mount(&[]);
    let args = [Path::new("mount"), &s.base, &second, Path::new("--storage"), &storage];
    mini_fo(&args).ok();
    let umount = Path::new("umount");
    let absent = s.work.0.join("absent");
    let said = mini_fo(&[umount, &absent, &second, Path::new("/proc"), &s.mnt]);
    let said = said.fails(9, &["absent is not a mount point", "/proc is a mount of type"]);
    assert_eq!(said.stderr.lines().filter(|line| line.starts_with("mini_fo: ")).count(), 2);
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    for point in [&s.mnt, &second] {
        assert!(!mounts.contains(&format!(" {} ", point.display())), "{mounts}");
    }
    // What is busy is told with what to do, in one line.
    s.mount(&[]);
    let held = fs::File::open(s.at("f")).expect("open");
    let said = mini_fo(&[umount, &s.mnt]).fails(10, &["fuser -vm", "umount --lazy"]);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    assert!(!said.stderr.contains("\\012"), "{}", said.stderr);
    drop(held);
}

#[test]
fn what_nobody_gets_to_read_is_an_error() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let check = format!("check {} --storage {}", text(&s.base), text(&s.storage));
    for args in ["list", "list --json", "list -v", "--help", "help mount", "--version"] {
        let full = run("sh", &["-c", &format!("{program} {args} > /dev/full")]);
        full.fails(1, &["standard output: No space left"]);
        // A reader that has seen enough is another matter.
        run("sh", &["-c", &format!("{program} {args} | true")]).ok();
    }
    s.umount();
    sh(&s.storage, &format!("echo nonsense >> {META}"));
    let full = run("sh", &["-c", &format!("{program} {check} > /dev/full")]);
    full.fails(1, &["standard output"]);
    let helper = format!("exec -a mount.mini_fo {program} -h > /dev/full");
    run("bash", &["-c", &helper]).fails(2, &["standard output"]);
}

/// Paths that lead nowhere give the code of what they stand for.
#[test]
fn paths_that_cannot_be_have_the_documented_codes() {
    let Some(s) = scene() else { return };
    sh(&s.work.0, "ln -s loop loop; ln -s nowhere dangling");
    let long = s.work.0.join("a".repeat(300));
    let deep = s.work.0.join("b/".repeat(3000));
    let mount = |base: &Path, storage: &Path, mnt: &Path| {
        mini_fo(&[Path::new("mount"), base, mnt, Path::new("--storage"), storage])
    };
    for odd in [s.work.0.join("loop"), s.work.0.join("dangling"), long, deep] {
        let said = mount(&odd, &s.storage, &s.mnt).fails(3, &[]);
        assert!(!said.stderr.contains("permission"), "{}", said.stderr);
        mount(&s.base, &odd, &s.mnt).fails(4, &["storage"]);
        mount(&s.base, &s.storage, &odd).fails(8, &["mount point"]);
        let check = |base: &Path, storage: &Path| {
            mini_fo(&[Path::new("check"), base, Path::new("--storage"), storage])
        };
        check(&odd, &s.storage).fails(3, &[]);
        let said = check(&s.base, &odd).fails(4, &["storage"]);
        assert!(!said.stderr.contains("mkdir"), "{}", said.stderr);
        mini_fo(&[Path::new("umount"), &odd]).fails(9, &["not a mount point"]);
    }
    if !is_root() {
        return skip("becomes another user and needs root for it");
    }
    // Above it something is closed.
    let script = "code=0; $MINI_FO mount base mnt --storage ../closed/s 2>said || code=$?
        cat said; test $code = 4
        code=0; $MINI_FO mount ../closed/s mnt --storage storage 2>said || code=$?
        cat said; test $code = 3";
    sh(&s.work.0, "mkdir -p -m 700 closed/s");
    let said = as_nobody(&s.work, false, &[], script);
    assert!(said.stdout.contains("closed/s: Permission denied"), "{}", said.stdout);
    said.ok();
}

/// JSON holds the paths as they are; bytes that JSON has not are there as well.
#[test]
fn json_of_list_holds_paths_as_they_are() {
    let Some(s) = scene() else { return };
    let odd = |name: &[u8]| {
        let path = s.work.0.join(OsStr::from_bytes(name));
        fs::create_dir(&path).expect("mkdir");
        path
    };
    let (mnt, storage) = (odd(b"a b\n\"\\"), odd(b"\xc3\xa9\xff\n"));
    mini_fo(&[Path::new("mount"), &s.base, &mnt, Path::new("--storage"), &storage]).ok();
    let list = mini_fo(&["list", "--json"]).ok();
    let table = mini_fo(&["list"]).ok();
    mini_fo(&[Path::new("umount"), &mnt]).ok();
    let work = text(&s.work.0);
    assert!(list.contains(&format!("\"mountpoint\":\"{work}/a b\\u000a\\\"\\\\\",")), "{list}");
    assert!(!list.contains("mountpoint_hex"), "{list}");
    let bytes = OsString::from(&storage).into_vec();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let told = format!("\"storage\":\"{work}/é\u{fffd}\\u000a\",\"storage_hex\":\"{hex}\"");
    assert!(list.contains(&told), "{list}");
    assert!(table.contains(&format!("{work}/a b\\012")), "{table}");
}

/// Advice that can be followed.
#[test]
fn advice_that_helps() {
    let Some(s) = scene() else { return };
    let with = |options: &str| {
        let args = ["mount", text(&s.base), text(&s.mnt), "--storage", text(&s.storage)];
        mini_fo(&[&args[..], &["-o", options]].concat())
    };
    for owner in ["uid=1000", "gid=1000"] {
        let said = with(owner).fails(2, &["squash_to_uid=UID"]);
        assert!(!said.stderr.contains("did you mean"), "{}", said.stderr);
    }
    with("lowerdir=/a").fails(2, &["base=A:B:C"]);
    with("upperdir=/a").fails(2, &["sto=DIR"]);
    with("live_base=0").fails(2, &["'live_base' does not know the value '0'; it takes seconds"]);
    with("damaged=no").fails(2, &["it is one of ro, rw"]);
    with("nosiud").fails(2, &["did you mean 'nosuid'?"]);
    let absent = s.work.0.join("absent");
    let check = mini_fo(&[Path::new("check"), &s.base, Path::new("--storage"), &absent]);
    check.fails(4, &["nothing to check"]);
}
