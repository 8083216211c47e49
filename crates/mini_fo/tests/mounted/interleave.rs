//! Open, read, write, map, copy up, truncate, rename and release in every
//! order, on a mount with passthrough: random sequences with a naive model
//! beside them, and all short ones. No EIO, no stale byte, no written base.
//!
//! `MINI_FO_CASES` sets the number of random cases per kind of mount (default
//! 24), `MINI_FO_LETTERS` the length of the exhaustive sequences (default 4).

mod case;
mod check;
mod data;
mod every;
mod killed;
mod maps;
mod model;
mod ops;
pub mod rings;
mod stage;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::common::{StorageKind, engine_is_product, is_root, skip};
use ops::{Op, Sequence};
use stage::{RICH, Stage};

/// Options of the mounts that everything is tried on, each with everything
/// that the kernel allows and without.
const MOUNTS: &[&str] = &[
    "",
    "nopassthrough",
    "transport=uring",
    "blocks_from=64K",
    "blocks_from=64K,nopassthrough",
    "blocks_from=0",
    "whole_copies",
];

/// Those on which the daemon is killed.
const KILLED: &[&str] = &["", "blocks_from=0"];

/// Directories for cases in one base.
const CASES_PER_BASE: usize = 12;

/// A number from the environment.
pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

fn left_out() -> bool {
    if !is_root() {
        skip("needs root for passthrough, owners and layers in memory");
    }
    !is_root() || !engine_is_product()
}

/// Runs random cases on mounts with these options.
fn random(
    options: &str,
    storage: StorageKind,
    cases: usize,
    strategy: impl Strategy<Value = Sequence>,
) {
    random_with(options, storage, cases, strategy, |stage, sequence| stage.run(sequence));
}

/// As `random`, with `run` to run a case.
fn random_with<S: std::fmt::Debug>(
    options: &str,
    storage: StorageKind,
    cases: usize,
    strategy: impl Strategy<Value = S>,
    run: impl Fn(&mut Stage, &S) -> Result<(), String>,
) {
    let stage: RefCell<Option<Stage>> = RefCell::new(None);
    let once = |sequence: S| {
        let mut held = stage.borrow_mut();
        if held.as_ref().is_some_and(Stage::used_up) {
            *held = None;
        }
        if held.is_none() {
            *held = Stage::new(&RICH, options, storage, CASES_PER_BASE);
        }
        let Some(stage) = held.as_mut() else { return Ok(()) };
        let result = catch_unwind(AssertUnwindSafe(|| run(stage, &sequence)));
        let result = result.unwrap_or_else(|_| Err("a panic".to_owned()));
        result.map_err(|what| {
            // The mount may be in any state: the next case gets a new one.
            let broken = held.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
            TestCaseError::fail(what)
        })
    };
    let config = Config {
        cases: cases as u32,
        failure_persistence: None,
        max_shrink_iters: 600,
        ..Config::default()
    };
    match TestRunner::new(config).run(&strategy, once) {
        Ok(()) => {}
        Err(TestError::Fail(reason, sequence)) => {
            panic!("with -o {options:?}: {reason}\n{sequence:?}")
        }
        Err(error) => panic!("{error}"),
    }
}

fn all() -> impl Strategy<Value = Sequence> {
    ops::sequences(RICH.names.len() as u8, 60)
}

/// Sequences with the daemon killed somewhere in them.
fn with_crashes() -> impl Strategy<Value = Sequence> {
    let places = prop::collection::vec(any::<prop::sample::Index>(), 1..3);
    (all(), places).prop_map(|(mut sequence, places)| {
        for place in places {
            let place = place.index(sequence.ops.len() + 1);
            sequence.ops.insert(place, Op::Crash);
        }
        sequence
    })
}

#[test]
fn every_interleaving_with_passthrough() {
    if !left_out() {
        random(MOUNTS[0], StorageKind::Tmpfs, setting("MINI_FO_CASES", 24), all());
    }
}

#[test]
fn every_interleaving_on_a_disk() {
    if !left_out() {
        random(MOUNTS[0], StorageKind::Plain, setting("MINI_FO_CASES", 24), all());
    }
}

#[test]
fn every_interleaving_through_other_mounts() {
    if !left_out() {
        for options in &MOUNTS[1..] {
            random(options, StorageKind::Tmpfs, setting("MINI_FO_CASES", 24) / 2, all());
        }
    }
}

#[test]
fn every_interleaving_read_only() {
    if !left_out() {
        random("ro", StorageKind::Tmpfs, setting("MINI_FO_CASES", 24) / 2, all());
    }
}

#[test]
fn every_interleaving_and_a_killed_daemon() {
    if !left_out() {
        for options in KILLED {
            let cases = setting("MINI_FO_CASES", 24) / 3;
            random(options, StorageKind::Tmpfs, cases, with_crashes());
        }
    }
}

#[test]
fn a_daemon_killed_in_the_midst_of_a_step() {
    if !left_out() {
        let cases = setting("MINI_FO_CASES", 24) / 3;
        for options in KILLED {
            let moment = (any::<prop::sample::Index>(), 0..3000u64);
            let when = (all(), moment);
            random_with(options, StorageKind::Tmpfs, cases, when, |stage, (sequence, moment)| {
                let from = moment.0.index(sequence.ops.len());
                stage.run_killed(&sequence.ops, from, Duration::from_micros(moment.1))
            });
        }
    }
}
