//! What changes were made from waits for a sync, and is neither lost nor believed by it.

use std::fs;

use super::super::tail;
use super::tail::{SESSION, Scene};
use crate::format::meta::Record;
use crate::format::meta::tests::hide;
use crate::format::print::Print;
use crate::format::time::Timestamp;

fn print(name: &[u8], size: u64) -> Record {
    let mtime = Timestamp { sec: 4, nsec: 5 };
    let print = Print { mode: libc::S_IFREG, uid: 1, gid: 2, size, mtime, hash: None, since: None };
    Record::Print { print, name: name.into() }
}

fn restored(name: &[u8]) -> Record {
    Record::Restored { name: name.into() }
}

fn size_of(scene: &Scene, name: &[u8]) -> Option<u64> {
    scene.load().index.print(name).map(|print| print.size)
}

#[test]
fn it_takes_no_room_in_the_attribute_and_comes_with_the_sync() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    journal.append(&[hide(b"a"), print(b"a", 1)]).unwrap();
    journal.append(&[hide(b"b"), print(b"b", 2)]).unwrap();
    let said = tail::read(scene.file(), SESSION).unwrap().unwrap();
    assert_eq!(said.bytes, b"D a\nD b\n");
    assert_eq!(fs::read(scene.meta()).unwrap(), b"D a\nD b\n");
    let (_, point) = journal.begin_sync().unwrap().unwrap();
    journal.synced_to(&point);
    assert!(journal.is_synced());
    assert_eq!((size_of(&scene, b"a"), size_of(&scene, b"b")), (Some(1), Some(2)));
    // Behind what is synced the attribute goes on.
    journal.append(&[hide(b"c"), print(b"c", 3)]).unwrap();
    let said = tail::read(scene.file(), SESSION).unwrap().unwrap();
    assert_eq!(said.bytes, b"D c\n");
    journal.write_waiting();
    assert_eq!(size_of(&scene, b"c"), Some(3));
}

/// META is synced as often as without it.
#[test]
fn many_deletions_fill_the_attribute_with_names_alone() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    let (mut syncs, mut last) = (0, 0);
    for n in 0..1000 {
        let name = format!("name-{n:04}").into_bytes();
        journal.append(&[hide(&name), print(&name, n)]).unwrap();
        let from = tail::read(scene.file(), SESSION).unwrap().unwrap().from;
        syncs += u32::from(from != last);
        last = from;
    }
    assert!((1..=4).contains(&syncs), "{syncs} syncs for 12,000 bytes of names");
    journal.write_waiting();
    let loaded = scene.load();
    assert!(loaded.damage.is_empty() && loaded.torn_at.is_none());
    assert_eq!(loaded.index.live(), 2000);
}

#[test]
fn with_times_alone_it_is_written_at_once() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    let (name, shown) = (Box::from(&b"."[..]), Timestamp { sec: 1, nsec: 2 });
    journal.append(&[print(b"a", 1), Record::Ctime { name, shown, real: shown }]).unwrap();
    assert_eq!(size_of(&scene, b"a"), Some(1));
}

#[test]
fn what_takes_it_back_comes_behind_it() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    journal.append(&[hide(b"a"), print(b"a", 1)]).unwrap();
    let record = Box::new(restored(b"a"));
    journal.append(&[Record::When { arrived: false, storage_ino: 0, record }]).unwrap();
    journal.append(&[restored(b"a"), Record::Settled { name: Box::from(&b"a"[..]) }]).unwrap();
    assert!(scene.load().index.is_empty());
    journal.write_waiting();
    assert!(scene.load().index.is_empty(), "it holds again");
}

#[test]
fn what_failed_takes_its_own_with_it() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    journal.append(&[hide(b"a"), print(b"a", 1)]).unwrap();
    for synced in [false, true] {
        let (size, waiting) = (journal.size(), journal.waiting().to_vec());
        journal.append(&[hide(b"b"), print(b"b", 2)]).unwrap();
        if synced {
            let (_, point) = journal.begin_sync().unwrap().unwrap();
            journal.synced_to(&point);
        }
        journal.wait_again(waiting);
        journal.cut(size).unwrap();
    }
    journal.write_waiting();
    assert_eq!((size_of(&scene, b"a"), size_of(&scene, b"b")), (Some(1), None));
}
