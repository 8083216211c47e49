//! Cost per operation in directories of 1,000 to 1,000,000 entries, without
//! FUSE: `scale DIR [LARGEST [KIND]]`, on the file system of DIR. Medians of five
//! rounds, in microseconds; `make scale` runs it. `scale tree DIR COUNT` makes
//! that many files, 1,000 in each directory.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use mini_fo_core::{Caller, ListFor, META_NAME, NodeId, OpenOptions, Overlay, RenameMode};
use rustix::fs::{CWD, FileType, Mode};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rounds of each measurement, and operations in each.
const ROUNDS: usize = 5;
const OPERATIONS: usize = 200;

/// What a directory is made of.
#[derive(Clone, Copy)]
enum Layout {
    Base,
    Storage,
    /// The base has a tenth of the names, META hides them all.
    Deleted,
}

fn name(i: usize) -> String {
    format!("entry-{i:014}")
}

fn empty_files(dir: &Path, names: impl Iterator<Item = usize>) -> Outcome<()> {
    for i in names {
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(CWD, dir.join(name(i)), FileType::RegularFile, mode, 0)?;
    }
    Ok(())
}

fn make_tree(at: &Path, count: usize) -> Outcome<()> {
    let mode = Mode::from_raw_mode(0o644);
    for dir in 0..count.div_ceil(1000) {
        let path = at.join(dir.to_string());
        std::fs::create_dir(&path)?;
        for file in 0..1000 {
            let path = path.join(file.to_string());
            rustix::fs::mknodat(CWD, path, FileType::RegularFile, mode, 0)?;
        }
    }
    Ok(())
}

/// Microseconds per operation: the median of the rounds.
fn median(mut run: impl FnMut(usize) -> Outcome<()>) -> Outcome<f64> {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let begun = Instant::now();
        for i in 0..OPERATIONS {
            run(round * OPERATIONS + i)?;
        }
        rounds.push(begun.elapsed().as_secs_f64() * 1e6 / OPERATIONS as f64);
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

/// The time until the directory is in use, in milliseconds, and costs of
/// lookup, create, unlink, rename, and of an entry in a listing.
fn measure(at: &Path, layout: Layout, count: usize) -> Outcome<[f64; 6]> {
    let work = tempfile::TempDir::new_in(at)?;
    let (base, storage) = (work.path().join("base"), work.path().join("storage"));
    std::fs::create_dir_all(base.join("d"))?;
    std::fs::create_dir_all(storage.join("d"))?;
    match layout {
        Layout::Base => empty_files(&base.join("d"), 0..count)?,
        Layout::Storage => empty_files(&storage.join("d"), 0..count)?,
        Layout::Deleted => {
            let mut meta = String::new();
            (0..count).try_for_each(|i| writeln!(meta, "D {}", name(i)))?;
            std::fs::write(storage.join("d").join(META_NAME), meta)?;
            empty_files(&base.join("d"), (0..count).step_by(10))?;
            empty_files(&storage.join("d"), count..count + 2 * ROUNDS * OPERATIONS)?;
        }
    }
    let overlay = Overlay::assemble(&OpenOptions { base, storage, ..OpenOptions::default() })?;
    let begun = Instant::now();
    let dir = overlay.lookup(NodeId::ROOT, b"d")?.ok_or("no directory")?.node;
    overlay.lookup(dir, b"none")?;
    let load = begun.elapsed().as_secs_f64() * 1e3;
    // Names all over the directory; what was deleted is not there.
    let step = (count / (2 * ROUNDS * OPERATIONS)).max(1);
    let there = |i: usize| match layout {
        Layout::Deleted => name(count + i),
        _ => name(i * step % count),
    };
    let each = match count {
        // So few are there that only every second one may go.
        0..2000 => ROUNDS * OPERATIONS / 2,
        _ => ROUNDS * OPERATIONS,
    };
    // What the file systems below have to read from the disk is not the question.
    for i in 0..each {
        let found = overlay.lookup(dir, there(i).as_bytes())?.ok_or("lost")?;
        overlay.forget(found.node, 1);
    }
    let lookup = median(|i| {
        let found = overlay.lookup(dir, there(i % each).as_bytes())?.ok_or("lost")?;
        overlay.forget(found.node, 1);
        Ok(())
    })?;
    let caller = Caller { uid: 0, gid: 0, umask: 0 };
    let create = median(|i| {
        let made = overlay.mknod(&caller, dir, format!("new-{i}").as_bytes(), 0o100_644, 0)?;
        overlay.forget(made.node, 1);
        Ok(())
    })?;
    let rename = median(|i| {
        let (from, to) = (format!("new-{i}"), format!("moved-{i}"));
        Ok(overlay.rename(dir, from.as_bytes(), dir, to.as_bytes(), RenameMode::Replace)?)
    })?;
    let mut listed = 0;
    let begun = Instant::now();
    let open = overlay.open_dir(dir)?;
    overlay.read_dir(&open, 0, ListFor::Lookups, &mut |_| {
        listed += 1;
        true
    })?;
    let list = begun.elapsed().as_secs_f64() * 1e6 / f64::from(listed);
    let unlink = median(|i| match i < each / 2 || count >= 2000 {
        true => Ok(overlay.unlink(dir, there(i).as_bytes())?),
        false => Ok(overlay.unlink(dir, format!("moved-{i}").as_bytes())?),
    })?;
    Ok([load, lookup, create, unlink, rename, list])
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, tree, at, count] = &arguments[..]
        && tree == "tree"
    {
        return make_tree(Path::new(at), count.parse()?);
    }
    let at = arguments.get(1).ok_or("usage: scale DIR [LARGEST]")?;
    let largest: usize = arguments.get(2).map_or(Ok(1_000_000), |text| text.parse())?;
    let layouts = [
        ("in the base", Layout::Base),
        ("in the storage", Layout::Storage),
        ("deleted", Layout::Deleted),
    ];
    println!(
        "| entries | | first use, ms | lookup, us | create | unlink | rename | listing, per entry |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let wanted = arguments.get(3);
    for (title, layout) in layouts {
        if wanted.is_some_and(|wanted| wanted != title) {
            continue;
        }
        for count in [1_000, 10_000, 100_000, 1_000_000] {
            if count > largest {
                continue;
            }
            let [load, lookup, create, unlink, rename, list] =
                measure(Path::new(at), layout, count)?;
            println!(
                "| {count} | {title} | {load:.1} | {lookup:.1} | {create:.1} | {unlink:.1} | \
                 {rename:.1} | {list:.2} |"
            );
        }
    }
    Ok(())
}
