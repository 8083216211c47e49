//! What the records of one directory say together.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::{Index, Record};
use super::{any_record, hide, identity, lines, redirect};
use crate::format::time::Timestamp;

fn index(records: &[Record]) -> Index {
    let mut index = Index::default();
    records.iter().for_each(|record| index.apply(record));
    index
}

fn all(index: &Index) -> Vec<Record> {
    let mut found = Vec::new();
    index.each_record(|record| found.push(record.clone()));
    found
}

fn as_set(index: &Index) -> HashSet<Vec<u8>> {
    all(index).into_iter().map(|record| lines(&[record])).collect()
}

proptest! {
    #[test]
    fn its_records_make_the_same_index(records in prop::collection::vec(any_record(), 0..40)) {
        let first = index(&records);
        let records = all(&first);
        prop_assert_eq!(records.len(), first.live());
        prop_assert_eq!(as_set(&index(&records)), as_set(&first));
    }
}

#[test]
fn later_records_win() {
    let [t1, t2, t3] = [1, 2, 3].map(|sec| Timestamp { sec, nsec: 0 });
    let ctime = |shown, real| Record::Ctime { name: b"a"[..].into(), shown, real };
    let owner = |mode| Record::Owner { mode, uid: 1, gid: 2, name: b"."[..].into() };
    let origin = |ino| Record::Origin { fsid: 1, ino, path: b"/b"[..].into() };
    let words = |word: &[u8]| Record::Features { words: vec![word.into()] };
    let index = index(&[
        redirect(b"x", b"a"),
        redirect(b"y", b"a"),
        identity(5, 10, b"a"),
        identity(6, 11, b"a"),
        ctime(t1, t2),
        ctime(t2, t3),
        owner(0o755),
        owner(0o700),
        origin(1),
        origin(2),
        words(b"one"),
        words(b"two"),
    ]);
    assert_eq!(index.redirect(b"a"), Some(&b"y"[..]));
    assert_eq!(index.identity(b"a", 11), Some(6));
    assert_eq!(index.identity(b"a", 10), None, "it was another object's");
    assert_eq!(index.ctime(b"a", t3), Some(t2));
    assert_eq!(index.ctime(b"a", t2), None);
    assert_eq!(index.owner(b"."), Some((0o700, 1, 2)));
    assert_eq!(index.origin(), Some(&origin(2)));
    assert_eq!(index.features().collect::<Vec<_>>(), [b"two"]);
    assert_eq!(index.live(), 6);
}

#[test]
fn kinds_do_not_touch_each_other() {
    let index = index(&[hide(b"a"), redirect(b"x", b"a"), identity(5, 10, b"a")]);
    assert!(index.hides(b"a"));
    assert!(!index.hides(b"x"));
    assert_eq!(index.redirect(b"a"), Some(&b"x"[..]));
    assert_eq!(index.redirects().collect::<Vec<_>>(), [(&b"a"[..], &b"x"[..])]);
    assert!(index.has_identity(b"a"));
    assert_eq!(index.ctime(b"a", Timestamp::default()), None);
    assert_eq!(index.owner(b"a"), None);
    assert!(index.origin().is_none());
}

#[test]
fn identity_0_takes_the_record_away() {
    let index = index(&[identity(5, 10, b"a"), identity(0, 10, b"a"), identity(0, 1, b"b")]);
    assert!(!index.has_identity(b"a"));
    assert_eq!(index.identity(b"a", 10), None);
    assert!(index.is_empty());
}

#[test]
fn a_redirect_that_was_taken_away_is_told_of_until_the_file_is_written_anew() {
    let gone = |name: &[u8]| Record::Unredirect { name: name.into() };
    let mut index = index(&[redirect(b"x", b"a")]);
    index.apply(&gone(b"b"));
    assert!(!index.has_stale() && index.redirect(b"a").is_some());
    index.apply(&gone(b"a"));
    assert!(index.has_stale() && index.is_empty());
    index.rewritten();
    assert!(!index.has_stale());
}

#[test]
fn a_condition_says_nothing_until_it_is_decided() {
    let when = Record::When { arrived: true, storage_ino: 7, record: Box::new(hide(b"a")) };
    let mut index = index(std::slice::from_ref(&when));
    assert!(!index.hides(b"a"));
    assert_eq!(index.pending(), [when]);
    index.apply(&Record::Settled { name: Box::from(&b"b"[..]) });
    assert_eq!(index.pending().len(), 1);
    index.apply(&Record::Settled { name: Box::from(&b"a"[..]) });
    assert!(index.is_empty());
}

#[test]
fn many_dead_lines_are_waste() {
    let mut index = Index::default();
    for round in 1..=4096 {
        index.apply(&identity(round, 1, b"a"));
        assert!(!index.is_wasteful(), "{round}: too few to care");
    }
    index.apply(&identity(1, 1, b"a"));
    assert!(index.is_wasteful());
    index.rewritten();
    assert!(!index.is_wasteful());
    for name in 0..10_000 {
        index.apply(&hide(format!("{name}").as_bytes()));
    }
    assert!(!index.is_wasteful(), "all of them count");
}
