//! The storage format of 2005, read and written: storages made by hand, and
//! what ours writes as a reader of 2005 would see it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::{
    BaseKind, META, Scene, StorageKind, assert_same_tree, engine_is_product, sh, standard_base,
};

/// A scene whose storage was written by hand; `lines` are METAs by directory.
fn by_hand(lines: &[(&str, &str)], script: &str) -> Option<Scene> {
    if !engine_is_product() {
        return None;
    }
    let mut scene = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base)?;
    sh(&scene.storage, script);
    for (dir, text) in lines {
        let meta = scene.storage.join(dir).join(META);
        fs::write(&meta, text).expect("write META");
        fs::set_permissions(&meta, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    // Without a META it could be anything, and is not taken unasked.
    let asked: &[&str] = if lines.is_empty() { &["--accept-storage"] } else { &[] };
    scene.mount(asked);
    Some(scene)
}

#[test]
fn deleted_and_rewritten() {
    let meta = "D f\nD d\nD e\nD long dir\n";
    let Some(mut scene) = by_hand(&[("", meta)], "mkdir d; echo again > d/new; echo file > e")
    else {
        return;
    };
    scene.now_and_remounted(|mnt| {
        sh(
            mnt,
            "test ! -e f; test \"$(ls d)\" = new; test \"$(cat e)\" = file; test ! -e 'long dir'
             test -e g; test -e script",
        );
    });
}

#[test]
fn modified_and_created() {
    let script = "mkdir -p d/sub; echo m > d/one; echo c > d/sub/c";
    let Some(mut scene) = by_hand(&[], script) else { return };
    scene.now_and_remounted(|mnt| {
        sh(
            mnt,
            "test $(cat d/one) = m; test $(cat d/two) = 22; test $(cat d/sub/c) = c
             test $(cat d/sub/three) = 333",
        );
    });
}

#[test]
fn renamed_directories() {
    let root = "D d\nR /d moved\nD long dir\n";
    let moved = "D sub\nD one\nR /d/sub s2\n";
    let Some(mut scene) = by_hand(&[("", root), ("moved", moved)], "mkdir -p moved/s2") else {
        return;
    };
    scene.now_and_remounted(|mnt| {
        sh(
            mnt,
            "test ! -e d; test ! -e moved/one; test $(cat moved/two) = 22
             test ! -e moved/sub; test $(cat moved/s2/deep/four) = 4444",
        );
    });
    sh(&scene.mnt, "mv moved again; mv again/s2 s3; rm s3/three");
    scene.now_and_remounted(|mnt| {
        sh(mnt, "test $(cat again/two) = 22; test $(ls s3) = deep; test ! -e again/one");
    });
}

/// A comment in the old code shows R without its slash, and its merge script takes both.
#[test]
fn a_redirect_without_its_slash_and_one_to_a_name_with_spaces() {
    let root = "D d\nR d moved\nD e\nR /e name with spaces\n";
    let Some(mut scene) = by_hand(&[("", root)], "mkdir moved 'name with spaces'") else {
        return;
    };
    scene.now_and_remounted(|mnt| {
        sh(mnt, "test $(cat moved/two) = 22; test $(cat 'name with spaces/five') = 55555");
    });
}

#[test]
fn lines_of_other_kinds_are_skipped() {
    let Some(mut scene) = by_hand(&[("", "e 1 2 3\nD f\nj\u{20}future\n\nD g\nD g\n")], ":") else {
        return;
    };
    scene.now_and_remounted(|mnt| {
        sh(mnt, "test ! -e f; test ! -e g; test -e d; touch written");
    });
}

/// Deleting the contents of the storage while unmounted is the reset of 2005.
#[test]
fn an_emptied_storage_shows_the_base() {
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let plain = scene.plain_copy();
    sh(&scene.mnt, "rm -rf d; mv e e2; echo x > f; mkdir new");
    scene.umount();
    sh(&scene.storage, "find . -mindepth 1 -delete");
    scene.mount(&[]);
    assert_same_tree(&scene.mnt, &plain);
}

/// The rules of 2005 and nothing else: D and R lines, every other line
/// skipped, R split at the first space after its path.
struct Reader2005<'a> {
    base: &'a Path,
    storage: &'a Path,
}

impl Reader2005<'_> {
    /// The merged tree: contents of files, None for everything else.
    fn read(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut tree = BTreeMap::new();
        self.walk(Path::new(""), Some(Path::new("")), true, &mut tree);
        tree
    }

    fn walk(
        &self,
        dir: &Path,
        base: Option<&Path>,
        stored: bool,
        tree: &mut BTreeMap<PathBuf, Option<Vec<u8>>>,
    ) {
        let storage_dir = self.storage.join(dir);
        let text = if stored {
            fs::read_to_string(storage_dir.join(META)).unwrap_or_default()
        } else {
            String::new()
        };
        let hidden: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("D ")).collect();
        let redirects: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("R "))
            .filter_map(|rest| rest.split_once(' ').map(|(path, name)| (name, path)))
            .collect();
        let mut names: BTreeMap<String, (bool, bool)> = BTreeMap::new();
        if stored {
            for name in names_of(&storage_dir) {
                names.entry(name).or_default().0 = true;
            }
        }
        for name in base.map(|b| names_of(&self.base.join(b))).unwrap_or_default() {
            if !hidden.contains(&name.as_str()) {
                names.entry(name).or_default().1 = true;
            }
        }
        names.retain(|name, _| !name.starts_with(META));
        for (name, (in_storage, in_base)) in names {
            let redirect = redirects.get(name.as_str());
            let below = match redirect {
                Some(path) => Some(PathBuf::from(path.trim_start_matches('/'))),
                None if in_base => base.map(|b| b.join(&name)),
                None => None,
            };
            let shown = if in_storage {
                storage_dir.join(&name)
            } else {
                self.base.join(below.as_deref().expect("a base entry"))
            };
            let found = fs::symlink_metadata(&shown).expect("lstat");
            let path = dir.join(&name);
            tree.insert(path.clone(), found.is_file().then(|| fs::read(&shown).expect("read")));
            if found.is_dir() {
                let below = below.filter(|path| self.base.join(path).is_dir());
                self.walk(&path, below.as_deref(), in_storage, tree);
            }
        }
    }
}

fn names_of(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .map(|entries| {
            entries
                .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default()
}

fn tree_of(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let nothing = root.join("no such directory");
    Reader2005 { base: root, storage: &nothing }.read()
}

/// What ours writes, a reader of 2005 understands, if no data is left in the
/// base.
#[test]
fn ours_read_by_the_rules_of_2005() {
    if !engine_is_product() {
        return;
    }
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    scene.umount();
    let options = ["-o", "whole_copies"];
    scene.mount(&options);
    let scripts = [
        "rm f; rm d/one; echo x > d/two; mkdir n; echo y > n/y; rm -r e; mkdir e; touch e/only",
        "mv d n/d; mv n/d/sub n/s; rm n/s/three; chmod 600 g; ln g g2; mv g g3; touch 'a b'",
        "mv n/d d; mv n/s d/again; mv big b2; rm b2; mv script empty/; mv empty full; rm -r n",
        "rm -r d; mkdir d; mv full d/full; mv d/full full; rmdir d; touch -h link; mv link l2",
    ];
    for script in scripts {
        sh(&scene.mnt, script);
        let shown = tree_of(&scene.mnt);
        scene.umount();
        let base = scene.quiet_base();
        let reader = Reader2005 { base: &base, storage: &scene.storage };
        let read = reader.read();
        let keys = |tree: &BTreeMap<PathBuf, _>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&shown), keys(&read), "after {script}");
        assert!(shown == read, "other contents after {script}");
        scene.mount(&options);
    }
}
