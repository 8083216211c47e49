//! Many threads on one overlay: no panic, no deadlock, no error but those of
//! a race, and what is left is what a remount and the format show.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::time::Duration;

use mini_fo_core::{ListFor, MetaName, NodeId, OpenMode, Overlay, RenameMode, SetAttr};
use rustix::io::Errno;

use super::driver::{caller, mount};
use super::naive::Naive;
use super::tree::Dice;
use super::{reader, tree};

const THREADS: u64 = 4;
const STEPS: u64 = 2000;
const PATIENCE: Duration = Duration::from_secs(120);
const NAMES: &[&[u8]] = &[b"a", b"b", b"f", b"g", b"l", b"n", b"with space", b"c"];

fn any_name(dice: &mut Dice) -> &'static [u8] {
    dice.pick(NAMES)
}

/// The locks that the kernel holds on directories.
static LOCKS: Mutex<BTreeMap<NodeId, Arc<RwLock<()>>>> = Mutex::new(BTreeMap::new());

fn lock_of(dir: NodeId) -> Arc<RwLock<()>> {
    Arc::clone(LOCKS.lock().unwrap().entry(dir).or_default())
}

/// Looks into a directory, as others may meanwhile.
fn looking<T>(dir: NodeId, look: impl FnOnce() -> T) -> T {
    let lock = lock_of(dir);
    let _shared = lock.read();
    look()
}

/// Changes entries of one directory or two, as nobody else may meanwhile.
fn changing<T>(dirs: [NodeId; 2], change: impl FnOnce() -> T) -> T {
    let (first, second) = (lock_of(dirs[0].min(dirs[1])), lock_of(dirs[0].max(dirs[1])));
    let _first = first.write();
    let _second = (dirs[0] != dirs[1]).then(|| second.write());
    change()
}

/// A directory one or two levels down, with the references taken for it.
fn descend(overlay: &Overlay, dice: &mut Dice) -> (NodeId, Vec<NodeId>) {
    let (mut at, mut looked) = (NodeId::ROOT, Vec::new());
    for _ in 0..dice.below(3) {
        let found = looking(at, || overlay.lookup(at, any_name(dice)));
        let Ok(Some(entry)) = found else { break };
        looked.push(entry.node);
        if entry.attr.mode & libc::S_IFMT != libc::S_IFDIR {
            break;
        }
        at = entry.node;
    }
    (at, looked)
}

fn forget(overlay: &Overlay, looked: &[NodeId]) {
    looked.iter().for_each(|node| overlay.forget(*node, 1));
}

/// One operation where all threads work.
fn shared(overlay: &Overlay, dice: &mut Dice) -> Result<(), Errno> {
    let (dir, looked) = descend(overlay, dice);
    let name = any_name(dice);
    let made =
        |made: Result<mini_fo_core::Entry, Errno>| made.map(|entry| overlay.forget(entry.node, 1));
    let write = OpenMode { write: true, ..OpenMode::default() };
    let both = [dir, dir];
    let done = match dice.below(12) {
        0 | 1 => {
            let made = changing(both, || overlay.create(&caller(), dir, name, 0o644, write));
            made.map(|(entry, file)| {
                let _ = overlay.write(&file, name, 0, false);
                overlay.forget(entry.node, 1);
            })
        }
        2 => made(changing(both, || overlay.mkdir(&caller(), dir, name, 0o755))),
        3 => made(changing(both, || overlay.symlink(&caller(), dir, name, b"target"))),
        4 => changing(both, || overlay.unlink(dir, name)),
        5 => changing(both, || overlay.rmdir(dir, name)),
        6 | 7 => {
            let (to, also) = descend(overlay, dice);
            let modes = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
            let mode = modes[dice.below(3) as usize];
            let new = any_name(dice);
            let done = changing([dir, to], || overlay.rename(dir, name, to, new, mode));
            forget(overlay, &also);
            done
        }
        8 => looking(dir, || list(overlay, dir)).map(drop),
        _ => on_object(overlay, dice, dir, name),
    };
    forget(overlay, &looked);
    done
}

fn on_object(overlay: &Overlay, dice: &mut Dice, dir: NodeId, name: &[u8]) -> Result<(), Errno> {
    let found = looking(dir, || overlay.lookup(dir, name))?;
    let Some(entry) = found else { return Ok(()) };
    let kind = entry.attr.mode & libc::S_IFMT;
    let done = match dice.below(3) {
        0 if kind == libc::S_IFREG => {
            let open = OpenMode { write: true, append: true, ..OpenMode::default() };
            overlay
                .open(entry.node, open)
                .and_then(|file| overlay.write(&file, b"more", entry.attr.size, false))
                .map(drop)
        }
        1 if kind != libc::S_IFLNK => {
            let set = SetAttr { mode: Some(0o755), ..SetAttr::default() };
            overlay.setattr(entry.node, &set, None).map(drop)
        }
        _ => {
            let new = any_name(dice);
            let made = changing([dir, dir], || overlay.link(entry.node, dir, new));
            made.map(|new| overlay.forget(new.node, 1))
        }
    };
    overlay.forget(entry.node, 1);
    done
}

/// In a directory of its own, nothing that others do may be felt.
fn alone(overlay: &Overlay, home: NodeId, step: u64) -> Result<(), Errno> {
    let open = OpenMode { write: true, ..OpenMode::default() };
    let text = step.to_string().into_bytes();
    let (entry, file) = overlay.create(&caller(), home, b"x", 0o600, open)?;
    overlay.write(&file, &text, 0, false)?;
    overlay.rename(home, b"x", home, b"y", RenameMode::NoReplace)?;
    overlay.forget(entry.node, 1);
    drop(file);
    let entry = overlay.lookup(home, b"y")?.ok_or(Errno::NOENT)?;
    let file = overlay.open(entry.node, OpenMode::default())?;
    let mut content = vec![0; 100];
    let len = overlay.read(&file, &mut content, 0)?;
    assert_eq!(&content[..len], &text[..]);
    overlay.unlink(home, b"y")?;
    overlay.forget(entry.node, 1);
    assert_eq!(list(overlay, home)?, BTreeMap::new());
    Ok(())
}

fn work(overlay: &Overlay, seed: u64) {
    const RACES: &[Errno] = &[
        Errno::NOENT,
        Errno::EXIST,
        Errno::NOTEMPTY,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::INVAL,
        Errno::PERM,
        Errno::STALE,
    ];
    let mut dice = Dice::new(seed);
    let name = format!("home {seed}").into_bytes();
    let home = overlay.mkdir(&caller(), NodeId::ROOT, &name, 0o700).unwrap();
    for step in 0..STEPS {
        if step % 8 == 0 {
            alone(overlay, home.node, step).unwrap();
        } else if let Err(errno) = shared(overlay, &mut dice) {
            assert!(RACES.contains(&errno), "thread {seed}, step {step}: {errno}");
        }
    }
    overlay.forget(home.node, 1);
}

fn list(overlay: &Overlay, node: NodeId) -> Result<BTreeMap<Vec<u8>, u64>, Errno> {
    let dir = overlay.open_dir(node)?;
    let mut names = BTreeMap::new();
    overlay.read_dir(&dir, 0, ListFor::Entries, &mut |entry| {
        if entry.name != b"." && entry.name != b".." {
            names.insert(entry.name.to_vec(), entry.ino);
        }
        true
    })?;
    Ok(names)
}

/// Type, mode and number of everything, through the overlay.
fn walk(overlay: &Overlay, at: NodeId, path: &[u8], out: &mut BTreeMap<Vec<u8>, (u32, u64)>) {
    for (name, ino) in list(overlay, at).unwrap() {
        let entry = overlay.lookup(at, &name).unwrap().expect("a listed name is found");
        assert_eq!(entry.attr.ino, ino, "{:?}", String::from_utf8_lossy(&name));
        let mut full = [path, &name].concat();
        out.insert(full.clone(), (entry.attr.mode, ino));
        if entry.attr.mode & libc::S_IFMT == libc::S_IFDIR {
            full.push(b'/');
            walk(overlay, entry.node, &full, out);
        }
        overlay.forget(entry.node, 1);
    }
}

fn tree_of(overlay: &Overlay) -> BTreeMap<Vec<u8>, (u32, u64)> {
    let mut out = BTreeMap::new();
    walk(overlay, NodeId::ROOT, b"", &mut out);
    out
}

/// Tells only what differs.
fn same_tree(
    what: &str,
    expected: &BTreeMap<Vec<u8>, (u32, u64)>,
    got: &BTreeMap<Vec<u8>, (u32, u64)>,
) {
    let paths = expected.keys().chain(got.keys());
    let differ: Vec<String> = paths
        .filter(|path| expected.get(*path) != got.get(*path))
        .map(|path| {
            let shown = String::from_utf8_lossy(path);
            format!("{shown}: {:?} expected, got {:?}", expected.get(path), got.get(path))
        })
        .collect();
    assert!(differ.is_empty(), "{what}: {differ:#?}");
}

fn all_at_once() {
    let place = tempfile::tempdir().unwrap();
    let (base, storage) = (place.path().join("base"), place.path().join("storage"));
    tree::make_base(&base, &mut Naive::new(), 0);
    std::fs::create_dir(&storage).unwrap();
    let before = tree::snapshot(&base);
    let overlay = mount(&base, &storage);
    std::thread::scope(|scope| {
        for seed in 0..THREADS {
            let overlay = &overlay;
            scope.spawn(move || work(overlay, seed));
        }
    });
    assert_eq!(overlay.known_nodes(), 1, "every reference was given back");
    let left = tree_of(&overlay);
    drop(overlay);
    same_tree("after a remount", &left, &tree_of(&mount(&base, &storage)));
    assert_eq!(before, tree::snapshot(&base), "the base");
    let read = reader::read(&base, &storage, MetaName::DEFAULT.as_str());
    let read = read.into_iter().map(|(path, object)| (path, (object.mode, object.ino))).collect();
    same_tree("by the format alone", &left, &read);
}

#[test]
fn threads_at_work_leave_a_consistent_tree() {
    let (done, wait) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        all_at_once();
        let _ = done.send(());
    });
    match wait.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("no end after {PATIENCE:?}: a deadlock?"),
        _ => worker.join().unwrap(),
    }
}
