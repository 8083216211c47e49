//! `mini_fo discard`: what must not go, stays; nothing is lost that nobody was asked for.

use std::fs;
use std::path::Path;

use crate::common::{
    BaseKind, META, Outcome, Scene, StorageKind, engine_is_product, is_root, mini_fo, run, sh,
    skip, skip_unless, standard_base,
};

fn scene() -> Option<Scene> {
    let linked = |base: &Path| {
        standard_base(base);
        fs::hard_link(base.join("g"), base.join("d/g2")).expect("link");
        fs::hard_link(base.join("g"), base.join("e/g3")).expect("link");
    };
    let scene = engine_is_product()
        .then(|| Scene::unmounted(BaseKind::Plain, StorageKind::Plain, linked))?;
    if skip_unless(&["rsync"]) { None } else { scene }
}

/// Discards paths of the mount.
fn discard(s: &Scene, args: &[&str]) -> Outcome {
    let mnt = s.mnt.to_str().expect("UTF-8");
    mini_fo(&[&["discard"], &args[..args.len() - 1], &[mnt], &args[args.len() - 1..]].concat())
}

fn all(s: &Scene) -> Outcome {
    let mnt = s.mnt.to_str().expect("UTF-8");
    mini_fo(&["discard", "--yes", "--all", mnt])
}

fn differences(s: &Scene) -> String {
    let slash = |path: &Path| format!("{}/", path.display());
    let (base, mnt) = (slash(&s.quiet_base()), slash(&s.mnt));
    run("rsync", &["-aHAXni", "--checksum", "--delete", &base, &mnt]).ok()
}

fn look(s: &Scene) -> String {
    sh(&s.mnt, "find . -type d -printf '%P %i %m %T@\\n' -o -printf '%P %i %m %s %n %T@\\n' | sort")
}

fn status(s: &Scene) -> String {
    mini_fo(&[Path::new("status"), &s.mnt]).stdout
}

/// A file that was moved over another one is no rename, as changes are told; it goes with its
/// old place all the same, and so does what was written to it.
#[test]
fn what_was_moved_over_something_is_asked_for() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo mine >> f; mv f d/one");
    // Undeleting alone would lose nothing.
    discard(&s, &["f"]).fails(2, &["content of 1 of 2"]);
    let would = discard(&s, &["-n", "f"]);
    assert!(would.stdout.contains("d/one") && would.stdout.contains("2 changes"), "{would:?}");
    for (list, path) in [("d/one", "f"), ("f", "d/one")] {
        let keep = s.work.0.join("keep");
        fs::write(&keep, list).expect("write");
        let args = ["--yes", "--keep", keep.to_str().expect("UTF-8"), path];
        assert_eq!(discard(&s, &args).ok(), "nothing to be discarded, 1 kept\n");
        assert_eq!(sh(&s.mnt, "tail -1 d/one; test ! -e f"), "mine\n");
    }
    assert!(discard(&s, &["--yes", "f"]).ok().contains("2 changes discarded"));
    assert_eq!(differences(&s), "");
}

/// A name that is told as one of `other names` is a change as well.
#[test]
fn content_is_asked_for_by_each_of_its_names() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo mine >> g; echo x > new; ln new new2");
    discard(&s, &["e/g3"]).fails(2, &["content of 3 of 3"]);
    assert_eq!(sh(&s.mnt, "tail -1 e/g3"), "mine\n");
    assert!(discard(&s, &["--yes", "e/g3"]).ok().contains("3 changes discarded"));
    // Names of an object of the storage alone go one by one.
    assert_eq!(discard(&s, &["--yes", "new"]).ok(), "added       new  (2 B)\n1 change discarded\n");
    assert_eq!(sh(&s.mnt, "cat new2; tail -1 g"), "x\ngggg\n");
    all(&s).ok();
    assert_eq!(differences(&s), "");
}

/// As long as one end of a rename cannot go, its object shows there, and not at the other.
#[test]
fn a_rename_stays_at_both_ends() {
    if !is_root() || skip_unless(&["chattr"]) {
        return skip("needs root and chattr");
    }
    let fixed = [
        ("mv d D; echo x >> D/one", "D/one", "D", "d"),
        ("mv f F", "F", "f", "F"),
        ("mv d t; mv e d; mv t e; echo x > e/new", "e/new", "d", "e"),
        ("mkdir n; mv f n/f; mv e n/e; echo x > n/e/x", "n/e/x", "e", "n"),
        ("mv d D; mv f D/f; mv D/one one; chmod 600 one", "one", "D", "d"),
    ];
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    for (change, fixed, one, other) in fixed {
        sh(&s.mnt, change);
        let before = (look(&s), status(&s));
        let path = s.storage.join(fixed).to_str().expect("UTF-8").to_owned();
        if run("chattr", &["+i", &path]).code != 0 {
            return skip("no chattr +i here");
        }
        let said = [discard(&s, &["--yes", one]), discard(&s, &["--yes", other]), all(&s)];
        run("chattr", &["-i", &path]).ok();
        for said in said {
            assert_eq!(said.stdout, "nothing to be discarded\n", "{change}");
            said.fails(2, &[one, other, "chattr +i", "entries stay"]);
        }
        let after = (look(&s), status(&s));
        assert_eq!(before, after, "{change}");
        all(&s).ok();
        assert_eq!((status(&s), differences(&s)), ("nothing has changed\n".into(), String::new()));
    }
}

/// An object with several names that cannot go is no reason to give up, and shows under all.
#[test]
fn names_of_an_object_stay_together() {
    if !is_root() || skip_unless(&["chattr"]) {
        return skip("needs root and chattr");
    }
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo mine >> g; rm d/g2; echo x > new; echo x >> d/sub/deep/four; chmod 700 . d");
    let fixed = ["g", "d/sub"].map(|path| s.storage.join(path).to_str().expect("").to_owned());
    let fixed = fixed.each_ref().map(|path| &**path);
    if run("chattr", &[&["+i"], &fixed[..]].concat()).code != 0 {
        return skip("no chattr +i here");
    }
    let one = discard(&s, &["--yes", "e/g3"]);
    let below = discard(&s, &["--yes", "d/sub/deep"]);
    let all_of_it = all(&s);
    run("chattr", &[&["-i"], &fixed[..]].concat()).ok();
    assert_eq!(one.stdout, "nothing to be discarded\n");
    one.fails(2, &["g: ", "chattr +i"]);
    // A directory that cannot go is no trouble as long as what is in it can.
    assert!(below.ok().contains("1 change discarded"));
    let said = all_of_it.stdout.clone();
    assert!(said.contains("d/g2") && said.contains("new") && !said.contains("g3"), "{said}");
    assert!(!said.contains("attributes"), "{said}");
    all_of_it.fails(2, &["g: ", "d/sub: "]);
    assert_eq!(sh(&s.mnt, "tail -qn1 g d/g2 e/g3; stat -c %h g"), "mine\nmine\nmine\n3\n");
    all(&s).ok();
    assert_eq!(differences(&s), "");
}

/// As rmdir(2) and unlink(2) do not take away on what something is mounted.
#[test]
fn what_something_is_mounted_on_stays() {
    if !is_root() {
        return skip("needs root");
    }
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    let change = "mkdir -p new/sub d/sub/in; echo x > new/file; echo x > bound; echo x >> d/one
        mv e E; rm E/*; mount -t tmpfs none new/sub; mount --bind f bound
        mount -t tmpfs none d/sub; mount -t tmpfs none E; echo precious | tee new/sub/p d/sub/p E/p";
    sh(&s.mnt, change);
    let said = all(&s);
    let busy = discard(&s, &["--yes", "e"]);
    let left = sh(
        &s.mnt,
        "cat new/sub/p d/sub/p E/p new/file; ls -d E new bound e || cat d/one
        umount new/sub d/sub E bound; ls d/sub",
    );
    let precious = "precious\n".repeat(3);
    assert_eq!(left, format!("{precious}x\nE\nbound\nnew\n1\ndeep\nthree\n"));
    said.fails(2, &["new: something is mounted there", "bound: ", "E: ", "e: "]);
    busy.fails(2, &["E: something is mounted there"]);
    all(&s).ok();
    assert_eq!(differences(&s), "");
}

/// The daemon would write, but who asks may not write where he asks.
#[test]
fn a_view_that_is_read_only_changes_nothing() {
    if !is_root() {
        return skip("needs root");
    }
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo x >> f");
    let view = s.work.0.join("view");
    fs::create_dir(&view).expect("mkdir");
    let view = view.to_str().expect("UTF-8");
    sh(&s.mnt, &format!("mount --bind . {view}; mount -o remount,bind,ro {view}"));
    let bound = mini_fo(&["discard", "--yes", &format!("{view}/f")]);
    sh(&s.mnt, &format!("umount {view}; mount -i -o remount,ro $PWD"));
    let remounted = discard(&s, &["--yes", "f"]);
    let would = discard(&s, &["-n", "f"]);
    sh(&s.mnt, "mount -i -o remount,rw $PWD");
    bound.fails(2, &["read-only"]);
    remounted.fails(2, &["read-only"]);
    assert_eq!((would.code, sh(&s.mnt, "tail -1 f")), (1, "x\n".to_owned()));
}

/// A discard finds room in what is kept back for deletions.
fn full(make: &str, tool: &str) {
    if !is_root() || skip_unless(&[tool]) {
        return skip("needs root");
    }
    let Some(mut s) = scene() else { return };
    sh(&s.work.0, &format!("{make}; mkdir storage/s; chmod 700 storage/s"));
    s.storage = s.storage.join("s");
    for live in [true, false] {
        s.mount(&[]);
        let change = "mv d D; echo x >> D/one; echo x >> g; rm f; mkdir fill
            for b in 1M 64k 4k 1k; do dd if=/dev/zero of=fill/$b bs=$b 2> /dev/null || true; done
            for i in $(seq 2000); do echo text > fill/$i || break; done 2> /dev/null; true";
        sh(&s.mnt, change);
        match live {
            true => {
                discard(&s, &["--yes", "D"]).ok();
                sh(&s.mnt, "dd if=/dev/zero of=fill/again bs=1k 2> /dev/null || true");
                all(&s).ok();
            }
            false => {
                s.umount();
                sh(&s.storage, "dd if=/dev/zero of=../fill bs=1k 2> /dev/null || true");
                mini_fo(&["discard", "--yes", "--all", s.storage.to_str().expect("UTF-8")]).ok();
                // There may have been no room for its name.
                let _ = fs::remove_file(s.storage.join("../fill"));
                s.mount(&[]);
            }
        }
        assert_eq!(differences(&s), "", "{live}");
        let kept = fs::read_dir(s.storage.join(format!("{META}_reserve"))).expect("reserve");
        assert!(kept.count() > 4, "{live}");
        s.umount();
    }
}

#[test]
fn a_full_tmpfs() {
    full("mount -t tmpfs -o size=16m none storage", "mount");
}

#[test]
fn a_full_ext4() {
    full("truncate -s 64M image; mke2fs -q -t ext4 image; mount -o loop image storage", "mke2fs");
}

#[test]
fn a_full_xfs() {
    full("truncate -s 300M image; mkfs.xfs -q image; mount -o loop image storage", "mkfs.xfs");
}

#[test]
fn a_full_btrfs() {
    full("truncate -s 128M image; mkfs.btrfs -q image; mount -o loop image storage", "mkfs.btrfs");
}

/// What is asked on a terminal.
#[test]
fn the_question() {
    if skip_unless(&["script"]) {
        return;
    }
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo x >> f; echo x > new; rm d/two");
    let (program, mnt) = (env!("CARGO_BIN_EXE_mini_fo"), s.mnt.display());
    let ask = |answer: &str, args: &str| {
        // The terminal comes to its end after the answer.
        let script = format!(
            "(printf '{answer}'; sleep 1) | script -qec '{program} discard {args}' /dev/null"
        );
        let said = run("sh", &["-c", &script]);
        (said.code, said.stdout)
    };
    let one = "Discard this change, and lose its content? [y/N]";
    for (answer, code) in [("n\\n", 1), ("\\n", 1), ("yes please\\n", 1), ("\\004", 1)] {
        let (ended, said) = ask(answer, &format!("{mnt}/f"));
        assert!(ended == code && said.contains(one) && said.contains("modified"), "{said}");
    }
    let (ended, said) = ask("n\\n", &format!("--all {mnt}"));
    assert!(ended == 1 && said.contains("Discard 3 changes, and lose the content of 2?"), "{said}");
    // Nothing is lost, so nothing is asked.
    let (ended, said) = ask("", &format!("{mnt}/d/two"));
    assert!(ended == 0 && !said.contains("Discard"), "{said}");
    let (ended, said) = ask("y\\n", &format!("--all {mnt}"));
    assert!(ended == 0 && said.contains("[y/N]"), "{said}");
    assert_eq!(differences(&s), "");
}

/// More paths than went into one request, as xargs(1) names them.
#[test]
fn a_long_command_line() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "mkdir many; cd many; seq -f %0200g 7000 | xargs touch; cd ..; echo x >> f");
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let script =
        format!("seq -f many/%0200g 7000 | xargs -x -s 1900000 {program} discard -qy f; ls many");
    assert_eq!(sh(&s.mnt, &script), "");
    sh(&s.mnt, "rmdir many");
    all(&s).ok();
    assert_eq!(differences(&s), "");
}
