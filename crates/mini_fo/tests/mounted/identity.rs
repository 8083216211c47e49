//! Numbers and handles name their object as long as it exists, and no other.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::time::Instant;

use crate::common::{Scene, engine_is_product, is_root, sh, skip, standard_base, sys};

fn drop_caches() {
    fs::write("/proc/sys/vm/drop_caches", "2").expect("drop caches");
}

/// What a handle leads to after the kernel has forgotten everything.
#[test]
fn a_file_handle_survives_eviction_and_remount() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    if !is_root() || !engine_is_product() {
        return skip("handles are opened by root only");
    }
    sh(&scene.mnt, "mkdir -p new/dir; echo made > new/dir/file; echo x >> g; mv d/sub moved");
    let names = ["f", "g", "d", "new", "new/dir", "new/dir/file", "moved", "."];
    let handles: Vec<_> =
        names.iter().map(|name| (name, sys::handle_of(&scene.at(name)).expect("handle"))).collect();
    for round in ["known", "evicted", "after a remount"] {
        match round {
            "evicted" => drop_caches(),
            "after a remount" => scene.remount(),
            _ => {}
        }
        for (name, handle) in &handles {
            let opened = sys::open_by_handle(&scene.mnt, handle);
            let opened = opened.unwrap_or_else(|e| panic!("{name}, {round}: {e}"));
            let number = opened.metadata().expect("fstat").ino();
            assert_eq!(number, fs::metadata(scene.at(name)).expect("stat").ino(), "{name}");
        }
    }
    let mut text = String::new();
    drop_caches();
    let mut file = sys::open_by_handle(&scene.mnt, &handles[5].1).expect("open");
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text, "made\n");
    drop(file);
    fs::remove_file(scene.at("new/dir/file")).expect("rm");
    // It was closed a moment ago, and of that the kernel tells later.
    let gone = (0..100).find_map(|_| {
        drop_caches();
        std::thread::sleep(std::time::Duration::from_millis(20));
        sys::open_by_handle(&scene.mnt, &handles[5].1).map(drop).err()
    });
    assert_eq!(gone.and_then(|error| error.raw_os_error()), Some(libc::ESTALE));
}

/// Storage file systems give numbers of deleted files away; the mount does not.
#[test]
fn a_number_is_not_given_to_another_object() {
    let Some(scene) = Scene::new(standard_base) else {
        return;
    };
    if !engine_is_product() {
        return;
    }
    let mut seen = HashSet::new();
    for round in 0..200 {
        let path = scene.at("again");
        let number = match round % 3 {
            0 => {
                fs::create_dir(&path).expect("mkdir");
                let number = fs::metadata(&path).expect("stat").ino();
                fs::remove_dir(&path).expect("rmdir");
                number
            }
            _ => {
                let number = File::create(&path).and_then(|f| f.metadata()).expect("create").ino();
                fs::remove_file(&path).expect("rm");
                number
            }
        };
        assert!(seen.insert(number), "{number} was given twice");
    }
}

#[test]
fn listings_give_the_numbers_that_stat_gives() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let change = "echo x > made; mkdir dir; echo y >> g; mv f moved; ln made linked; ln -s x soft";
    sh(&scene.mnt, change);
    for _ in 0..2 {
        for dir in [".", "d", "dir"] {
            for entry in fs::read_dir(scene.at(dir)).expect("list") {
                let entry = entry.expect("entry");
                let (listed, shown) = (entry.ino(), entry.metadata().expect("stat").ino());
                assert_eq!(listed, shown, "{} in {dir}", entry.file_name().display());
            }
        }
        scene.remount();
    }
}

/// Handles of nothing cost one walk through the tree, not one each; and none of them
/// makes the mount forget what is there, or comes later.
#[test]
fn handles_of_nothing_cost_little() {
    if !is_root() || !engine_is_product() {
        return skip("needs root");
    }
    let Some(scene) = Scene::new(|base| {
        standard_base(base);
        for d in 0..40 {
            let dir = base.join(format!("many/{d}"));
            fs::create_dir_all(&dir).expect("mkdir");
            (0..250).for_each(|f| fs::write(dir.join(f.to_string()), "x").expect("write"));
        }
    }) else {
        return;
    };
    let mut paths = vec![scene.at("f"), scene.at("d/sub/three"), scene.at("many/39/249")];
    let some = sys::handle_of(&scene.at("f")).expect("a handle");
    let bad = |number| {
        let opened = sys::open_by_handle(&scene.mnt, &some.of_nothing(number));
        let error = opened.expect_err("there is no such object");
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
    };
    drop_caches();
    let first = Instant::now();
    bad(0);
    let first = first.elapsed();
    let others = Instant::now();
    (1..300).for_each(bad);
    assert!(others.elapsed() < 30 * first, "{:?} after {first:?}", others.elapsed());
    // What came after the walk, and what was moved.
    sh(
        &scene.mnt,
        "echo new > later; mkdir dir; echo in > dir/in; mv many/7 moved; ln later linked; mv g dir/",
    );
    paths.extend(["later", "dir/in", "moved/12", "dir/g"].map(|name| scene.at(name)));
    let handles: Vec<_> = paths.iter().map(|path| sys::handle_of(path).expect("handle")).collect();
    bad(1000);
    drop_caches();
    for (path, handle) in paths.iter().zip(&handles) {
        let opened = sys::open_by_handle(&scene.mnt, handle);
        let opened = opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let number = opened.metadata().expect("fstat").ino();
        assert_eq!(number, fs::metadata(path).expect("stat").ino());
    }
}

/// Who has handles of everything opens them one by one, and does not have the tree
/// walked through for each directory anew.
#[test]
fn handles_of_a_whole_tree() {
    if !is_root() || !engine_is_product() {
        return skip("needs root");
    }
    let Some(mut scene) = Scene::new(|base| {
        for d in 0..400 {
            let dir = base.join(format!("many/{}/{d}", d % 7));
            fs::create_dir_all(&dir).expect("mkdir");
            (0..3).for_each(|f| fs::write(dir.join(f.to_string()), "x").expect("write"));
        }
    }) else {
        return;
    };
    let path = |d: u32| scene.at(&format!("many/{}/{d}/1", d % 7));
    let mut handles: Vec<_> = (0..400).map(|d| sys::handle_of(&path(d)).expect("handle")).collect();
    let mnt = scene.mnt.clone();
    let open = |handle: &sys::Handle| drop(sys::open_by_handle(&mnt, handle).expect("open"));
    // One of both orders is the worst for a walk that stops at what it looks for.
    for _ in 0..2 {
        handles.reverse();
        scene.remount();
        let first = Instant::now();
        open(&handles[0]);
        let first = first.elapsed();
        let others = Instant::now();
        handles.iter().for_each(open);
        assert!(others.elapsed() < 100 * first, "{:?} after {first:?}", others.elapsed());
    }
}
