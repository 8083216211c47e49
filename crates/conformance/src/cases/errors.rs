//! What fails, fails with the same error as on a plain file system.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, symlink};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat, unlinkat};
use rustix::io::Errno;

use crate::kit::{Outcome, Place, create, ensure, open, open_rw, refused, same, stat};

super::cases!("errors";
    missing_names, existing_names, loops_of_links, too_many_links, paths_too_long,
    files_on_the_way, directories_as_files, files_as_directories, full_directories,
    dots_cannot_go, flags_of_opening, links_of_directories, reading_what_is_no_link,
    trailing_slashes, negative_names_become_real,
);

fn missing_names(place: &Place) -> Outcome {
    for name in ["none", "dir/none", "none/none", "dangling"] {
        refused(open(place.at(name)), Errno::NOENT)?;
    }
    refused(fs::remove_file(place.at("none")), Errno::NOENT)?;
    refused(fs::remove_dir(place.at("none")), Errno::NOENT)?;
    refused(fs::rename(place.at("none"), place.at("x")), Errno::NOENT)?;
    refused(fs::hard_link(place.at("none"), place.at("x")), Errno::NOENT)?;
    refused(fs::create_dir(place.at("none/x")), Errno::NOENT)?;
    refused(create(place.at("none/x")), Errno::NOENT)?;
    refused(open(place.at("")).and_then(|_| open("")), Errno::NOENT)
}

fn existing_names(place: &Place) -> Outcome {
    for name in ["f", "dir", "link", "dangling", "fifo"] {
        refused(create(place.at(name)), Errno::EXIST)?;
        refused(fs::create_dir(place.at(name)), Errno::EXIST)?;
        refused(symlink("x", place.at(name)), Errno::EXIST)?;
        refused(fs::hard_link(place.at("g"), place.at(name)), Errno::EXIST)?;
        let made = crate::tree::node(&place.at(name), rustix::fs::FileType::Fifo, 0o644, 0);
        refused(made, Errno::EXIST)?;
    }
    fs::remove_file(place.at("f"))?;
    Ok(create(place.at("f")).map(drop)?)
}

fn loops_of_links(place: &Place) -> Outcome {
    symlink("loop2", place.at("loop1"))?;
    symlink("loop1", place.at("loop2"))?;
    refused(open(place.at("loop1")), Errno::LOOP)?;
    refused(fs::create_dir(place.at("loop1/x")), Errno::LOOP)?;
    ensure(stat(place.at("loop1"))?.is_symlink(), "lstat")
}

fn too_many_links(place: &Place) -> Outcome {
    symlink("f", place.at("l0"))?;
    for number in 1..=41 {
        symlink(format!("l{}", number - 1), place.at(&format!("l{number}")))?;
    }
    open(place.at("l39"))?;
    refused(open(place.at("l41")), Errno::LOOP)
}

fn paths_too_long(place: &Place) -> Outcome {
    refused(open(place.at(&"n".repeat(256))), Errno::NAMETOOLONG)?;
    refused(stat(place.at(&"n".repeat(256))), Errno::NAMETOOLONG)?;
    refused(open(place.at(&"./".repeat(2100))), Errno::NAMETOOLONG)?;
    refused(symlink("x", place.at(&"n".repeat(256))), Errno::NAMETOOLONG)?;
    refused(fs::rename(place.at("g"), place.at(&"n".repeat(256))), Errno::NAMETOOLONG)
}

fn files_on_the_way(place: &Place) -> Outcome {
    for name in ["f/x", "fifo/x", "link/x"] {
        refused(open(place.at(name)), Errno::NOTDIR)?;
        refused(create(place.at(name)), Errno::NOTDIR)?;
        refused(fs::create_dir(place.at(name)), Errno::NOTDIR)?;
        refused(fs::remove_file(place.at(name)), Errno::NOTDIR)?;
    }
    Ok(())
}

fn directories_as_files(place: &Place) -> Outcome {
    refused(open_rw(place.at("dir")), Errno::ISDIR)?;
    refused(OpenOptions::new().append(true).open(place.at("empty")), Errno::ISDIR)?;
    refused(fs::remove_file(place.at("empty")), Errno::ISDIR)?;
    let creating = OpenOptions::new().write(true).create(true).truncate(true).open(place.at("dir"));
    refused(creating, Errno::ISDIR)?;
    refused(rustix::io::read(open(place.at("dir"))?, &mut [0; 10]), Errno::ISDIR)
}

fn files_as_directories(place: &Place) -> Outcome {
    refused(fs::remove_dir(place.at("f")), Errno::NOTDIR)?;
    refused(fs::remove_dir(place.at("link_to_dir")), Errno::NOTDIR)?;
    refused(fs::read_dir(place.at("f")), Errno::NOTDIR)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    refused(openat(CWD, place.at("f"), flags, Mode::empty()), Errno::NOTDIR)
}

fn full_directories(place: &Place) -> Outcome {
    refused(fs::remove_dir(place.at("dir")), Errno::NOTEMPTY)?;
    refused(fs::remove_dir(place.at("other")), Errno::NOTEMPTY)?;
    create(place.at("empty/x"))?;
    refused(fs::remove_dir(place.at("empty")), Errno::NOTEMPTY)?;
    fs::remove_file(place.at("empty/x"))?;
    fs::remove_file(place.at("other/o"))?;
    fs::remove_dir(place.at("empty"))?;
    Ok(fs::remove_dir(place.at("other"))?)
}

fn dots_cannot_go(place: &Place) -> Outcome {
    refused(unlinkat(CWD, place.at("empty/."), AtFlags::REMOVEDIR), Errno::INVAL)?;
    refused(unlinkat(CWD, place.at("dir/sub/.."), AtFlags::REMOVEDIR), Errno::NOTEMPTY)
}

fn flags_of_opening(place: &Place) -> Outcome {
    let open = |name: &str, flags| openat(CWD, place.at(name), flags | OFlags::CLOEXEC, Mode::RUSR);
    refused(open("link", OFlags::NOFOLLOW), Errno::LOOP)?;
    refused(open("dangling", OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY), Errno::EXIST)?;
    open("dangling", OFlags::CREATE | OFlags::WRONLY)?;
    same("through the link", stat(place.at("nothing"))?.len(), 0)?;
    refused(open("socket", OFlags::RDONLY), Errno::NXIO)?;
    refused(open("fifo", OFlags::WRONLY | OFlags::NONBLOCK), Errno::NXIO)?;
    let exclusive =
        OpenOptions::new().write(true).custom_flags(libc::O_DIRECTORY).open(place.at("f"));
    refused(exclusive, Errno::NOTDIR)
}

fn links_of_directories(place: &Place) -> Outcome {
    refused(fs::hard_link(place.at("dir"), place.at("dir2")), Errno::PERM)?;
    fs::hard_link(place.at("link"), place.at("link2"))?;
    ensure(stat(place.at("link2"))?.is_symlink(), "the link was followed")?;
    linkat(CWD, place.at("link"), CWD, place.at("f2"), AtFlags::SYMLINK_FOLLOW)?;
    ensure(stat(place.at("f2"))?.is_file(), "the link was not followed")
}

fn reading_what_is_no_link(place: &Place) -> Outcome {
    for name in ["f", "dir", "fifo"] {
        refused(fs::read_link(place.at(name)), Errno::INVAL)?;
    }
    Ok(())
}

fn trailing_slashes(place: &Place) -> Outcome {
    refused(open(place.at("f/")), Errno::NOTDIR)?;
    refused(create(place.at("new/")), Errno::ISDIR)?;
    refused(fs::remove_file(place.at("f/")), Errno::NOTDIR)?;
    fs::create_dir(place.at("made/"))?;
    fs::remove_dir(place.at("made/"))?;
    refused(fs::remove_file(place.at("link_to_dir/")), Errno::NOTDIR)
}

/// A name that was missed is not missed for ever.
fn negative_names_become_real(place: &Place) -> Outcome {
    for name in ["new", "dir/new"] {
        refused(stat(place.at(name)).map_err(|_| Errno::NOENT), Errno::NOENT)?;
        create(place.at(name))?;
        stat(place.at(name))?;
        fs::remove_file(place.at(name))?;
        refused(open(place.at(name)), Errno::NOENT)?;
        fs::rename(place.at(if name == "new" { "g" } else { "dir/a" }), place.at(name))?;
        stat(place.at(name))?;
    }
    Ok(())
}
