//! Reading directories, their link counts, depth and names.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags, SeekFrom, openat, seek};
use rustix::io::Errno;

use crate::kit::{
    Entry, Failure, Outcome, Place, create, ensure, entries_from, entries_once, failed, move_dir,
    names, open, refused, same, stat, there,
};
use crate::tree::MANY;

super::cases!("directories";
    base_and_changes_merge, dots_are_listed, offsets_stay with some,
    offsets_stay_while_entries_go with some, offsets_stay_while_entries_come with some,
    offsets_hold_for_another_reader with some,
    delete_while_reading with some, delete_while_reading_from_the_start with some,
    each_entry_once_under_changes with some, renames_while_reading with some,
    two_readers with some, rewinding_shows_what_is_new with some, nothing_after_the_end with some,
    a_hundred_thousand_entries with many, link_counts_of_directories, a_removed_directory_is_empty,
    a_removed_base_directory_made_again, a_removed_directory_stays_gone,
);

/// Small, so that a directory takes many calls.
const BUFFER: usize = 512;

/// 500 base files and 300 made in the mount.
fn mixed(place: &Place) -> Result<File, Failure> {
    for number in 0..300 {
        create(place.at(&format!("some/new_{number:03}")))?;
    }
    Ok(open(place.at("some"))?)
}

fn base_and_changes_merge(place: &Place) -> Outcome {
    same("before", names(place.at("dir"))?, ["a", "b", "h3", "sub"].map(String::from).to_vec())?;
    create(place.at("dir/new"))?;
    fs::remove_file(place.at("dir/a"))?;
    fs::rename(place.at("dir/b"), place.at("dir/z"))?;
    let expected = ["h3", "new", "sub", "z"].map(String::from).to_vec();
    same("after", names(place.at("dir"))?, expected.clone())?;
    place.drop_caches()?;
    same("later", names(place.at("dir"))?, expected)
}

fn dots_are_listed(place: &Place) -> Outcome {
    let entries = entries_once(&open(place.at("dir"))?, 32 << 10)?;
    same("dots", entries.iter().filter(|entry| entry.is_dots()).count(), 2)
}

/// The entries of an open directory, with the offset that each begins at.
fn with_offsets(dir: &File) -> Result<Vec<(u64, Entry)>, Failure> {
    let mut all = Vec::new();
    let mut at = seek(dir, SeekFrom::Start(0))?;
    loop {
        let some = entries_once(dir, BUFFER)?;
        if some.is_empty() {
            return Ok(all);
        }
        for entry in some {
            let next = entry.next;
            all.push((at, entry));
            at = next;
        }
    }
}

fn offsets_stay(place: &Place) -> Outcome {
    let dir = mixed(place)?;
    let all = with_offsets(&dir)?;
    same("entries", all.len(), 802)?;
    for (at, entry) in all.iter().rev().step_by(7) {
        seek(&dir, SeekFrom::Start(*at))?;
        let found = entries_once(&dir, BUFFER)?;
        same("entry", found.first().map(|e| &e.name), Some(&entry.name))?;
    }
    Ok(())
}

/// What follows each offset is still all there, less what was removed.
fn offsets_stay_while_entries_go(place: &Place) -> Outcome {
    let dir = mixed(place)?;
    let all = with_offsets(&dir)?;
    let gone = |index: usize| index.is_multiple_of(3);
    for (index, (_, entry)) in all.iter().enumerate() {
        if gone(index) && !entry.is_dots() {
            fs::remove_file(place.at("some").join(OsStr::from_bytes(&entry.name)))?;
        }
    }
    for (start, (at, _)) in all.iter().enumerate().step_by(97) {
        seek(&dir, SeekFrom::Start(*at))?;
        let found: HashSet<_> = entries_from(&dir)?.into_iter().map(|e| e.name).collect();
        for (index, (_, entry)) in all.iter().enumerate().skip(start) {
            if !gone(index) && !entry.is_dots() && !found.contains(&entry.name) {
                return failed(format!("{} is skipped", String::from_utf8_lossy(&entry.name)));
            }
        }
    }
    Ok(())
}

fn offsets_stay_while_entries_come(place: &Place) -> Outcome {
    let dir = mixed(place)?;
    let all = with_offsets(&dir)?;
    for number in 0..200 {
        create(place.at(&format!("some/later_{number}")))?;
    }
    let old: HashSet<_> = all.iter().map(|(_, entry)| entry.name.clone()).collect();
    for (start, (at, _)) in all.iter().enumerate().step_by(97) {
        seek(&dir, SeekFrom::Start(*at))?;
        let found = entries_from(&dir)?;
        let found: Vec<_> = found.into_iter().filter(|e| old.contains(&e.name)).collect();
        let expected = all.iter().skip(start).filter(|(_, entry)| !entry.is_dots()).count();
        same("entries from an offset", found.len(), expected)?;
    }
    Ok(())
}

/// An NFS server opens the directory for each call.
fn offsets_hold_for_another_reader(place: &Place) -> Outcome {
    let mut found = HashSet::new();
    let mut at = 0;
    mixed(place)?;
    for round in 0.. {
        let dir = open(place.at("some"))?;
        seek(&dir, SeekFrom::Start(at))?;
        let some = entries_once(&dir, BUFFER)?;
        let Some(last) = some.last() else { break };
        at = last.next;
        for entry in some {
            ensure(found.insert(entry.name), "a name came twice")?;
        }
        if round < 100 {
            create(place.at(&format!("some/later_{round}")))?;
            fs::remove_file(place.at(&format!("some/base_{:03}", round * 2)))?;
        }
    }
    let constant = |name: &&Vec<u8>| name.starts_with(b"new_") || odd_or_late(name);
    same("constant entries", found.iter().filter(constant).count(), 300 + 400)
}

/// A base file that [`offsets_hold_for_another_reader`] does not remove.
fn odd_or_late(name: &[u8]) -> bool {
    let number = name.strip_prefix(b"base_").and_then(|rest| std::str::from_utf8(rest).ok());
    let number = number.and_then(|digits| digits.parse::<u32>().ok());
    number.is_some_and(|number| number >= 200 || number % 2 == 1)
}

fn remove_all(place: &Place, dir: &File, rewind: bool) -> Outcome {
    let mut seen = HashSet::new();
    loop {
        if rewind {
            seek(dir, SeekFrom::Start(0))?;
        }
        let some = entries_once(dir, BUFFER)?;
        let mut removed = false;
        for entry in some.iter().filter(|entry| !entry.is_dots()) {
            ensure(seen.insert(entry.name.clone()), "a name came twice")?;
            fs::remove_file(place.at("some").join(OsStr::from_bytes(&entry.name)))?;
            removed = true;
        }
        if some.is_empty() || rewind && !removed {
            break;
        }
    }
    same("entries seen", seen.len(), 800)?;
    Ok(fs::remove_dir(place.at("some"))?)
}

fn delete_while_reading(place: &Place) -> Outcome {
    let dir = mixed(place)?;
    remove_all(place, &dir, false)
}

fn delete_while_reading_from_the_start(place: &Place) -> Outcome {
    let dir = mixed(place)?;
    remove_all(place, &dir, true)
}

/// Reads to the end while `change` works, and counts each name.
fn counted(
    dir: &File,
    mut change: impl FnMut(usize) -> Outcome,
) -> Result<HashMap<Vec<u8>, usize>, Failure> {
    let mut counts = HashMap::new();
    for round in 0.. {
        let some = entries_once(dir, BUFFER)?;
        if some.is_empty() {
            break;
        }
        for entry in some {
            *counts.entry(entry.name).or_insert(0) += 1;
        }
        change(round)?;
    }
    Ok(counts)
}

/// Names that were there all the time, exactly once; others at most once.
fn exactly_once(counts: &HashMap<Vec<u8>, usize>, constant: impl Fn(usize) -> bool) -> Outcome {
    for number in (0..500).filter(|&number| constant(number)) {
        let name = format!("base_{number:03}");
        same(&name, counts.get(name.as_bytes()).copied(), Some(1))?;
    }
    match counts.iter().find(|&(_, &count)| count > 1) {
        Some((name, _)) => failed(format!("{} came twice", String::from_utf8_lossy(name))),
        None => Ok(()),
    }
}

fn each_entry_once_under_changes(place: &Place) -> Outcome {
    let dir = mixed(place)?;
    let counts = counted(&dir, |round| {
        create(place.at(&format!("some/later_{round}")))?;
        if round % 2 == 0 && round < 250 {
            fs::remove_file(place.at(&format!("some/base_{round:03}")))?;
            fs::remove_file(place.at(&format!("some/new_{:03}", 299 - round)))?;
        }
        Ok(())
    })?;
    exactly_once(&counts, |number| number % 2 == 1 || number >= 250)
}

fn renames_while_reading(place: &Place) -> Outcome {
    let dir = mixed(place)?;
    let counts = counted(&dir, |round| {
        if round < 100 {
            let from = place.at(&format!("some/base_{:03}", 499 - round));
            fs::rename(from, place.at(&format!("some/renamed_{round}")))?;
        }
        Ok(())
    })?;
    exactly_once(&counts, |number| number < 400)
}

fn two_readers(place: &Place) -> Outcome {
    let first = mixed(place)?;
    let second = open(place.at("some"))?;
    let half = entries_once(&first, 4096)?.len();
    let whole = entries_from(&second)?.len();
    same("second reader", whole, 800)?;
    same("first reader", half + entries_from(&first)?.len(), 802)
}

fn rewinding_shows_what_is_new(place: &Place) -> Outcome {
    let dir = mixed(place)?;
    same("before", entries_from(&dir)?.len(), 800)?;
    create(place.at("some/later"))?;
    fs::remove_file(place.at("some/base_000"))?;
    fs::remove_file(place.at("some/new_000"))?;
    seek(&dir, SeekFrom::Start(0))?;
    let found = entries_from(&dir)?;
    same("after", found.len(), 799)?;
    ensure(found.iter().any(|e| e.name == b"later"), "the new one is not shown")
}

fn nothing_after_the_end(place: &Place) -> Outcome {
    let dir = mixed(place)?;
    let last = with_offsets(&dir)?.pop();
    let Some((_, last)) = last else { return failed("empty") };
    same("at the end", entries_once(&dir, BUFFER)?.len(), 0)?;
    seek(&dir, SeekFrom::Start(last.next))?;
    same("at the last offset", entries_once(&dir, BUFFER)?.len(), 0)
}

fn a_hundred_thousand_entries(place: &Place) -> Outcome {
    for number in 0..100 {
        create(place.at(&format!("many/new_{number}")))?;
        fs::remove_file(place.at(&format!("many/{:06}", number * 900)))?;
    }
    let found = entries_from(&open(place.at("many"))?)?;
    same("entries", found.len(), MANY)?;
    let names: HashSet<_> = found.into_iter().map(|entry| entry.name).collect();
    same("different entries", names.len(), MANY)
}

fn link_counts_of_directories(place: &Place) -> Outcome {
    let right = |name: &str, directories: u64| {
        let links = stat(place.at(name))?.nlink();
        ensure(links == 1 || links == directories + 2, &format!("{name}: {links}"))
    };
    right("dir", 1)?;
    fs::create_dir(place.at("dir/made"))?;
    right("dir", 2)?;
    move_dir(&place.at("dir/sub"), &place.at("other/sub"))?;
    right("dir", 1)?;
    right("other", 1)?;
    fs::remove_dir(place.at("dir/made"))?;
    fs::remove_dir(place.at("empty"))?;
    right("dir", 0)?;
    right("other/sub", 1)
}

fn a_removed_directory_is_empty(place: &Place) -> Outcome {
    let held = open(place.at("empty"))?;
    fs::remove_dir(place.at("empty"))?;
    let listed = entries_from(&held).map_or(0, |entries| entries.len());
    same("entries", listed, 0)?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    refused(openat(&held, "new", flags, Mode::from_raw_mode(0o644)), Errno::NOENT)?;
    same("link count", held.metadata()?.nlink(), 0)
}

fn a_removed_base_directory_made_again(place: &Place) -> Outcome {
    fs::remove_dir_all(place.at("dir"))?;
    fs::create_dir(place.at("dir"))?;
    same("entries", names(place.at("dir"))?.len(), 0)?;
    create(place.at("dir/b"))?;
    same("size", stat(place.at("dir/b"))?.len(), 0)?;
    place.drop_caches()?;
    same("entries", names(place.at("dir"))?, vec!["b".to_string()])
}

fn a_removed_directory_stays_gone(place: &Place) -> Outcome {
    fs::remove_dir_all(place.at("dir"))?;
    fs::create_dir(place.at("dir"))?;
    fs::remove_dir(place.at("dir"))?;
    place.remount()?;
    ensure(!there(place.at("dir")), "it is back")
}
