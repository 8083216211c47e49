//! Discards that fail half-way: META cannot grow any more at one place after the other. The
//! limit is one of the process, so this test is alone in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mini_fo_core::{Caller, NodeId, OpenMode, OpenOptions, Overlay, RenameMode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const META: &str = "META_dAfFgHE39ktF3HD2sr";

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

fn node(overlay: &Overlay, path: &str) -> Option<NodeId> {
    path.split('/').try_fold(NodeId::ROOT, |node, name| {
        overlay.lookup(node, name.as_bytes()).unwrap().map(|entry| entry.node)
    })
}

fn read(overlay: &Overlay, path: &str) -> Option<Vec<u8>> {
    let file = overlay.open(node(overlay, path)?, OpenMode::default()).unwrap();
    let mut buf = [0; 100];
    let got = overlay.read(&file, &mut buf, 0).unwrap();
    Some(buf[..got].to_vec())
}

/// A program makes a file and syncs it.
fn make(overlay: &Overlay, (dir, name): (&str, &[u8])) -> rustix::io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let caller = Caller { uid: uid.as_raw(), gid: gid.as_raw(), umask: 0 };
    let dir = if dir.is_empty() { NodeId::ROOT } else { node(overlay, dir).unwrap() };
    let mode = OpenMode { write: true, ..OpenMode::default() };
    let (_, file) = overlay.create(&caller, dir, name, 0o644, mode)?;
    overlay.write(&file, b"precious", 0, false)?;
    overlay.fsync(&file, false)
}

/// Everything that is changed in the tree: a rename, deletions, a hard link, new files.
fn changed(options: &OpenOptions) -> Overlay {
    fs::create_dir_all(options.base.join("d/e")).unwrap();
    for file in ["d/1", "d/2", "d/e/3", "far"] {
        fs::write(options.base.join(file), format!("base {file}")).unwrap();
    }
    fs::hard_link(options.base.join("far"), options.base.join("d/near")).unwrap();
    let overlay = Overlay::assemble(options).unwrap();
    let d = node(&overlay, "d").unwrap();
    overlay.unlink(d, b"1").unwrap();
    overlay.rename(d, b"2", NodeId::ROOT, b"moved", RenameMode::Replace).unwrap();
    overlay.rename(d, b"e", NodeId::ROOT, b"dir", RenameMode::Replace).unwrap();
    let mode = OpenMode { write: true, ..OpenMode::default() };
    let far = overlay.open(node(&overlay, "far").unwrap(), mode).unwrap();
    overlay.write(&far, b"mine", 0, false).unwrap();
    make(&overlay, ("d", b"new")).unwrap();
    overlay
}

/// A directory that could not go is the same one for who is in it, or has something of it
/// open.
fn what_could_not_go_is_the_same(options: &OpenOptions) {
    let overlay = changed(options);
    make(&overlay, ("dir", b"more")).unwrap();
    let dir = node(&overlay, "dir").unwrap();
    let file = node(&overlay, "dir/more").unwrap();
    let open = overlay.open(file, OpenMode { write: true, ..OpenMode::default() }).unwrap();
    // Room to begin, and for what tells that it is given up, and nothing else.
    let size = fs::metadata(options.storage.join(META)).unwrap().len();
    let mut failed = 0;
    for more in 20..120 {
        limit(Some(size + more));
        let mut told = mini_fo_core::Discarded::default();
        let done = overlay.discard_paths(&[(*b"dir").into()], &[], &mut told);
        limit(None);
        if done.is_ok() || overlay.is_read_only() {
            break;
        }
        failed += 1;
        assert_eq!((node(&overlay, "dir"), node(&overlay, "dir/more")), (Some(dir), Some(file)));
        assert_eq!((&*told.removed, &*told.parted), (&[][..], &[][..]), "{more}");
        overlay.write(&open, b"still", 0, false).unwrap();
        assert_eq!(read(&overlay, "dir/more").unwrap(), b"stillous");
    }
    assert!(failed > 0);
}

#[test]
fn what_is_made_after_a_discard_that_failed_stays() {
    // SIGXFSZ would end the process.
    // SAFETY: nothing handles it, and the test is alone in its process.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let work = tempfile::tempdir().unwrap();
    let root = work.path().canonicalize().unwrap();
    let (base, storage) = (root.join("base"), root.join("storage"));
    fs::create_dir(&storage).unwrap();
    what_could_not_go_is_the_same(&OpenOptions { base, storage, ..OpenOptions::default() });
    let (mut outcomes, mut half_way) = (BTreeSet::new(), 0);
    for more in (0..400).step_by(1) {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().canonicalize().unwrap();
        let (base, storage) = (root.join("base"), root.join("storage"));
        fs::create_dir(&storage).unwrap();
        let options = OpenOptions { base, storage, ..OpenOptions::default() };
        let overlay = changed(&options);
        let size = |dir: &Path| fs::metadata(dir.join(META)).map_or(0, |meta| meta.len());
        limit(Some(size(&options.storage) + more));
        let mut told = mini_fo_core::Discarded::default();
        // Of a rename either end.
        let chosen: &[&[u8]] = if more % 2 == 0 { &[b"d"] } else { &[b"moved", b"dir"] };
        let mut paths: Vec<Box<[u8]>> = chosen.iter().map(|path| (*path).into()).collect();
        let done = overlay.discard_paths(&paths, &[], &mut told);
        limit(None);
        outcomes.insert(done.is_ok());
        let places = [("", &b"moved"[..]), ("d", b"1"), ("d", b"mine"), ("", b"later")];
        let mut made = Vec::new();
        for (dir, name) in places {
            if let Ok(()) = make(&overlay, (dir, name)) {
                made.push((dir, name));
            }
        }
        half_way += usize::from(done.is_err() && made.len() > 2);
        overlay.finish();
        drop(overlay);
        let overlay = Overlay::assemble(&options).unwrap();
        for (dir, name) in made {
            let path = [dir, std::str::from_utf8(name).unwrap()].join("/");
            let shown = read(&overlay, path.trim_start_matches('/'));
            assert_eq!(shown.as_deref(), Some(&b"precious"[..]), "{path}, {more}: {done:?}");
        }
        // Once more, and all is as below.
        paths.append(&mut told.left);
        overlay.discard_paths(&paths, &[], &mut told).unwrap();
        assert_eq!(told.failed, []);
        let below = ["d/2", "d/e/3", "d/1"];
        for path in &below[..below.len() - usize::from(chosen.len() == 2)] {
            let below = format!("base {path}").into_bytes();
            assert_eq!(read(&overlay, path), Some(below), "{path}, {more}: {done:?}");
        }
    }
    assert_eq!(outcomes.len(), 2, "no discard has failed, or all");
    assert!(half_way > 5, "{half_way} failed half-way");
}
