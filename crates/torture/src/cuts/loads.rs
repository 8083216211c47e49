//! Workloads: what the base holds, fixed scenarios, and mixtures by chance.

use super::dice::Dice;
use super::model::{History, Id, Kind, Op, Tree};

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

/// A fixed scenario.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Its steps.
    pub steps: fn(&mut Load),
    /// Options that mini_fo gets.
    pub options: &'static str,
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
    (load.history.ops, tree)
}

/// All fixed scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "deleted-then-rmdir", steps: deleted_then_rmdir, options: "" },
    Scenario { name: "rewritten-then-deleted", steps: rewritten_then_deleted, options: "" },
    Scenario { name: "deleted-then-dir-moved", steps: deleted_then_dir_moved, options: "" },
    Scenario { name: "dir-made-anew", steps: dir_made_anew, options: "" },
    Scenario { name: "moved-into-dir", steps: moved_into_dir, options: "" },
    Scenario { name: "copied-up-without-fsync", steps: copied_up_without_fsync, options: "" },
    Scenario { name: "replaced", steps: replaced, options: "" },
    Scenario { name: "hard-links", steps: hard_links, options: "" },
    Scenario { name: "dirs-exchanged", steps: dirs_exchanged, options: "" },
    Scenario { name: "dir-moved", steps: dir_moved, options: "" },
    Scenario { name: "partial", steps: partial, options: "blocks_from=64K" },
];

fn deleted_then_rmdir(load: &mut Load) {
    for path in ["x/a", "y/z/c"] {
        load.raw(Op::Unlink(path.into()));
        load.fsync(path.rsplit_once('/').map_or("", |(dir, _)| dir));
    }
    load.does(Op::Rmdir("x".into()));
    load.does(Op::Rmdir("y/z".into()));
    load.does(Op::Unlink("y/b".into()));
    load.does(Op::Rmdir("y".into()));
}

fn rewritten_then_deleted(load: &mut Load) {
    for path in ["f", "d/a"] {
        load.does(Op::Truncate(path.into(), 0));
        load.does(Op::Append(path.into(), 4000));
        load.fsync(path);
        load.does(Op::Unlink(path.into()));
    }
    load.chmod("g");
    load.does(Op::Unlink("g".into()));
}

fn deleted_then_dir_moved(load: &mut Load) {
    load.does(Op::Unlink("d2/p".into()));
    load.fsync("d2");
    load.does(Op::Rename("d2".into(), "e2".into()));
    load.does(Op::Unlink("d/s/t".into()));
    load.fsync("d/s");
    load.does(Op::Rename("d/s".into(), "k/s".into()));
    load.fsync("k");
}

fn dir_made_anew(load: &mut Load) {
    for dir in ["d2", "x"] {
        load.remove_all(dir);
        load.mkdir(dir);
        let new = format!("{dir}/new");
        load.create(&new);
        load.does(Op::Append(new.clone(), 3000));
        load.fsync(&new);
        load.fsync(dir);
    }
}

fn moved_into_dir(load: &mut Load) {
    load.does(Op::Rename("g".into(), "k/g".into()));
    load.fsync("k/g");
    load.fsync("k");
    load.does(Op::Rename("d/a".into(), "a".into()));
    load.does(Op::Rename("f".into(), "d/f".into()));
    load.fsync("d");
}

fn copied_up_without_fsync(load: &mut Load) {
    load.chmod("f");
    load.does(Op::Append("g".into(), 100));
    load.does(Op::Rename("h".into(), "h2".into()));
    load.does(Op::Chown("d/a".into(), 1234));
    load.does(Op::SetXattr("d/b".into(), 77));
    load.does(Op::Write("d2/q".into(), 5000, 200));
    load.does(Op::Link("d2/p".into(), "p2".into()));
    load.chmod("big");
    load.chmod("d");
}

fn replaced(load: &mut Load) {
    for path in ["f", "d/a"] {
        let new = format!("{path}.new");
        load.create(&new);
        load.does(Op::Append(new.clone(), 5000));
        load.fsync(&new);
        load.does(Op::Rename(new, path.into()));
        load.does(Op::Rename(path.into(), "k/g2".into()));
    }
    load.does(Op::Rename("d2/p".into(), "g".into()));
}

fn hard_links(load: &mut Load) {
    load.does(Op::Append("l1".into(), 500));
    load.fsync("d/l2");
    load.does(Op::Unlink("l1".into()));
    load.chmod("k/m2");
    load.does(Op::Link("m1".into(), "x/m3".into()));
    load.does(Op::Rename("k/m2".into(), "m4".into()));
    load.fsync("m4");
    load.does(Op::Unlink("m1".into()));
}

fn dirs_exchanged(load: &mut Load) {
    load.does(Op::Unlink("x/a".into()));
    load.create("x/n");
    load.does(Op::Exchange("x".into(), "y".into()));
    load.fsync("");
    load.does(Op::Exchange("d/s".into(), "d2".into()));
    load.does(Op::Exchange("f".into(), "k".into()));
}

fn dir_moved(load: &mut Load) {
    load.does(Op::Rename("d".into(), "e".into()));
    load.does(Op::Rename("x".into(), "k/x".into()));
    load.does(Op::Rename("e/s".into(), "s".into()));
    load.remove_all("d2");
    load.does(Op::Rename("y".into(), "d2".into()));
    load.does(Op::Rename("e".into(), "d".into()));
}

fn partial(load: &mut Load) {
    load.does(Op::Write("big".into(), 70_000, 5000));
    load.does(Op::Write("big".into(), 20_000, 100));
    load.fsync("big");
    load.does(Op::Write("big".into(), 150_000, 9000));
    load.does(Op::Append("big".into(), 5000));
    load.does(Op::Rename("big".into(), "d/big".into()));
    load.does(Op::Truncate("d/big".into(), 100_000));
    load.does(Op::Append("d/big".into(), 9000));
    load.fsync("d/big");
    load.does(Op::Truncate("d/big".into(), 0));
    load.does(Op::Append("d/big".into(), 70_000));
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

    /// Steps by chance until there are `count`.
    pub fn mix(&mut self, count: usize) {
        while self.history.ops.len() < count && self.fresh < 0o770 {
            self.something();
        }
    }

    fn something(&mut self) {
        let file = self.existing(|kind| matches!(kind, Kind::File(_)));
        let dir = self.existing(|kind| matches!(kind, Kind::Dir(_)));
        let any = if self.dice.chance(80) { file.clone() } else { dir.clone() };
        let new = self.new_name();
        match self.dice.below(100) {
            0..8 => drop(self.create(&new)),
            8..13 => drop(self.mkdir(&new)),
            13..15 => {
                let target = format!("to {}", self.fresh());
                self.does(Op::Symlink(new, target));
            }
            15..24 => {
                let size = self.size();
                self.does(Op::Append(file, size));
            }
            24..31 => {
                let (at, size) = (self.dice.below(15_000), self.size());
                self.does(Op::Write(file, at as u64, size));
            }
            31..36 => {
                self.does(Op::Truncate(file.clone(), 0));
                let size = self.size();
                self.does(Op::Append(file, size));
            }
            36..38 => {
                let size = self.dice.below(10_000);
                self.does(Op::Truncate(file, size as u64));
            }
            38..47 => drop(self.does(Op::Unlink(file))),
            47..50 => drop(self.does(Op::Rmdir(dir))),
            50..53 => self.remove_all(&dir),
            53..55 => {
                self.remove_all(&dir);
                self.mkdir(&dir);
                self.create(&format!("{dir}/new"));
            }
            55..62 => drop(self.does(Op::Rename(file, new))),
            62..66 => {
                let other = self.existing(|kind| !matches!(kind, Kind::Dir(_)));
                self.does(Op::Rename(file, other));
            }
            66..71 => {
                let over = self.existing(|kind| matches!(kind, Kind::Dir(all) if all.is_empty()));
                let to = if self.dice.chance(70) || over.is_empty() { new } else { over };
                self.does(Op::Rename(dir, to));
            }
            71..73 => self.exchange(),
            73..76 => drop(self.does(Op::Link(file, new))),
            76..80 => drop(self.chmod(&any)),
            80..82 => {
                let owner = self.fresh();
                self.does(Op::Chown(any, owner));
            }
            82..84 => {
                let value = self.fresh();
                self.does(Op::SetXattr(any, value));
            }
            84..91 => drop(self.fsync(&file)),
            91..98 => drop(self.fsync(&dir)),
            98 => drop(self.does(Op::Sync)),
            _ => drop(self.meanwhile()),
        }
    }

    fn exchange(&mut self) {
        let one = self.existing(|_| true);
        let other = self.existing(|_| true);
        let inside = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
        if !inside(&one, &other) && !inside(&other, &one) {
            self.does(Op::Exchange(one, other));
        }
    }

    fn size(&mut self) -> usize {
        let most = *self.dice.pick(&[200, 5000, 20_000]).unwrap_or(&200);
        1 + self.dice.below(most)
    }

    /// A path of some object that is there; empty if there is none.
    fn existing(&mut self, wanted: impl Fn(&Kind) -> bool) -> String {
        let tree = self.history.last();
        let fits = |id: &Id| tree.objects.get(id).is_some_and(|object| wanted(&object.kind));
        let paths = tree.paths();
        let paths: Vec<String> =
            paths.into_iter().filter(|(_, id)| fits(id)).map(|(path, _)| path).collect();
        self.dice.pick(&paths).cloned().unwrap_or_default()
    }

    /// A path for something, in a directory that is there.
    fn new_name(&mut self) -> String {
        let dir = match self.dice.chance(30) {
            true => String::new(),
            false => self.existing(|kind| matches!(kind, Kind::Dir(_))) + "/",
        };
        let names = ["a", "b", "f", "g", "l1", "l2", "p", "s", "z", "new", "n1", "n2"];
        let name = self.dice.pick(&names).copied().unwrap_or("a");
        if dir == "/" { name.to_owned() } else { format!("{dir}{name}") }
    }
}
