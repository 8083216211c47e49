//! rename(2) in all its ways.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::kit::{
    Outcome, Place, append, create, ensure, failed, names, open, read_at, refused, same, stat,
    there,
};
use crate::sys::spawn;

super::cases!("renames";
    a_base_file, a_base_directory, a_base_directory_again_and_again, no_replace, exchange_of_files,
    exchange_of_a_file_and_a_directory, exchange_of_base_directories,
    onto_an_empty_base_directory, onto_an_emptied_base_directory, onto_a_full_directory,
    into_itself, a_file_onto_a_directory, with_trailing_slashes, onto_itself,
    the_dots, other_types, the_old_name_made_again, into_a_moved_directory, there_and_back,
    survives_a_remount, a_replacement_is_seen_whole, leaving_a_whiteout, chains,
);

fn text(place: &Place, name: &str, expected: &str) -> Outcome {
    same(name, fs::read_to_string(place.at(name))?, expected.into())
}

fn rename(place: &Place, from: &str, to: &str) -> std::io::Result<()> {
    fs::rename(place.at(from), place.at(to))
}

fn flagged(place: &Place, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
    renameat_with(CWD, place.at(from), CWD, place.at(to), flags)
}

fn a_base_file(place: &Place) -> Outcome {
    rename(place, "g", "dir/g2")?;
    text(place, "dir/g2", "second\n")?;
    ensure(!there(place.at("g")), "the old name is there")?;
    rename(place, "dir/g2", "dir/a")?;
    text(place, "dir/a", "second\n")?;
    refused(rename(place, "g", "x"), Errno::NOENT)
}

fn a_base_directory(place: &Place) -> Outcome {
    rename(place, "dir", "other/moved")?;
    ensure(!there(place.at("dir")), "the old name is there")?;
    let expected = ["a", "b", "h3", "sub"].map(String::from).to_vec();
    same("entries", names(place.at("other/moved"))?, expected)?;
    text(place, "other/moved/sub/deep/d", "dir/sub/deep/d\n")?;
    append(place.at("other/moved/sub/c"), b"more\n")?;
    text(place, "other/moved/sub/c", "dir/sub/c\nmore\n")
}

fn a_base_directory_again_and_again(place: &Place) -> Outcome {
    let mut at = "dir".to_string();
    for round in 0..20 {
        let next = format!("moved_{round}");
        rename(place, &at, &next)?;
        rename(place, &format!("{next}/sub"), &format!("{next}/tmp"))?;
        rename(place, &format!("{next}/tmp"), &format!("{next}/sub"))?;
        at = next;
    }
    text(place, &format!("{at}/sub/deep/d"), "dir/sub/deep/d\n")?;
    create(place.at("dir"))?;
    same("entries", names(place.at(&at))?.len(), 4)
}

fn no_replace(place: &Place) -> Outcome {
    refused(flagged(place, "g", "f", RenameFlags::NOREPLACE), Errno::EXIST)?;
    refused(flagged(place, "dir", "empty", RenameFlags::NOREPLACE), Errno::EXIST)?;
    flagged(place, "g", "g2", RenameFlags::NOREPLACE)?;
    flagged(place, "dir", "dir2", RenameFlags::NOREPLACE)?;
    fs::remove_file(place.at("f"))?;
    flagged(place, "g2", "f", RenameFlags::NOREPLACE)?;
    text(place, "f", "second\n")
}

fn exchange_of_files(place: &Place) -> Outcome {
    flagged(place, "g", "dir/a", RenameFlags::EXCHANGE)?;
    text(place, "g", "dir/a\n")?;
    text(place, "dir/a", "second\n")?;
    refused(flagged(place, "g", "none", RenameFlags::EXCHANGE), Errno::NOENT)?;
    refused(
        flagged(place, "g", "dir/a", RenameFlags::EXCHANGE | RenameFlags::NOREPLACE),
        Errno::INVAL,
    )
}

fn exchange_of_a_file_and_a_directory(place: &Place) -> Outcome {
    flagged(place, "g", "dir", RenameFlags::EXCHANGE)?;
    text(place, "dir", "second\n")?;
    text(place, "g/sub/c", "dir/sub/c\n")?;
    flagged(place, "link", "g/sub", RenameFlags::EXCHANGE)?;
    text(place, "link/c", "dir/sub/c\n")?;
    same("link", fs::read_link(place.at("g/sub"))?, PathBuf::from("f"))
}

fn exchange_of_base_directories(place: &Place) -> Outcome {
    create(place.at("other/new"))?;
    flagged(place, "dir", "other", RenameFlags::EXCHANGE)?;
    same("dir", names(place.at("dir"))?, vec!["new".to_string(), "o".to_string()])?;
    same("other", names(place.at("other"))?.len(), 4)?;
    text(place, "other/sub/c", "dir/sub/c\n")?;
    refused(flagged(place, "other", "other/sub", RenameFlags::EXCHANGE), Errno::INVAL)?;
    flagged(place, "dir", "other", RenameFlags::EXCHANGE)?;
    text(place, "dir/sub/c", "dir/sub/c\n")
}

fn onto_an_empty_base_directory(place: &Place) -> Outcome {
    rename(place, "dir", "empty")?;
    text(place, "empty/a", "dir/a\n")?;
    ensure(!there(place.at("dir")), "the old name is there")
}

fn onto_an_emptied_base_directory(place: &Place) -> Outcome {
    fs::remove_file(place.at("other/o"))?;
    rename(place, "dir/sub", "other")?;
    same("entries", names(place.at("other"))?, vec!["c".to_string(), "deep".to_string()])
}

fn onto_a_full_directory(place: &Place) -> Outcome {
    refused(rename(place, "empty", "dir"), Errno::NOTEMPTY)?;
    refused(rename(place, "other", "dir"), Errno::NOTEMPTY)?;
    fs::create_dir(place.at("made"))?;
    refused(rename(place, "made", "other"), Errno::NOTEMPTY)?;
    create(place.at("made/x"))?;
    refused(rename(place, "empty", "made"), Errno::NOTEMPTY)
}

fn into_itself(place: &Place) -> Outcome {
    refused(rename(place, "dir", "dir/sub/dir"), Errno::INVAL)?;
    refused(rename(place, "dir", "dir/dir"), Errno::INVAL)?;
    refused(rename(place, "dir/sub", "dir"), Errno::NOTEMPTY)?;
    text(place, "dir/sub/c", "dir/sub/c\n")
}

fn a_file_onto_a_directory(place: &Place) -> Outcome {
    refused(rename(place, "g", "empty"), Errno::ISDIR)?;
    refused(rename(place, "empty", "g"), Errno::NOTDIR)?;
    refused(rename(place, "link", "empty"), Errno::ISDIR)?;
    refused(rename(place, "g/x", "y"), Errno::NOTDIR)
}

fn with_trailing_slashes(place: &Place) -> Outcome {
    rename(place, "dir/", "moved/")?;
    text(place, "moved/a", "dir/a\n")?;
    refused(rename(place, "g/", "h"), Errno::NOTDIR)?;
    refused(rename(place, "g", "h/"), Errno::NOTDIR)?;
    ensure(there(place.at("g")), "it is gone")
}

fn onto_itself(place: &Place) -> Outcome {
    rename(place, "g", "g")?;
    rename(place, "dir", "dir")?;
    text(place, "g", "second\n")?;
    text(place, "dir/a", "dir/a\n")
}

fn the_dots(place: &Place) -> Outcome {
    refused(rename(place, "dir/.", "x"), Errno::BUSY)?;
    refused(rename(place, "dir/sub/..", "x"), Errno::BUSY)?;
    refused(rename(place, "empty", "dir/.."), Errno::BUSY)
}

fn other_types(place: &Place) -> Outcome {
    for name in ["link", "dangling", "fifo", "socket", "null"] {
        let before = stat(place.at(name))?;
        let to = format!("dir/{name}");
        rename(place, name, &to)?;
        let after = stat(place.at(&to))?;
        same(name, (after.mode(), after.rdev()), (before.mode(), before.rdev()))?;
        ensure(!there(place.at(name)), "the old name is there")?;
    }
    ensure(stat(place.at("dir/fifo"))?.file_type().is_fifo(), "type")?;
    same("target", fs::read_link(place.at("dir/link"))?, PathBuf::from("f"))
}

fn the_old_name_made_again(place: &Place) -> Outcome {
    rename(place, "dir", "moved")?;
    fs::create_dir(place.at("dir"))?;
    same("entries", names(place.at("dir"))?.len(), 0)?;
    create(place.at("dir/a"))?;
    text(place, "dir/a", "")?;
    text(place, "moved/a", "dir/a\n")?;
    fs::create_dir(place.at("dir/sub"))?;
    same("entries below", names(place.at("dir/sub"))?.len(), 0)
}

fn into_a_moved_directory(place: &Place) -> Outcome {
    rename(place, "dir", "moved")?;
    rename(place, "other", "moved/sub/other")?;
    rename(place, "g", "moved/sub/other/g")?;
    rename(place, "moved/sub", "sub")?;
    text(place, "sub/other/g", "second\n")?;
    text(place, "sub/other/o", "other/o\n")?;
    same("entries", names(place.at("moved"))?.len(), 3)
}

fn there_and_back(place: &Place) -> Outcome {
    for name in ["f", "dir", "link", "h1"] {
        let before = stat(place.at(name))?;
        rename(place, name, "away")?;
        rename(place, "away", name)?;
        let after = stat(place.at(name))?;
        same(
            name,
            (after.ino(), after.len(), after.mode()),
            (before.ino(), before.len(), before.mode()),
        )?;
    }
    text(place, "dir/sub/c", "dir/sub/c\n")
}

fn survives_a_remount(place: &Place) -> Outcome {
    rename(place, "dir", "moved")?;
    rename(place, "g", "moved/sub/g")?;
    flagged(place, "other", "moved/sub", RenameFlags::EXCHANGE)?;
    place.remount()?;
    ensure(!there(place.at("dir")) && !there(place.at("g")), "an old name is there")?;
    text(place, "other/g", "second\n")?;
    text(place, "other/deep/d", "dir/sub/deep/d\n")?;
    text(place, "moved/sub/o", "other/o\n")?;
    rename(place, "moved", "dir")?;
    place.remount()?;
    text(place, "dir/sub/o", "other/o\n")?;
    text(place, "dir/a", "dir/a\n")
}

fn a_replacement_is_seen_whole(place: &Place) -> Outcome {
    let (target, done) = (place.at("g"), place.at("done"));
    let reader = spawn(|| {
        while !there(&done) {
            match fs::read(&target) {
                Ok(bytes) if bytes == b"second\n" || bytes == b"another\n" => {}
                Ok(bytes) => return failed(format!("{} bytes", bytes.len())),
                Err(error) => return failed(error),
            }
        }
        Ok(())
    })?;
    for _ in 0..100 {
        fs::write(place.at("temporary"), "another\n")?;
        rename(place, "temporary", "g")?;
    }
    create(&done)?;
    reader.join()
}

/// What a mount stacked on this one would do.
fn leaving_a_whiteout(place: &Place) -> Outcome {
    flagged(place, "g", "g2", RenameFlags::WHITEOUT)?;
    text(place, "g2", "second\n")?;
    let left = stat(place.at("g"))?;
    ensure(left.file_type().is_char_device() && left.rdev() == 0, "no whiteout is left")
}

fn chains(place: &Place) -> Outcome {
    let held = open(place.at("dir/a"))?;
    rename(place, "dir", "x")?;
    rename(place, "other", "dir")?;
    rename(place, "x", "other")?;
    text(place, "dir/o", "other/o\n")?;
    text(place, "other/a", "dir/a\n")?;
    append(place.at("other/a"), b"more")?;
    same("by the old descriptor", read_at(&held, 6, 10)?, b"more".to_vec())
}
