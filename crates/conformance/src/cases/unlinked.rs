//! Files that are open and have no name: temporary ones and removed ones.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ftruncate, linkat, openat};
use rustix::io::Errno;

use crate::kit::{
    Failure, Outcome, Place, append, content, create, ensure, names, open, open_rw, proc_path,
    read_at, refused, same, stat, there,
};
use crate::sys::Mapping;

super::cases!("unlinked";
    tmpfile, tmpfile_linked_by_its_descriptor, tmpfile_linked_by_proc,
    tmpfile_that_must_not_be_linked, tmpfile_survives_a_remount_once_linked, tmpfile_of_a_user,
    a_base_file_read, a_base_file_written, a_base_file_changed_before, a_new_file,
    a_base_file_opened_again_by_proc, attributes_of_a_base_file, attributes_of_a_new_file,
    linking_is_refused, a_mapping_lives_on, a_new_file_under_the_same_name,
    after_a_cache_drop,
);

fn temporary(place: &Place, flags: OFlags) -> Result<File, Failure> {
    let flags = flags | OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(openat(CWD, place.at("dir"), flags, Mode::from_raw_mode(0o640))?.into())
}

fn tmpfile(place: &Place) -> Outcome {
    let before = names(place.at("dir"))?;
    let file = temporary(place, OFlags::empty())?;
    file.write_all_at(b"temporary", 0)?;
    same("content", read_at(&file, 0, 20)?, b"temporary".to_vec())?;
    same("link count", file.metadata()?.nlink(), 0)?;
    same("mode", file.metadata()?.mode(), libc::S_IFREG | 0o640)?;
    same("names", names(place.at("dir"))?, before)
}

fn tmpfile_linked_by_its_descriptor(place: &Place) -> Outcome {
    let file = temporary(place, OFlags::empty())?;
    file.write_all_at(b"temporary", 0)?;
    linkat(&file, "", CWD, place.at("dir/made"), AtFlags::EMPTY_PATH)?;
    same("content", fs::read(place.at("dir/made"))?, b"temporary".to_vec())?;
    same("link count", file.metadata()?.nlink(), 1)
}

fn tmpfile_linked_by_proc(place: &Place) -> Outcome {
    let file = temporary(place, OFlags::empty())?;
    file.write_all_at(b"temporary", 0)?;
    let path = proc_path(&file);
    linkat(CWD, &path, CWD, place.at("dir/made"), AtFlags::SYMLINK_FOLLOW)?;
    file.write_all_at(b"T", 0)?;
    same("content", fs::read(place.at("dir/made"))?, b"Temporary".to_vec())?;
    same("number", stat(place.at("dir/made"))?.ino(), file.metadata()?.ino())?;
    let again = linkat(CWD, &path, CWD, place.at("dir/made"), AtFlags::SYMLINK_FOLLOW);
    refused(again, Errno::EXIST)
}

fn tmpfile_that_must_not_be_linked(place: &Place) -> Outcome {
    let file = temporary(place, OFlags::EXCL)?;
    let made = linkat(CWD, proc_path(&file), CWD, place.at("made"), AtFlags::SYMLINK_FOLLOW);
    refused(made, Errno::NOENT)
}

fn tmpfile_survives_a_remount_once_linked(place: &Place) -> Outcome {
    let file = temporary(place, OFlags::empty())?;
    file.write_all_at(b"temporary", 0)?;
    linkat(CWD, proc_path(&file), CWD, place.at("dir/made"), AtFlags::SYMLINK_FOLLOW)?;
    drop(file);
    drop(temporary(place, OFlags::empty())?);
    place.remount()?;
    same("content", fs::read(place.at("dir/made"))?, b"temporary".to_vec())?;
    let expected = ["a", "b", "h3", "made", "sub"].map(String::from).to_vec();
    same("names", names(place.at("dir"))?, expected)
}

fn tmpfile_of_a_user(place: &Place) -> Outcome {
    use crate::sys::{USER, as_user};
    as_user(|| {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let make = |dir: &str| openat(CWD, place.at(dir), flags, Mode::from_raw_mode(0o666));
        refused(make("dir"), Errno::ACCESS)?;
        let file: File = make("public")?.into();
        same("owner", (file.metadata()?.uid(), file.metadata()?.gid()), (USER, USER))?;
        let shared: File = make("setgid")?.into();
        same("group", shared.metadata()?.gid(), crate::tree::GROUP)?;
        let made = place.at("public/made");
        linkat(CWD, proc_path(&file), CWD, made, AtFlags::SYMLINK_FOLLOW)?;
        Ok(append(place.at("public/made"), b"text")?)
    })
}

fn a_base_file_read(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    fs::remove_file(place.at("f"))?;
    same("link count", held.metadata()?.nlink(), 0)?;
    same("size", held.metadata()?.len(), 20_000)?;
    same("content", read_at(&held, 0, 30_000)?, content())
}

fn a_base_file_written(place: &Place) -> Outcome {
    let held = open_rw(place.at("f"))?;
    fs::remove_file(place.at("f"))?;
    held.write_all_at(b"NEW", 0)?;
    same("content", read_at(&held, 0, 3)?, b"NEW".to_vec())?;
    ftruncate(&held, 10)?;
    same("size", held.metadata()?.len(), 10)?;
    ensure(!there(place.at("f")), "the name is back")
}

fn a_base_file_changed_before(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    append(place.at("f"), b"more")?;
    fs::remove_file(place.at("f"))?;
    same("link count", held.metadata()?.nlink(), 0)?;
    same("content", read_at(&held, 20_000, 10)?, b"more".to_vec())
}

fn a_new_file(place: &Place) -> Outcome {
    let held = create(place.at("dir/new"))?;
    held.write_all_at(b"new", 0)?;
    fs::remove_file(place.at("dir/new"))?;
    same("link count", held.metadata()?.nlink(), 0)?;
    held.write_all_at(b"er", 3)?;
    same("content", read_at(&held, 0, 10)?, b"newer".to_vec())?;
    held.sync_all()?;
    ftruncate(&held, 1)?;
    same("size", held.metadata()?.len(), 1)
}

/// Linux opens the object, not the name that it had.
fn a_base_file_opened_again_by_proc(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    fs::remove_file(place.at("f"))?;
    let writer = open_rw(proc_path(&held))?;
    writer.write_all_at(b"NEW", 0)?;
    same("content", read_at(&held, 0, 4)?, b"NEWd".to_vec())?;
    ensure(!there(place.at("f")), "the name is back")
}

fn attributes(held: &File) -> Outcome {
    held.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o604))?;
    same("mode", held.metadata()?.mode() & 0o7777, 0o604)?;
    rustix::fs::fchown(
        held,
        Some(rustix::fs::Uid::from_raw(3)),
        Some(rustix::fs::Gid::from_raw(4)),
    )?;
    same("owner", (held.metadata()?.uid(), held.metadata()?.gid()), (3, 4))?;
    rustix::fs::fsetxattr(held, "user.x", b"value", rustix::fs::XattrFlags::empty())?;
    let mut value = [0; 5];
    same("attribute", rustix::fs::fgetxattr(held, "user.x", &mut value)?, 5)?;
    let old = crate::kit::OLD;
    let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
    rustix::fs::futimens(held, &times)?;
    same("time", held.metadata()?.mtime(), old.tv_sec)
}

fn attributes_of_a_base_file(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    fs::remove_file(place.at("f"))?;
    attributes(&held)?;
    ensure(!there(place.at("f")), "the name is back")
}

fn attributes_of_a_new_file(place: &Place) -> Outcome {
    let held = create(place.at("new"))?;
    fs::remove_file(place.at("new"))?;
    attributes(&held)
}

fn linking_is_refused(place: &Place) -> Outcome {
    for held in [open(place.at("f"))?, create(place.at("new"))?] {
        for name in ["f", "new"] {
            let _ = fs::remove_file(place.at(name));
        }
        let made = linkat(CWD, proc_path(&held), CWD, place.at("made"), AtFlags::SYMLINK_FOLLOW);
        refused(made, Errno::NOENT)?;
    }
    Ok(())
}

fn a_mapping_lives_on(place: &Place) -> Outcome {
    let mapping = Mapping::shared(open(place.at("f"))?, 20_000)?;
    fs::remove_file(place.at("f"))?;
    place.drop_caches()?;
    same("content", mapping.bytes(0, 20_000), content())
}

fn a_new_file_under_the_same_name(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    fs::remove_file(place.at("f"))?;
    fs::write(place.at("f"), "another")?;
    same("old", read_at(&held, 0, 30_000)?, content())?;
    same("new", fs::read(place.at("f"))?, b"another".to_vec())
}

fn after_a_cache_drop(place: &Place) -> Outcome {
    let base = open(place.at("f"))?;
    let new = create(place.at("new"))?;
    new.write_all_at(b"new", 0)?;
    fs::remove_file(place.at("f"))?;
    fs::remove_file(place.at("new"))?;
    place.drop_caches()?;
    same("base", read_at(&base, 0, 30_000)?, content())?;
    same("new", read_at(&new, 0, 10)?, b"new".to_vec())?;
    same("link count", (base.metadata()?.nlink(), new.metadata()?.nlink()), (0, 0))
}
