//! The engine, with programs made by hand: interrupted after each step it goes on, or back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::plan::Make;
use super::*;
use crate::changes::{RestOptions, writing_at_rest};
use crate::format::commit::{CommitProgram, Dress, Seen, Slot, StagePlace, Step};
use crate::format::time::Timestamp;
use crate::interface::error::OpenError;
use crate::interface::options::OpenOptions;
use crate::interface::types::{Caller, NodeId, OpenMode, RenameMode, SetAttr};
use crate::reach::overlay::Overlay;

const CALLER: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };

struct Scene {
    _work: tempfile::TempDir,
    base: PathBuf,
    storage: PathBuf,
    /// The directory of the base in which the stage is made.
    stage: &'static str,
}

/// Where stages are made here.
const STAGES: [&str; 2] = ["", "dir"];

/// What is at each path: type and mode, content, time of modification in nanoseconds.
type Tree = BTreeMap<PathBuf, (u32, Vec<u8>, i64)>;

fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(path) = left.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let content = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let time = stat.mtime() * 1_000_000_000 + stat.mtime_nsec();
        found.insert(path.strip_prefix(root).unwrap().to_owned(), (stat.mode(), content, time));
        if stat.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

impl Scene {
    /// A file is modified, one is deleted, a directory is moved, another is made with a file in
    /// it and closed, and one has other rights.
    fn new(stage: &'static str) -> Scene {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir_all(&storage).unwrap();
        fs::create_dir_all(base.join("moved/below")).unwrap();
        fs::create_dir_all(base.join("dir")).unwrap();
        for path in ["modified", "deleted", "moved/below/kept", "dir/file"] {
            fs::write(base.join(path), path).unwrap();
        }
        let scene = Scene { _work: work, base, storage, stage };
        let options = OpenOptions {
            base: scene.base.clone(),
            storage: scene.storage.clone(),
            ..OpenOptions::default()
        };
        let overlay = Overlay::assemble(&options).unwrap();
        let root = NodeId::ROOT;
        let find = |name: &[u8]| overlay.lookup(root, name).unwrap().unwrap().node;
        let mode = OpenMode { write: true, truncate: true, ..OpenMode::default() };
        let file = overlay.open(find(b"modified"), mode).unwrap();
        overlay.write(&file, b"other content", 0, false).unwrap();
        overlay.unlink(root, b"deleted").unwrap();
        overlay.rename(root, b"moved", find(b"dir"), b"here", RenameMode::Replace).unwrap();
        let made = overlay.mkdir(&CALLER, root, b"made", 0o755).unwrap().node;
        let mode = OpenMode { write: true, ..OpenMode::default() };
        let (_, file) = overlay.create(&CALLER, made, b"new", 0o644, mode).unwrap();
        overlay.write(&file, b"new", 0, false).unwrap();
        let closed = SetAttr { mode: Some(0o555), ..SetAttr::default() };
        overlay.setattr(made, &closed, None).unwrap();
        let open = SetAttr { mode: Some(0o711), ..SetAttr::default() };
        overlay.setattr(find(b"dir"), &open, None).unwrap();
        drop(file);
        overlay.finish();
        scene
    }

    fn options(&self) -> RestOptions {
        RestOptions { path: self.storage.clone(), ..RestOptions::default() }
    }

    fn plan(&self) -> CommitPlan {
        let stat = |path: &str| {
            let found = fs::symlink_metadata(self.base.join(path)).unwrap();
            let mode = found.mode();
            if found.is_dir() {
                let (mode, mtime) = (libc::S_IFDIR, Timestamp::default());
                return Seen { ino: found.ino(), mode, owner: (0, 0), size: 0, mtime, ctime: None };
            }
            Seen {
                ino: found.ino(),
                mode,
                owner: (found.uid(), found.gid()),
                size: found.len(),
                mtime: Timestamp { sec: found.mtime(), nsec: found.mtime_nsec() as u32 },
                ctime: Some(Timestamp { sec: found.ctime(), nsec: found.ctime_nsec() as u32 }),
            }
        };
        let at = |path: &str| -> Box<[u8]> { path.as_bytes().into() };
        let old = |path: &str| {
            let found = fs::symlink_metadata(self.base.join(path)).unwrap();
            Timestamp { sec: found.mtime(), nsec: found.mtime_nsec() as u32 }
        };
        let dress = |mode| Dress { mode, uid: 0, gid: 0, xattrs: Vec::new() };
        let time = |sec| Timestamp { sec, nsec: 5 };
        let makes = vec![
            Make::Object { slot: Slot::new(0), path: at("modified") },
            Make::Object { slot: Slot::new(1), path: at("made") },
            Make::Object { slot: Slot::new(2), path: at("made/new") },
        ];
        let steps = vec![
            Step::Take { slot: Slot::new(3), at: at("deleted"), was: stat("deleted") },
            Step::Take { slot: Slot::new(4), at: at("moved"), was: stat("moved") },
            Step::Put { slot: Slot::new(4), at: at("dir/here") },
            Step::Put { slot: Slot::new(1), at: at("made") },
            Step::Put { slot: Slot::new(2), at: at("made/new") },
            Step::Swap { slot: Slot::new(0), at: at("modified"), was: stat("modified") },
            Step::Dress { at: at("dir"), before: dress(0o755), after: dress(0o711) },
            Step::Time { at: at("made"), after: time(70), before: None },
            Step::Time { at: at("dir"), after: time(80), before: Some((at("dir"), old("dir"))) },
            Step::Time { at: at(""), after: time(90), before: Some((at(""), old(""))) },
        ];
        let program = CommitProgram { steps, tops: vec![at("")], ..CommitProgram::default() };
        let stages = vec![StagePlace { dir: at(self.stage), ..StagePlace::default() }];
        CommitPlan { entries: Vec::new(), makes, program, stages }
    }

    /// Commits; `each` may die.
    fn commit(&self, each: &mut dyn FnMut(CommitProgress)) -> Result<Committed, CommitError> {
        let plan = self.plan();
        plan.carry_out(self.open(), &self.options(), each)
    }

    fn open(&self) -> Overlay {
        unlocked(|| writing_at_rest(&self.options())).unwrap()
    }

    fn assert_done(&self) {
        let now = tree(&self.base);
        let mode = |path: &str| now.get(Path::new(path)).map(|found| found.0);
        let content = |path: &str| now.get(Path::new(path)).map(|found| &*found.1);
        assert_eq!(content("modified"), Some(&b"other content"[..]));
        assert_eq!((content("deleted"), content("moved")), (None, None));
        assert_eq!(content("dir/here/below/kept"), Some(&b"moved/below/kept"[..]));
        assert_eq!(content("made/new"), Some(&b"new"[..]));
        assert_eq!((mode("made"), mode("dir")), (Some(0o40555), Some(0o40711)));
        let time = |path: &str| now.get(Path::new(path)).map(|found| found.2 / 1_000_000_000);
        assert_eq!((time("made"), time("dir"), time("")), (Some(70), Some(80), Some(90)));
        assert_eq!(now.len(), 9, "{:?}", now.keys());
        let overlay = crate::changes::changes_at_rest(&self.options()).unwrap();
        let mut paths = Vec::new();
        let mut note = |found: crate::changes::FoundChange<'_>| {
            if let crate::changes::FoundChange::Change(change) = found {
                paths.push(String::from_utf8_lossy(change.path).into_owned());
            }
            true
        };
        overlay.changes(&crate::changes::ChangesOptions::default(), &mut note).unwrap();
        assert_eq!(paths, Vec::<String>::new());
        assert_eq!(unfinished_commit(&self.options()).unwrap(), UnfinishedCommit::Nothing);
    }
}

/// Does something with a storage of this test alone: a process that another test is about to
/// start has its lock, too, for a moment.
fn unlocked<T, E: std::fmt::Display>(mut act: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    loop {
        match act() {
            Err(error) if error.to_string().contains("in use by another mount") => {
                std::thread::yield_now();
            }
            done => return done,
        }
    }
}

/// Dies when so much is done.
fn dying(at: u64) -> impl FnMut(CommitProgress) {
    move |progress| assert!(progress.done < at, "the test dies here")
}

#[test]
fn a_commit_changes_the_base_and_empties_the_storage() {
    for stage in STAGES {
        let scene = Scene::new(stage);
        scene.commit(&mut |_| {}).unwrap();
        scene.assert_done();
    }
}

/// Steps, and what is made before.
const ALL: u64 = 14;

#[test]
fn an_interrupted_commit_goes_on_or_back() {
    let all = (1..=ALL).flat_map(|at| [(at, false), (at, true)]);
    for (stage, (at, back)) in all.flat_map(|way| STAGES.map(|stage| (stage, way))) {
        let scene = Scene::new(stage);
        let before = tree(&scene.base);
        let mut die = dying(at);
        catch_unwind(AssertUnwindSafe(|| scene.commit(&mut die))).unwrap_err();
        if at > 3 {
            let opened = unlocked(|| writing_at_rest(&scene.options()));
            let error = opened.err().map(|error| error.to_string());
            assert!(error.is_some_and(|text| text.contains("--abort")), "{at}");
        }
        // It dies there, too.
        let (options, mut again) = (scene.options(), dying(at % 5 + 1));
        let _ = catch_unwind(AssertUnwindSafe(|| finish_commit(&options, back, &mut again)));
        let ended = unlocked(|| finish_commit(&scene.options(), back, &mut |_| {})).unwrap();
        match ended {
            FinishedCommit::Done(_) => scene.assert_done(),
            _ if at <= 3 || back => {
                assert_eq!(tree(&scene.base), before, "{at} {back}");
                scene.commit(&mut |_| {}).unwrap();
                scene.assert_done();
            }
            other => panic!("{at} {back}: {other:?}"),
        }
    }
}

/// Whatever somebody else changes while it goes on, is there at the end, and all else is as
/// it was.
#[test]
fn a_base_that_changes_meanwhile_keeps_that() {
    type Change = fn(&Path);
    let changes: [Change; 6] = [
        |base| fs::write(base.join("modified"), "by others").unwrap(),
        |base| fs::remove_file(base.join("modified")).unwrap(),
        |base| fs::write(base.join("deleted"), "by others").unwrap(),
        |base| fs::write(base.join("made"), "by others").unwrap(),
        |base| fs::set_permissions(base.join("dir"), fs::Permissions::from_mode(0o700)).unwrap(),
        |base| fs::write(base.join("dir/here"), "by others").unwrap(),
    ];
    for (change, stage) in changes.iter().flat_map(|change| STAGES.map(|stage| (change, stage))) {
        let scene = Scene::new(stage);
        let plan = scene.plan();
        change(&scene.base);
        let before = tree(&scene.base);
        let overlay = scene.open();
        let error = plan.carry_out(overlay, &scene.options(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, CommitError::Changed { .. }), "{error}");
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        let after = tree(&scene.base);
        assert_eq!(names(&after), names(&before));
        for (path, (mode, content, _)) in &before {
            assert_eq!(after.get(path).map(|found| (found.0, &found.1)), Some((*mode, content)));
        }
        assert_eq!(unfinished_commit(&scene.options()).unwrap(), UnfinishedCommit::Nothing);
    }
}

#[test]
fn a_stage_of_another_storage_is_left_alone() {
    STAGES.into_iter().for_each(is_left_alone);
}

fn is_left_alone(stage: &'static str) {
    let (scene, other) = (Scene::new(stage), Scene::new("dir"));
    // The other storage is made to lie over the same base, and is open already.
    let options = RestOptions {
        path: other.storage.clone(),
        base: vec![crate::interface::options::LayerOptions {
            path: scene.base.clone(),
            dialect: None,
        }],
        accept_other_base: true,
        ..RestOptions::default()
    };
    let plan = other.plan();
    let overlay = writing_at_rest(&options).unwrap();
    let mut die = dying(6);
    catch_unwind(AssertUnwindSafe(|| scene.commit(&mut die))).unwrap_err();
    let begun = tree(&scene.base);
    let error = plan.carry_out(overlay, &options, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, CommitError::StageTaken { owner, .. } if *owner == scene.storage));
    // Of one elsewhere only who goes there knows.
    if stage.is_empty() {
        let refused = writing_at_rest(&options).map(drop).unwrap_err();
        let owner = Some(scene.storage.clone());
        assert!(matches!(&refused, OpenError::BaseInCommit { owner: told, .. } if *told == owner));
    }
    assert_eq!(tree(&scene.base), begun);
    finish_commit(&scene.options(), false, &mut |_| {}).unwrap();
    scene.assert_done();
}

/// What the journal says of a stage counts only where there is one of this very commit.
#[test]
fn a_stage_is_where_the_journal_says_or_nothing_is_done() {
    let scene = Scene::new("dir");
    let mut die = dying(6);
    catch_unwind(AssertUnwindSafe(|| scene.commit(&mut die))).unwrap_err();
    let name = crate::format::name::MetaName::DEFAULT.stage();
    let (there, away) = (scene.base.join("dir").join(name), scene.base.join(name));
    let begun = tree(&scene.base);
    let finish = |back| unlocked(|| finish_commit(&scene.options(), back, &mut |_| {}));
    fs::rename(&there, &away).unwrap();
    for back in [false, true] {
        let error = finish(back).unwrap_err();
        assert!(matches!(&error, CommitError::OtherBase { .. }), "{error}");
    }
    // Another one in its place, with the same in it but another owner, is none.
    fs::create_dir(&there).unwrap();
    let owner = format!("{:032x}\n/elsewhere\0", 7);
    fs::write(there.join("owner"), owner).unwrap();
    fs::set_permissions(&there, fs::Permissions::from_mode(0o700)).unwrap();
    let error = finish(false).unwrap_err();
    assert!(matches!(&error, CommitError::OtherBase { .. }), "{error}");
    fs::remove_dir_all(&there).unwrap();
    fs::rename(&away, &there).unwrap();
    let now = tree(&scene.base);
    assert!(now.keys().eq(begun.keys()));
    // Nor does another place count that somebody has written there.
    let journal = scene.storage.join(crate::format::name::MetaName::DEFAULT.commit());
    let text = String::from_utf8(fs::read(&journal).unwrap()).unwrap();
    fs::write(&journal, text.replacen(" /dir /\n", " /made /\n", 1)).unwrap();
    let error = finish(false).unwrap_err();
    assert!(matches!(&error, CommitError::Damaged { .. }), "{error}");
    fs::write(&journal, text).unwrap();
    finish(false).unwrap();
    scene.assert_done();
}
