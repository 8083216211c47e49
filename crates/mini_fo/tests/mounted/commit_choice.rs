//! What `mini_fo commit` is asked for, and how it tells what that comes to.

use std::fs;
use std::path::Path;

use crate::commit::{commit, copy_of_view, differences, scene, text};
use crate::common::{Scene, mini_fo, run, sh, skip_unless};

const BASE: &str =
    "mkdir -p d/sub e; for n in a b d/one d/two d/sub/three e/x; do echo $n > $n; done
    ln a e/linked; find . -exec touch -h -d @1109678400 {} +";

const CHANGES: &str = "echo x >> b; echo x >> d/one; rm d/two; echo new > d/new.log; mkdir -p n/m
    echo 1 > n/m/1.log; echo 2 > n/m/2; mv e/x d/sub/y; chmod 600 d/sub/three";

fn changed() -> Option<Scene> {
    let mut s = scene(|base| drop(sh(base, BASE)))?;
    s.mount(&[]);
    sh(&s.mnt, CHANGES);
    Some(s)
}

/// What is left, a letter and a path for each.
fn left(s: &Scene) -> Vec<String> {
    let said = mini_fo(&["status", "-z", &text(&s.storage)]).stdout;
    let mut left: Vec<String> = said
        .split('\0')
        .filter(|piece| piece.as_bytes().get(1) == Some(&b' '))
        .map(str::to_owned)
        .collect();
    left.sort();
    left
}

/// Commits some of it: the mount shows the same, and this is left.
#[track_caller]
fn some_of_it(words: &[&str], paths: &[&str], expected: &[&str], base: &str) {
    let Some(mut s) = changed() else { return };
    let copy = copy_of_view(&s);
    s.umount();
    let said = commit(&mut s, &[&["--yes"], words].concat(), paths);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(left(&s), expected, "{}", said.stdout);
    assert_eq!(sh(&s.quiet_base(), base), "ok\n", "{}", said.stdout);
    s.mount(&[]);
    assert_eq!(differences(&copy, &s.mnt), "");
    s.umount();
    commit(&mut s, &["--yes", "--quiet"], &[]).ok();
    assert_eq!(differences(&copy, &s.quiet_base()), "");
    assert_eq!(left(&s), [""; 0]);
}

#[test]
fn paths_are_committed() {
    some_of_it(
        &[],
        &["b", "n/m/2"],
        &["A d/new.log", "A n/m/1.log", "D d/two", "M d/one", "P d/sub/three", "R d/sub/y"],
        "grep -q x b && test -e n/m/2 -a ! -e n/m/1.log -a -e e/x && echo ok",
    );
    // Either end of a rename is both.
    some_of_it(
        &[],
        &["e"],
        &[
            "A d/new.log",
            "A n",
            "A n/m",
            "A n/m/1.log",
            "A n/m/2",
            "D d/two",
            "M b",
            "M d/one",
            "P d/sub/three",
        ],
        "test ! -e e/x -a -e d/sub/y -a ! -e n && echo ok",
    );
}

#[test]
fn globs_choose() {
    some_of_it(
        &["--except", "*.log", "--except", "/b"],
        &[],
        &["A d/new.log", "A n/m/1.log", "M b"],
        "test -e n/m/2 -a ! -e n/m/1.log -a ! -e d/two && echo ok",
    );
    some_of_it(
        &["--only", "*.log"],
        &[],
        &["A n/m/2", "D d/two", "M b", "M d/one", "P d/sub/three", "R d/sub/y"],
        "test -e n/m/1.log -a -e d/new.log -a ! -e n/m/2 && echo ok",
    );
    some_of_it(
        &["--only", "d", "--except", "sub"],
        &["d"],
        &["A n", "A n/m", "A n/m/1.log", "A n/m/2", "M b", "P d/sub/three", "R d/sub/y"],
        "test -e d/new.log -a ! -e d/two -a -e e/x && echo ok",
    );
}

#[test]
fn what_belongs_together_is_told() {
    let Some(mut s) = changed() else { return };
    s.umount();
    let said = commit(&mut s, &["-n"], &["n/m/2"]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stdout.contains("added       n/  [goes along]\n"), "{}", said.stdout);
    assert!(said.stdout.contains("added       n/m/2  (2 B)\n"), "{}", said.stdout);
    let last = said.stdout.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("3 changes (2 B) would be committed, 2 not asked for and go along, 7 "),
        "{last}"
    );
    let told = commit(&mut s, &["-n", "--json"], &["n/m/2", "d/two"]);
    let lines: Vec<serde_json::Value> =
        told.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let fates: Vec<(&str, &str)> = lines
        .iter()
        .filter_map(|line| Some((line["path"].as_str()?, line["fate"].as_str()?)))
        .collect();
    assert_eq!(fates, [("d/two", "goes"), ("n", "follows"), ("n/m", "follows"), ("n/m/2", "goes")]);
    let totals = lines.last().expect("totals");
    let number = |name: &str| totals[name].as_u64().expect("a number");
    assert_eq!((&totals["kind"], number("committed")), (&"totals".into(), 4));
    assert_eq!((number("follows"), number("stays"), number("bytes")), (2, 6, 2));
    assert_eq!(told.code, 1);
}

/// Names of one file go or stay together; what stays although it was asked for is told.
#[test]
fn names_of_one_file_stay_together() {
    let Some(mut s) = scene(|base| drop(sh(base, BASE))) else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo x >> a; echo x >> b");
    let copy = copy_of_view(&s);
    s.umount();
    let said = commit(&mut s, &["--yes", "--except", "linked"], &[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(
        said.stdout.contains("stays in the storage, for it belongs together"),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("1 held back"), "{}", said.stdout);
    assert_eq!(sh(&s.quiet_base(), "cat a b"), "a\nb\nx\n");
    commit(&mut s, &["--yes"], &["a"]).ok();
    assert_eq!(
        sh(&s.quiet_base(), "cat a e/linked; test a -ef e/linked && echo same"),
        "a\nx\na\nx\nsame\n"
    );
    assert_eq!(differences(&copy, &s.quiet_base()), "");
}

/// What is told, and by which exit code; nothing is written before it is confirmed.
#[test]
fn nothing_is_written_unasked() {
    let Some(mut s) = changed() else { return };
    s.umount();
    let before = crate::common::record(&s.quiet_base());
    let untouched = |s: &Scene| assert!(crate::common::record(&s.quiet_base()) == before);
    let would = commit(&mut s, &["--dry-run"], &[]);
    assert_eq!((would.code, &*would.stderr), (1, ""));
    assert!(would.stdout.contains("renamed     e/x -> d/sub/y\n"), "{}", would.stdout);
    let last = would.stdout.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("10 changes (") && last.ends_with(") would be committed"), "{last}");
    untouched(&s);
    commit(&mut s, &[], &[])
        .fails(2, &["10 changes", "would be written into", "--yes", "--dry-run"]);
    untouched(&s);
    let none = commit(&mut s, &["-n"], &["a"]);
    assert_eq!((none.code, &*none.stdout), (0, "nothing to be committed, 10 not asked for\n"));
    commit(&mut s, &["--yes"], &["nosuch"]).fails(2, &["nosuch: the tree has nothing there"]);
    untouched(&s);
    let done = commit(&mut s, &["-qy"], &["b"]);
    assert_eq!((done.code, &*done.stdout, &*done.stderr), (0, "", ""));
    let done = commit(&mut s, &["-y", "--json"], &["d/two"]).ok();
    assert!(done.lines().count() == 2 && done.contains("\"fate\":\"goes\""), "{done}");
    let done = commit(&mut s, &["-y"], &[]).ok();
    assert!(
        done.contains("attributes  d/sub/three") && done.contains(" committed into /"),
        "{done}"
    );
}

#[test]
fn the_question() {
    if skip_unless(&["script"]) {
        return;
    }
    let Some(mut s) = changed() else { return };
    s.umount();
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let ask = |answer: &str, storage: &Path, args: &str| {
        // The terminal comes to its end after the answer.
        let script = format!(
            "(printf '{answer}'; sleep 1) | script -qec '{program} commit {} {args}' /dev/null",
            storage.display()
        );
        let said = run("sh", &["-c", &script]);
        (said.code, said.stdout)
    };
    let one = "Write 1 change (4 B) into /";
    for (answer, code) in [("n\\n", 1), ("\\n", 1), ("yes please\\n", 1), ("\\004", 1)] {
        let (ended, said) = ask(answer, &s.storage, "b");
        assert!(ended == code && said.contains(one) && said.contains("modified"), "{said}");
    }
    assert_eq!(fs::read_to_string(s.quiet_base().join("b")).expect("read"), "b\n");
    let (ended, said) = ask("y\\n", &s.storage, "b");
    assert!(
        ended == 0 && said.contains("[y/N]") && said.contains("1 change (4 B) committed"),
        "{said}"
    );
    assert_eq!(said.matches("modified").count(), 1, "{said}");
    assert_eq!(fs::read_to_string(s.quiet_base().join("b")).expect("read"), "b\nx\n");
    s.retake_proof();
}
