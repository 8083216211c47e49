//! The translation by itself; `tests/mounted/ids.rs` has it in a mount.
#![forbid(unsafe_code)]

use std::ffi::OsStr;

use proptest::prelude::*;

use super::options::{Refused, ranges};
use super::*;
use crate::options::{Opt, parse};

fn ids(list: &str) -> Ids {
    try_ids(list).unwrap()
}

fn try_ids(list: &str) -> Result<Ids, crate::exit::Failure> {
    let mut options = IdOptions::default();
    for item in parse(OsStr::new(list), false)? {
        if let Opt::Ids(opt) = item.opt {
            options.take(opt, item.value.as_deref())?;
        }
    }
    Ok(options.ids())
}

fn error(list: &str) -> String {
    try_ids(list).unwrap_err().message
}

fn caller(uid: u32, gid: u32) -> Caller {
    Caller { uid, gid, umask: 0o22 }
}

fn chown(uid: Option<u32>, gid: Option<u32>) -> SetAttr {
    SetAttr { uid, gid, ..SetAttr::default() }
}

#[test]
fn without_options_nothing_is_translated() {
    let ids = Ids::default();
    assert_eq!(ids.owners(0, u32::MAX - 1), (0, u32::MAX - 1));
    assert_eq!(ids.caller(caller(5, 6)), Ok(caller(5, 6)));
    assert_eq!(ids.set_attr(chown(Some(7), None)), Ok(chown(Some(7), None)));
    assert!(!ids.concern(b"system.posix_acl_access"));
}

#[test]
fn a_map_translates_both_ways() {
    let ids = ids("uidmap=0:100000:1000/5000:7:1,gidmap=0:200000:10");
    assert_eq!(ids.owners(100_999, 200_009), (999, 9));
    assert_eq!(ids.owners(7, 200_010), (5000, NOBODY_AT_ALL));
    assert_eq!(ids.owners(99_999, 9), (NOBODY_AT_ALL, NOBODY_AT_ALL));
    assert_eq!(ids.caller(caller(5000, 3)), Ok(caller(7, 200_003)));
    assert_eq!(ids.caller(caller(1000, 3)), Err(Errno::OVERFLOW));
    assert_eq!(ids.set_attr(chown(Some(1), Some(2))), Ok(chown(Some(100_001), Some(200_002))));
    assert_eq!(ids.set_attr(chown(None, Some(10))), Err(Errno::OVERFLOW));
}

#[test]
fn squashed_objects_have_one_owner() {
    let ids = ids("squash_to_uid=12,gidmap=0:5:1");
    assert_eq!(ids.owners(0, 5), (12, 0));
    assert_eq!(ids.caller(caller(99, 0)), Ok(caller(12, 5)));
    assert_eq!(ids.set_attr(chown(Some(12), Some(0))), Ok(chown(None, Some(5))));
    assert_eq!(ids.set_attr(chown(Some(0), None)), Err(Errno::PERM));
    assert_eq!(super::tests::ids("squash_to_root").owners(8, 9), (0, 0));
}

#[test]
fn mistakes_are_named() {
    assert!(error("uidmap=0:1").contains("option 'uidmap': '0:1' is not INSIDE:OUTSIDE:COUNT"));
    assert!(error("gidmap=0:1:2:3").contains("option 'gidmap'"));
    assert!(error("uidmap=0:1:x").contains("'x' is not a number"));
    assert!(error("uidmap=+0:1:1").contains("'+0' is not a number"));
    assert!(error("uidmap=0:4294967296:1").contains("'4294967296' is not a number"));
    assert!(error("uidmap=0:1:1/").contains("'' is not INSIDE"));
    assert!(error("uidmap=0:1:0").contains("count of 0"));
    assert!(error("uidmap=1:0:4294967294/").contains("'' is not"));
    assert!(error("uidmap=2:0:4294967294").contains("beyond the last id"));
    assert!(
        error("uidmap=0:0:10/9:50:1").contains("'0:0:10' and '9:50:1' overlap in the ids inside")
    );
    assert!(error("uidmap=0:0:10/50:9:1").contains("outside"));
    assert!(error("squash_to_uid=4294967295").contains("not a number from 0 to 4294967294"));
    assert!(error("squash_to_uid=1,squash_to_uid=2").contains("given twice"));
    assert!(error("squash_to_uid=1,uidmap=0:0:1").contains("exclude each other"));
    assert!(error("squash_to_gid=1,squash_to_root").contains("exclude each other"));
    ids("squash_to_uid=0,squash_to_root,squash_to_root");
    ids("uidmap=0:0:4294967295");
}

/// An access ACL: owner, user `user`, group, group `group`, mask, others.
fn acl(user: u32, group: u32) -> Vec<u8> {
    let none = u32::MAX;
    let entries =
        [(1, 6, none), (2, 7, user), (4, 4, none), (8, 5, group), (16, 7, none), (32, 0, none)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(perm));
        list.extend(u32::to_le_bytes(id));
    }
    list
}

#[test]
fn access_control_lists_are_translated() {
    let ids = ids("uidmap=0:1000:10,gidmap=0:2000:10");
    assert!(ids.concern(b"system.posix_acl_access") && ids.concern(b"system.posix_acl_default"));
    assert!(!ids.concern(b"user.acl"));
    assert_eq!(ids.acl_shown(&acl(1003, 2004)), Ok(acl(3, 4)));
    assert_eq!(ids.acl_stored(&acl(3, 4)), Ok(acl(1003, 2004)));
    assert_eq!(ids.acl_stored(&acl(10, 4)), Err(Errno::INVAL));
    // The entry of a user without an id inside is not shown.
    let shown = ids.acl_shown(&acl(3, 2004)).unwrap();
    assert_eq!(shown.len(), acl(3, 4).len() - 8);
    for cut in 0..acl(3, 4).len() {
        let cut = acl(3, 4)[..cut].to_vec();
        assert!((cut.len() % 8 == 4) == ids.acl_stored(&cut).is_ok());
    }
}

/// Ranges as they may be written: without overlap, because each begins after
/// the last ids of those before it.
fn any_map() -> impl Strategy<Value = String> {
    proptest::collection::vec((0u32..1000, 0u32..1000, 1u32..1000), 1..8).prop_map(|steps| {
        let (mut inside, mut outside) = (0, 0);
        let mut pieces = Vec::new();
        for (a, b, count) in steps {
            inside += a;
            outside += b;
            pieces.push(format!("{inside}:{outside}:{count}"));
            inside += count;
            outside += count;
        }
        pieces.reverse();
        pieces.join("/")
    })
}

proptest! {
    #[test]
    fn what_is_stored_is_shown_again(spec in any_map(), id in 0u32..20_000) {
        let side = Side::Map(ranges(&spec).unwrap());
        if let Some(outside) = side.stored(id) {
            prop_assert_eq!(side.shown(outside), Some(id));
        }
        if let Some(inside) = side.shown(id) {
            prop_assert_eq!(side.stored(inside), Some(id));
        }
    }

    #[test]
    fn ranges_that_meet_are_refused(
        a in (0u32..100, 0u32..100, 1u32..50),
        b in (0u32..100, 0u32..100, 1u32..50),
    ) {
        let spec = format!("{}:{}:{}/{}:{}:{}", a.0, a.1, a.2, b.0, b.1, b.2);
        let common = |a: u32, n: u32, b: u32, m: u32| (a..a + n).any(|id| (b..b + m).contains(&id));
        let met = common(a.0, a.2, b.0, b.2) || common(a.1, a.2, b.1, b.2);
        prop_assert_eq!(matches!(ranges(&spec), Err(Refused::Overlap(..))), met);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9:/x-]{0,40}") {
        let _ = ranges(&text);
    }

    #[test]
    fn any_list_is_translated_or_refused(list in proptest::collection::vec(any::<u8>(), 0..64)) {
        let ids = ids("uidmap=0:1000:10,gidmap=0:2000:10");
        let _ = ids.acl_shown(&list);
        let _ = ids.acl_stored(&list);
    }
}
