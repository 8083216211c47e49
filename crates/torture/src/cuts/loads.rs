//! Workloads: what the base holds, fixed scenarios, and mixtures by chance.

mod mixed;
mod scenarios;

pub use scenarios::{SCENARIOS, Scenario};

use super::dice::Dice;
use super::model::{History, Tree};
use super::op::Op;

/// Writers of the base count from here, so that what they write is told from
/// what the steps of a workload write.
pub const BASE_STEPS: usize = 100_000;
const KIB: usize = 1 << 10;

/// A workload that is being made up.
pub struct Load {
    /// What it does, and what comes of it.
    pub history: History,
    dice: Dice,
    fresh: u32,
}

/// The steps that make the base, in the order in which to do them.
pub fn base() -> (Vec<Op>, Tree) {
    let mut load = Load { history: History::new(Tree::new()), dice: Dice::new(0), fresh: 0 };
    for dir in ["d", "d/s", "d2", "k", "x", "y", "y/z"] {
        load.mkdir(dir);
    }
    let files = [
        ("f", 6000),
        ("g", 9000),
        ("h", 300),
        ("big", 200 * KIB),
        ("d/a", 5000),
        ("d/b", 700),
        ("d/s/t", 4096),
        ("d2/p", 5000),
        ("d2/q", 12_000),
        ("k/g2", 100),
        ("x/a", 8192),
        ("y/b", 3000),
        ("y/z/c", 2000),
        ("l1", 7000),
        ("m1", 7000),
    ];
    for (path, size) in files {
        load.create(path);
        let step = Op::Append(path.to_owned(), size);
        load.raw(step);
    }
    load.raw(Op::Link("l1".into(), "d/l2".into()));
    load.raw(Op::Link("m1".into(), "k/m2".into()));
    load.raw(Op::Symlink("d/a".into(), "link".into()));
    let mut tree = Tree::new();
    for (op, step) in load.history.ops.iter().zip(BASE_STEPS..) {
        // They made sense a moment ago.
        let _ = tree.apply(op, step);
    }
    tree.freeze();
    (load.history.ops, tree)
}

impl Load {
    /// Begins with `tree`; `dice` decide everything that is left to chance.
    pub fn new(tree: Tree, dice: Dice) -> Self {
        Self { history: History::new(tree), dice, fresh: 100 }
    }

    /// A mode, an owner, a value that nothing else has.
    fn fresh(&mut self) -> u32 {
        self.fresh += 1;
        self.fresh
    }

    fn raw(&mut self, op: Op) -> bool {
        self.history.push(op).is_ok()
    }

    /// A step, and by chance something that happens meanwhile.
    fn does(&mut self, op: Op) -> bool {
        self.raw(op) && self.meanwhile()
    }

    fn meanwhile(&mut self) -> bool {
        match self.dice.below(100) {
            0..25 => self.raw(Op::Commit),
            25..40 => {
                let which = self.dice.roll() % 1000;
                self.raw(Op::Writeback(which))
            }
            40..43 => {
                let millis = 20 + self.dice.roll() % 130;
                self.raw(Op::Pause(millis))
            }
            _ => true,
        }
    }

    fn create(&mut self, path: &str) -> bool {
        let mode = self.fresh();
        self.does(Op::Create(path.into(), mode))
    }

    fn mkdir(&mut self, path: &str) -> bool {
        let mode = self.fresh();
        self.does(Op::Mkdir(path.into(), mode))
    }

    fn chmod(&mut self, path: &str) -> bool {
        let mode = self.fresh();
        self.does(Op::Chmod(path.into(), mode))
    }

    fn fsync(&mut self, path: &str) -> bool {
        self.does(Op::Fsync(path.into()))
    }

    fn discard(&mut self, paths: &[&str], places: &[&str]) -> bool {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        self.does(Op::Discard(owned(paths), owned(places)))
    }

    fn remove_all(&mut self, dir: &str) {
        let tree = self.history.last();
        let below = format!("{dir}/");
        let paths = tree.paths();
        let inside = paths.iter().rev().filter(|(path, _)| path.starts_with(&below));
        let ops: Vec<Op> = inside
            .map(|(path, &id)| match tree.entries(id) {
                Some(_) => Op::Rmdir(path.clone()),
                None => Op::Unlink(path.clone()),
            })
            .collect();
        for op in ops {
            self.does(op);
        }
        self.does(Op::Rmdir(dir.into()));
    }
}
