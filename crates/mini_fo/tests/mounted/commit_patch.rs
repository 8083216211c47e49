//! `mini_fo commit --patch`: what is picked is in the base, what is not stays, and the mount
//! shows the same. What is picked of texts is what patch(1) makes of the hunks that were shown.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::commit::{copy_of_view, differences, scene, text};
use crate::common::{Outcome, Scene, mini_fo, run, sh, skip_unless};

/// Commits with these answers on standard input; what was committed is the base from then on.
fn picked(s: &mut Scene, words: &[&str], place: &Path, answers: &str) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mini_fo"))
        .args([&["commit", "--patch"], words].concat())
        .arg(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mini_fo");
    // Who has heard enough does not read on.
    let _ = child.stdin.take().expect("a pipe").write_all(answers.as_bytes());
    let output = child.wait_with_output().expect("wait");
    s.retake_proof();
    let words = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: words(output.stdout),
        stderr: words(output.stderr),
    }
}

/// All text of what was shown between two questions, and the last line of each.
fn questions(said: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = said;
    while let Some((before, after)) = left.split_once("]? ") {
        let (text, question) = before.rsplit_once('\n').unwrap_or(("", before));
        found.push((format!("{text}\n"), question.to_owned()));
        left = after;
    }
    found
}

/// Numbers by chance, the same for each seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Lines that are in no other place, and the same with some changed, added and removed.
fn texts(dice: &mut Dice) -> (String, String) {
    let (mut before, mut after) = (String::new(), String::new());
    for n in 0..40 + dice.below(80) {
        let line = format!("line {n} {}\n", dice.below(1000));
        before += &line;
        match dice.below(12) {
            0 => {}
            1 => after += &format!("changed {n}\n"),
            2 => after += &format!("{line}added {n}\nadded too {n}\n"),
            _ => after += &line,
        }
    }
    if dice.below(2) == 0 {
        after += "at the end, without a newline";
    }
    (before, after)
}

const FILES: [&str; 3] = ["a", "d/b", "d/ä"];

/// Answers by chance, until all is decided: `y` or `n`, and hunks are split before some.
fn answers(dice: &mut Dice) -> String {
    let words = (0..400).map(|_| ["y\n", "n\n", "s\n", "y\n", "n\n"][dice.below(5) as usize]);
    words.collect()
}

/// What patch(1) makes of a file by hunks.
fn patched(s: &Scene, text: &str, hunks: &[String]) -> String {
    let dir = s.work.dir("patched");
    fs::write(dir.join("f"), text).expect("write");
    fs::write(dir.join("p"), format!("--- a/f\n+++ b/f\n{}", hunks.concat())).expect("write");
    if !hunks.is_empty() {
        // A hunk that was split has less context behind it, which is no end of a file.
        sh(&dir, "patch --no-backup-if-mismatch -s -F3 f p");
    }
    fs::read_to_string(dir.join("f")).expect("read")
}

/// By file: the hunks that were answered with yes.
fn hunks_of(said: &str, answers: &str) -> Vec<(String, Vec<String>)> {
    let mut files: Vec<(String, Vec<String>)> = Vec::new();
    for ((shown, question), answer) in questions(said).iter().zip(answers.lines()) {
        if let Some((_, rest)) = shown.split_once("\n+++ ").or(shown.split_once("--- a/")) {
            let name = rest.lines().next().unwrap_or_default();
            let name = name.trim_matches('"').trim_start_matches("b/");
            files.push((name.to_owned(), Vec::new()));
        }
        let hunk = shown.find("@@ -").map(|at| shown[at..].to_owned());
        if answer == "y" && question.contains("Commit this hunk") {
            files.last_mut().expect("a file").1.extend(hunk);
        }
    }
    files
}

fn trial(seed: u64, live: bool) {
    let mut dice = Dice(seed);
    let all: Vec<(String, String)> = FILES.iter().map(|_| texts(&mut dice)).collect();
    let fill = |base: &Path| {
        fs::create_dir(base.join("d")).expect("mkdir");
        for (path, (before, _)) in FILES.iter().zip(&all) {
            fs::write(base.join(path), before).expect("write");
        }
    };
    let Some(mut s) = scene(fill) else { return };
    s.mount(&[]);
    for (path, (_, after)) in FILES.iter().zip(&all) {
        fs::write(s.at(path), after).expect("write");
    }
    let copy = copy_of_view(&s);
    if !live {
        s.umount();
    }
    let place = if live { s.mnt.clone() } else { s.storage.clone() };
    let answers = answers(&mut dice);
    let said = picked(&mut s, &["--yes"], &place, &answers);
    assert_eq!(said.code, 0, "seed {seed}: {}{}", said.stdout, said.stderr);
    let hunks = hunks_of(&said.stdout, &answers);
    assert_eq!(hunks.len(), FILES.len(), "seed {seed}: {}", said.stdout);
    for ((_, hunks), (path, (before, _))) in hunks.iter().zip(FILES.iter().zip(&all)) {
        let base = fs::read_to_string(s.quiet_base().join(path)).expect("read");
        assert_eq!(base, patched(&s, before, hunks), "seed {seed}: {path}\n{}", said.stdout);
    }
    // What is left is what is still between them.
    let rest = mini_fo(&["diff", &text(&place)]).stdout;
    let base = s.work.dir("rest");
    run("rsync", &["-a", "--delete", &(text(&s.quiet_base()) + "/"), &(text(&base) + "/")]).ok();
    fs::write(s.work.0.join("rest.patch"), &rest).expect("write");
    if !rest.is_empty() {
        sh(&base, "git apply ../rest.patch");
    }
    assert_eq!(sh(&base, &format!("diff -r . {} && echo same", copy.display())), "same\n");
    if !live {
        s.mount(&[]);
    }
    assert_eq!(differences(&copy, &s.mnt), "", "seed {seed}: {}", said.stdout);
    // And that is in no conflict.
    s.umount();
    let storage = text(&s.storage);
    let said = mini_fo(&["commit", "--yes", &storage]);
    s.retake_proof();
    assert_eq!(said.code, 0, "seed {seed}: {}{}", said.stdout, said.stderr);
    assert_eq!(differences(&copy, &s.quiet_base()), "", "seed {seed}");
}

#[test]
fn what_is_picked_is_what_patch_makes_of_it() {
    if skip_unless(&["patch", "git"]) {
        return;
    }
    for seed in 0..6 {
        trial(seed, seed % 2 == 0);
    }
}

const CHANGES: &str = "sed -i 's/^3$/three/; s/^40$/forty/' text; chmod 700 text; rm gone
    printf 'a\\0b' > binary; mkdir -p n/m empty; echo 1 > n/m/1; echo 2 > n/2; mv d/old d/new";

fn changed() -> Option<Scene> {
    let mut s = scene(|base| {
        sh(base, "seq 60 > text; echo x > gone; printf 'a\\0' > binary; mkdir d; echo o > d/old");
    })?;
    s.mount(&[]);
    sh(&s.mnt, CHANGES);
    Some(s)
}

fn left(place: &Path) -> String {
    mini_fo(&["status", "--no-pager", &text(place)]).stdout
}

#[test]
fn each_kind_is_asked_about() {
    for live in [true, false] {
        let Some(mut s) = changed() else { return };
        let copy = copy_of_view(&s);
        if !live {
            s.umount();
        }
        let place = if live { s.mnt.clone() } else { s.storage.clone() };
        // In order: binary, d/new, empty, gone, n/2, n/m/1, of text attributes and two hunks.
        let said = picked(&mut s, &["--yes"], &place, "y\nn\ny\nn\nn\ny\ny\nn\ny\n");
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let asked: Vec<String> =
            questions(&said.stdout).into_iter().map(|(_, question)| question).collect();
        assert_eq!(
            asked[..6].iter().filter(|line| **line == "Commit this change [y,n,q,a,d,?").count(),
            6,
            "{asked:?}"
        );
        assert_eq!(
            asked[6..],
            [
                "(1/3) Commit these attributes [y,n,q,a,d,j,?",
                "(2/3) Commit this hunk [y,n,q,a,d,j,?",
                "(3/3) Commit this hunk [y,n,q,a,d,?",
            ]
        );
        let base = s.quiet_base();
        assert_eq!(
            sh(&base, "sed -n '3p; 40p' text; stat -c %a text; cat gone; find n empty; ls d"),
            "3\nforty\n700\nx\nn\nn/m\nn/m/1\nempty\nold\n"
        );
        assert_eq!(fs::read(base.join("binary")).expect("read"), b"a\0b");
        let left = left(&place);
        for line in ["renamed     d/old -> d/new", "deleted     gone", "added       n/2"] {
            assert!(left.contains(line), "{left}");
        }
        assert!(left.contains("modified    text") && !left.contains("mode"), "{left}");
        if !live {
            s.mount(&[]);
        }
        assert_eq!(differences(&copy, &s.mnt), "", "{}", said.stdout);
    }
}

/// Whoever says no more has picked what he has picked; nothing is asked twice.
#[test]
fn it_ends_with_the_answers() {
    let Some(mut s) = changed() else { return };
    let place = s.mnt.clone();
    let said = picked(&mut s, &["--yes"], &place, "y\nq\n");
    assert!(said.stdout.contains("1 change (3 B) committed"), "{}", said.stdout);
    let said = picked(&mut s, &["--yes"], &place, "");
    assert_eq!((said.code, said.stdout.contains("nothing was picked\n")), (0, true));
    let said = picked(&mut s, &["--yes", "--only", "text"], &place, "j\nk\nx\nd\n");
    assert!(said.stdout.contains("s - split this hunk"), "{}", said.stdout);
    assert_eq!(questions(&said.stdout).len(), 4, "{}", said.stdout);
    let said = picked(&mut s, &["--dry-run", "--only", "text"], &place, "n\ny\nn\n");
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stdout.contains("[a part of it]\n1 change"), "{}", said.stdout);
    assert_eq!(sh(&s.quiet_base(), "sed -n 3p text"), "3\n");
    let said = picked(&mut s, &[], &place, "y\n");
    assert_eq!(said.code, 2);
    assert!(said.stderr.contains("--patch asks on a terminal"), "{}", said.stderr);
    // What is open stays, and is told.
    let open = fs::File::options().append(true).open(s.at("text")).expect("open");
    let said = picked(&mut s, &["--yes", "--only", "text"], &place, "y\ny\ny\n");
    assert!(said.stdout.contains("not asked about: 1 change, open"), "{}", said.stdout);
    drop(open);
}

/// What changes while somebody thinks is not committed.
#[test]
fn what_changes_meanwhile_is_not_committed() {
    if skip_unless(&["script"]) {
        return;
    }
    for live in [true, false] {
        for meanwhile in ["sed -i 's/^39$/x/' TREE/text", "sed -i 's/^39$/x/' BASE/text"] {
            let Some(mut s) = changed() else { return };
            let place = if live { s.mnt.clone() } else { s.storage.clone() };
            if !live {
                s.umount();
            }
            // At rest the storage is locked: the file in it is what others could write.
            let tree = if live { &s.mnt } else { &s.storage };
            let meanwhile = meanwhile.replace("TREE", &text(tree)).replace("BASE", &text(&s.base));
            let said = on_a_terminal(&s, &place, &meanwhile);
            s.retake_proof();
            assert_ne!(said.code, 0, "{meanwhile}: {}", said.stdout);
            assert_eq!(sh(&s.quiet_base(), "sed -n 3p text"), "3\n", "{meanwhile}");
        }
    }
    // Nothing has.
    let Some(mut s) = changed() else { return };
    let (mnt, said) = (s.mnt.clone(), on_a_terminal(&s, &s.mnt, "true"));
    s.retake_proof();
    assert_eq!(said.code, 0, "{}", said.stdout);
    assert_eq!(sh(&s.quiet_base(), "sed -n '3p; 40p' text"), "three\n40\n");
    assert!(left(&mnt).contains("modified    text"));
}

/// Picks the first hunk of a text on a terminal; a script runs while it is asked for the second.
fn on_a_terminal(s: &Scene, place: &Path, meanwhile: &str) -> Outcome {
    let (out, program) = (text(&s.work.0.join("out")), env!("CARGO_BIN_EXE_mini_fo"));
    let script = format!(
        "cd {work}; : > {out}
         until_there() {{ until grep -q \"$1\" {out}; do sleep 0.05; done; }}
         (until_there 1/3; echo n; until_there 2/3; echo y; until_there 3/3; {meanwhile}; echo n
          for i in $(seq 40); do grep -q y/N {out} && break; sleep 0.05; done; echo y; sleep 1) |
             script -qefc '{program} commit --patch {place} --only text' /dev/null > {out}
         code=$?; cat {out}; exit $code",
        work = s.work.0.display(),
        place = place.display()
    );
    run("bash", &["-c", &script])
}
