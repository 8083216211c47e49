//! Several processes at once.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};

use crate::kit::{
    Failure, Outcome, Place, content, create, ensure, failed, names, open, read_at, same, stat,
    there,
};
use crate::sys::{Process, spawn};

super::cases!("races";
    one_creates_exclusively, one_makes_the_directory, one_removes, copy_ups_of_one_file,
    copy_ups_through_links, reading_while_it_is_copied_up, opening_while_it_is_renamed,
    an_exchange_is_seen_whole, a_moving_directory_is_reached, listing_while_names_change with some,
    making_and_removing_one_name, renames_of_one_file,
);

fn join(processes: Vec<Process>) -> Outcome {
    // All are waited for, also when one has failed.
    let ends: Vec<_> = processes.into_iter().map(Process::join).collect();
    ends.into_iter().collect()
}

/// Runs `part` in four processes with their numbers.
fn four(part: impl Fn(u32) -> Outcome) -> Outcome {
    let processes = (0..4).map(|number| spawn(|| part(number)));
    join(processes.collect::<Result<Vec<_>, Failure>>()?)
}

/// Each of 100 things is done by exactly one of four processes, which write
/// down what they have done.
fn one_wins(place: &Place, attempt: impl Fn(u32) -> std::io::Result<()>) -> Outcome {
    let log = crate::tree::log(&place.at("public/log"))?;
    four(|_| {
        for round in 0..100 {
            if attempt(round).is_ok() {
                (&log).write_all(format!("{round}\n").as_bytes())?;
            }
        }
        Ok(())
    })?;
    let text = fs::read_to_string(place.at("public/log"))?;
    let mut done: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    done.sort_unstable();
    same("winners", done, (0..100).collect())
}

fn one_creates_exclusively(place: &Place) -> Outcome {
    one_wins(place, |round| create(place.at(&format!("dir/{round}"))).map(drop))
}

fn one_makes_the_directory(place: &Place) -> Outcome {
    one_wins(place, |round| fs::create_dir(place.at(&format!("dir/{round}"))))
}

fn one_removes(place: &Place) -> Outcome {
    for round in 0..100 {
        create(place.at(&format!("dir/{round}")))?;
    }
    one_wins(place, |round| fs::remove_file(place.at(&format!("dir/{round}"))))
}

fn appends(place: &Place, names: [&str; 4]) -> Outcome {
    four(|number| {
        for line in 0..50 {
            let name = names.get(number as usize).copied().unwrap_or("f");
            let mut file = OpenOptions::new().append(true).open(place.at(name))?;
            file.write_all(format!("{number} {line:03}\n").as_bytes())?;
        }
        Ok(())
    })
}

fn copy_ups_of_one_file(place: &Place) -> Outcome {
    appends(place, ["f"; 4])?;
    let text = fs::read(place.at("f"))?;
    same("size", text.len(), 20_000 + 4 * 50 * 6)?;
    ensure(text.starts_with(&content()), "the old content")
}

fn copy_ups_through_links(place: &Place) -> Outcome {
    appends(place, ["h1", "h2", "dir/h3", "h1"])?;
    for name in ["h1", "h2", "dir/h3"] {
        same(name, stat(place.at(name))?.len(), 7 + 4 * 50 * 6)?;
        same("link count", stat(place.at(name))?.nlink(), 3)?;
    }
    Ok(())
}

fn until_done(place: &Place, part: impl Fn() -> Outcome) -> Result<Process, Failure> {
    let done = place.at("public/done");
    spawn(|| {
        while !there(&done) {
            part()?;
        }
        Ok(())
    })
}

fn finish(place: &Place, process: Process) -> Outcome {
    create(place.at("public/done"))?;
    process.join()
}

fn reading_while_it_is_copied_up(place: &Place) -> Outcome {
    let reader = until_done(place, || {
        let first = read_at(&open(place.at("f"))?, 0, 20_000)?;
        ensure(first.get(1..) == content().get(1..), "neither the old nor the new content")
    })?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    for byte in b"ABC" {
        crate::kit::write_at(place.at("f"), 0, &[*byte])?;
    }
    finish(place, reader)
}

fn opening_while_it_is_renamed(place: &Place) -> Outcome {
    let dir = open(place.at("dir"))?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let opener = until_done(place, || {
        let opened = openat(&dir, "a", flags, Mode::empty());
        opened.map(drop).or_else(|error| failed(format!("opening: {error}")))
    })?;
    for round in 0..100 {
        let from = if round == 0 { "dir".into() } else { format!("moved_{}", round - 1) };
        fs::rename(place.at(&from), place.at(&format!("moved_{round}")))?;
    }
    finish(place, opener)
}

fn an_exchange_is_seen_whole(place: &Place) -> Outcome {
    let reader = until_done(place, || {
        for name in ["g", "dir/a"] {
            let text = fs::read(place.at(name))
                .or_else(|error| failed(format!("reading {name}: {error}")))?;
            ensure(text == b"second\n" || text == b"dir/a\n", "content")?;
        }
        Ok(())
    })?;
    for _ in 0..200 {
        renameat_with(CWD, place.at("g"), CWD, place.at("dir/a"), RenameFlags::EXCHANGE)?;
    }
    finish(place, reader)
}

/// By its descriptor it is always reached, wherever it is just now.
fn a_moving_directory_is_reached(place: &Place) -> Outcome {
    let sub = open(place.at("dir/sub"))?;
    let worker = until_done(place, || {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let made = openat(&sub, "made", flags, Mode::from_raw_mode(0o644));
        made.map(drop).or_else(|error| failed(format!("creating: {error}")))?;
        let removed = rustix::fs::unlinkat(&sub, "made", rustix::fs::AtFlags::empty());
        removed.or_else(|error| failed(format!("removing: {error}")))
    })?;
    for round in 0..100 {
        let (from, to) = if round % 2 == 0 { ("dir", "other") } else { ("other", "dir") };
        fs::rename(place.at(from).join("sub"), place.at(to).join("sub"))?;
    }
    finish(place, worker)
}

fn listing_while_names_change(place: &Place) -> Outcome {
    let lister = until_done(place, || {
        let found = names(place.at("some"))?;
        let constant = found.iter().filter(|name| name.as_str() >= "base_100");
        let mut constant: Vec<_> = constant.filter(|name| name.starts_with("base_")).collect();
        same("constant names", constant.len(), 400)?;
        constant.dedup();
        same("different ones", constant.len(), 400)
    })?;
    for round in 0..100 {
        create(place.at(&format!("some/made_{round}")))?;
        fs::remove_file(place.at(&format!("some/base_{round:03}")))?;
        fs::rename(place.at(&format!("some/made_{round}")), place.at(&format!("some/n_{round}")))?;
    }
    finish(place, lister)
}

/// No error but the two that the race itself explains.
fn making_and_removing_one_name(place: &Place) -> Outcome {
    use std::io::ErrorKind::{AlreadyExists, NotFound};
    let allowed = |result: std::io::Result<()>| match result {
        Err(error) if ![AlreadyExists, NotFound].contains(&error.kind()) => failed(error),
        _ => Ok(()),
    };
    four(|number| {
        for _ in 0..100 {
            match number {
                0 => allowed(fs::write(place.at("g"), "text"))?,
                1 => allowed(fs::remove_file(place.at("g")))?,
                2 => allowed(fs::read(place.at("g")).map(drop))?,
                _ => allowed(stat(place.at("g")).map(drop))?,
            }
        }
        Ok(())
    })
}

/// One file under one of four names: every rename moves it or does not find it.
fn renames_of_one_file(place: &Place) -> Outcome {
    fs::rename(place.at("g"), place.at("dir/0"))?;
    four(|number| {
        for round in 0..100 {
            let (from, to) = ((number + round) % 4, (number + round + 1) % 4);
            let moved =
                fs::rename(place.at(&format!("dir/{from}")), place.at(&format!("dir/{to}")));
            match moved {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return failed(error),
                _ => {}
            }
        }
        Ok(())
    })?;
    let left = names(place.at("dir"))?;
    same("names", left.len(), 5)?;
    let name = left.first().cloned().unwrap_or_default();
    same("content", fs::read(place.at("dir").join(name))?, b"second\n".to_vec())
}
