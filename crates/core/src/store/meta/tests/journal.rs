//! The META file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tempfile::TempDir;

use super::super::{Firm, Journal, Loaded, Session, load, rewrite, sync};
use crate::format::meta::tests::{hide, identity, lines, redirect};
use crate::format::meta::{Index, Record};
use crate::format::name::{META_NAME, MetaName};

fn open_dir(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

struct Scene {
    dir: TempDir,
    fd: OwnedFd,
}

impl Scene {
    fn new() -> Scene {
        let dir = TempDir::new().unwrap();
        let fd = open_dir(dir.path());
        Scene { dir, fd }
    }

    fn holding(content: &[u8]) -> Scene {
        let scene = Scene::new();
        fs::write(scene.meta(), content).unwrap();
        scene
    }

    fn meta(&self) -> PathBuf {
        self.dir.path().join(META_NAME)
    }

    fn load(&self) -> Loaded {
        load(self.fd.as_fd(), Session::default()).unwrap()
    }

    fn append(&self, records: &[Record], torn_at: Option<u64>) -> Result<(), Errno> {
        Journal::open(self.fd.as_fd(), torn_at, Firm::No, Session::default())?.append(records)
    }

    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn damage(loaded: &Loaded) -> Vec<(u64, &'static str)> {
    loaded.damage.iter().map(|damage| (damage.line, damage.reason)).collect()
}

#[test]
fn no_file_and_an_empty_one_mean_no_records() {
    for scene in [Scene::new(), Scene::holding(b""), Scene::holding(b"\n\n")] {
        let loaded = scene.load();
        assert!(loaded.index.is_empty() && loaded.damage.is_empty() && loaded.torn_at.is_none());
    }
}

#[test]
fn a_million_whiteouts_are_read_in_reasonable_time() {
    let mut content = Vec::new();
    for number in 0..1_000_000 {
        content.extend_from_slice(format!("D name-{number}\n").as_bytes());
    }
    let scene = Scene::holding(&content);
    let start = Instant::now();
    let loaded = scene.load();
    // Far above what it takes: only a mistake that is quadratic fails.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(loaded.index.live(), 1_000_000);
    assert!(loaded.index.hides(b"name-999999"));
    assert!(loaded.damage.is_empty());
}

#[test]
fn what_is_not_a_regular_file_is_damage() {
    let make: [fn(&Path); 5] = [
        |meta| fs::create_dir(meta).unwrap(),
        |meta| symlink("elsewhere", meta).unwrap(),
        |meta| symlink("/dev/zero", meta).unwrap(),
        |meta| assert!(Command::new("mkfifo").arg(meta).status().unwrap().success()),
        |meta| drop(std::os::unix::net::UnixListener::bind(meta).unwrap()),
    ];
    for make in make {
        let scene = Scene::new();
        make(&scene.meta());
        let loaded = scene.load();
        assert_eq!(damage(&loaded), [(0, "it is not a regular file")]);
        assert!(loaded.index.is_empty());
        assert!(scene.append(&[hide(b"a")], None).is_err(), "records would be lost");
    }
}

#[test]
fn damaged_lines_are_skipped_and_numbered() {
    let loaded = Scene::holding(b"D a\nD \n\ne y\nrubbish\nD b\n").load();
    let start = "it does not begin with a letter and a space";
    assert_eq!(damage(&loaded), [(2, "the name is missing"), (5, start)]);
    assert_eq!(loaded.damage.first().unwrap().to_string(), "line 2: the name is missing");
    assert!(loaded.index.hides(b"a") && loaded.index.hides(b"b"));
    assert_eq!(loaded.index.live(), 2);
}

#[test]
fn half_a_line_at_the_end_is_dropped_by_the_next_append() {
    for torn in [&b"D torn"[..], b"\0\0\0\0\0", b"D\0\0"] {
        let scene = Scene::holding(&[&b"D a\n"[..], torn].concat());
        let loaded = scene.load();
        assert_eq!(damage(&loaded), []);
        assert_eq!(loaded.torn_at, Some(4));
        assert!(loaded.index.hides(b"a") && loaded.index.live() == 1);
        scene.append(&[hide(b"b"), redirect(b"x", b"y")], loaded.torn_at).unwrap();
        assert_eq!(fs::read(scene.meta()).unwrap(), b"D a\nD b\nR /x y\n");
        assert_eq!(scene.load().torn_at, None);
    }
}

#[test]
fn space_that_was_never_written_is_no_damage() {
    let loaded = Scene::holding(b"D a\n\0\0\0\0\0\nD b\n").load();
    assert_eq!(damage(&loaded), []);
    assert!(loaded.index.hides(b"a") && loaded.index.hides(b"b"));
}

#[test]
fn a_line_beyond_any_record_is_damage_and_the_next_is_read() {
    let mut content = b"D a\nD ".to_vec();
    content.resize(40 << 20, b'n');
    content.extend_from_slice(b"\nD b\n");
    let loaded = Scene::holding(&content).load();
    assert_eq!(damage(&loaded), [(2, "it is longer than any record")]);
    assert!(loaded.index.hides(b"a") && loaded.index.hides(b"b"));
}

/// Deep directories have paths far beyond `PATH_MAX`.
#[test]
fn a_long_redirect_is_read_again_or_refused() {
    let scene = Scene::new();
    let path = [[b' '; 255].as_slice()].repeat(3000).join(&b'/');
    scene.append(&[redirect(&path, b"far")], None).unwrap();
    let loaded = scene.load();
    assert_eq!(damage(&loaded), []);
    assert_eq!(loaded.index.redirect(b"far"), Some(&*path));
    let too_long = [[b' '; 255].as_slice()].repeat(30_000).join(&b'/');
    let before = fs::read(scene.meta()).unwrap();
    let refused = scene.append(&[hide(b"a"), redirect(&too_long, b"farther")], None);
    assert_eq!(refused, Err(Errno::NAMETOOLONG));
    assert_eq!(fs::read(scene.meta()).unwrap(), before);
}

#[test]
fn meta_is_private_under_any_umask() {
    // The umask belongs to the process: a shell has its own.
    if let Ok(path) = std::env::var("MINI_FO_TEST_UMASK_DIR") {
        let fd = open_dir(Path::new(&path));
        drop(Journal::open(fd.as_fd(), None, Firm::No, Session::default()).unwrap());
        return;
    }
    for umask in ["0", "022", "0777"] {
        let scene = Scene::new();
        let shell = Command::new("sh")
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" --exact \"$1\""))
            .arg(std::env::current_exe().unwrap())
            .arg("store::meta::tests::journal::meta_is_private_under_any_umask")
            .env("MINI_FO_TEST_UMASK_DIR", scene.dir.path())
            .output()
            .unwrap();
        assert!(shell.status.success(), "{shell:?}");
        let mode = || fs::metadata(scene.meta()).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o600, "umask {umask}");
        fs::set_permissions(scene.meta(), fs::Permissions::from_mode(0o644)).unwrap();
        rewrite(scene.fd.as_fd(), &Index::default(), Session::default()).unwrap();
        assert_eq!(mode(), 0o600);
    }
}

#[test]
fn a_rewrite_is_complete_and_leaves_nothing_behind() {
    let scene = Scene::holding(b"D a\nrubbish\nD torn");
    let records = [hide(b"n\nl"), hide(b"a"), redirect(b"o p", b"x"), identity(3, 4, b"f")];
    let mut index = Index::default();
    records.iter().for_each(|record| index.apply(record));
    index.apply(&identity(0, 0, b"dead"));
    rewrite(scene.fd.as_fd(), &index, Session::default()).unwrap();
    assert_eq!(scene.entries(), [META_NAME]);
    let content = fs::read(scene.meta()).unwrap();
    let mut found: Vec<_> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let expected = lines(&records);
    let mut expected: Vec<_> = expected.split_inclusive(|byte| *byte == b'\n').collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(scene.load().damage.is_empty());
    sync(scene.fd.as_fd(), MetaName::DEFAULT).unwrap();
}

#[test]
fn a_rewrite_replaces_whole_files_under_the_eyes_of_a_reader() {
    let scene = Scene::new();
    let mut index = Index::default();
    (0..2000).for_each(|n| index.apply(&hide(format!("{n}").as_bytes())));
    rewrite(scene.fd.as_fd(), &index, Session::default()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (0..50).for_each(|_| rewrite(scene.fd.as_fd(), &index, Session::default()).unwrap());
        });
        while !writer.is_finished() {
            let loaded = scene.load();
            assert_eq!((loaded.index.live(), loaded.damage.len()), (2000, 0));
        }
    });
}

#[test]
fn a_rewrite_that_fails_leaves_meta_as_before() {
    let scene = Scene::new();
    fs::create_dir(scene.meta()).unwrap();
    let index = Index::default();
    assert_eq!(rewrite(scene.fd.as_fd(), &index, Session::default()), Err(Errno::ISDIR));
    assert_eq!(scene.entries(), [META_NAME]);
}

#[test]
fn nothing_to_sync_is_fine() {
    sync(Scene::new().fd.as_fd(), MetaName::DEFAULT).unwrap();
}

/// A file system of 64 KiB, or `None` without the right to mount one.
struct Small(TempDir);

impl Small {
    fn new() -> Option<Small> {
        let dir = TempDir::new().unwrap();
        let args = ["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"];
        let mounted = Command::new("mount").args(args).arg(dir.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Small(dir));
        }
        eprintln!("skipped: cannot mount a tmpfs");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_device_leaves_meta_as_before() {
    let Some(small) = Small::new() else {
        return;
    };
    let fd = open_dir(small.0.path());
    let path = small.0.path().join(META_NAME);
    let mut meta = Journal::open(fd.as_fd(), None, Firm::No, Session::default()).unwrap();
    let batch: Vec<Record> = (0..100).map(|n| hide(format!("name-{n:05}").as_bytes())).collect();
    let mut appended = 0;
    let errno = loop {
        let before = fs::read(&path).unwrap();
        match meta.append(&batch) {
            Ok(()) => appended += 1,
            Err(errno) => {
                assert_eq!(fs::read(&path).unwrap(), before, "half a batch was left");
                break errno;
            }
        }
        assert!(appended < 1000);
    };
    assert_eq!(errno, Errno::NOSPC);
    assert!(appended > 10);
    let mut loaded = load(fd.as_fd(), Session::default()).unwrap();
    assert_eq!((loaded.index.live(), loaded.damage.len()), (100, 0));
    // There is no room for a second copy: the first one stays.
    let before = fs::read(&path).unwrap();
    (0..6000).for_each(|n| loaded.index.apply(&hide(format!("more-{n}").as_bytes())));
    assert_eq!(rewrite(fd.as_fd(), &loaded.index, Session::default()), Err(Errno::NOSPC));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(small.0.path()).unwrap().count(), 1);
}
