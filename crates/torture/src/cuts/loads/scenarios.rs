//! Fixed scenarios: each of them, but for discards, once showed something after a power cut
//! that never was.

use super::Load;
use crate::cuts::op::Op;

/// A fixed scenario.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Its steps.
    pub steps: fn(&mut Load),
    /// Options that mini_fo gets.
    pub options: &'static str,
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
    Scenario { name: "base-link-lost", steps: base_link_lost, options: "" },
    Scenario { name: "dirs-exchanged", steps: dirs_exchanged, options: "" },
    Scenario { name: "dir-moved", steps: dir_moved, options: "" },
    Scenario { name: "partial", steps: partial, options: "blocks_from=64K" },
    Scenario { name: "partial-attributes", steps: bare, options: "blocks_from=64K" },
    Scenario { name: "discard-one", steps: discard_one, options: "blocks_from=64K" },
    Scenario { name: "discard-dir", steps: discard_dir, options: "" },
    Scenario { name: "discard-all", steps: discard_all, options: "" },
    Scenario { name: "volatile-attributes", steps: bare, options: VOLATILE },
    Scenario { name: "volatile-blocks", steps: volatile_blocks, options: VOLATILE },
];

/// Blocks of `big` are written by themselves, and nothing is ordered.
const VOLATILE: &str = "blocks_from=64K,volatile";

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

/// The name that is synced is the base's alone: that there is one less is what changed.
fn base_link_lost(load: &mut Load) {
    load.create("x/n");
    load.does(Op::Unlink("l1".into()));
    load.fsync("d/l2");
    load.does(Op::Unlink("m1".into()));
    load.fsync("k/m2");
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

/// Attributes and names: the data of `big` stays in the base.
fn bare(load: &mut Load) {
    load.chmod("f");
    load.chmod("big");
    load.does(Op::Rename("g".into(), "k/g".into()));
    load.does(Op::Rename("big".into(), "d/large".into()));
    load.does(Op::Chown("d/large".into(), 1234));
    load.does(Op::SetXattr("d/large".into(), 77));
    load.raw(Op::Commit);
    load.create("new");
    load.does(Op::Append("new".into(), 5000));
    load.does(Op::Unlink("d/b".into()));
    load.does(Op::Rename("d/large".into(), "x/large".into()));
    load.does(Op::Append("x/large".into(), 5000));
    load.chmod("x/large");
}

/// Blocks of `big`, some of them synced.
fn volatile_blocks(load: &mut Load) {
    load.does(Op::Write("big".into(), 70_000, 5000));
    load.raw(Op::Commit);
    load.does(Op::Write("big".into(), 20_000, 100));
    load.raw(Op::Writeback(4));
    load.chmod("big");
    load.does(Op::Write("big".into(), 4096, 8192));
    load.fsync("big");
    load.does(Op::Write("big".into(), 150_000, 9000));
    load.raw(Op::Commit);
    load.does(Op::Append("d2/q".into(), 300));
    load.does(Op::Append("big".into(), 5000));
    load.does(Op::Rename("big".into(), "d/big".into()));
    load.does(Op::Write("d/big".into(), 100_000, 40_000));
}

/// Of each kind of change one.
fn discard_one(load: &mut Load) {
    load.does(Op::Append("f".into(), 3000));
    load.fsync("f");
    load.discard(&["f"], &["f"]);
    load.does(Op::Unlink("h".into()));
    load.create("n");
    load.does(Op::Append("n".into(), 3000));
    load.fsync("n");
    load.discard(&["h", "n"], &["h", "n"]);
    load.does(Op::Truncate("d/a".into(), 0));
    load.does(Op::Write("big".into(), 70_000, 5000));
    load.fsync("");
    load.discard(&["d/a"], &["d/a"]);
    load.discard(&["big"], &["big"]);
    load.does(Op::Append("l1".into(), 100));
    load.discard(&["d/l2"], &["l1", "d/l2"]);
    load.does(Op::Append("f".into(), 200));
    load.fsync("f");
}

/// Directories, with what was moved in, out and below them.
fn discard_dir(load: &mut Load) {
    load.does(Op::Rename("d/a".into(), "k/a".into()));
    load.does(Op::Rename("g".into(), "d/g".into()));
    load.does(Op::Rename("d/s".into(), "s".into()));
    load.chmod("d/b");
    load.create("d/new");
    load.fsync("d/new");
    load.does(Op::Append("l1".into(), 100));
    load.discard(&["d"], &["d", "k/a", "s", "g", "l1"]);
    load.does(Op::Rename("y".into(), "x/y".into()));
    load.does(Op::Unlink("x/y/z/c".into()));
    load.create("x/y/n");
    load.fsync("x/y");
    load.discard(&["x/y"], &["x/y", "y"]);
    load.remove_all("d2");
    load.mkdir("d2");
    load.create("d2/p");
    load.does(Op::Exchange("k".into(), "x".into()));
    load.fsync("");
    load.discard(&["d2", "k"], &["d2", "k", "x"]);
    load.does(Op::Unlink("d/b".into()));
    load.fsync("d");
}

fn discard_all(load: &mut Load) {
    dir_moved(load);
    load.discard(&[""], &[""]);
    hard_links(load);
    replaced(load);
    load.discard(&[""], &[""]);
    load.create("n");
    load.fsync("n");
    deleted_then_rmdir(load);
    load.raw(Op::Commit);
    load.discard(&[""], &[""]);
}
