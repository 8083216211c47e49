//! What changes are told, compared with a naive comparison of both trees.

#[path = "changes/naive.rs"]
mod naive;
#[path = "changes/prints.rs"]
mod prints;
#[path = "changes/prints_random.rs"]
mod prints_random;
#[path = "changes/scene.rs"]
mod scene;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use mini_fo_core::{ChangeKind, ChangesOptions, OpenMode, RenameMode};
use naive::{Told, check, told};
use scene::{Dice, Scene};

/// One line for each change.
fn lines(scene: &Scene) -> Vec<String> {
    lines_with(scene, &ChangesOptions::default())
}

fn lines_with(scene: &Scene, options: &ChangesOptions) -> Vec<String> {
    told(&scene.at_rest(), options).0.iter().map(Told::line).collect()
}

#[test]
fn nothing_is_changed_by_looking_and_opening() {
    let scene = Scene::new();
    scene.live(|tree| {
        assert_eq!(tree.read("d/f"), b"f of d");
        // Opened for writing, and so copied up.
        tree.open("d/f", OpenMode { write: true, ..OpenMode::default() });
        assert!(tree.told().is_empty());
    });
    assert!(scene.storage.join("d/f").exists(), "it was not copied up");
    assert!(lines(&scene).is_empty());
}

#[test]
fn each_kind_is_told() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.write("d/f", b"new");
        tree.write("new", b"1");
        tree.chmod("a", 0o600);
        tree.unlink("link");
        tree.remove_all("e");
        tree.rename("b", "moved", RenameMode::Replace);
        tree.rename("dir", "away", RenameMode::Replace);
        tree.write("away/sub/x", b"X");
        tree.unlink("away/y");
        tree.unlink("c");
        tree.mkdir("c");
    });
    let expected = [
        "attributes a (mode)",
        "renamed away from dir (mtime)",
        "modified away/sub/x from dir/sub/x (mtime)",
        "deleted away/y from dir/y",
        "type changed c",
        "modified d/f (mtime)",
        "deleted e",
        "deleted link",
        "renamed moved from b",
        "added new",
    ];
    assert_eq!(lines(&scene), expected);
    let all = ChangesOptions { deleted_below: true, renamed_below: true, ..Default::default() };
    let lines = lines_with(&scene, &all);
    for one in ["deleted e/1", "deleted e/2/3", "renamed away/sub/z from dir/sub/z"] {
        assert!(lines.iter().any(|line| line == one), "{one}: {lines:?}");
    }
}

#[test]
fn a_live_overlay_tells_the_same() {
    let scene = Scene::new();
    let live = scene.live(|tree| {
        tree.write("d/f", b"new");
        tree.rename("dir", "away", RenameMode::Replace);
        tree.told()
    });
    assert_eq!(live.iter().map(Told::line).collect::<Vec<_>>(), lines(&scene));
}

#[test]
fn directories_change_places() {
    let scene = Scene::new();
    scene.live(|tree| tree.rename("d", "dir", RenameMode::Exchange));
    assert_eq!(lines(&scene), ["renamed d from dir", "renamed dir from d"]);
    scene.live(|tree| {
        tree.rename("d", "old", RenameMode::Replace);
        tree.mkdir("d");
        tree.write("d/n", b"n");
    });
    assert_eq!(
        lines(&scene),
        ["added d", "added d/n", "renamed dir from d", "renamed old from dir"]
    );
}

#[test]
fn a_directory_that_replaces_one_is_compared_with_it() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.remove_all("e");
        tree.rename("d", "e", RenameMode::Replace);
        tree.write("e/1", b"1 of e");
    });
    let found = lines(&scene);
    let expected = [
        "deleted d",
        "attributes e/1 (mtime)",
        "deleted e/2",
        "renamed e/f from d/f",
        "renamed e/many from d/many",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_directory_made_anew_with_the_same_is_unchanged() {
    let scene = Scene::new();
    let time = fs::metadata(scene.base.join("e/1")).unwrap().modified().unwrap();
    scene.live(|tree| {
        tree.remove_all("e");
        tree.mkdir("e");
        tree.mkdir("e/2");
        tree.write("e/1", b"1 of e");
        tree.touch("e/1", time);
        let time = fs::metadata(scene.base.join("e/2/3")).unwrap().modified().unwrap();
        tree.write("e/2/3", b"3");
        tree.touch("e/2/3", time);
    });
    assert!(lines(&scene).is_empty(), "{:?}", lines(&scene));
}

#[test]
fn of_large_files_only_what_was_written_counts() {
    let scene = Scene::new();
    let old = fs::metadata(scene.base.join("large")).unwrap().modified().unwrap();
    scene.live(|tree| tree.chmod("large", 0o600));
    assert_eq!(lines(&scene), ["attributes large (mode)"]);
    scene.live(|tree| {
        tree.write_at("large", b"#", 300_000);
        tree.touch("large", old);
    });
    assert_eq!(lines(&scene), ["modified large (mode)"]);
    // The same byte as before.
    scene.live(|tree| {
        tree.write_at("large", b"l", 300_000);
        tree.touch("large", old);
    });
    assert_eq!(lines(&scene), ["attributes large (mode)"]);
    let storage = fs::metadata(scene.storage.join("large")).unwrap();
    assert!(std::os::unix::fs::MetadataExt::blocks(&storage) * 512 < 200_000, "it is whole");
}

#[test]
fn other_names_of_a_changed_object() {
    let scene = Scene::new();
    scene.live(|tree| tree.write("d/many", b"other"));
    let told_ = told(&scene.at_rest(), &ChangesOptions::default()).0;
    assert_eq!((told_.len(), told_[0].more_names), (1, 2));
    let all = ChangesOptions { all_links: true, ..ChangesOptions::default() };
    let (found, _) = told(&scene.at_rest(), &all);
    let paths: Vec<&[u8]> = found.iter().map(|told| &*told.path).collect();
    assert_eq!(paths, [&b"d/many"[..], b"dir/many", b"many"]);
    assert!(found.iter().all(|told| told.more_names == 0));
}

#[test]
fn only_a_part_is_asked_for() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.write("d/f", b"new");
        tree.write("dir/n", b"new");
        tree.rename("a", "d/a", RenameMode::Replace);
    });
    let within = |path: &str| {
        let within = vec![path.as_bytes().to_vec()];
        lines_with(&scene, &ChangesOptions { within, ..ChangesOptions::default() })
    };
    assert_eq!(within("d"), ["renamed d/a from a", "modified d/f (mtime)"]);
    assert_eq!(within("dir/n"), ["added dir/n"]);
    assert_eq!(within("a"), ["deleted a"]);
    assert!(within("di").is_empty());
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_too() {
    let scene = Scene::new();
    scene.live(|tree| {
        tree.write_at("large", b"#", 300_000);
        tree.write("a", b"new");
    });
    fs::remove_file(scene.base.join("large")).unwrap();
    fs::write(scene.base.join("large"), vec![b'x'; 600_000]).unwrap();
    let (found, unread) = told(&scene.at_rest(), &ChangesOptions::default());
    assert_eq!(unread, [(b"large".to_vec(), libc::EIO)]);
    assert_eq!(found.iter().map(Told::line).collect::<Vec<_>>(), ["modified a (mtime)"]);
}

#[test]
fn deletions_that_the_root_tells_of() {
    let mut scene = Scene::new();
    scene.options.far_first = true;
    scene.live(|tree| {
        tree.unlink("dir/y");
        tree.unlink("dir/sub/x");
    });
    assert!(!scene.storage.join("dir").exists(), "the directory was copied");
    assert_eq!(lines(&scene), ["deleted dir/sub/x", "deleted dir/y"]);
}

#[test]
fn deep_trees() {
    let scene = Scene::new();
    let deep = vec!["d"; 300].join("/");
    fs::create_dir_all(scene.base.join(&deep)).unwrap();
    fs::write(scene.base.join(&deep).join("f"), "1").unwrap();
    let file = format!("{deep}/f");
    scene.live(|tree| tree.write(&file, b"2"));
    assert_eq!(lines(&scene), [format!("modified {file} (mtime)")]);
    scene.live(|tree| tree.remove_all("d/d"));
    let all = ChangesOptions { deleted_below: true, ..ChangesOptions::default() };
    assert_eq!(lines_with(&scene, &all).len(), 300);
}

/// The upper directory that the kernel's overlayfs would leave.
#[test]
fn upper_directories_of_overlayfs() {
    let scene = Scene::new();
    let upper = scene.work.path().join("upper");
    fs::create_dir(&upper).unwrap();
    fs::create_dir(upper.join("d")).unwrap();
    fs::write(upper.join("d/f"), "new").unwrap();
    fs::create_dir(upper.join("e")).unwrap();
    let mode = fs::metadata(scene.base.join("e")).unwrap().permissions();
    fs::set_permissions(upper.join("e"), mode).unwrap();
    fs::write(upper.join("e/own"), "1").unwrap();
    symlink("there", upper.join("l")).unwrap();
    fs::set_permissions(upper.join("d"), PermissionsExt::from_mode(0o755)).unwrap();
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(upper.join(path), name, value, rustix::fs::XattrFlags::empty())
    };
    if set("e", "user.overlay.opaque", b"y").is_err() {
        eprintln!("no attributes here: not tried");
        return;
    }
    fs::create_dir(upper.join("moved")).unwrap();
    // A copy-up keeps the time, and nothing else tells this directory from its source.
    let time = fs::metadata(scene.base.join("dir")).unwrap().modified().unwrap();
    fs::File::open(upper.join("moved")).unwrap().set_modified(time).unwrap();
    set("moved", "user.overlay.redirect", b"/dir").unwrap();
    set(".", "user.overlay.opaque", b"x").unwrap();
    fs::write(upper.join("dir"), "").unwrap();
    set("dir", "user.overlay.whiteout", b"y").unwrap();
    let dialect = Some(mini_fo_core::DialectName::OverlayUser);
    let overlay = scene.layer_at_rest(&upper, dialect);
    let (found, _) = told(&overlay, &ChangesOptions::default());
    check(&overlay, &scene.base, &found, false);
    let lines: Vec<String> = found.iter().map(Told::line).collect();
    for one in ["deleted e/1", "added e/own", "renamed moved from dir", "added l"] {
        assert!(lines.iter().any(|line| line == one), "{one}: {lines:?}");
    }
}

#[test]
fn random_changes_are_told_as_a_naive_comparison_tells_them() {
    let seeds = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let first = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut renamed = 0;
    for seed in first..first + seeds {
        let scene = Scene::new();
        let mut dice = Dice(seed * 2 + 1);
        for _ in 0..2 {
            scene.live(|tree| (0..12).for_each(|_| tree.random(&mut dice)));
        }
        let overlay = scene.at_rest();
        let options = ChangesOptions { all_links: true, ..ChangesOptions::default() };
        let (found, unread) = told(&overlay, &options);
        assert!(unread.is_empty(), "seed {seed}: {unread:?}");
        renamed += found.iter().filter(|told| told.kind == ChangeKind::Renamed).count();
        let problem = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&overlay, &scene.base, &found, true);
        }));
        if let Err(problem) = problem {
            eprintln!("seed {seed}: {:#?}", found.iter().map(Told::line).collect::<Vec<_>>());
            std::panic::resume_unwind(problem);
        }
    }
    assert!(renamed > seeds as usize / 2, "{renamed} renamed");
}
