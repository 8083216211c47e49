//! All short sequences of a few steps on one base file with two descriptors:
//! corners that random ones may miss.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::case::{Case, Step};
use super::model::Model;
use super::ops::{How, MapKind, Op};
use super::stage::{PLAIN, Stage, directory};
use super::{MOUNTS, left_out, setting};
use crate::common::StorageKind;

/// Sequences that share a mount.
const PER_BASE: usize = 4000;

/// Steps, each a letter; the last ones are for the random sequences only.
const LETTERS: &[u8] = b"abmnwvtucrxdsyop";
const FEW: usize = 12;

/// What goes before the exhaustive steps, and how many these are less than
/// the most: nothing; pages cached in the base, copied up, a mapping left
/// behind, a setuid file that passthrough and cached opens take turns on.
const BEGINNINGS: &[(&str, usize)] =
    &[("", 0), ("aab", 1), ("bnvb", 1), ("bnvbs", 1), ("sbbab", 1), ("bbyx", 1)];

/// What has been done, as far as it says which steps make sense.
#[derive(Clone, Copy, Default)]
struct So {
    open: [bool; 3],
    mapped: [bool; 3],
    moved: bool,
    gone: bool,
    setuid: bool,
}

impl So {
    /// The step that a letter stands for; none where it makes no sense.
    fn take(&mut self, letter: u8) -> Option<Op> {
        let name = u8::from(self.moved);
        let named = !self.gone;
        match letter {
            b'a' => self.toggle_open(0, Op::Open { fd: 0, name, how: How::Read }, named),
            b'b' => self.toggle_open(1, Op::Open { fd: 1, name, how: How::Both }, named),
            b'o' => self.toggle_open(2, Op::Open { fd: 2, name, how: How::BothTruncate }, named),
            b'y' if self.open[0] => {
                self.toggle_open(2, Op::Reopen { fd: 2, from: 0, how: How::Both }, true)
            }
            b'y' => {
                self.toggle_open(2, Op::Reopen { fd: 2, from: 1, how: How::Read }, self.open[1])
            }
            b'm' => self.toggle_map(0, 0, MapKind::SharedRead),
            b'n' => self.toggle_map(1, 1, MapKind::SharedWrite),
            b'p' => self.toggle_map(2, 1, MapKind::Private),
            b'w' if self.open[1] => Some(Op::Write { fd: 1, at: 4090, len: 20 }),
            b'v' if self.mapped[1] => Some(Op::MapWrite { map: 1, at: 4080, len: 30 }),
            b't' if named => Some(Op::Truncate { name, size: 4097 }),
            b'u' if named => Some(Op::Truncate { name, size: 12_288 }),
            b'c' if named => Some(Op::Chown { name, owner: 1 }),
            b's' if named => {
                self.setuid = !self.setuid;
                Some(Op::Chmod { name, mode: if self.setuid { 3 } else { 2 } })
            }
            b'r' if named => {
                self.moved = !self.moved;
                Some(Op::Rename { from: name, to: 1 - name })
            }
            b'x' if named => {
                self.gone = true;
                Some(Op::Unlink { name })
            }
            b'd' if self.open[0] => Some(Op::Uncache { fd: 0 }),
            _ => None,
        }
    }

    fn toggle_open(&mut self, fd: u8, open: Op, can: bool) -> Option<Op> {
        let is = &mut self.open[fd as usize];
        if *is {
            *is = false;
            return Some(Op::Close { fd });
        }
        *is = can;
        can.then_some(open)
    }

    fn toggle_map(&mut self, map: u8, fd: u8, kind: MapKind) -> Option<Op> {
        let is = &mut self.mapped[map as usize];
        if *is {
            *is = false;
            return Some(Op::Unmap { map });
        }
        *is = self.open[fd as usize];
        is.then_some(Op::Map { map, fd, page: 0, kind })
    }

    /// The steps of a text, without those that make no sense.
    fn spell(&mut self, text: &[u8]) -> Vec<Op> {
        text.iter().filter_map(|&letter| self.take(letter)).collect()
    }
}

/// All sequences with up to this many steps after a beginning.
fn sequences(length: usize) -> Vec<Vec<Op>> {
    let mut found = Vec::new();
    for (beginning, less) in BEGINNINGS {
        let mut so = So::default();
        let mut ops = so.spell(beginning.as_bytes());
        let length = ops.len() + length - less;
        extend(&mut ops, so, length, &mut found);
    }
    found
}

fn extend(so_far: &mut Vec<Op>, so: So, length: usize, found: &mut Vec<Vec<Op>>) {
    if so_far.len() == length {
        found.push(so_far.clone());
        return;
    }
    for &letter in &LETTERS[..FEW] {
        let mut next = so;
        if let Some(op) = next.take(letter) {
            so_far.push(op);
            extend(so_far, next, length, found);
            so_far.pop();
        }
    }
}

/// Takes the steps of a case, without a remount.
fn go(case: &mut Case<'_>, ops: &[Op], watched: bool) -> Step {
    for (step, op) in ops.iter().enumerate() {
        let mut take = || {
            case.apply(op)?;
            if watched { case.check(true) } else { Ok(()) }
        };
        take().map_err(|what| format!("step {step}, {op:?}: {what}"))?;
    }
    case.check(true)?;
    case.close_all()?;
    case.check_closed()
}

/// Runs sequences, each on files of its own, and remounts once.
fn run(options: &str, sequences: &[Vec<Op>], watched: bool) {
    let Some(mut stage) = Stage::new(&PLAIN, options, StorageKind::Tmpfs, sequences.len()) else {
        return;
    };
    let mut models: Vec<Model> = Vec::new();
    for ops in sequences {
        let mut case = stage.case();
        go(&mut case, ops, watched)
            .unwrap_or_else(|what| panic!("with -o {options:?}: {what}\n{ops:?}"));
        models.push(case.model);
    }
    stage.remount().expect("remount");
    for (number, (ops, model)) in sequences.iter().zip(models).enumerate() {
        let mut case = Case::new(stage.scene.at(&directory(number)), PLAIN.names, model);
        case.check_closed()
            .and_then(|()| stage.check_base(&directory(number)))
            .unwrap_or_else(|what| panic!("with -o {options:?}, at last: {what}\n{ops:?}"));
    }
}

#[test]
fn all_short_sequences() {
    if left_out() {
        return;
    }
    let length = setting("MINI_FO_LETTERS", 3);
    for options in &MOUNTS[..2] {
        for some in sequences(length).chunks(PER_BASE) {
            run(options, some, true);
        }
    }
    // Comparing fills caches: once without.
    for some in sequences(3).chunks(PER_BASE) {
        run(MOUNTS[0], some, false);
    }
}

/// Longer ones by chance: many steps on one file reach what many files do not.
#[test]
fn longer_sequences_on_one_file() {
    if left_out() {
        return;
    }
    let stage = RefCell::new(None::<Stage>);
    let once = |(text, watched): (Vec<u8>, bool)| {
        let mut held = stage.borrow_mut();
        if held.as_ref().is_none_or(Stage::used_up) {
            *held = None;
            *held = Stage::new(&PLAIN, MOUNTS[0], StorageKind::Tmpfs, PER_BASE);
        }
        let Some(stage) = held.as_mut() else { return Ok(()) };
        let ops = So::default().spell(&text);
        let mut case = stage.case();
        go(&mut case, &ops, watched)
            .map_err(|what| TestCaseError::fail(format!("watched: {watched}: {what}\n{ops:?}")))
    };
    let config = Config {
        cases: 50 * setting("MINI_FO_CASES", 24) as u32,
        failure_persistence: None,
        ..Config::default()
    };
    let letters = prop::collection::vec(prop::sample::select(LETTERS.to_vec()), 10..50);
    TestRunner::new(config)
        .run(&(letters, any::<bool>()), once)
        .unwrap_or_else(|failed| panic!("{failed}"));
}
