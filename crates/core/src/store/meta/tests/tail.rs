//! The end of META in its attribute: what a power cut takes comes back.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::super::tail;
use super::super::{Firm, Journal, Loaded, Session, load};
use crate::format::meta::Record;
use crate::format::meta::tests::{hide, lines};
use crate::format::name::{META_NAME, MetaName};

pub(super) const SESSION: Session = Session { meta: MetaName::DEFAULT, id: Some(7) };

pub(super) struct Scene {
    dir: TempDir,
    fd: OwnedFd,
}

impl Scene {
    /// `None`: no attributes where temporary files are.
    pub fn new() -> Option<Scene> {
        let dir = TempDir::new().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
        let scene = Scene { dir, fd };
        let file = File::create(scene.dir.path().join("probe")).unwrap();
        if tail::write(file.as_fd(), SESSION, 0, b"").is_err() {
            eprintln!("skipped: no extended attributes in the directory for temporary files");
            return None;
        }
        Some(scene)
    }

    pub fn journal(&self) -> Journal {
        Journal::open(self.fd.as_fd(), self.load().torn_at, Firm::Attribute, SESSION).unwrap()
    }

    pub fn dir(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn load(&self) -> Loaded {
        load(self.fd.as_fd(), SESSION).unwrap()
    }

    pub fn meta(&self) -> std::path::PathBuf {
        self.dir.path().join(META_NAME)
    }

    pub fn file(&self) -> File {
        OpenOptions::new().read(true).write(true).open(self.meta()).unwrap()
    }
}

fn names(count: usize) -> Vec<Record> {
    (0..count).map(|n| hide(format!("name-{n}").as_bytes())).collect()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// What a power cut may do to the end of a file that was not synced.
#[test]
fn what_a_power_cut_took_of_the_end_is_there_again() {
    let Some(scene) = Scene::new() else { return };
    let records = names(20);
    let whole = lines(&records);
    let mut journal = scene.journal();
    records.iter().for_each(|record| journal.append(std::slice::from_ref(record)).unwrap());
    for kept in [0, 1, 30, whole.len() - 1, whole.len()] {
        let zeros: [usize; 3] = [0, 7, whole.len() - kept];
        for zero in zeros.into_iter().filter(|zero| kept + zero <= whole.len()) {
            let mut file = scene.file();
            file.set_len(kept as u64).unwrap();
            file.set_len((kept + zero) as u64).unwrap();
            let loaded = scene.load();
            assert_eq!(loaded.index.live(), 20, "kept {kept}, zeros {zero}");
            assert!(loaded.damage.is_empty() && loaded.torn_at.is_none());
            // A writer completes the file, and goes on behind.
            let mut journal = scene.journal();
            assert_eq!(read(&scene.meta()), whole, "kept {kept}, zeros {zero}");
            let more = hide(b"more");
            journal.append(std::slice::from_ref(&more)).unwrap();
            assert!(scene.load().index.hides(b"more"));
            journal.cut(whole.len() as u64).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.write_all(&whole).unwrap();
            assert!(!scene.load().index.hides(b"more"));
        }
    }
}

#[test]
fn more_than_an_attribute_holds_is_synced_and_the_rest_kept() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    let records = names(1000);
    let mut synced = 0;
    for record in &records {
        journal.append(std::slice::from_ref(record)).unwrap();
        let tail = tail::read(scene.file(), SESSION).unwrap().unwrap();
        assert!(tail.from >= synced && tail.bytes.len() <= tail::LIMIT);
        synced = tail.from;
    }
    assert!(synced > 0, "nothing was synced");
    // The device has what was synced, at least.
    scene.file().set_len(synced).unwrap();
    assert_eq!(scene.load().index.live(), 1000);
}

#[test]
fn what_was_taken_back_does_not_come_back() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    journal.append(&[hide(b"stays")]).unwrap();
    let size = journal.size();
    journal.append(&[hide(b"goes")]).unwrap();
    journal.cut(size).unwrap();
    for kept in [size, 0] {
        scene.file().set_len(kept).unwrap();
        let loaded = scene.load();
        assert!(loaded.index.hides(b"stays") && !loaded.index.hides(b"goes"));
    }
}

#[test]
fn a_file_that_somebody_edited_counts_as_it_is() {
    let Some(scene) = Scene::new() else { return };
    scene.journal().append(&names(3)).unwrap();
    let mut file = scene.file();
    file.set_len(0).unwrap();
    file.write_all(b"D other\n").unwrap();
    let loaded = scene.load();
    assert!(loaded.index.hides(b"other") && loaded.index.live() == 1);
    scene.journal().append(&[hide(b"more")]).unwrap();
    assert_eq!(scene.load().index.live(), 2);
}

/// A mount that ended in order has left nothing to complete: what is there now
/// was put there on purpose.
#[test]
fn an_attribute_of_another_session_does_not_count() {
    let Some(scene) = Scene::new() else { return };
    scene.journal().append(&names(3)).unwrap();
    scene.file().set_len(9).unwrap();
    for session in [Session::default(), Session::new(MetaName::DEFAULT)] {
        assert_eq!(load(scene.fd.as_fd(), session).unwrap().index.live(), 1);
    }
    assert_eq!(scene.load().index.live(), 3);
}

#[test]
fn times_alone_wait_for_the_next_record() {
    let Some(scene) = Scene::new() else { return };
    let time = crate::format::time::Timestamp { sec: 1, nsec: 2 };
    let times = Record::Ctime { name: Box::from(&b"a"[..]), shown: time, real: time };
    let mut journal = scene.journal();
    journal.append(std::slice::from_ref(&times)).unwrap();
    assert!(tail::read(scene.file(), SESSION).unwrap().is_none());
    journal.append(&[hide(b"b")]).unwrap();
    scene.file().set_len(0).unwrap();
    let loaded = scene.load();
    assert!(loaded.index.hides(b"b") && loaded.index.ctime(b"a", time) == Some(time));
}

/// A change is taken back, and another comes, while META is being synced: what the
/// other says was not there when the sync began.
#[test]
fn a_sync_counts_nothing_that_came_after_a_cut() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    journal.append(&[hide(b"first")]).unwrap();
    let size = journal.size();
    journal.append(&[hide(b"taken back, and longer than what follows")]).unwrap();
    let (_, point) = journal.begin_sync().unwrap().unwrap();
    journal.cut(size).unwrap();
    journal.append(&[hide(b"later")]).unwrap();
    journal.synced_to(&point);
    assert!(journal.begin_sync().unwrap().is_some(), "nobody would sync what came later");
    journal.append(&[hide(b"last")]).unwrap();
    // What the device has for certain.
    scene.file().set_len(size).unwrap();
    let loaded = scene.load();
    for name in [&b"first"[..], b"later", b"last"] {
        assert!(loaded.index.hides(name), "{}", String::from_utf8_lossy(name));
    }
}

/// Times wait without the attribute, so there may be more of them than it holds.
#[test]
fn a_cut_behind_many_times_keeps_what_the_attribute_has() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    journal.append(&[hide(b"stays")]).unwrap();
    let time = crate::format::time::Timestamp { sec: 1, nsec: 2 };
    let times = |count: usize| -> Vec<Record> {
        let name = |n| format!("name-{n}").into_bytes().into();
        (0..count).map(|n| Record::Ctime { name: name(n), shown: time, real: time }).collect()
    };
    journal.append(&times(95)).unwrap();
    let (before, size) = (tail::read(scene.file(), SESSION).unwrap().unwrap(), journal.size());
    assert!(size > tail::LIMIT as u64);
    journal.append(&times(1)).unwrap();
    journal.cut(size).unwrap();
    let after = tail::read(scene.file(), SESSION).unwrap().unwrap();
    assert_eq!((after.from, &after.bytes), (before.from, &before.bytes));
    scene.file().set_len(0).unwrap();
    assert!(scene.load().index.hides(b"stays"));
}

/// An earlier version wrote more into the attribute than it should have.
#[test]
fn a_long_attribute_counts() {
    let Some(scene) = Scene::new() else { return };
    drop(scene.journal());
    let records = names(330);
    tail::write(scene.file().as_fd(), SESSION, 0, &lines(&records)).unwrap();
    assert_eq!(scene.load().index.live(), 330);
}
