//! The base has something else than what changes were made from.

use crate::commit::{commit, copy_of_view, differences, scene, text};
use crate::common::{Scene, mini_fo, record, sh};

const BASE: &str = "mkdir dir tree; for n in edit time gone type mode same added dir/moved \
     tree/one deleted plain; do echo content of $n > $n; done; ln -s edit link; \
     find . -exec touch -h -d @1109678400 {} +";

const CHANGES: &str = "for n in edit time gone type mode same; do chmod 600 $n; done; \
     mv dir/moved arrived; echo new > new; rm -r tree; rm deleted; rm link; ln -s time link; \
     echo more >> plain";

const EDITS: &str = "echo CONTENT of edit > edit; touch -d @1200000000 time same; rm gone type; \
     mkdir type; chmod 640 mode; echo CONTENT of moved > dir/moved; echo more > tree/more; \
     echo CONTENT of deleted > deleted; ln -sf other link";

const IN_CONFLICT: [&str; 8] =
    ["arrived", "deleted", "edit", "gone", "link", "mode", "tree", "type"];

fn edited() -> Option<Scene> {
    let mut s = scene(|base| drop(sh(base, BASE)))?;
    s.mount(&["-o", "blocks_from=1G"]);
    sh(&s.mnt, CHANGES);
    s.umount();
    sh(&s.base, EDITS);
    s.retake_proof();
    Some(s)
}

#[test]
fn nothing_is_committed_over_what_has_changed() {
    let Some(mut s) = edited() else { return };
    let before = record(&s.quiet_base());
    record(&s.storage);
    let storage = record(&s.storage);
    let words = ["nothing is committed", "--ours", "--theirs", "--except", "8 changes"];
    commit(&mut s, &["-n"], &[]).fails(1, &words);
    assert!(record(&s.storage) == storage, "the storage was touched");
    for quiet in ["--yes", "-qy"] {
        commit(&mut s, &[quiet], &[]).fails(1, &words);
    }
    let said = commit(&mut s, &["--yes"], &[]);
    for (path, words) in [
        ("edit", "content"),
        ("gone", "gone"),
        ("type", "type"),
        ("mode", "mode"),
        ("arrived", "content"),
        ("link", "content"),
    ] {
        let line = format!("mini_fo: {path}: base changed: {words}\n");
        assert!(said.stderr.contains(&line), "{line} in {}", said.stderr);
    }
    let told = commit(&mut s, &["-n", "--json"], &[]).stdout;
    let conflicts = told.lines().filter(|line| line.contains("\"fate\":\"conflict\""));
    let path = |line: &str| -> String {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        line["path"].as_str().expect("a path").to_owned()
    };
    assert_eq!(conflicts.map(path).collect::<Vec<_>>(), IN_CONFLICT, "{told}");
    assert!(record(&s.quiet_base()) == before, "the base was touched");
    // Others can be committed all the same.
    let said = commit(&mut s, &["--yes"], &["plain", "same"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(sh(&s.quiet_base(), "cat plain; stat -c %a same"), "content of plain\nmore\n600\n");
}

/// The changes count.
#[test]
fn ours_is_written_over_it() {
    let Some(mut s) = edited() else { return };
    s.mount(&[]);
    let copy = copy_of_view(&s);
    s.umount();
    let said = commit(&mut s, &["--yes", "--ours"], &[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(differences(&copy, &s.quiet_base()), "");
    assert_eq!(mini_fo(&["status", &text(&s.storage)]).ok(), "nothing has changed\n");
}

/// The base counts: what is in conflict is forgotten, and the rest is committed.
#[test]
fn theirs_is_given_way_to() {
    let Some(mut s) = edited() else { return };
    let would = commit(&mut s, &["-n", "--theirs"], &[]);
    assert_eq!(would.code, 1, "{}", would.stderr);
    assert!(would.stdout.contains("given up for what the base has:\n"), "{}", would.stdout);
    let said = commit(&mut s, &["--yes", "--theirs"], &[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("8 given up for what the base has"), "{}", said.stdout);
    let base = sh(
        &s.quiet_base(),
        "cat edit deleted dir/moved plain tree/more; readlink link; stat -c %a mode time same; test ! -e arrived -a ! -e gone -a -d type",
    );
    assert_eq!(
        base,
        "CONTENT of edit\nCONTENT of deleted\nCONTENT of moved\ncontent of plain\nmore\nmore\n\
         other\n640\n600\n600\n"
    );
    assert_eq!(mini_fo(&["status", &text(&s.storage)]).ok(), "nothing has changed\n");
}

/// What was added is not written over what the base has got under that name meanwhile.
#[test]
fn what_was_added_meets_something_new() {
    let Some(mut s) = scene(|base| drop(sh(base, BASE))) else { return };
    s.mount(&[]);
    sh(&s.mnt, "echo ours > new");
    s.umount();
    sh(&s.base, "echo theirs > new");
    s.retake_proof();
    commit(&mut s, &["--yes"], &[]).fails(1, &["new: base changed"]);
    assert_eq!(sh(&s.quiet_base(), "cat new"), "theirs\n");
    commit(&mut s, &["--yes", "--ours"], &[]).ok();
    assert_eq!(sh(&s.quiet_base(), "cat new"), "ours\n");
}

#[test]
fn both_at_once_are_refused() {
    let Some(s) = edited() else { return };
    let said = mini_fo(&["commit", "--ours", "--theirs", &text(&s.storage)]);
    said.fails(2, &["--ours", "--theirs"]);
}
