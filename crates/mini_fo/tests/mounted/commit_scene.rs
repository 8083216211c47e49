//! A base, a storage and a mount, what is committed there, and how it is compared.

use std::path::{Path, PathBuf};

use crate::common::{
    BaseKind, Outcome, Scene, StorageKind, engine_is_product, mini_fo, run, sh, skip_unless,
};

pub fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// A base, a storage and a mount point, where rsync can compare.
pub fn scene(fill: impl Fn(&Path)) -> Option<Scene> {
    if !engine_is_product() || skip_unless(&["rsync"]) {
        return None;
    }
    Scene::unmounted(BaseKind::Plain, StorageKind::Plain, fill)
}

/// Runs the command on the storage; what was committed is the base of the scene from then on.
pub fn commit(s: &mut Scene, words: &[&str], paths: &[&str]) -> Outcome {
    let storage = text(&s.storage);
    commit_live(s, &[words, &[&*storage], paths].concat())
}

/// What differs between two trees, as rsync tells it.
pub fn differences(one: &Path, other: &Path) -> String {
    let (one, other) = (text(one) + "/", text(other) + "/");
    run("rsync", &["-aHAXni", "--checksum", "--delete", &one, &other]).ok()
}

/// A copy of what the mount shows.
pub fn copy_of_view(s: &Scene) -> PathBuf {
    let copy = s.work.dir("copy");
    let (from, to) = (text(&s.mnt) + "/", text(&copy) + "/");
    run("rsync", &["-aHAXS", "--checksum", "--delete", &from, &to]).ok();
    copy
}

/// Commits at these paths; the base is what it has become from then on.
pub fn commit_live(s: &mut Scene, words: &[&str]) -> Outcome {
    let said = mini_fo(&[&["commit"], words].concat());
    s.retake_proof();
    said
}

/// Commits all of a mount, and compares: the base, the mount as it is and mounted anew.
pub fn all_live(s: &mut Scene) {
    let copy = copy_of_view(s);
    let mnt = text(&s.mnt);
    let said = commit_live(s, &["--yes", &mnt]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(differences(&copy, &s.mnt), "", "{}", said.stdout);
    assert_eq!(differences(&copy, &s.quiet_base()), "", "{}", said.stdout);
    assert_eq!(mini_fo(&["status", &mnt]).ok(), "nothing has changed\n");
    assert_eq!(commit_live(s, &["--yes", &mnt]).ok(), "nothing to be committed\n");
}

/// What changes at once, and after a commit again.
pub fn and_then(s: &mut Scene) {
    sh(
        &s.mnt,
        "echo more >> f || true; mkdir -p n2/m; echo x > n2/m/f; mv n2 n3; ln n3/m/f n3/l
         for d in d D e; do test ! -d $d || { touch $d/new; rm $d/new; }; done",
    );
    all_live(s);
}

/// The process that serves a mount.
pub fn daemon_of(mnt: &str) -> String {
    let listed = mini_fo(&["list", "--json"]).ok();
    let line = listed.lines().find(|line| line.contains(&format!("\"{mnt}\""))).expect("listed");
    let pid = line.split_once("\"pid\":").expect("pid").1;
    pid.chars().take_while(char::is_ascii_digit).collect()
}
