//! A wrong order is found, in builds that look at it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

type Early = Mutex<(), { Rank::CopyUp as u8 }>;
type Late = Mutex<(), { Rank::Place as u8 }>;

/// Whether the builds with debug assertions find something wrong in it.
fn is_wrong(take: impl FnOnce()) -> bool {
    let found = catch_unwind(AssertUnwindSafe(take)).is_err();
    assert!(is_free(Rank::ALL[0]), "what was held is let go of");
    found
}

#[test]
#[cfg(debug_assertions)]
fn what_could_wait_in_a_circle_is_found() {
    let (early, late, other) = (Early::new(()), Late::new(()), Late::new(()));
    assert!(is_wrong(|| {
        let _late = late.lock();
        drop(early.lock());
    }));
    assert!(is_wrong(|| {
        let _late = late.lock();
        drop(early.lock_slow(Among::Only, || ()));
    }));
    assert!(is_wrong(|| {
        let _one = late.lock();
        drop(other.lock());
    }));
    assert!(is_wrong(|| {
        let _two = late.lock_among(Among::Numbered(2));
        drop(other.lock_among(Among::Numbered(1)));
    }));
    // It waits for nobody, but then something waits that others may have taken before.
    assert!(is_wrong(|| {
        let _late = Held::tried(Rank::Place, Among::Only);
        drop(early.lock());
    }));
    assert!(is_wrong(|| {
        let _late = late.lock();
        drop(early.lock_among(Among::Under(Rank::Mutate, 1)));
    }));
}

#[test]
fn what_is_in_order_may_be_held_together() {
    let (early, late, other) = (Early::new(()), Late::new(()), Late::new(()));
    assert!(!is_wrong(|| {
        let _early = early.lock();
        let _one = late.lock_among(Among::Numbered(1));
        let _two = other.lock_among(Among::Numbered(2));
    }));
    assert!(!is_wrong(|| {
        let _two = late.lock_among(Among::Numbered(2));
        let _one = other.lock_among(Among::Beside(1));
    }));
    assert!(!is_wrong(|| {
        let _late = late.lock();
        let _early = Held::tried(Rank::CopyUp, Among::Only);
    }));
    // In any order let go of.
    assert!(!is_wrong(|| {
        let first = early.lock();
        let _second = late.lock();
        drop(first);
    }));
    let again = ReentrantMutex::<(), { Rank::Attributes as u8 }>::default();
    let after = Mutex::<(), { Rank::Journal as u8 }>::new(());
    assert!(!is_wrong(|| {
        let _once = again.lock_among(Among::Again(1));
        let _after = after.lock();
        let _twice = again.lock_among(Among::Again(1));
    }));
}

#[test]
fn a_release_knows_nothing_of_it() {
    assert_eq!(size_of::<Late>(), size_of::<parking_lot::Mutex<()>>());
    if !cfg!(debug_assertions) {
        assert_eq!(size_of::<Held>(), 0);
    }
}
