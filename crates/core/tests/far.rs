//! Deletions of which META of the storage's root tells.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mini_fo_core::{NodeId, OpenOptions, Overlay};

const META: &str = "META_dAfFgHE39ktF3HD2sr";

struct Scene {
    _work: tempfile::TempDir,
    base: PathBuf,
    options: OpenOptions,
}

impl Scene {
    /// Directories `d/0`, `d/1` and so on, with six files in each.
    fn new(dirs: usize) -> Scene {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir(&storage).unwrap();
        for dir in 0..dirs {
            let dir = base.join(format!("d/{dir}"));
            fs::create_dir_all(&dir).unwrap();
            (0..6).for_each(|file| fs::write(dir.join(file.to_string()), "x").unwrap());
        }
        let options = OpenOptions {
            base: base.clone(),
            storage,
            volatile: true,
            far_first: true,
            ..OpenOptions::default()
        };
        Scene { _work: work, base, options }
    }

    fn mount(&self) -> Arc<Overlay> {
        Arc::new(Overlay::assemble(&self.options).unwrap())
    }

    /// How many deletions the root tells of.
    fn told(&self) -> usize {
        let meta = fs::read_to_string(self.options.storage.join(META)).unwrap();
        meta.lines().filter(|line| line.starts_with("h ")).count()
    }
}

fn find(overlay: &Overlay, path: &str) -> Option<NodeId> {
    path.split('/').try_fold(NodeId::ROOT, |node, name| {
        overlay.lookup(node, name.as_bytes()).unwrap().map(|entry| entry.node)
    })
}

fn remove(overlay: &Overlay, dir: &str, name: &str) {
    overlay.unlink(find(overlay, dir).unwrap(), name.as_bytes()).unwrap();
}

#[test]
fn what_is_deleted_while_directories_take_over_stays_deleted() {
    let scene = Scene::new(300);
    let overlay = scene.mount();
    (0..300).for_each(|dir| remove(&overlay, &format!("d/{dir}"), "0"));
    let over = Arc::new(AtomicBool::new(false));
    let (other, stop) = (Arc::clone(&overlay), Arc::clone(&over));
    let deleting = std::thread::spawn(move || {
        let all = (1..6).flat_map(|file| (0..300).map(move |dir| (dir, file)));
        let mut done = Vec::new();
        for (dir, file) in all.take_while(|_| !stop.load(Ordering::Relaxed)) {
            remove(&other, &format!("d/{dir}"), &file.to_string());
            done.push(format!("d/{dir}/{file}"));
        }
        done
    });
    overlay.keep_reserve(Some(0));
    over.store(true, Ordering::Relaxed);
    let done = deleting.join().unwrap();
    overlay.finish();
    drop(overlay);
    let overlay = scene.mount();
    let back = done.iter().filter(|path| find(&overlay, path).is_some()).count();
    assert_eq!(back, 0, "of {}", done.len());
}

#[test]
fn a_directory_that_is_away_for_a_while_loses_no_deletion() {
    let scene = Scene::new(3);
    let overlay = scene.mount();
    (0..3).for_each(|dir| remove(&overlay, &format!("d/{dir}"), "0"));
    overlay.finish();
    drop(overlay);
    assert_eq!(scene.told(), 3);
    fs::rename(scene.base.join("d/1"), scene.base.join("away")).unwrap();
    let overlay = scene.mount();
    overlay.keep_reserve(Some(0));
    overlay.finish();
    drop(overlay);
    assert_eq!(scene.told(), 1, "of the one that is away");
    fs::rename(scene.base.join("away"), scene.base.join("d/1")).unwrap();
    let overlay = scene.mount();
    assert!((0..3).all(|dir| find(&overlay, &format!("d/{dir}/0")).is_none()));
    overlay.keep_reserve(Some(0));
    assert_eq!(scene.told(), 0);
    assert!((0..3).all(|dir| find(&overlay, &format!("d/{dir}/0")).is_none()));
}

#[test]
fn a_directory_that_is_gone_is_told_of_no_more() {
    let scene = Scene::new(2);
    let overlay = scene.mount();
    (0..6).for_each(|file| remove(&overlay, "d/1", &file.to_string()));
    overlay.rmdir(find(&overlay, "d").unwrap(), b"1").unwrap();
    // Its copy tells it.
    remove(&overlay, "d/0", "0");
    overlay
        .rename(
            find(&overlay, "d/0").unwrap(),
            b"1",
            NodeId::ROOT,
            b"one",
            mini_fo_core::RenameMode::Replace,
        )
        .unwrap();
    overlay.finish();
    drop(overlay);
    let overlay = scene.mount();
    assert!(find(&overlay, "d/1").is_none() && find(&overlay, "d/0/0").is_none());
    overlay.keep_reserve(Some(0));
    assert_eq!(scene.told(), 0);
    assert!(find(&overlay, "d/1").is_none() && find(&overlay, "d/0/0").is_none());
}
