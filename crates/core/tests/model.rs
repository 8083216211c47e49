//! Random operations on the overlay and on a naive model of a file system in
//! memory, with remounts in between: results, attributes, contents, numbers
//! and listings must agree, the base must stay as it is, and what lies in the
//! storage must tell the same tree to a reader that knows nothing but the format.
//!
//! `MINI_FO_MODEL_OPS` sets the number of operations (default 100,000), `MINI_FO_MODEL_SEED`
//! what they are drawn from: a number, or `random` for others each time. The default is
//! fixed, so that a change is judged by what it changes.

#[path = "model/actors.rs"]
mod actors;
#[path = "model/discard.rs"]
mod discard;
#[path = "model/driver.rs"]
mod driver;
#[path = "model/full.rs"]
mod full;
#[path = "model/naive.rs"]
mod naive;
#[path = "model/ops.rs"]
mod ops;
#[path = "model/reader.rs"]
mod reader;
#[path = "model/stacks.rs"]
mod stacks;
#[path = "model/threads.rs"]
mod threads;
#[path = "model/tree.rs"]
mod tree;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use driver::Driver;
use ops::Op;

const OPS_PER_CASE: usize = 250;

/// Runs operations on a base drawn from a seed; the error names the step.
fn run(seed: u64, ops: &[Op]) -> Result<(), String> {
    let work = tempfile::tempdir().unwrap();
    let mut driver = Driver::new(work.path(), seed);
    drive(&mut driver, ops)?;
    driver.finish().map_err(|what| format!("at the end: {what}"))
}

fn drive(driver: &mut Driver, ops: &[Op]) -> Result<(), String> {
    for (step, op) in ops.iter().enumerate() {
        driver.apply(op).map_err(|what| format!("step {step}, {op:?}: {what}"))?;
    }
    Ok(())
}

/// A run of a seed and operations.
type Run = fn(u64, &[Op]) -> Result<(), String>;

/// As `run`; a panic is an error, too.
fn caught(run: Run, seed: u64, ops: &[Op]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, ops))).unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// Leaves out what is not needed for a failure, in ever smaller pieces.
fn smallest(mut ops: Vec<Op>, fails: impl Fn(&[Op]) -> bool) -> Vec<Op> {
    let mut piece = ops.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + piece).min(ops.len()));
            if fails(&fewer) {
                ops = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    ops
}

/// How many operations, if nothing else is asked for.
fn budget(usual: usize) -> usize {
    let asked = std::env::var("MINI_FO_MODEL_OPS").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(usual)
}

/// What all is drawn by.
fn runner() -> TestRunner {
    let seed = match std::env::var("MINI_FO_MODEL_SEED").as_deref() {
        Ok("random") => rand_seed(),
        Ok(number) => number.parse().expect("MINI_FO_MODEL_SEED is a number, or random"),
        Err(_) => 0,
    };
    eprintln!("MINI_FO_MODEL_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&u64::to_le_bytes(seed));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config::default(), rng)
}

fn rand_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Runs drawn operations, `each` of them on a tree.
fn run_all(run: Run, seeds: impl Strategy<Value = u64>, budget: usize, each: usize) {
    run_these(run, (seeds, ops::any_op()), budget, each);
}

fn run_these(
    run: Run,
    (seeds, ops): (impl Strategy<Value = u64>, impl Strategy<Value = Op>),
    budget: usize,
    each: usize,
) {
    let mut runner = runner();
    let strategy = (seeds, prop::collection::vec(ops, each));
    for _ in 0..budget.div_ceil(each) {
        let (seed, ops) = strategy.new_tree(&mut runner).unwrap().current();
        let Err(what) = caught(run, seed, &ops) else { continue };
        let few = smallest(ops, |ops| caught(run, seed, ops).is_err());
        let again = caught(run, seed, &few);
        panic!("{what}\nof these, base {seed}: {again:?}\n{few:?}");
    }
}

#[test]
fn the_overlay_behaves_as_the_model() {
    // The seed 0 is a fixed base tree.
    let seeds = prop_oneof![1 => Just(0), 3 => 1..1000u64];
    run_all(run, seeds, budget(100_000), OPS_PER_CASE);
}

#[test]
fn layers_of_all_dialects_show_what_a_naive_merge_says() {
    run_all(stacks::run, any::<u32>().prop_map(u64::from), budget(20_000), 60);
}

#[test]
fn what_is_discarded_shows_what_is_below() {
    let seeds = prop_oneof![1 => Just(0), 3 => 1..1000u64];
    run_all(discard::run, seeds, budget(20_000), 60);
}

/// A mount whose changes are committed while it goes on.
fn run_with_commits(seed: u64, ops: &[Op]) -> Result<(), String> {
    let work = tempfile::tempdir().unwrap();
    driver::count_mounts_from(seed as u32 % 60);
    // Mounts that end in order: what others leave is not committed.
    let mut driver = Driver::new(work.path(), 2 * seed).with_commits();
    drive(&mut driver, ops)?;
    driver.finish().map_err(|what| format!("at the end: {what}"))
}

#[test]
fn commits_show_nowhere_while_it_is_mounted() {
    let seeds = prop_oneof![1 => Just(0), 3 => 1..1000u64];
    let ops = prop_oneof![19 => ops::any_op(), 1 => Just(Op::Freeze)];
    run_these(run_with_commits, (seeds, ops), budget(4_000), 100);
}

/// Cases that failed once.
mod regressions {
    use super::ops::{Op, Path};
    use super::run;
    use mini_fo_core::RenameMode;

    #[test]
    fn a_partial_file_is_made_after_a_commit() {
        let ops = [Op::Freeze, Op::Chown(Path(vec![3]), None, Some(1)), Op::Verify, Op::Remount];
        super::run_with_commits(544, &ops).unwrap();
    }

    #[test]
    fn a_directory_lies_where_the_one_was_that_it_was_in() {
        let path = |names: &[usize]| Path(names.to_vec());
        let ops = [
            Op::RemoveAll(path(&[3])),
            Op::Rename(path(&[1, 1]), path(&[3]), RenameMode::NoReplace),
            Op::Rename(path(&[3]), path(&[1]), RenameMode::Exchange),
            Op::Freeze,
        ];
        super::run_with_commits(0, &ops).unwrap();
    }

    #[test]
    fn a_name_that_came_with_a_commit_is_one_of_several() {
        let (one, other) = (Path(vec![5]), Path(vec![0, 1]));
        let ops = [
            Op::Rename(one.clone(), other.clone(), RenameMode::NoReplace),
            Op::Freeze,
            Op::Link(other, one.clone()),
            Op::Freeze,
            Op::SetXattr(one, 2, vec![97, 232, 200, 101], 1),
        ];
        super::run_with_commits(601, &ops).unwrap();
    }

    #[test]
    fn what_is_open_is_deleted_by_a_commit() {
        let path = |name| Path(vec![name]);
        let (read, written) = (Op::Hold(path(2), false), Op::Hold(path(5), true));
        super::run_with_commits(592, &[read, Op::RemoveAll(path(2)), written, Op::Freeze]).unwrap();
    }

    #[test]
    fn a_listing_of_the_base_goes_on_after_a_commit() {
        let on = |count, again| Op::ListOn(0, count, again);
        let value = vec![9, 248, 138, 223, 38, 92, 94];
        let set = Op::SetXattr(Path(vec![0, 1]), 2, value, 0);
        let ops = [Op::List(Path(vec![0])), set, Op::Freeze];
        let ops = [&ops[..], &[on(3, true), on(2, false), on(2, true)]].concat();
        super::run_with_commits(527, &ops).unwrap();
    }

    #[test]
    fn a_listing_goes_on_after_a_commit() {
        let on = |count, again| Op::ListOn(0, count, again);
        let made = [Op::List(Path(vec![0, 1])), Op::Mkdir(Path(vec![1, 11]), 0o444), Op::Freeze];
        let ops = [&made[..], &[on(1, true), on(3, false), on(3, false), on(3, false)]].concat();
        super::run_with_commits(0, &ops).unwrap();
    }

    #[test]
    fn an_open_file_loses_one_of_its_names() {
        let path = Path(vec![5]);
        let hold = Op::Hold(path.clone(), true);
        let ops = [hold, Op::Freeze, Op::RemoveAll(path), Op::Freeze, Op::UseHeld(0, 126)];
        super::run_with_commits(2, &ops).unwrap();
    }

    #[test]
    fn a_new_open_file_lies_where_something_was_moved_away() {
        let (old, new) = (Path(vec![0]), Path(vec![2]));
        let ops = [
            Op::Unlink(new.clone()),
            Op::Freeze,
            Op::Rename(old.clone(), new, RenameMode::NoReplace),
            Op::Create(old.clone(), 0o600),
            Op::Hold(old, true),
            Op::Freeze,
        ];
        for base in [0, 2, 6, 12, 13, 20, 22] {
            super::run_with_commits(base, &ops).unwrap();
        }
    }

    #[test]
    fn a_moved_base_directory_moves_back() {
        let (a, b) = (Path(vec![0]), Path(vec![5]));
        let there = Op::Rename(a.clone(), b.clone(), RenameMode::Replace);
        let back = Op::Rename(b, a, RenameMode::Replace);
        run(0, &[there, Op::Remount, back, Op::Verify, Op::Remount, Op::Verify]).unwrap();
    }

    #[test]
    fn what_was_deleted_without_a_copy_comes_back_with_a_rename() {
        let (moved, other) = (Path(vec![4]), Path(vec![3]));
        let ops = [
            Op::RemoveAll(Path(vec![4, 2])),
            Op::Rename(moved, other, RenameMode::Exchange),
            Op::Remount,
        ];
        super::discard::run_on(140, &ops, &mut |_| b"g".to_vec()).unwrap();
    }

    #[test]
    fn a_directory_goes_back_to_a_layer_that_is_not_the_uppermost() {
        let (one, other) = (Path(vec![1, 5]), Path(vec![1, 1]));
        let ops = [Op::Freeze, Op::Rename(one, other, RenameMode::Replace)];
        super::discard::run_on(105, &ops, &mut |_| b"b/b".to_vec()).unwrap();
    }

    #[test]
    fn a_deleted_base_directory_made_again_and_removed_stays_gone() {
        let dir = Path(vec![1]);
        let ops = [Op::RemoveAll(dir.clone()), Op::Mkdir(dir.clone(), 0o755), Op::Rmdir(dir)];
        let mut all = ops.to_vec();
        all.extend([Op::Verify, Op::Remount, Op::Verify]);
        run(0, &all).unwrap();
    }
    #[test]
    fn a_directory_onto_the_one_it_is_in_is_refused() {
        let onto = Op::Rename(Path(vec![0, 1]), Path(vec![0]), RenameMode::Replace);
        run(0, &[onto, Op::Verify]).unwrap();
    }

    #[test]
    fn a_file_that_lost_its_name_gets_another() {
        let path = |n| Path(vec![n]);
        let ops = [
            Op::Rename(path(3), path(4), RenameMode::Replace),
            Op::Hold(path(2), false),
            Op::Rename(path(4), path(2), RenameMode::Replace),
            Op::LinkHeld(0, path(1)),
        ];
        for base in [0, 649] {
            run(base, &ops).unwrap();
        }
    }
}
