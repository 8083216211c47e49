//! Numbers of objects.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use crate::kit::{
    Failure, Outcome, Place, append, chmod, create, differ, ensure, entries_once, move_dir, open,
    same, stat,
};
use crate::tree::set_xattr;

super::cases!("identity";
    number_across_copy_up_of_a_file, number_across_copy_up_of_a_directory,
    number_across_copy_up_of_other_types, number_across_rename_of_a_file,
    number_across_rename_of_a_directory, number_across_link, number_across_cache_drop,
    number_across_remount, device_is_the_same_for_all, readdir_agrees_in_the_base,
    readdir_agrees_after_changes, readdir_agrees_on_dots, numbers_are_unique,
    memory_maps_show_it, number_of_an_open_file_is_not_reused, number_is_not_reused,
);

/// Device and number.
fn id(path: impl AsRef<Path>) -> Result<(u64, u64), Failure> {
    let stat = stat(path)?;
    Ok((stat.dev(), stat.ino()))
}

fn number_across_copy_up_of_a_file(place: &Place) -> Outcome {
    let before = id(place.at("f"))?;
    let held = open(place.at("f"))?;
    append(place.at("f"), b"x")?;
    same("by path", id(place.at("f"))?, before)?;
    let held = held.metadata()?;
    same("by descriptor", (held.dev(), held.ino()), before)
}

fn number_across_copy_up_of_a_directory(place: &Place) -> Outcome {
    let before = (id(place.at("dir"))?, id(place.at("dir/sub"))?);
    create(place.at("dir/sub/new"))?;
    same("of a new entry", (id(place.at("dir"))?, id(place.at("dir/sub"))?), before)?;
    chmod(place.at("dir"), 0o700)?;
    set_xattr(&place.at("dir/sub"), "user.x", b"y")?;
    same("of attributes", (id(place.at("dir"))?, id(place.at("dir/sub"))?), before)
}

fn number_across_copy_up_of_other_types(place: &Place) -> Outcome {
    for name in ["link", "fifo", "socket", "null"] {
        let before = id(place.at(name))?;
        lchown(place.at(name), Some(7), Some(7))?;
        same(name, id(place.at(name))?, before)?;
    }
    Ok(())
}

fn number_across_rename_of_a_file(place: &Place) -> Outcome {
    let before = id(place.at("f"))?;
    for (from, to) in [("f", "f2"), ("f2", "dir/f3"), ("dir/f3", "dir/sub/f4")] {
        fs::rename(place.at(from), place.at(to))?;
        same(to, id(place.at(to))?, before)?;
    }
    append(place.at("dir/sub/f4"), b"x")?;
    same("copied up afterwards", id(place.at("dir/sub/f4"))?, before)
}

fn number_across_rename_of_a_directory(place: &Place) -> Outcome {
    let before = (id(place.at("dir"))?, id(place.at("dir/sub"))?, id(place.at("dir/sub/c"))?);
    fs::rename(place.at("dir"), place.at("other/moved"))?;
    let of = |name: &str| id(place.at("other/moved").join(name));
    same("after the rename", (of("")?, of("sub")?, of("sub/c")?), before)?;
    append(place.at("other/moved/sub/c"), b"x")?;
    same("after a copy-up", (of("")?, of("sub")?, of("sub/c")?), before)
}

fn number_across_link(place: &Place) -> Outcome {
    let before = id(place.at("f"))?;
    fs::hard_link(place.at("f"), place.at("dir/linked"))?;
    same("old name", id(place.at("f"))?, before)?;
    same("new name", id(place.at("dir/linked"))?, before)
}

/// Numbers of objects of every origin, after changing some.
fn changed_numbers(place: &Place) -> Result<Vec<(String, u64)>, Failure> {
    append(place.at("f"), b"x")?;
    create(place.at("dir/new"))?;
    fs::create_dir(place.at("made"))?;
    move_dir(&place.at("other"), &place.at("moved"))?;
    fs::rename(place.at("g"), place.at("dir/sub/g2"))?;
    fs::hard_link(place.at("dir/a"), place.at("dir/a2"))?;
    chmod(place.at("empty"), 0o700)?;
    numbers(place)
}

fn numbers(place: &Place) -> Result<Vec<(String, u64)>, Failure> {
    let names = [
        "",
        "f",
        "dir",
        "dir/new",
        "made",
        "moved",
        "moved/o",
        "dir/sub/g2",
        "dir/a",
        "dir/a2",
        "dir/b",
        "dir/sub",
        "dir/sub/c",
        "h1",
        "h2",
        "link",
        "fifo",
        "empty",
        "sparse",
    ];
    names.iter().map(|&name| Ok((name.to_string(), stat(place.at(name))?.ino()))).collect()
}

fn number_across_cache_drop(place: &Place) -> Outcome {
    let before = changed_numbers(place)?;
    place.drop_caches()?;
    same("numbers", numbers(place)?, before)
}

fn number_across_remount(place: &Place) -> Outcome {
    let before = changed_numbers(place)?;
    place.remount()?;
    same("numbers", numbers(place)?, before)
}

fn device_is_the_same_for_all(place: &Place) -> Outcome {
    changed_numbers(place)?;
    let device = stat(&place.dir)?.dev();
    let names =
        ["f", "dir", "dir/new", "made", "moved/o", "dir/sub/g2", "dir/b", "link", "fifo", "empty"];
    for name in names {
        same(name, stat(place.at(name))?.dev(), device)?;
    }
    Ok(())
}

/// `d_ino` and `d_type` of everything in `dir` agree with lstat.
fn agrees(dir: &Path) -> Outcome {
    for entry in crate::kit::entries_from(&open(dir)?)? {
        let path = dir.join(std::ffi::OsString::from_vec(entry.name));
        let stat = stat(&path)?;
        same(&format!("d_ino of {}", path.display()), entry.ino, stat.ino())?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.mode());
        same(&format!("d_type of {}", path.display()), entry.kind, kind)?;
    }
    Ok(())
}

fn readdir_agrees_in_the_base(place: &Place) -> Outcome {
    agrees(&place.dir)?;
    agrees(&place.at("dir"))?;
    agrees(&place.at("dir/sub"))
}

fn readdir_agrees_after_changes(place: &Place) -> Outcome {
    changed_numbers(place)?;
    place.drop_caches()?;
    for dir in ["", "dir", "dir/sub", "moved"] {
        agrees(&place.at(dir))?;
    }
    Ok(())
}

fn readdir_agrees_on_dots(place: &Place) -> Outcome {
    move_dir(&place.at("dir/sub"), &place.at("other/sub"))?;
    let entries = entries_once(&open(place.at("other/sub"))?, 32 << 10)?;
    let number = |name: &[u8]| entries.iter().find(|e| e.name == name).map(|e| e.ino);
    same(".", number(b"."), Some(stat(place.at("other/sub"))?.ino()))?;
    same("..", number(b".."), Some(stat(place.at("other"))?.ino()))
}

fn collect(dir: &Path, seen: &mut HashMap<u64, std::path::PathBuf>) -> Outcome {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let stat = stat(&path)?;
        if stat.is_dir() {
            collect(&path, seen)?;
        }
        if let Some(other) = seen.insert(stat.ino(), path.clone())
            && (stat.nlink() < 2 || stat.is_dir())
        {
            return crate::kit::failed(format!(
                "{} and {} have one number",
                other.display(),
                path.display()
            ));
        }
    }
    Ok(())
}

fn numbers_are_unique(place: &Place) -> Outcome {
    changed_numbers(place)?;
    for number in 0..200 {
        create(place.at(&format!("made/{number}")))?;
    }
    collect(&place.dir, &mut HashMap::new())
}

fn number_of_an_open_file_is_not_reused(place: &Place) -> Outcome {
    for name in ["f", "made"] {
        let held = if name == "f" { open(place.at(name))? } else { create(place.at(name))? };
        fs::remove_file(place.at(name))?;
        for _ in 0..20 {
            let new = create(place.at(name))?;
            differ("number", new.metadata()?.ino(), held.metadata()?.ino())?;
            fs::remove_file(place.at(name))?;
        }
    }
    Ok(())
}

fn number_is_not_reused(place: &Place) -> Outcome {
    let mut seen = vec![stat(place.at("f"))?.ino()];
    fs::remove_file(place.at("f"))?;
    for round in 0..50 {
        create(place.at("made"))?;
        let number = stat(place.at("made"))?.ino();
        ensure(!seen.contains(&number), &format!("reused in round {round}"))?;
        seen.push(number);
        fs::remove_file(place.at("made"))?;
    }
    Ok(())
}

/// What `/proc/PID/maps` says of a mapped file, before and after a copy-up.
fn memory_maps_show_it(place: &Place) -> Outcome {
    let listed = || -> Outcome {
        let held = open(place.at("f"))?;
        let mapping = crate::sys::Mapping::shared(&held, 20_000)?;
        same("content", mapping.byte(1), b'b')?;
        let maps = fs::read_to_string("/proc/self/maps")?;
        let path = place.at("f");
        let line = maps.lines().find(|line| line.ends_with(&*path.to_string_lossy()));
        let Some(line) = line else { return crate::kit::failed("the path is not there") };
        let mut words = line.split_whitespace().skip(3);
        let device = stat(&path)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        same("device", words.next(), Some(format!("{major:02x}:{minor:02x}").as_str()))?;
        same("number", words.next(), Some(stat(&path)?.ino().to_string().as_str()))
    };
    listed()?;
    append(place.at("f"), b"x")?;
    listed()
}
