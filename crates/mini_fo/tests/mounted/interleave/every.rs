//! All short sequences of a few steps on one base file with two descriptors:
//! corners that random ones may miss.

use super::model::Model;
use super::ops::{How, MapKind, Op, Sequence};
use super::stage::{PLAIN, Stage, directory};
use super::{MOUNTS, left_out, setting};
use crate::common::StorageKind;

/// Sequences that share a mount.
const PER_BASE: usize = 4000;

const LETTERS: &[u8] = b"abmnwvtucrxd";

/// What has been done, as far as it says which steps make sense.
#[derive(Clone, Copy, Default)]
struct So {
    open: [bool; 2],
    mapped: [bool; 2],
    moved: bool,
    gone: bool,
}

impl So {
    /// The step that a letter stands for; none where it makes no sense.
    fn take(&mut self, letter: u8) -> Option<Op> {
        let name = u8::from(self.moved);
        let named = !self.gone;
        let toggle = |is: &mut bool| std::mem::replace(is, !*is);
        match letter {
            // Opened for reading, and closed.
            b'a' if self.open[0] => toggle(&mut self.open[0]).then_some(Op::Close { fd: 0 }),
            b'a' if named => {
                (!toggle(&mut self.open[0])).then_some(Op::Open { fd: 0, name, how: How::Read })
            }
            // The same for both.
            b'b' if self.open[1] => toggle(&mut self.open[1]).then_some(Op::Close { fd: 1 }),
            b'b' if named => {
                (!toggle(&mut self.open[1])).then_some(Op::Open { fd: 1, name, how: How::Both })
            }
            b'm' if self.mapped[0] => toggle(&mut self.mapped[0]).then_some(Op::Unmap { map: 0 }),
            b'm' if self.open[0] => {
                self.mapped[0] = true;
                Some(Op::Map { map: 0, fd: 0, page: 0, kind: MapKind::SharedRead })
            }
            b'n' if self.mapped[1] => toggle(&mut self.mapped[1]).then_some(Op::Unmap { map: 1 }),
            b'n' if self.open[1] => {
                self.mapped[1] = true;
                Some(Op::Map { map: 1, fd: 1, page: 0, kind: MapKind::SharedWrite })
            }
            b'w' if self.open[1] => Some(Op::Write { fd: 1, at: 4090, len: 20 }),
            b'v' if self.mapped[1] => Some(Op::MapWrite { map: 1, at: 4080, len: 30 }),
            b't' if named => Some(Op::Truncate { name, size: 4097 }),
            b'u' if named => Some(Op::Truncate { name, size: 12_288 }),
            b'c' if named => Some(Op::Chmod { name, mode: 2 }),
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
}

/// All sequences of this length, in the order of their letters.
fn sequences(length: usize) -> Vec<Vec<Op>> {
    let mut found = Vec::new();
    extend(&mut Vec::new(), So::default(), length, &mut found);
    found
}

fn extend(so_far: &mut Vec<Op>, so: So, length: usize, found: &mut Vec<Vec<Op>>) {
    if so_far.len() == length {
        found.push(so_far.clone());
        return;
    }
    for &letter in LETTERS {
        let mut next = so;
        if let Some(op) = next.take(letter) {
            so_far.push(op);
            extend(so_far, next, length, found);
            so_far.pop();
        }
    }
}

/// Runs sequences, each on files of its own, and remounts once.
fn run(options: &str, sequences: &[Vec<Op>], watched: bool) {
    let Some(mut stage) = Stage::new(&PLAIN, options, StorageKind::Tmpfs, sequences.len()) else {
        return;
    };
    let mut models: Vec<Model> = Vec::new();
    for ops in sequences {
        let mut case = stage.case();
        let mut go = || {
            for op in ops {
                case.apply(op)?;
                if watched {
                    case.check(true)?;
                }
            }
            case.check(true)?;
            case.close_all()?;
            case.check_closed()
        };
        go().unwrap_or_else(|what: String| panic!("with -o {options:?}: {what}\n{ops:?}"));
        models.push(case.model);
    }
    stage.remount().expect("remount");
    for (number, (ops, model)) in sequences.iter().zip(models).enumerate() {
        let mut case =
            super::case::Case::new(stage.scene.at(&directory(number)), PLAIN.names, model);
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
    let length = setting("MINI_FO_LETTERS", 4);
    for options in MOUNTS {
        for (number, some) in sequences(length).chunks(PER_BASE).enumerate() {
            // Comparing fills caches: every second part goes without.
            run(options, some, number % 2 == 0);
        }
    }
    let all = sequences(3);
    run(MOUNTS[0], &all, false);
}

/// Sequences that failed once.
#[allow(dead_code)]
pub fn regression(options: &str, ops: &[Op]) {
    let sequence = Sequence { watched: true, ops: ops.to_vec() };
    if let Some(mut stage) = Stage::new(&super::stage::RICH, options, StorageKind::Tmpfs, 1) {
        stage.run(&sequence).unwrap_or_else(|what| panic!("{what}"));
    }
}
