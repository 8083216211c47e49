//! Commits that meet a base which others change, and what crashes leave of them: nothing of
//! what others have written may be lost.

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
use std::io::Write as _;
use std::path::Path;

use mini_fo_core::{
    CommitError, CommitSide, CommitWish, FinishedCommit, LayerOptions, META_NAME, RestOptions,
    finish_commit, writing_at_rest,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use help::*;
use scene::{Scene, Tree};

#[test]
fn deleted_directories_know_what_was_changed_in_them() {
    let edits: [Edit; 5] = [
        ("a file of its own is edited", |base| write(&base.join("dir/y"))),
        ("a file below is edited", |base| write(&base.join("dir/sub/x"))),
        ("a file below is new", |base| write(&base.join("dir/sub/new"))),
        ("an older file comes", |base| {
            replace(&base.join("dir/y"));
            let file = fs::File::open(base.join("dir/y")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }),
        ("a file below is made readable", |base| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(base.join("dir/sub/x"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
    ];
    for (what, edit) in edits {
        assert!(conflict_at(&after(|tree| tree.remove_all("dir"), edit), "dir"), "{what}");
        let to_file = |tree: &Tree| {
            tree.remove_all("dir");
            tree.write("dir", b"a file");
        };
        assert!(conflict_at(&after(to_file, edit), "dir"), "{what}, and it became a file");
    }
    let moved = |tree: &Tree| {
        tree.rename("dir", "D", mini_fo_core::RenameMode::Replace);
        tree.remove_all("D/sub");
    };
    let plan = after(moved, |base| write(&base.join("dir/sub/x")));
    assert!(conflict_at(&plan, "D/sub"), "in a renamed one");
}

#[test]
fn replaced_directories_know_what_was_changed_in_them() {
    let change = |tree: &Tree| {
        tree.remove_all("dir");
        tree.mkdir("dir");
        tree.write("dir/y", b"ours");
    };
    let plans = [
        after(change, |base| write(&base.join("dir/y"))),
        after(change, |base| write(&base.join("dir/sub/x"))),
        after(change, |base| write(&base.join("dir/new"))),
    ];
    for plan in plans {
        assert!(plan.has_conflicts(), "{:?}", plan.entries);
    }
}

#[test]
fn what_was_added_is_not_put_over_what_is_new() {
    assert!(after(|tree| tree.write("n", b"ours"), |base| write(&base.join("n"))).has_conflicts());
    let change = |tree: &Tree| {
        tree.mkdir("n");
        tree.write("n/f", b"ours");
    };
    let edit = |base: &Path| {
        fs::create_dir(base.join("n")).unwrap();
        write(&base.join("n/f"));
    };
    assert!(after(change, edit).has_conflicts());
}

/// One name of a file with several is another file by now. Under the other names the tree shows
/// what is there, and a commit leaves it alone.
#[test]
fn names_of_one_file_that_others_have_replaced_are_conflicts() {
    let edit = |base: &Path| replace(&base.join("many"));
    assert!(after(|tree| tree.write("many", b"ours"), edit).has_conflicts());
    for name in ["d/many", "dir/many"] {
        let plan = after(|tree| tree.write("many", b"ours"), |base| replace(&base.join(name)));
        assert!(!plan.has_conflicts(), "{name}: {:?}", plan.entries);
        let steps = &plan.program().steps;
        assert!(steps.iter().all(|step| **step.at() != *name.as_bytes()), "{name}: {steps:?}");
    }
}

/// Between the plan and the first step: a question may be open for hours.
#[test]
fn what_changes_after_the_plan_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let edits: [Edit; 5] = [
        ("new in a deleted directory", |base| write(&base.join("dir/new"))),
        ("new far below one", |base| write(&base.join("dir/sub/new"))),
        ("edited below one", |base| write(&base.join("dir/sub/x"))),
        ("edited", |base| write(&base.join("a"))),
        ("replaced", |base| replace(&base.join("a"))),
    ];
    let change = |tree: &Tree| {
        tree.remove_all("dir");
        tree.write("a", b"ours");
    };
    for (what, edit) in edits {
        let scene = Scene::new();
        scene.live(change);
        let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
        let plan = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
        edit(&scene.base);
        let done = plan.carry_out(upper, &rest(&scene.storage), &mut |_| {});
        assert!(is_kept(&scene.base), "{what}: {done:?}");
    }
    let scene = Scene::new();
    scene.live(change);
    let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
    let plan = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
    fs::set_permissions(scene.base.join("a"), fs::Permissions::from_mode(0o600)).unwrap();
    let done = plan.carry_out(upper, &rest(&scene.storage), &mut |_| {});
    let mode = fs::metadata(scene.base.join("a")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600, "it was closed meanwhile: {done:?}");
}

/// Killed between the exchange and the look at what was there.
#[test]
fn a_swap_that_nobody_has_looked_at_loses_nothing() {
    for (back, new_file) in [(false, true), (true, true), (false, false), (true, false)] {
        let scene = Scene::new();
        scene.live(|tree| {
            tree.write("a", b"our a");
            tree.write("b", b"our b");
        });
        killed(&scene.storage, 1);
        let (at, slot) = (scene.base.join("b"), slot(&scene, "our b"));
        if new_file {
            replace(&at)
        } else {
            write(&at)
        }
        renameat_with(CWD, &slot, CWD, &at, RenameFlags::EXCHANGE).unwrap();
        let done = finish_commit(&rest(&scene.storage), back, &mut |_| {});
        assert!(is_kept(&scene.base), "back {back}, new file {new_file}: {done:?}");
    }
}

/// The same of something that is taken away.
#[test]
fn a_take_that_nobody_has_looked_at_loses_nothing() {
    for back in [false, true] {
        let scene = Scene::new();
        scene.live(|tree| {
            tree.unlink("a");
            tree.unlink("b");
        });
        killed(&scene.storage, 1);
        let left = if scene.base.join("a").exists() { "a" } else { "b" };
        let free = (0..2).map(|slot| stage(&scene).join(format!("n{slot}")));
        let slot = free.into_iter().find(|slot| !slot.exists()).unwrap();
        write(&scene.base.join(left));
        fs::rename(scene.base.join(left), slot).unwrap();
        let done = finish_commit(&rest(&scene.storage), back, &mut |_| {});
        assert!(is_kept(&scene.base), "back {back}: {done:?}");
    }
}

/// What goes back to the stage, and with it, is what the commit had put there.
#[test]
fn the_way_back_takes_nothing_of_others() {
    let edits: [Edit; 4] = [
        ("in a new directory", |base| write(&base.join("new/theirs"))),
        ("over a new file", |base| replace(&base.join("new/f"))),
        ("over a changed file", |base| replace(&base.join("a"))),
        ("into a changed file", |base| write(&base.join("a"))),
    ];
    for (what, edit) in edits {
        let scene = Scene::new();
        scene.live(|tree| {
            tree.mkdir("new");
            tree.write("new/f", b"ours");
            tree.write("a", b"ours, too");
        });
        killed(&scene.storage, 0);
        edit(&scene.base);
        let done = finish_commit(&rest(&scene.storage), true, &mut |_| {});
        assert!(is_kept(&scene.base), "{what}: {done:?}");
    }
}

/// A stage without a name in it that holds what was taken.
#[test]
fn nobody_removes_a_stage_that_holds_something() {
    let scene = Scene::new();
    write(&scene.base.join("a"));
    scene.live(|tree| tree.unlink("a"));
    let other = other_storage(&scene, |tree| tree.write("b", b"ours"));
    // Opened before there is a stage; later nobody can.
    let upper = writing_at_rest(&rest(&other)).unwrap();
    let plan = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
    killed(&scene.storage, 1);
    fs::write(stage(&scene).join("owner"), "").unwrap();
    assert!(writing_at_rest(&rest(&other)).is_err());
    let done = plan.carry_out(upper, &rest(&other), &mut |_| {});
    assert!(is_kept(&scene.base), "{done:?}");
}

/// All of a commit is in the base, and its stage is gone; another one has begun since.
#[test]
fn what_is_done_removes_no_stage_of_another() {
    let scene = Scene::new();
    write(&scene.base.join("c"));
    scene.live(|tree| tree.write("a", b"ours"));
    killed(&scene.storage, 0);
    fs::remove_dir_all(stage(&scene)).unwrap();
    let journal = scene.storage.join(format!("{META_NAME}_commit"));
    fs::OpenOptions::new().append(true).open(journal).unwrap().write_all(b"= done\n").unwrap();

    let other = other_storage(&scene, |tree| tree.unlink("c"));
    killed(&other, 1);

    let done = finish_commit(&rest(&scene.storage), false, &mut |_| {});
    assert!(is_kept(&scene.base), "{done:?}");
    let back = finish_commit(&rest(&other), true, &mut |_| {});
    assert!(matches!(back, Ok(FinishedCommit::TakenBack)), "{back:?}");
    assert_eq!(fs::read_to_string(scene.base.join("c")).unwrap(), PRECIOUS);
}

/// Nothing is done in a tree that is not the base of the storage.
#[test]
fn another_tree_is_not_touched() {
    let scene = Scene::new();
    scene.live(|tree| tree.write("a", b"ours"));
    killed(&scene.storage, 0);
    let journal = scene.storage.join(format!("{META_NAME}_commit"));
    fs::OpenOptions::new().append(true).open(journal).unwrap().write_all(b"= done\n").unwrap();
    let other = scene.base.with_file_name("tree");
    fs::create_dir_all(other.join(format!("{META_NAME}_stage"))).unwrap();
    write(&other.join(format!("{META_NAME}_stage/n0")));
    let old = std::time::SystemTime::UNIX_EPOCH;
    fs::File::open(&other).unwrap().set_modified(old).unwrap();
    let base = vec![LayerOptions { path: other.clone(), dialect: None }];
    let options = RestOptions { base, ..rest(&scene.storage) };
    let done = finish_commit(&options, false, &mut |_| {});
    assert!(matches!(done, Err(CommitError::OtherBase { .. } | CommitError::Open(_))), "{done:?}");
    assert!(is_kept(&other), "its own are gone");
    assert_eq!(fs::metadata(&other).unwrap().modified().unwrap(), old);
}

/// A journal that cannot be read says nothing of the base.
#[test]
fn a_damaged_journal_does_not_tell_that_nothing_was_changed() {
    let scene = Scene::new();
    scene.live(|tree| tree.unlink("a"));
    killed(&scene.storage, 1);
    let journal = scene.storage.join(format!("{META_NAME}_commit"));
    let text = fs::read_to_string(&journal).unwrap().replace("\nt ", "\nx ");
    fs::write(&journal, text).unwrap();
    for back in [false, true] {
        let failed = finish_commit(&rest(&scene.storage), back, &mut |_| {}).unwrap_err();
        let said = failed.to_string();
        assert!(!said.contains("nothing was changed"), "{said}");
        assert!(said.contains("_stage"), "where the originals are: {said}");
    }
}

/// One name of a file lies in a renamed directory that stays; others of it are committed.
#[test]
fn names_of_one_file_in_a_directory_that_stays() {
    let scene = Scene::new();
    let mode = mini_fo_core::RenameMode::Replace;
    fs::hard_link(scene.base.join("many"), scene.base.join("dir/sub/many")).unwrap();
    scene.live(|tree| {
        tree.rename("dir", "D", mode);
        tree.write("D/sub/y", b"new");
        tree.unlink("d/many");
        tree.rename("many", "other", mode);
    });
    let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
    let asked = &mut |change: &mini_fo_core::Change<'_>| match change.path {
        b"other" => CommitWish::Goes,
        _ => CommitWish::MayGo,
    };
    let plan = upper.plan_commit(CommitSide::Neither, asked).unwrap();
    let program = plan.program().clone();
    assert!(program.tops.iter().all(|top| !program.kept.contains(top)), "{program:?}");
    plan.carry_out(upper, &rest(&scene.storage), &mut |_| {}).unwrap();
}

/// A file goes into the base by another name only if it is what a new one there would be.
#[test]
fn files_with_flags_of_their_own_are_copied() {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    use std::os::unix::fs::MetadataExt;

    let scene = Scene::new();
    scene.live(|tree| ["plain", "flagged"].iter().for_each(|name| tree.write(name, b"ours")));
    let [plain, flagged] = ["plain", "flagged"].map(|name| scene.storage.join(name));
    let file = fs::File::open(&flagged).unwrap();
    let flags = ioctl_getflags(&file).map(|flags| flags | IFlags::NOATIME);
    if !flags.is_ok_and(|flags| ioctl_setflags(&file, flags).is_ok()) {
        return;
    }
    drop(file);
    let numbers = [&plain, &flagged].map(|path| fs::metadata(path).unwrap().ino());
    let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
    let plan = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
    plan.carry_out(upper, &rest(&scene.storage), &mut |_| {}).unwrap();
    let [plain, flagged] = ["plain", "flagged"].map(|name| scene.base.join(name));
    let now = [&plain, &flagged].map(|path| fs::metadata(path).unwrap().ino());
    assert!(now[0] == numbers[0] && now[1] != numbers[1], "{numbers:?}, {now:?}");
    let flags = ioctl_getflags(fs::File::open(&flagged).unwrap()).unwrap();
    assert!(!flags.contains(IFlags::NOATIME), "{flags:?}");
}

/// What META has said of names whose files are in the base says nothing of what comes after them.
#[test]
fn nothing_is_said_of_what_was_committed() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.rename("a", "moved", mini_fo_core::RenameMode::Replace);
        tree.write("moved", b"ours");
        tree.write("c", b"ours");
    });
    let upper = writing_at_rest(&rest(&scene.storage)).unwrap();
    let plan = upper.plan_commit(CommitSide::Neither, &mut |_| CommitWish::Goes).unwrap();
    plan.carry_out(upper, &rest(&scene.storage), &mut |_| {}).unwrap();
    let meta = fs::read_to_string(scene.storage.join(META_NAME)).unwrap();
    let about =
        |line: &&str| line.ends_with(" moved") || line.ends_with(" a") || line.ends_with(" c");
    assert_eq!(meta.lines().find(about), None, "{meta}");
}
