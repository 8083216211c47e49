//! What tells a commit that others have changed the base since, and what it looks at again.

#[path = "commit_review/help.rs"]
#[allow(dead_code)]
mod help;
#[path = "changes/naive.rs"]
#[allow(dead_code)]
mod naive;
#[path = "changes/scene.rs"]
#[allow(dead_code)]
mod scene;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use mini_fo_core::{
    Change, CommitError, CommitPlan, CommitSide, CommitWish, FinishedCommit, META_NAME, RenameMode,
    examine, finish_commit, writing_at_rest,
};

use help::*;
use scene::{Scene, Tree};

const MODE: RenameMode = RenameMode::Replace;

/// A change, an edit of the base by others, another change, and what a commit of all comes to.
fn again(
    first: impl FnOnce(&Tree),
    edit: impl FnOnce(&Path),
    second: impl FnOnce(&Tree),
) -> CommitPlan {
    let scene = Scene::new();
    scene.live(first);
    // The clock of a file system has ticks of 10 ms at most.
    std::thread::sleep(std::time::Duration::from_millis(30));
    edit(&scene.base);
    scene.live(second);
    everything(&scene)
}

/// A tree that somebody has prepared elsewhere in the base before the storage was used.
fn prepared(change: impl FnOnce(&Tree), edit: impl FnOnce(&Path)) -> CommitPlan {
    let scene = Scene::new();
    fs::create_dir_all(scene.base.join("ready/in")).unwrap();
    write(&scene.base.join("ready/in/f"));
    fs::File::open(scene.base.join("ready")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    fs::create_dir(scene.base.join("empty")).unwrap();
    scene.live(change);
    edit(&scene.base);
    everything(&scene)
}

fn is_conflict(plan: &CommitPlan, path: &str, what: &str) {
    assert!(conflict_at(plan, path), "{what}: {:?}", plan.entries);
}

/// The name shows what was added all the time, and nobody has ever seen theirs.
#[test]
fn what_was_added_and_touched_again_is_not_put_over_what_is_new() {
    let add = |tree: &Tree| tree.write("n", b"ours");
    let theirs = |base: &Path| write(&base.join("n"));
    let their_tree = |base: &Path| {
        fs::create_dir(base.join("n")).unwrap();
        write(&base.join("n/f"));
    };
    let saved = |tree: &Tree| {
        tree.write("tmp", b"ours, saved");
        tree.rename("tmp", "n", MODE);
    };
    let anew = |tree: &Tree| {
        tree.unlink("n");
        tree.write("n", b"ours again");
    };
    is_conflict(&again(add, theirs, saved), "n", "saved as editors do");
    is_conflict(&again(add, theirs, anew), "n", "made anew");
    is_conflict(&again(add, their_tree, anew), "n", "made anew over a directory");
    is_conflict(&again(add, theirs, |tree| tree.unlink("n")), "n", "removed");
    is_conflict(&again(add, their_tree, |tree| tree.unlink("n")), "n", "removed over a directory");
    let away = |tree: &Tree| tree.rename("n", "m", MODE);
    assert!(again(add, theirs, away).has_conflicts(), "moved away");
    let add_dir = |tree: &Tree| {
        tree.mkdir("n");
        tree.write("n/f", b"ours");
    };
    is_conflict(&again(add_dir, their_tree, |tree| tree.unlink("n/f")), "n/f", "in a directory");
    let plan = again(add_dir, their_tree, |tree| tree.remove_all("n"));
    assert!(plan.has_conflicts(), "a directory: {:?}", plan.entries);
}

/// A directory keeps its time of modification when it is moved, and so does what is in it.
#[test]
fn directories_that_others_have_moved_in_are_seen() {
    let in_empty = |base: &Path| fs::rename(base.join("ready"), base.join("empty/ready")).unwrap();
    let in_dir = |base: &Path| fs::rename(base.join("ready"), base.join("dir/sub/ready")).unwrap();
    let over_dir = |base: &Path| {
        fs::rename(base.join("dir"), base.join("old")).unwrap();
        fs::rename(base.join("ready"), base.join("dir")).unwrap();
    };
    let empty_anew = |tree: &Tree| {
        tree.remove_all("empty");
        tree.mkdir("empty");
    };
    let anew = |tree: &Tree| {
        tree.remove_all("dir");
        tree.mkdir("dir");
        tree.write("dir/y", b"ours");
    };
    let gone = |tree: &Tree| tree.remove_all("dir");
    let to_file = |tree: &Tree| {
        tree.remove_all("dir");
        tree.write("dir", b"a file");
    };
    is_conflict(&prepared(empty_anew, in_empty), "empty/ready", "into what was made anew");
    assert!(prepared(anew, in_dir).has_conflicts(), "far into what was made anew");
    assert!(prepared(anew, over_dir).has_conflicts(), "over what was made anew");
    is_conflict(&prepared(gone, in_dir), "dir", "into what was deleted");
    is_conflict(&prepared(gone, over_dir), "dir", "over what was deleted");
    is_conflict(&prepared(to_file, in_dir), "dir", "into what became a file");
}

/// In a directory that was made anew, what counts is when that was.
#[test]
fn what_is_made_anew_later_hides_nothing() {
    let gone = |tree: &Tree| tree.remove_all("dir");
    let anew = |tree: &Tree| {
        tree.mkdir("dir");
        tree.write("dir/y", b"ours");
    };
    is_conflict(&again(gone, |base| write(&base.join("dir/y")), anew), "dir/y", "a file");
}

/// Another directory in the place of one that was renamed is not renamed for it.
#[test]
fn a_directory_that_others_have_made_is_not_renamed() {
    let change = |tree: &Tree| tree.rename("dir", "D", MODE);
    let edit = |base: &Path| {
        fs::rename(base.join("dir"), base.join("old")).unwrap();
        fs::create_dir(base.join("dir")).unwrap();
        write(&base.join("dir/other"));
    };
    let plan = after(change, edit);
    assert!(plan.has_conflicts(), "{:?}", plan.entries);
    // What others do in the same one is none.
    let plan = after(change, |base| write(&base.join("dir/new")));
    assert!(!plan.has_conflicts(), "{:?}", plan.entries);
}

/// What cannot be decided is told, and nothing is done: also where only a time differs.
#[test]
fn nothing_is_told_done_that_was_not() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.unlink("a");
        tree.mkdir("a");
        tree.write("a/q", b"ours");
        tree.write("other", b"work");
    });
    fs::remove_file(scene.base.join("a")).unwrap();
    fs::create_dir(scene.base.join("a")).unwrap();
    let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
    let plan = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
    is_conflict(&plan, "a", "a directory where a file was");
    let done = plan.carry_out(upper, &rest(&scene.storage), &mut |_| {});
    assert!(matches!(done, Err(CommitError::Undecided { .. })), "{done:?}");
    assert_eq!(fs::read(scene.storage.join("other")).unwrap(), b"work");
}

/// Killed between takes: others move an older tree into a directory that something was taken
/// out of.
#[test]
fn what_comes_into_what_is_being_emptied_is_kept() {
    for (back, done) in [(false, 1), (true, 1), (false, 0), (true, 0)] {
        let scene = Scene::new();
        fs::create_dir_all(scene.base.join("ready/in")).unwrap();
        write(&scene.base.join("ready/in/f"));
        scene.live(|tree| {
            tree.rename("dir/sub", "out", MODE);
            tree.remove_all("dir");
        });
        killed(&scene.storage, done);
        // Where it is by now.
        let dir = match scene.base.join("dir") {
            dir if dir.exists() => dir,
            _ => slot_with(&scene, "y"),
        };
        fs::rename(scene.base.join("ready"), dir.join("ready")).unwrap();
        let done = finish_commit(&rest(&scene.storage), back, &mut |_| {});
        assert!(is_kept(&scene.base), "back {back}: {done:?}");
    }
}

/// The slot of a directory that has such an entry.
fn slot_with(scene: &Scene, name: &str) -> std::path::PathBuf {
    let mut slots = fs::read_dir(stage(scene)).unwrap().map(|entry| entry.unwrap().path());
    slots.find(|slot| slot.join(name).exists()).unwrap()
}

/// Who works in a directory that was taken, or has a file open, writes to it in the stage.
#[test]
fn what_is_written_to_what_was_taken_is_kept() {
    let change = |tree: &Tree| {
        tree.remove_all("dir");
        tree.write("a", b"ours");
        tree.unlink("b");
    };
    let texts: [&dyn Fn(&Scene); 3] = [
        &|scene| write(&slot_with(scene, "y").join("new")),
        &|scene| write(&slot(scene, "a")),
        &|scene| write(&slot(scene, "b")),
    ];
    for (at, edit) in texts.iter().enumerate() {
        for back in [false, true] {
            let scene = Scene::new();
            scene.live(change);
            killed(&scene.storage, 0);
            edit(&scene);
            let done = finish_commit(&rest(&scene.storage), back, &mut |_| {});
            assert!(is_kept(&scene.base), "{at}, back {back}: {done:?}");
            assert!(!stage(&scene).exists(), "{at}, back {back}: {done:?}");
        }
    }
}

/// A stage that is not of this commit is not touched, whatever it is called.
#[test]
fn only_ones_own_stage_is_put_away() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    scene.live(|tree| tree.write("a", b"ours"));
    // A directory of a user's own, and one that others may write to.
    for mode in [0o700, 0o777] {
        fs::create_dir(stage(&scene)).unwrap();
        fs::set_permissions(stage(&scene), fs::Permissions::from_mode(mode)).unwrap();
        write(&stage(&scene).join("n0"));
        let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
        let plan = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
        let done = plan.carry_out(upper, &rest(&scene.storage), &mut |_| {});
        assert!(matches!(done, Err(CommitError::OddStage { .. })), "{mode:o}: {done:?}");
        assert!(is_kept(&stage(&scene)), "{mode:o}");
        assert!(!scene.storage.join(format!("{META_NAME}_commit")).exists());
        fs::remove_dir_all(stage(&scene)).unwrap();
    }
}

/// A file became a directory in what was renamed, and something was moved out of the directory
/// that it replaces.
#[test]
fn what_was_taken_out_of_a_renamed_directory_is_no_change_by_others() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.rename("dir", "D", MODE);
        tree.rename("D/sub/z", "z", MODE);
        tree.remove_all("D/sub");
        tree.write("D/sub", b"a file");
    });
    let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
    let plan = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
    let done = plan.carry_out(upper, &rest(&scene.storage), &mut |_| {});
    assert!(done.is_ok(), "{done:?}");
    assert_eq!(fs::read(scene.base.join("D/sub")).unwrap(), b"a file");
    assert_eq!(fs::read(scene.base.join("z")).unwrap(), b"z");
}

/// Finished by who names the storage, with nothing of it in the way of another one that has
/// begun since.
#[test]
fn two_storages_one_after_the_other() {
    let scene = Scene::new();
    write(&scene.base.join("c"));
    scene.live(|tree| tree.write("a", b"ours"));
    let other = other_storage(&scene, |tree| tree.unlink("c"));
    killed(&scene.storage, 0);
    let said = writing_at_rest(&rest(&other)).map(drop).unwrap_err().to_string();
    assert!(said.contains(scene.storage.to_str().unwrap()), "{said}");
    let done = finish_commit(&rest(&scene.storage), true, &mut |_| {});
    assert!(matches!(done, Ok(FinishedCommit::TakenBack)), "{done:?}");
    killed(&other, 1);
    let done = finish_commit(&rest(&scene.storage), false, &mut |_| {});
    assert!(matches!(done, Ok(FinishedCommit::Nothing)), "{done:?}");
    let done = finish_commit(&rest(&other), false, &mut |_| {});
    assert!(matches!(done, Ok(FinishedCommit::Done(_))), "{done:?}");
    assert!(!scene.base.join("c").exists());
}

/// Directories of which a part was committed are the base's now. What is done with them later
/// was made from that, and not from nothing or from what was there before.
#[test]
fn what_was_committed_in_part_was_not_made_by_others() {
    for deleted in [true, false] {
        let scene = Scene::new();
        scene.live(|tree| {
            tree.mkdir("n");
            tree.mkdir("n/in");
            tree.unlink("a");
            tree.mkdir("a");
            tree.rename("e", "E", MODE);
            tree.mkdir("E/new");
            for path in ["n/1", "n/2", "n/in/1", "n/in/2", "a/1", "a/2", "E/new/1", "E/new/2"] {
                tree.write(path, b"ours");
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(30));
        let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
        let mut wish = |change: &Change<'_>| match change.path.ends_with(b"/2") {
            true => CommitWish::Stays,
            false => CommitWish::Goes,
        };
        let plan = upper.plan_commit(CommitSide::Neither, &mut wish).unwrap();
        plan.carry_out(upper, &rest(&scene.storage), &mut |_| {}).unwrap();
        assert!(scene.base.join("n/in/1").exists() && !scene.base.join("n/in/2").exists());
        scene.live(|tree| {
            for path in ["n", "a", "E"] {
                match deleted {
                    true => tree.remove_all(path),
                    false => tree.rename(path, &format!("moved-{path}"), MODE),
                }
            }
        });
        let plan = everything(&scene);
        assert!(!plan.has_conflicts(), "{:?}", plan.entries);
    }
}

/// What a storage cannot let go is not the base's own: who mounts it again writes there.
#[test]
fn what_a_storage_keeps_is_no_object_of_the_base() {
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;
    let scene = Scene::new();
    scene.live(|tree| {
        tree.mkdir("n");
        tree.write("n/f", b"ours");
        tree.write("n/fixed", b"ours");
        tree.write("free", b"ours");
    });
    let chattr = |flag: &str| {
        let done = Command::new("chattr").arg(flag).arg(scene.storage.join("n/fixed")).status();
        done.is_ok_and(|status| status.success())
    };
    if !chattr("+i") {
        eprintln!("SKIPPED: chattr +i is not possible here");
        return;
    }
    let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
    let mut wish = |change: &Change<'_>| match change.path == b"free" {
        true => CommitWish::Stays,
        false => CommitWish::Goes,
    };
    let plan = upper.plan_commit(CommitSide::Neither, &mut wish);
    let done = plan.map(|plan| plan.carry_out(upper, &rest(&scene.storage), &mut |_| {}));
    assert!(chattr("-i"));
    let object = |path: &Path| path.symlink_metadata().ok().map(|found| found.ino());
    for path in ["n/f", "n/fixed"] {
        let (base, storage) = (scene.base.join(path), scene.storage.join(path));
        assert!(object(&base).is_none() || object(&base) != object(&storage), "{path}: {done:?}");
    }
    if !matches!(done, Ok(Ok(_))) {
        return;
    }
    scene.live(|tree| tree.write("n/f", b"later"));
    assert_eq!(fs::read(scene.base.join("n/f")).unwrap(), b"ours");
}

/// Something new in the place of what was renamed stays: once that was committed, it is in the
/// place of nothing.
#[test]
fn what_stays_hides_nothing_that_a_commit_has_taken() {
    type Case = (&'static str, fn(&Tree));
    let file = |tree: &Tree| {
        tree.rename("dir", "D", MODE);
        tree.write("dir", b"ours");
    };
    let in_dir = |tree: &Tree| {
        tree.rename("dir", "D", MODE);
        tree.mkdir("dir");
        tree.write("dir/y", b"ours");
    };
    let in_moved = |tree: &Tree| {
        tree.rename("dir", "E", MODE);
        tree.rename("E/sub", "D", MODE);
        tree.write("E/sub", b"ours");
    };
    let in_both = |tree: &Tree| {
        tree.rename("dir/sub", "D", MODE);
        tree.mkdir("dir/sub");
        tree.write("dir/sub/y", b"ours");
        tree.rename("dir", "E", MODE);
    };
    let cases: [Case; 4] = [
        ("a file", file),
        ("what is in a directory", in_dir),
        ("a file in a directory that was moved", in_moved),
        ("what is in one, in one that was moved", in_both),
    ];
    for (what, change) in cases {
        let scene = Scene::new();
        scene.live(change);
        let before = scene.live(Tree::all);
        let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
        let mut wish = |change: &Change<'_>| match change.path {
            b"D" => CommitWish::Goes,
            _ => CommitWish::Stays,
        };
        let plan = upper.plan_commit(CommitSide::Neither, &mut wish).unwrap();
        plan.carry_out(upper, &rest(&scene.storage), &mut |_| {}).unwrap();
        assert!(scene.base.join("D").is_dir(), "{what}");
        assert_eq!(examine(&scene.options).unwrap(), [], "{what}");
        assert_eq!(scene.live(Tree::all), before, "{what}");
        let plan = everything(&scene);
        assert!(!plan.has_conflicts(), "{what}: {:?}", plan.entries);
    }
}

/// What others took away meanwhile is still told as that.
#[test]
fn what_others_have_taken_is_no_work_of_a_commit() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.write("dir/y", b"ours");
        tree.rename("e", "E", MODE);
    });
    fs::remove_file(scene.base.join("dir/y")).unwrap();
    let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
    let mut wish = |change: &Change<'_>| match change.path {
        b"E" => CommitWish::Goes,
        _ => CommitWish::Stays,
    };
    let plan = upper.plan_commit(CommitSide::Neither, &mut wish).unwrap();
    plan.carry_out(upper, &rest(&scene.storage), &mut |_| {}).unwrap();
    is_conflict(&everything(&scene), "dir/y", "it was made from what others have removed");
}
