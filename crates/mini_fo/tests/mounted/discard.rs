//! `mini_fo discard`: afterwards every path shows the base, live and at rest.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::common::{
    BaseKind, Outcome, Scene, StorageKind, engine_is_product, is_root, mini_fo, run, sh, skip,
    skip_unless, standard_base, sys,
};
use crate::rights::NOBODY;

/// The usual base, with hard links and attributes.
pub fn base(base: &Path) {
    standard_base(base);
    fs::hard_link(base.join("g"), base.join("d/g2")).expect("link");
    fs::hard_link(base.join("g"), base.join("e/g3")).expect("link");
    let _ = sys::set_xattr(&base.join("d"), "user.dir", b"base");
}

fn scene() -> Option<Scene> {
    let scene =
        engine_is_product().then(|| Scene::unmounted(BaseKind::Plain, StorageKind::Plain, base))?;
    if skip_unless(&["rsync"]) { None } else { scene }
}

fn discard<S: AsRef<str>>(args: &[S]) -> Outcome {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    mini_fo(&[&["discard", "--yes"], &args[..]].concat())
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// What differs between the base and what a mount shows, as rsync tells it.
fn differences(s: &Scene) -> String {
    let (base, mnt) = (text(&s.quiet_base()) + "/", text(&s.mnt) + "/");
    run("rsync", &["-aHAXni", "--checksum", "--delete", &base, &mnt]).ok()
}

/// What programs have seen of a tree, so that the kernel has it in its caches.
fn look(mnt: &Path) -> String {
    sh(mnt, "find . \\( -type d -printf '%P %m %T@ %i %n\\n' -o -printf '%P %y %m %s %T@ %i %n\\n' \\) | sort
         cat f g d/one 2>&1 | md5sum; true")
}

/// More than the daemon may have descriptors: what the kernel knows it holds by one.
#[test]
fn more_files_go_than_there_are_descriptors() {
    let many = |dir: &Path| drop(sh(dir, "mkdir many; cd many; seq 3000 | xargs touch"));
    if !engine_is_product() || skip_unless(&["rsync"]) {
        return;
    }
    let Some(s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, many) else { return };
    crate::descriptors::mount_with(&s, 1024, "");
    sh(&s.mnt, "cd many; for n in *; do echo $n > $n; done; ls -l | wc -l");
    let told = discard(&["--quiet".to_owned(), "--all".to_owned(), text(&s.mnt)]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert_eq!(differences(&s), "");
}

/// One change of each kind, and the paths whose discard takes it back.
pub const KINDS: [(&str, &str, &[&str]); 24] = [
    ("added", "echo x > new", &["new"]),
    ("added tree", "mkdir -p n/m; echo x > n/m/f; ln -s f n/l; mkfifo n/p", &["n"]),
    ("modified", "echo more >> f", &["f"]),
    ("modified below", "echo more >> d/sub/deep/four", &["d/sub"]),
    ("mode", "chmod 600 g", &["g"]),
    ("mode of a directory", "chmod 700 d", &["d"]),
    ("time", "touch script d/one", &["script", "d/one"]),
    ("deleted", "rm f", &["f"]),
    ("deleted tree", "rm -r d", &["d"]),
    ("deleted in a directory", "rm d/one d/two", &["d/one", "d/two"]),
    ("renamed, the new name", "mv f f2", &["f2"]),
    ("renamed, the old name", "mv f f2", &["f"]),
    ("moved", "mv d/one e/uno", &["d/one"]),
    ("renamed directory", "mv d D; echo x >> D/one; echo x > D/new", &["D"]),
    ("renamed directory, the old name", "mv d D; rm D/two", &["d"]),
    ("moved directory", "mv d/sub e/sub; chmod 700 e/sub/deep", &["e/sub"]),
    ("type", "rm f; mkdir f; echo x > f/x", &["f"]),
    ("type, a directory", "rm -r d; echo x > d", &["d"]),
    ("opaque", "rm -r d; mkdir d; echo x > d/one", &["d"]),
    ("link", "ln f again", &["again", "f"]),
    ("one of several names", "echo x >> g", &["e/g3"]),
    ("one of several names deleted", "rm d/g2", &["d/g2"]),
    ("partial", "printf x | dd of=big bs=1 seek=70000 conv=notrunc status=none", &["big"]),
    ("symbolic link", "ln -sfn elsewhere link; ln -sfn d other", &["link", "other"]),
];

#[test]
fn each_kind_of_change_goes() {
    let Some(mut s) = scene() else { return };
    s.mount(&["-o", "blocks_from=64K"]);
    assert_eq!(differences(&s), "");
    let before = look(&s.mnt);
    for (kind, change, paths) in KINDS {
        look(&s.mnt);
        sh(&s.mnt, change);
        assert_ne!(look(&s.mnt), before, "{kind}: nothing has changed");
        let paths: Vec<String> = paths.iter().map(|path| text(&s.at(path))).collect();
        discard(&paths).ok();
        let (now, left) = (look(&s.mnt), mini_fo(&["status", &text(&s.mnt)]).stdout);
        assert_eq!(now, before, "{kind}");
        assert_eq!(differences(&s), "", "{kind}");
        assert_eq!(left, "nothing has changed\n", "{kind}");
    }
    for (kind, change, paths) in KINDS {
        sh(&s.mnt, change);
        s.umount();
        let storage = text(&s.storage);
        let paths: Vec<String> =
            [storage].into_iter().chain(paths.iter().map(|path| (*path).to_owned())).collect();
        discard(&paths).ok();
        s.mount(&["-o", "blocks_from=64K"]);
        assert_eq!(look(&s.mnt), before, "{kind}, at rest");
        assert_eq!(differences(&s), "", "{kind}, at rest");
    }
}

#[test]
fn extended_attributes_go() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    if sys::set_xattr(&s.at("f"), "user.colour", b"blue").is_err() {
        return skip("no extended attributes here");
    }
    sys::set_xattr(&s.at("f"), "user.more", b"x").expect("setxattr");
    sys::set_xattr(&s.at("d"), "user.dir", b"mine").expect("setxattr");
    discard(&[text(&s.at("f")), text(&s.at("d"))]).ok();
    assert_eq!(sys::xattrs(&s.at("f")), sys::xattrs(&s.quiet_base().join("f")));
    assert_eq!(differences(&s), "");
}

/// Everything, on a mount that is in use.
#[test]
fn all_of_it_goes_under_open_files() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    let before = look(&s.mnt);
    sh(
        &s.mnt,
        "echo mine >> f; mkdir -p new/deep; rm -r e; mv d/sub moved; chmod 711 . d; ln g again",
    );
    for i in 0..300 {
        fs::write(s.at(&format!("new/{i}")), format!("{i}")).expect("write");
    }
    let mut open = File::options().read(true).write(true).open(s.at("f")).expect("open");
    let added = File::options().read(true).write(true).open(s.at("new/7")).expect("open");
    let mapped = File::options().read(true).write(true).open(s.at("big")).expect("open");
    let mapping = sys::Mapping::shared(&mapped, 4096, true);
    mapping.write(b"mapped");
    let dir = File::open(s.at("new/deep")).expect("open");
    look(&s.mnt);
    let said = discard(&["--all", &text(&s.mnt)]).ok();
    assert!(said.contains("changes discarded\n"), "{said}");
    assert_eq!(differences(&s), "");
    assert_eq!(look(&s.mnt), before);
    // What is open goes on with what it had, and nobody else sees it.
    let mut content = String::new();
    open.read_to_string(&mut content).expect("read");
    assert_eq!(content, "base content of f\nmine\n");
    open.seek(SeekFrom::Start(0)).expect("seek");
    open.write_all(b"after").expect("write");
    added.write_all_at(b"seven", 0).expect("write");
    mapping.write(b"MAPPED");
    let mut bytes = [0; 6];
    mapped.read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!((&bytes, mapping.read(6)), (b"MAPPED", b"MAPPED".to_vec()));
    for file in [&open, &added, &dir] {
        file.sync_all().expect("fsync");
        assert_eq!(file.metadata().expect("fstat").nlink(), 0);
    }
    assert_eq!(differences(&s), "");
    // And the names can be used anew.
    sh(&s.mnt, "echo again >> f; mkdir new; echo x > new/7; rm big");
    assert_eq!(sh(&s.mnt, "tail -1 f; cat new/7; test ! -e big"), "again\nx\n");
    open.read_exact_at(&mut bytes[..5], 0).expect("read");
    assert_eq!(&bytes[..5], b"after");
    drop((open, added, mapped, mapping, dir));
    discard(&["--all", &text(&s.mnt)]).ok();
    s.remount();
    assert_eq!(differences(&s), "");
    s.umount();
    // When what is below was read is the last that the storage has.
    discard(&["--all", &text(&s.storage)]).ok();
    let left = sh(&s.storage, "ls -A; true");
    let fresh = |name: &str| name == crate::common::META || name.ends_with("_reserve");
    assert!(left.lines().all(fresh), "{left}");
    mini_fo(&["check", &text(&s.base), "--storage", &text(&s.storage)]).ok();
}

#[test]
fn some_of_it_is_kept() {
    let Some(mut s) = scene() else { return };
    for live in [true, false] {
        s.mount(&[]);
        sh(
            &s.mnt,
            "mkdir -p new/sub; echo 1 > new/a.log; echo 2 > new/b; echo 3 > new/sub/c.log
             echo x >> f; rm -f d/one; mv d/two e/two; echo x >> g",
        );
        let list = s.work.0.join("keep");
        fs::write(&list, "# these\n*.log\n/e/two\nd/g2\n").expect("write");
        let place = if live { text(&s.mnt) } else { text(&s.storage) };
        if !live {
            s.umount();
        }
        let args = ["--all", "--keep", &text(&list), &place].map(str::to_owned);
        let would = mini_fo(&[&["discard", "-n"][..], &args.each_ref().map(|arg| &**arg)].concat());
        assert_eq!(would.code, 1, "{}", would.stderr);
        let did = discard(&args).ok();
        for line in ["new/b  (2 B)\n", " f  (", "d/one"] {
            assert!(would.stdout.contains(line) && did.contains(line), "{line}: {did}");
        }
        for kept in ["a.log", "two", "g3"] {
            assert!(!did.contains(kept), "{did}");
        }
        if !live {
            s.mount(&[]);
        }
        let state = sh(&s.mnt, "cat new/a.log new/sub/c.log e/two g d/one; ls new; wc -c < f");
        assert_eq!(state, "1\n3\n22\ngggg\nx\n1\na.log\nsub\n18\n");
        discard(&["--all", &text(&s.mnt)]).ok();
        assert_eq!(differences(&s), "");
        s.umount();
    }
}

/// Paths as people type them, and what is refused.
#[test]
fn how_it_is_asked() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let change = "echo x >> d/one; rm -r d/sub; ln -s ../f d/ln; echo x >> f";
    sh(&s.mnt, change);
    // Without a terminal nobody is asked; what loses nothing goes without a question.
    let refused = mini_fo(&["discard", &text(&s.at("d/one"))]).fails(2, &["--yes", "--dry-run"]);
    assert_eq!(refused.stdout, "");
    assert_eq!(sh(&s.at("d"), "cat one"), "1\nx\n");
    let script = format!(
        "{program} reset sub; cd sub/deep; {program} discard --yes ../../one; cat four ../../one"
    );
    assert!(sh(&s.at("d"), &script).ends_with("4444\n1\n"));
    // A symbolic link is meant itself; a path below what was deleted names what is to be said.
    discard(&[text(&s.at("d/ln"))]).ok();
    assert_eq!(sh(&s.mnt, "test ! -L d/ln; tail -1 f"), "x\n");
    sh(&s.mnt, "rm -r d");
    discard(&[text(&s.at("d/sub/deep"))]).fails(2, &["d/sub/deep", "discard that"]);
    let told = mini_fo(&["discard", "--yes", "--json", &text(&s.at("d")), &text(&s.at("f"))]).ok();
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().expect("kind")).collect();
    assert_eq!(kinds, ["deleted", "modified", "totals"]);
    assert_eq!((&lines[2]["discarded"], &lines[2]["content"]), (&2.into(), &1.into()));
    assert_eq!(differences(&s), "");
    // Nothing to be done is no error.
    assert_eq!(discard(&["-a", &text(&s.mnt)]).ok(), "nothing to be discarded\n");
    assert_eq!(discard(&[text(&s.at("nothing"))]).ok(), "nothing to be discarded\n");
    mini_fo(&["discard", "-n", &text(&s.mnt), "f"]).ok();
    for (args, words) in [
        (vec![text(&s.mnt)], "--all"),
        (vec![text(&s.storage), "f".to_owned()], "it is mounted at"),
        (vec!["/nonexistent/x".to_owned()], "No such file"),
        (vec![text(&s.at("f")), text(&s.base)], "another mount"),
        (vec![text(&s.at("d/../f"))], ".."),
        (vec!["--keep".to_owned(), "/nonexistent".to_owned(), text(&s.at("f"))], "No such file"),
    ] {
        discard(&args).fails(2, &[words]);
    }
    s.umount();
    mini_fo(&["discard", "-y", &text(&s.base), "f"]).fails(2, &[]);
    s.mount(&["-o", "ro"]);
    discard(&[text(&s.at("f"))]).fails(2, &["read-only"]);
}

#[test]
fn who_may() {
    if !is_root() || skip_unless(&["setpriv"]) {
        return skip("becomes another user");
    }
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "chmod 755 .; echo x >> g");
    let script = format!(
        "setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {} discard -y g",
        env!("CARGO_BIN_EXE_mini_fo")
    );
    let program = Path::new(env!("CARGO_BIN_EXE_mini_fo"));
    let reachable = sys::as_user(NOBODY, || File::open(program).is_ok());
    if reachable {
        let said = run("sh", &["-c", &format!("cd {} && {script}", text(&s.mnt))]);
        said.fails(2, &["answers root and the user"]);
    }
    assert_eq!(sh(&s.mnt, "tail -1 g"), "x\n");
}

/// What the storage's file system does not let go is named, and the rest goes.
#[test]
fn what_cannot_go_stays() {
    if !is_root() || skip_unless(&["chattr"]) {
        return skip("needs root and chattr");
    }
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(
        &s.mnt,
        "mkdir -p new/deep; echo 1 > new/deep/fixed; echo 2 > new/other; echo x >> f; echo x >> d/one; echo x >> d/two",
    );
    let fixed = ["new/deep/fixed", "d/one"].map(|path| text(&s.storage.join(path)));
    if run("chattr", &[&["+i"], &fixed.each_ref().map(|path| &**path)[..]].concat()).code != 0 {
        return skip("no chattr +i here");
    }
    let said = discard(&["--all", &text(&s.mnt)]);
    run("chattr", &[&["-i"], &fixed.each_ref().map(|path| &**path)[..]].concat()).ok();
    said.fails(2, &["d/one", "chattr +i", "mini_fo: new: "]);
    assert_eq!(
        sh(&s.mnt, "cat d/one d/two new/deep/fixed new/other; wc -c < f"),
        "1\nx\n22\n1\n2\n18\n"
    );
    discard(&["--all", &text(&s.mnt)]).ok();
    assert_eq!(differences(&s), "");
}

/// A user discards what is in his own mount.
#[test]
fn an_ordinary_user_s_mount() {
    if crate::user::skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    let work = crate::common::WorkDir::new();
    let script = "
        $MINI_FO mount base mnt --storage storage; echo x >> mnt/f; rm mnt/d/one; mkdir -p mnt/n/m
        $MINI_FO discard mnt/d/one; test $(cat mnt/d/one) = 1
        $MINI_FO discard --yes --all mnt; test $(cat mnt/f) = content; test ! -e mnt/n
        echo y > mnt/f; $MINI_FO umount mnt; $MINI_FO reset --yes storage f
        $MINI_FO mount base mnt --storage storage; test $(cat mnt/f) = content
        $MINI_FO status mnt; $MINI_FO umount mnt";
    let said = crate::user::as_nobody(&work, true, &[], script).ok();
    assert!(said.ends_with("nothing has changed\n"), "{said}");
}

/// Who watches what goes is told that it has gone.
#[test]
fn watchers_are_told() {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo x > new; echo x >> f; mkdir n; echo x > n/in; rm g");
    let fd = inotify::init(CreateFlags::NONBLOCK).expect("inotify");
    let watched = ["new", "f", "n", "n/in", "d"]
        .map(|path| inotify::add_watch(&fd, s.at(path), WatchFlags::DELETE_SELF).expect("watch"));
    discard(&["--all", &text(&s.mnt)]).ok();
    let mut buf = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(&fd, &mut buf);
    let mut told = std::collections::BTreeSet::new();
    while let Ok(event) = reader.next() {
        if event.events().contains(ReadFlags::DELETE_SELF) {
            told.insert(event.wd());
        }
    }
    let gone: std::collections::BTreeSet<_> = watched[..4].iter().copied().collect();
    assert_eq!(told, gone);
}
