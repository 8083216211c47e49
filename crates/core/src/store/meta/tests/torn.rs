//! A power cut leaves some sectors of the end of META and not others, earlier ones
//! missing, too.

use std::os::unix::fs::FileExt;

use super::super::tail;
use super::tail::{SESSION, Scene};
use crate::format::meta::Record;
use crate::format::meta::tests::{hide, lines};
use crate::format::time::Timestamp;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

fn times(from: usize, count: usize) -> Vec<Record> {
    let time = Timestamp { sec: 1, nsec: 2 };
    let name = |n| format!("time-{n}").into_bytes().into();
    (from..from + count).map(|n| Record::Ctime { name: name(n), shown: time, real: time }).collect()
}

fn names(from: usize, count: usize) -> Vec<Record> {
    (from..from + count).map(|n| hide(format!("name-{n}").as_bytes())).collect()
}

/// The file with only those sectors behind `from` whose bit is set.
fn tear(scene: &Scene, whole: &[u8], from: usize, sectors: u32) {
    let mut torn = whole.to_vec();
    for (at, byte) in torn.iter_mut().enumerate().skip(from) {
        if sectors & (1 << (at / SECTOR)) == 0 {
            *byte = 0;
        }
    }
    scene.file().write_all_at(&torn, 0).unwrap();
}

#[test]
fn the_attribute_fills_what_is_missing_between_sectors() {
    let Some(scene) = Scene::new() else { return };
    let records = names(0, 150);
    let mut journal = scene.journal();
    records.iter().for_each(|record| journal.append(std::slice::from_ref(record)).unwrap());
    let whole = lines(&records);
    assert!(whole.len() > 3 * SECTOR && whole.len() <= 4 * SECTOR);
    for sectors in 0..16 {
        tear(&scene, &whole, 0, sectors);
        let loaded = scene.load();
        assert_eq!(loaded.index.live(), 150, "sectors {sectors:b}");
        assert!(loaded.damage.is_empty() && loaded.torn_at.is_none(), "sectors {sectors:b}");
        drop(scene.journal());
        assert_eq!(std::fs::read(scene.meta()).unwrap(), whole, "sectors {sectors:b}");
    }
}

/// Behind the attribute are times alone, and what nobody was told.
#[test]
fn behind_the_attribute_a_hole_is_the_end() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    let facts = names(0, 10);
    journal.append(&facts).unwrap();
    journal.append(&times(0, 40)).unwrap();
    let end = lines(&facts).len();
    // A record that was not told to be done, its attribute not on the device.
    let whole = [lines(&facts), lines(&times(0, 40)), lines(&names(10, 1))].concat();
    for sectors in 0..16 {
        tear(&scene, &whole, end, sectors);
        let loaded = scene.load();
        assert!(loaded.damage.is_empty(), "sectors {sectors:b}: {:?}", loaded.damage);
        assert!((0..10).all(|n| loaded.index.hides(format!("name-{n}").as_bytes())));
        assert!(loaded.torn_at.is_none_or(|at| at >= end as u64));
        let mut journal = scene.journal();
        journal.append(&[hide(b"more")]).unwrap();
        let loaded = scene.load();
        assert!(
            loaded.damage.is_empty() && loaded.torn_at.is_none() && loaded.index.hides(b"more")
        );
        journal.cut(loaded_before(&scene, b"more")).unwrap();
        scene.file().set_len(end as u64).unwrap();
    }
}

/// How long META is without the last record.
fn loaded_before(scene: &Scene, name: &[u8]) -> u64 {
    let size = scene.file().metadata().unwrap().len();
    size - lines(&[hide(name)]).len() as u64
}

#[test]
fn without_an_attribute_only_times_may_be_missing() {
    let Some(scene) = Scene::new() else { return };
    drop(scene.journal());
    let facts = names(0, 10);
    let end = lines(&facts).len();
    let whole = [lines(&facts), lines(&times(0, 40))].concat();
    tear(&scene, &whole, end, 0b1100);
    let loaded = scene.load();
    assert!(loaded.damage.is_empty(), "{:?}", loaded.damage);
    assert_eq!(loaded.torn_at, Some(end as u64));
    // In a storage that came to its end in order nothing is missing.
    let ended = super::super::load(scene.dir(), super::super::Session::default()).unwrap();
    assert_eq!(ended.damages, 1);
    // Facts behind the hole: facts may be in it.
    let whole = [whole, lines(&names(10, 1))].concat();
    tear(&scene, &whole, end, 0b11100);
    assert!(scene.load().damages > 0);
}

/// What did not fit into the attribute is synced, and no hole can be in it: damage
/// there is told.
#[test]
fn damage_in_what_was_synced_is_no_hole() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    journal.append(&names(0, 1)).unwrap();
    journal.append(&names(1, 500)).unwrap();
    let said = tail::read(scene.file(), SESSION).unwrap().unwrap();
    let size = scene.file().metadata().unwrap().len();
    assert_eq!((said.end(), said.bytes.len()), (size, 0));
    scene.file().write_all_at(&[0; 20], 600).unwrap();
    let loaded = scene.load();
    assert!(loaded.damages > 0 && loaded.torn_at.is_none());
}

/// Sectors of what was taken back must not mix with those of what comes next.
#[test]
fn what_was_taken_back_is_gone_from_the_device_before_more_comes() {
    let Some(scene) = Scene::new() else { return };
    let mut journal = scene.journal();
    journal.append(&[hide(b"stays")]).unwrap();
    let size = journal.size();
    journal.append(&[hide(b"goes")]).unwrap();
    assert!(!journal.is_synced());
    journal.cut(size).unwrap();
    assert!(journal.is_synced());
}
