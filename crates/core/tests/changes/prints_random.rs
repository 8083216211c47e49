//! The same of random changes of both trees.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use mini_fo_core::{BaseChanges, BaseState, ChangeKind, OpenMode, RenameMode};

use super::prints::{changed, set_time, states};
use super::scene::{self, Dice, Scene, Tree};

/// What the base has at a path.
#[derive(Clone, Debug, PartialEq)]
struct Was {
    mode: u32,
    owners: (u32, u32),
    mtime: (i64, i64),
    content: Vec<u8>,
}

fn was(path: &Path) -> Option<Was> {
    let meta = fs::symlink_metadata(path).ok()?;
    let content = match meta.mode() & libc::S_IFMT {
        libc::S_IFREG => fs::read(path).unwrap(),
        libc::S_IFLNK => fs::read_link(path).unwrap().into_os_string().into_encoded_bytes(),
        _ => Vec::new(),
    };
    let (owners, mtime) = ((meta.uid(), meta.gid()), (meta.mtime(), meta.mtime_nsec()));
    Some(Was { mode: meta.mode(), owners, mtime, content })
}

/// All paths below a directory.
fn paths(top: &Path) -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), vec![String::new()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(top.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if entry.file_type().unwrap().is_dir() {
                left.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Whether the storage says anything of a path of the base. (Directories do not move here.)
fn is_touched(storage: &Path, path: &str) -> bool {
    let (dir, name) = scene::split(path);
    let meta = storage.join(dir).join("META_dAfFgHE39ktF3HD2sr");
    let text = fs::read_to_string(meta).unwrap_or_default();
    // What is not written anew may be taken back.
    let hidden =
        text.lines().rfind(|line| *line == format!("D {name}") || *line == format!("y {name}"));
    hidden.is_some_and(|line| line.starts_with('D'))
        || fs::symlink_metadata(storage.join(path)).is_ok()
}

fn change_by_chance(tree: &Tree, dice: &mut Dice) {
    let all = tree.all();
    let files: Vec<&String> =
        all.iter().filter(|(_, kind)| *kind == libc::S_IFREG).map(|(path, _)| path).collect();
    let dirs: Vec<&String> =
        all.iter().filter(|(_, kind)| *kind == libc::S_IFDIR).map(|(path, _)| path).collect();
    if files.len() < 3 || dirs.is_empty() {
        return;
    }
    let file = files[dice.below(files.len())];
    let other = files[dice.below(files.len())];
    let dir = dirs[dice.below(dirs.len())];
    match dice.below(9) {
        0 => tree.write(file, b"22"),
        1 => tree.chmod(file, [0o600, 0o755][dice.below(2)]),
        2 => tree.unlink(file),
        3 if file != other => tree.rename(file, other, RenameMode::Replace),
        4 => {
            let new = format!("{dir}/n{}", dice.below(9));
            if tree.find(&new).is_none() {
                tree.rename(file, &new, RenameMode::Replace);
            }
        }
        5 if file != other => tree.rename(file, other, RenameMode::Exchange),
        6 => tree.chmod(dir, [0o700, 0o755][dice.below(2)]),
        7 if dice.below(4) == 0 => tree.remove_all(dir),
        8 => tree.open(file, OpenMode { write: true, ..OpenMode::default() }),
        _ => {}
    }
}

fn base_by_chance(base: &Path, dice: &mut Dice) {
    let all = paths(base);
    let path = base.join(&all[dice.below(all.len())]);
    let meta = fs::symlink_metadata(&path).unwrap();
    let is_file = meta.is_file() && meta.nlink() == 1;
    let time = 1_700_000_000 + dice.below(1000) as u64;
    match dice.below(6) {
        0 if is_file && meta.len() > 0 => {
            let mut text = fs::read(&path).unwrap();
            text[0] ^= 0x20;
            fs::write(&path, text).unwrap();
            set_time(&path, time);
        }
        1 if is_file => fs::write(&path, "another").unwrap(),
        2 if is_file => set_time(&path, time),
        3 if !meta.is_symlink() => {
            fs::set_permissions(&path, PermissionsExt::from_mode(0o751)).unwrap();
        }
        4 if is_file => fs::remove_file(&path).unwrap(),
        5 if is_file => {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }
        _ => {}
    }
}

/// What is to be told. `None`: that depends on whether the content was read.
fn expected(was: &Was, now: Option<&Was>, deleted: bool) -> Option<BaseState> {
    let Some(now) = now else { return Some(changed(|changes| changes.gone = true)) };
    let kind = |was: &Was| was.mode & libc::S_IFMT;
    let mut changes = BaseChanges {
        kind: kind(was) != kind(now),
        mode: (was.mode ^ now.mode) & 0o7777 != 0,
        owner: was.owners.0 != now.owners.0,
        group: was.owners.1 != now.owners.1,
        ..BaseChanges::default()
    };
    if changes.kind {
        return Some(changed(|changes| changes.kind = true));
    }
    if kind(was) == libc::S_IFDIR && deleted {
        changes.mtime = was.mtime != now.mtime;
        if changes == BaseChanges::default() {
            return Some(BaseState::Unknown);
        }
    }
    if kind(was) != libc::S_IFDIR {
        changes.content = was.content.len() != now.content.len();
        if !changes.content && was.mtime != now.mtime {
            return None;
        }
    }
    Some(match changes == BaseChanges::default() {
        true => BaseState::Same,
        false => BaseState::Changed(changes),
    })
}

#[test]
fn random_changes_of_both_trees() {
    let seeds = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let first = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (mut same, mut other, mut hashed) = (0, 0, 0);
    for seed in first..first + seeds {
        let scene = Scene::new();
        // Their objects are told apart by size and time already.
        for path in ["d/many", "dir/many"] {
            fs::remove_file(scene.base.join(path)).unwrap();
        }
        let mut dice = Dice(seed * 2 + 1);
        let mut origins: BTreeMap<String, Was> = BTreeMap::new();
        let mut vanished: Vec<String> = Vec::new();
        for _ in 0..3 {
            scene.live(|tree| {
                for _ in 0..6 {
                    change_by_chance(tree, &mut dice);
                    for path in paths(&scene.base) {
                        let was = was(&scene.base.join(&path)).unwrap();
                        if is_touched(&scene.storage, &path) {
                            origins.entry(path).or_insert(was);
                        }
                    }
                    // What is in a directory that was deleted, or made anew, is not known.
                    let gone = origins.keys().filter(|path| {
                        let place = scene.storage.join(path);
                        !place.is_dir() && origins[*path].mode & libc::S_IFMT == libc::S_IFDIR
                    });
                    vanished.extend(gone.cloned());
                }
            });
            check(&scene, &origins, &vanished, seed, (&mut same, &mut other, &mut hashed));
            (0..3).for_each(|_| base_by_chance(&scene.base, &mut dice));
            check(&scene, &origins, &vanished, seed, (&mut same, &mut other, &mut hashed));
        }
    }
    assert!(same > 3 * seeds && other > seeds && hashed > seeds / 4, "{same}, {other}, {hashed}");
}

fn check(
    scene: &Scene,
    origins: &BTreeMap<String, Was>,
    vanished: &[String],
    seed: u64,
    (same, other, hashed): (&mut u64, &mut u64, &mut u64),
) {
    for (path, (kind, from, state)) in states(&scene.at_rest()) {
        let below = from.unwrap_or_else(|| path.clone());
        let within = |dir: &String| below.starts_with(&format!("{dir}/"));
        if path.is_empty() || vanished.iter().any(within) {
            continue;
        }
        let what = format!("seed {seed}: {kind:?} {path} of {below}: {state:?}");
        let now = was(&scene.base.join(&below));
        let Some(was) = origins.get(&below) else {
            // There was nothing when it was made.
            assert_eq!((kind, state), (ChangeKind::Added, BaseState::Unknown), "{what}");
            continue;
        };
        let deleted = !scene.storage.join(&path).is_dir();
        match expected(was, now.as_ref(), deleted) {
            Some(expected) => assert_eq!(state, expected, "{what}: {was:?} {now:?}"),
            None => {
                let equal = now.is_some_and(|now| was.content == now.content);
                let BaseState::Changed(changes) = state else {
                    assert!(equal, "{what}");
                    *hashed += 1;
                    continue;
                };
                assert!(!(equal && changes.content), "{what}");
                assert!(equal || changes.content || changes.mtime, "{what}");
            }
        }
        match state {
            BaseState::Same => *same += 1,
            _ => *other += 1,
        }
    }
}
