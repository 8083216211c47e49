//! Open files follow the copy-up.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use rustix::mm::MapFlags;

use crate::kit::{
    Failure, Outcome, Place, append, chmod, content, create, ensure, mode, open, open_rw,
    proc_path, read_at, refused, same, write_at,
};
use crate::sys::{Mapping, spawn, wait_until};

super::cases!("open_files";
    descriptor_sees_a_write, descriptor_sees_a_write_after_cache_drop,
    descriptor_sees_growth, descriptor_sees_truncation, descriptor_sees_chmod,
    descriptor_follows_a_rename, descriptor_keeps_a_replaced_file, path_descriptor_follows,
    shared_mapping_sees_a_write, private_mapping_sees_a_write, mapping_sees_a_write_after_cache_drop,
    mapping_outlives_its_descriptor, mapping_sees_a_mapped_write,
    inotify_on_a_file, inotify_on_a_file_after_cache_drop, inotify_on_a_directory,
    a_tail_follows, directory_descriptor_follows, working_directory_follows_a_rename,
    running_program_is_busy with programs, file_open_for_writing_does_not_run with programs,
);

fn descriptor_sees_a_write(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    read_at(&held, 0, 100)?;
    write_at(place.at("f"), 5, b"NEW")?;
    same("content", read_at(&held, 5, 3)?, b"NEW".to_vec())
}

fn descriptor_sees_a_write_after_cache_drop(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    read_at(&held, 0, 100)?;
    write_at(place.at("f"), 5, b"NEW")?;
    place.drop_caches()?;
    same("content", read_at(&held, 5, 3)?, b"NEW".to_vec())?;
    write_at(place.at("f"), 5, b"OLD")?;
    place.drop_caches()?;
    same("content", read_at(&held, 5, 3)?, b"OLD".to_vec())
}

fn descriptor_sees_growth(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    append(place.at("f"), b"more")?;
    same("size", held.metadata()?.len(), 20_004)?;
    same("content", read_at(&held, 20_000, 10)?, b"more".to_vec())
}

fn descriptor_sees_truncation(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    read_at(&held, 0, 20_000)?;
    OpenOptions::new().write(true).truncate(true).open(place.at("f"))?;
    same("size", held.metadata()?.len(), 0)?;
    same("content", read_at(&held, 0, 10)?, vec![])
}

fn descriptor_sees_chmod(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    chmod(place.at("f"), 0o640)?;
    same("mode", held.metadata()?.mode() & 0o7777, 0o640)?;
    held.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    same("mode by path", mode(place.at("f"))?, 0o600)
}

fn descriptor_follows_a_rename(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    fs::rename(place.at("f"), place.at("other/moved"))?;
    write_at(place.at("other/moved"), 0, b"moved")?;
    same("content", read_at(&held, 0, 5)?, b"moved".to_vec())
}

fn descriptor_keeps_a_replaced_file(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    fs::rename(place.at("g"), place.at("f"))?;
    same("content", read_at(&held, 0, 20_000)?, content())?;
    same("link count", held.metadata()?.nlink(), 0)?;
    same("content by name", fs::read(place.at("f"))?, b"second\n".to_vec())
}

fn path_descriptor_follows(place: &Place) -> Outcome {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let held = openat(CWD, place.at("f"), flags, Mode::empty())?;
    append(place.at("f"), b"more")?;
    same("size", statat(&held, "", AtFlags::EMPTY_PATH)?.st_size, 20_004)?;
    let again = open(proc_path(&held))?;
    same("content", read_at(&again, 20_000, 10)?, b"more".to_vec())
}

fn shared_mapping_sees_a_write(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    let mapping = Mapping::shared(&held, 20_000)?;
    same("before", mapping.byte(5), b'f')?;
    write_at(place.at("f"), 5, b"NEW")?;
    same("after", mapping.bytes(5, 3), b"NEW".to_vec())
}

fn private_mapping_sees_a_write(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    let mapping = Mapping::new(&held, 20_000, false, MapFlags::PRIVATE)?;
    same("before", mapping.byte(5), b'f')?;
    write_at(place.at("f"), 5, b"NEW")?;
    same("after", mapping.bytes(5, 3), b"NEW".to_vec())
}

fn mapping_sees_a_write_after_cache_drop(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    let shared = Mapping::shared(&held, 20_000)?;
    let private = Mapping::new(&held, 20_000, false, MapFlags::PRIVATE)?;
    same("before", shared.byte(9000), private.byte(9000))?;
    write_at(place.at("f"), 9000, b"NEW")?;
    place.drop_caches()?;
    same("shared", shared.bytes(9000, 3), b"NEW".to_vec())?;
    same("private", private.bytes(9000, 3), b"NEW".to_vec())
}

fn mapping_outlives_its_descriptor(place: &Place) -> Outcome {
    let mapping = Mapping::shared(open(place.at("f"))?, 20_000)?;
    same("before", mapping.byte(0), b'a')?;
    write_at(place.at("f"), 0, b"NEW")?;
    same("after", mapping.bytes(0, 3), b"NEW".to_vec())
}

fn mapping_sees_a_mapped_write(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    let reader = Mapping::shared(&held, 20_000)?;
    same("before", reader.byte(5000), b'a' + (5000 % 26) as u8)?;
    let writer = Mapping::new(open_rw(place.at("f"))?, 20_000, true, MapFlags::SHARED)?;
    writer.set(5000, b'!');
    same("mapped", reader.byte(5000), b'!')?;
    same("read", read_at(&held, 5000, 1)?, b"!".to_vec())
}

/// What happened to what is watched: the event and, in a directory, the name.
fn events(watcher: &File, wanted: usize) -> Result<Vec<(ReadFlags, String)>, Failure> {
    let mut found = Vec::new();
    wait_until(Duration::from_secs(5), || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watcher, &mut buffer);
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            found.push((event.events(), name.unwrap_or_default()));
        }
        found.len() >= wanted
    });
    Ok(found)
}

fn watch(place: &Place, name: &str, flags: WatchFlags) -> Result<File, Failure> {
    let watcher = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watcher, place.at(name), flags)?;
    Ok(watcher.into())
}

fn inotify_on_a_file(place: &Place) -> Outcome {
    let watcher = watch(place, "f", WatchFlags::MODIFY | WatchFlags::ATTRIB)?;
    write_at(place.at("f"), 0, b"x")?;
    chmod(place.at("f"), 0o600)?;
    let found = events(&watcher, 2)?;
    ensure(found.iter().any(|e| e.0.contains(ReadFlags::MODIFY)), "no event of the write")?;
    ensure(found.iter().any(|e| e.0.contains(ReadFlags::ATTRIB)), "no event of chmod")
}

fn inotify_on_a_file_after_cache_drop(place: &Place) -> Outcome {
    let watcher = watch(place, "f", WatchFlags::MODIFY)?;
    chmod(place.at("f"), 0o600)?;
    place.drop_caches()?;
    write_at(place.at("f"), 0, b"x")?;
    let found = events(&watcher, 1)?;
    ensure(found.iter().any(|e| e.0.contains(ReadFlags::MODIFY)), "no event of the write")
}

fn inotify_on_a_directory(place: &Place) -> Outcome {
    let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::DELETE;
    let watcher = watch(place, "dir", flags | WatchFlags::MOVE)?;
    write_at(place.at("dir/a"), 0, b"x")?;
    create(place.at("dir/new"))?;
    fs::remove_file(place.at("dir/b"))?;
    fs::rename(place.at("dir/a"), place.at("dir/z"))?;
    let names: Vec<_> = events(&watcher, 5)?.into_iter().map(|event| event.1).collect();
    same("names", names, ["a", "new", "b", "a", "z"].map(String::from).to_vec())
}

fn a_tail_follows(place: &Place) -> Outcome {
    let path = place.at("dir/a");
    let (mut ready, says) = std::io::pipe()?;
    let tail = spawn(|| {
        let mut says = says;
        let mut file = open(&path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        says.write_all(b"!")?;
        let complete = || {
            let _ = file.read_to_string(&mut text);
            text == "dir/a\none\ntwo\nthree\n"
        };
        ensure(wait_until(Duration::from_secs(5), complete), "the lines did not come")
    })?;
    ready.read_exact(&mut [0])?;
    for line in ["one\n", "two\n", "three\n"] {
        append(place.at("dir/a"), line.as_bytes())?;
        std::thread::sleep(Duration::from_millis(20));
    }
    tail.join()
}

fn directory_descriptor_follows(place: &Place) -> Outcome {
    let held = open(place.at("dir"))?;
    create(place.at("dir/new"))?.write_all(b"new")?;
    let seen = openat(&held, "new", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    same("content", read_at(&File::from(seen), 0, 10)?, b"new".to_vec())?;
    fs::rename(place.at("dir"), place.at("moved"))?;
    rustix::fs::mkdirat(&held, "made", Mode::from_raw_mode(0o755))?;
    ensure(place.at("moved/made").is_dir(), "not made in the moved directory")
}

fn working_directory_follows_a_rename(place: &Place) -> Outcome {
    spawn(|| {
        std::env::set_current_dir(place.at("dir/sub"))?;
        fs::rename(place.at("dir"), place.at("moved"))?;
        fs::write("made", "made")?;
        same("getcwd", std::env::current_dir()?, place.at("moved/sub"))?;
        same("content", fs::read(place.at("moved/sub/made"))?, b"made".to_vec())?;
        ensure(fs::metadata("../a").is_ok(), "the parent is another")
    })?
    .join()
}

fn running_program_is_busy(place: &Place) -> Outcome {
    let mut child = Command::new(place.at("sleep")).arg("20").spawn()?;
    let write = refused(open_rw(place.at("sleep")), Errno::TXTBSY);
    child.kill()?;
    child.wait()?;
    write?;
    open_rw(place.at("sleep"))?.write_all_at(b"x", 0)?;
    Ok(())
}

fn file_open_for_writing_does_not_run(place: &Place) -> Outcome {
    let held = open_rw(place.at("sleep"))?;
    refused(Command::new(place.at("sleep")).arg("0").status(), Errno::TXTBSY)?;
    drop(held);
    ensure(Command::new(place.at("sleep")).arg("0").status()?.success(), "it does not run")
}
