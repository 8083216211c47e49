use std::collections::BTreeMap;

use super::{Judge, Order, View};
use crate::cuts::model::{History, Kind, Tree};
use crate::cuts::observe::{Seen, SeenKind};
use crate::cuts::op::Op;

/// `f` with 5000 bytes, `d/a` with 100, as if they came from a base.
fn start() -> History {
    let mut tree = Tree::new();
    let ops = [
        Op::Create("f".into(), 1),
        Op::Append("f".into(), 5000),
        Op::Mkdir("d".into(), 2),
        Op::Create("d/a".into(), 3),
        Op::Append("d/a".into(), 100),
    ];
    for (op, step) in ops.iter().zip(1000..) {
        tree.apply(op, step).unwrap();
    }
    History::new(tree)
}

fn after(ops: &[Op]) -> History {
    let mut history = start();
    ops.iter().for_each(|op| history.push(op.clone()).unwrap());
    history
}

/// What a tree shows as it is.
fn view(tree: &Tree) -> View {
    let paths = tree.paths();
    let links = |id| paths.values().filter(|&&other| other == id).count() as u64;
    let seen = |id| {
        let object = &tree.objects[&id];
        let kind = match &object.kind {
            Kind::Dir(_) => SeenKind::Dir,
            Kind::File(data) => SeenKind::File(data.to_vec()),
            Kind::Symlink(target) => SeenKind::Symlink(target.clone()),
        };
        let (mode, owner, xattr) = (object.mode, object.owner, object.xattr);
        Seen { kind, mode, owner, xattr, links: links(id), number: id.into() }
    };
    paths.iter().map(|(path, &id)| (path.clone(), seen(id))).collect::<BTreeMap<_, _>>()
}

fn set_data(view: &mut View, path: &str, data: Vec<u8>) {
    view.get_mut(path).unwrap().kind = SeenKind::File(data);
}

fn data(history: &History, state: usize, path: &str) -> Vec<u8> {
    let tree = &history.states[state];
    tree.data(tree.find(path).unwrap()).unwrap().to_vec()
}

fn is_bad(history: &History, order: Order, view: &View) -> bool {
    let last = history.states.len() - 1;
    !Judge::new(history, last, last).complaints(order, view).is_empty()
}

#[test]
fn every_state_since_the_promise_may_be_seen_and_none_before() {
    let history = after(&[
        Op::Chmod("f".into(), 4),
        Op::Unlink("d/a".into()),
        Op::Fsync("d".into()),
        Op::Rmdir("d".into()),
    ]);
    for order in [Order::Strict, Order::Loose] {
        for (state, tree) in history.states.iter().enumerate() {
            assert_eq!(is_bad(&history, order, &view(tree)), state < 2, "{order:?} {state}");
        }
    }
}

#[test]
fn a_later_change_without_an_earlier_one_is_bad_where_a_journal_keeps_order() {
    let history = after(&[Op::Unlink("f".into()), Op::Chmod("d".into(), 4)]);
    let mut seen = view(&history.states[0]);
    seen.get_mut("d").unwrap().mode = 4;
    assert!(is_bad(&history, Order::Strict, &seen));
    assert!(!is_bad(&history, Order::Loose, &seen));
}

#[test]
fn a_rename_is_whole() {
    let history = after(&[Op::Rename("d/a".into(), "b".into())]);
    let before = view(&history.states[0]);
    let mut both = before.clone();
    both.insert("b".into(), before["d/a"].clone());
    let mut neither = before;
    neither.remove("d/a");
    for order in [Order::Strict, Order::Loose] {
        assert!(is_bad(&history, order, &both), "{order:?}");
        assert!(is_bad(&history, order, &neither), "{order:?}");
    }
}

#[test]
fn a_directory_made_anew_has_nothing_of_the_old_one() {
    let history = after(&[
        Op::Unlink("d/a".into()),
        Op::Rmdir("d".into()),
        Op::Mkdir("d".into(), 4),
        Op::Fsync("d".into()),
    ]);
    let mut seen = view(history.last());
    seen.insert("d/a".into(), view(&history.states[0])["d/a"].clone());
    for order in [Order::Strict, Order::Loose] {
        assert!(is_bad(&history, order, &seen), "{order:?}");
    }
}

#[test]
fn what_the_base_had_is_never_empty_or_zeros() {
    let history = after(&[Op::Chmod("f".into(), 4), Op::Append("f".into(), 1000)]);
    let whole = data(&history, 2, "f");
    for order in [Order::Strict, Order::Loose] {
        let bad = |content: Vec<u8>| {
            let mut seen = view(history.last());
            set_data(&mut seen, "f", content);
            is_bad(&history, order, &seen)
        };
        assert!(!bad(whole.clone()));
        assert!(!bad(whole[..5000].to_vec()), "not yet appended");
        assert!(!bad(whole[..5632].to_vec()), "half appended");
        assert!(!bad([&whole[..5000], &[0; 1000]].concat()), "appended, not written");
        assert!(bad(Vec::new()));
        assert!(bad(vec![0; 5000]));
        assert!(bad([&whole[..4990], &[0; 10]].concat()));
    }
}

#[test]
fn synced_data_stays_and_unsynced_data_may_be_mixed() {
    let history = after(&[
        Op::Write("f".into(), 0, 5000),
        Op::Fsync("f".into()),
        Op::Write("f".into(), 0, 2048),
    ]);
    let (old, synced, new) =
        (data(&history, 0, "f"), data(&history, 2, "f"), data(&history, 3, "f"));
    let bad = |content: Vec<u8>| {
        let mut seen = view(history.last());
        set_data(&mut seen, "f", content);
        is_bad(&history, Order::Strict, &seen)
    };
    assert!(!bad(synced.clone()));
    assert!(!bad(new.clone()));
    assert!(!bad([&new[..512], &synced[512..]].concat()), "torn");
    assert!(bad(old));
    assert!(bad([&synced[..4096], &[0; 904]].concat()));
}

#[test]
fn truncation_is_ordered_like_other_metadata() {
    let history = after(&[
        Op::Truncate("f".into(), 0),
        Op::Append("f".into(), 3000),
        Op::Chmod("f".into(), 4),
    ]);
    let mut seen = view(history.last());
    set_data(&mut seen, "f", Vec::new());
    assert!(!is_bad(&history, Order::Strict, &seen), "cut, and not yet written");
    set_data(&mut seen, "f", data(&history, 0, "f"));
    assert!(is_bad(&history, Order::Strict, &seen), "the new mode with the old data");
}

#[test]
fn hard_links_are_one_object() {
    let history = after(&[Op::Link("f".into(), "d/g".into())]);
    let mut seen = view(history.last());
    assert!(!is_bad(&history, Order::Strict, &seen));
    seen.get_mut("d/g").unwrap().number = 99;
    assert!(is_bad(&history, Order::Strict, &seen));
}

#[test]
fn an_fsync_on_btrfs_does_not_promise_the_end_of_another_link() {
    let history = after(&[
        Op::Link("f".into(), "d/g".into()),
        Op::Sync,
        Op::Unlink("d/g".into()),
        Op::Fsync("f".into()),
    ]);
    let back = view(&history.states[2]);
    assert!(is_bad(&history, Order::Strict, &back));
    assert!(!is_bad(&history, Order::Loose, &back));
    let moved = after(&[Op::Rename("f".into(), "d/g".into()), Op::Fsync("d/g".into())]);
    assert!(is_bad(&moved, Order::Loose, &view(&moved.states[0])), "moved, and synced");
}
