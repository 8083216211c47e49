//! The adapter without a kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use mini_fo_core::OpenOptions;

use super::*;

const REQUEST: Request =
    Request { unique: 1, node: 1, uid: u32::MAX, gid: u32::MAX, pid: 0, supplementary_group: None };

struct Layers(tempfile::TempDir);

impl Layers {
    fn new() -> Layers {
        let layers = Layers(tempfile::tempdir().unwrap());
        fs::create_dir(layers.base()).unwrap();
        fs::create_dir(layers.0.path().join("storage")).unwrap();
        layers
    }

    fn base(&self) -> PathBuf {
        self.0.path().join("base")
    }

    fn open(&self, options: OpenOptions) -> Adapter {
        let storage = self.0.path().join("storage");
        let options = OpenOptions { base: self.base(), storage, ..options };
        Adapter::new(Arc::new(Overlay::assemble(&options).unwrap()), Ids::default(), true)
    }
}

/// As a kernel before 6.0 asks, which leaves it to us.
#[test]
fn who_is_not_in_the_group_makes_no_program_of_it() {
    let layers = Layers::new();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for (name, mode) in [("shared", 0o2777), ("plain", 0o777)] {
        let dir = layers.base().join(name);
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::chown(&dir, None, Some(5)).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
    }
    let adapter = layers.open(OpenOptions::default());
    let node = |name| adapter.lookup(&REQUEST, name).unwrap().node;
    let (shared, plain) = (node(b"shared"), node(b"plain"));
    let mut made = 0;
    let mut make = |parent, gid, pid, mode: u32| {
        made += 1;
        let name = format!("new {made}");
        let req = Request { node: parent, uid: 7, gid, pid, ..REQUEST };
        let args = MknodArgs { name: name.as_bytes(), mode, rdev: 0, umask: 0 };
        let known = adapter.mknod(&req, &args).unwrap().attr;
        let args = CreateArgs {
            name: b"",
            mode,
            flags: libc::O_RDWR as u32,
            umask: 0,
            kill_suidgid: false,
        };
        let unnamed = adapter.tmpfile(&req, &args).unwrap().0.attr;
        let name = format!("{name} too");
        let args = CreateArgs { name: name.as_bytes(), ..args };
        let created = adapter.create(&req, &args).unwrap().0.attr;
        let all = [known, unnamed, created].map(|attr| (attr.mode & 0o7777, attr.gid));
        assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
        all[0]
    };
    let program = libc::S_IFREG | 0o2775;
    assert_eq!(make(shared, 7, 0, program), (0o775, 5), "a stranger");
    assert_eq!(make(shared, 5, 0, program), (0o2775, 5), "in the group");
    assert_eq!(make(shared, 7, 0, libc::S_IFREG | 0o2764), (0o2764, 5), "no program");
    assert_eq!(make(plain, 7, 0, program), (0o2775, 7), "of his own group");
    let own = std::process::id();
    let req = Request { pid: own, ..REQUEST };
    if caller::holds(&req, Capability::FsetId) {
        assert_eq!(make(shared, 7, own, program), (0o2775, 5), "root");
    }
    adapter.minor.store(45, Ordering::Relaxed);
    assert_eq!(make(shared, 7, 0, program), (0o2775, 5), "the kernel has judged");
}

/// The kernel's last FORGETs of a node may overtake a lookup of it.
#[test]
fn what_is_cached_of_a_node_is_known_until_its_last_lookup_is_given_back() {
    let layers = Layers::new();
    fs::write(layers.base().join("f"), "x").unwrap();
    let adapter = layers.open(OpenOptions {
        live_base: Some(Duration::from_secs(60)),
        access_times: core::AccessTimes::Never,
        ..OpenOptions::default()
    });
    let look_up = || adapter.lookup(&REQUEST, b"f").unwrap().node;
    let node = look_up();
    assert_eq!(look_up(), node);
    let kept = || {
        let req = Request { node, ..REQUEST };
        let args = OpenArgs { flags: libc::O_RDONLY as u32, kill_suidgid: false };
        let opened = adapter.open(&req, &args).unwrap();
        adapter.files.released(&adapter.overlay, opened.fh);
        opened.flags.contains(OpenFlags::KEEP_CACHE)
    };
    assert!(!kept());
    assert!(kept());
    adapter.forget(node, 1);
    assert!(kept(), "one lookup is left");
    adapter.forget(node, 1);
    assert_eq!(look_up(), node);
    assert!(!kept());
}
