//! File handles, as an NFS server uses them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

use crate::kit::{
    Failure, Outcome, Place, append, content, create, ensure, names, open, read_at, refused, same,
    stat,
};
use crate::sys::{Handle, name_to_handle, open_by_handle};

super::cases!("handles";
    handle_of_a_base_file, handle_of_a_base_directory, handle_of_a_created_file,
    handle_of_a_symbolic_link, handle_outlives_a_copy_up, handle_outlives_a_rename,
    handle_outlives_a_rename_of_the_directory, handle_outlives_a_cache_drop,
    handle_of_a_changed_file_outlives_a_cache_drop, handle_outlives_a_remount,
    handle_is_the_same_for_all_links, handle_of_a_removed_file_is_stale,
    handle_of_another_object_is_another, handle_for_writing,
    parent_of_a_directory_by_handle,
);

fn handle(place: &Place, name: &str) -> Result<Handle, Failure> {
    name_to_handle(&place.at(name)).map_err(|e| match e.raw_os_error() {
        Some(95) => Failure::Failed("name_to_handle_at is not supported".into()),
        _ => e.into(),
    })
}

/// The content of what a handle stands for.
fn text(place: &Place, handle: &Handle) -> Result<Vec<u8>, Failure> {
    let mount = open(&place.dir)?;
    Ok(read_at(&open_by_handle(&mount, handle, libc::O_RDONLY)?, 0, 30_000)?)
}

fn handle_of_a_base_file(place: &Place) -> Outcome {
    let handle = handle(place, "f")?;
    same("content", text(place, &handle)?, content())?;
    let file = open_by_handle(open(&place.dir)?, &handle, libc::O_RDONLY)?;
    same("number", file.metadata()?.ino(), stat(place.at("f"))?.ino())
}

fn handle_of_a_base_directory(place: &Place) -> Outcome {
    let handle = handle(place, "dir/sub")?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let dir = open_by_handle(open(&place.dir)?, &handle, flags)?;
    let found: Vec<_> = crate::kit::entries_from(&dir)?.into_iter().map(|e| e.name).collect();
    same("entries", found.len(), 2)?;
    same("names", names(place.at("dir/sub"))?, vec!["c".into(), "deep".into()])
}

fn handle_of_a_created_file(place: &Place) -> Outcome {
    fs::write(place.at("dir/new"), "new")?;
    let handle = handle(place, "dir/new")?;
    same("content", text(place, &handle)?, b"new".to_vec())
}

fn handle_of_a_symbolic_link(place: &Place) -> Outcome {
    let handle = handle(place, "link")?;
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let link = open_by_handle(open(&place.dir)?, &handle, flags)?;
    let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
    same("target", target.to_bytes().to_vec(), b"f".to_vec())
}

fn handle_outlives_a_copy_up(place: &Place) -> Outcome {
    let before = handle(place, "g")?;
    append(place.at("g"), b"more\n")?;
    same("content", text(place, &before)?, b"second\nmore\n".to_vec())?;
    same("handle", handle(place, "g")?, before)
}

fn handle_outlives_a_rename(place: &Place) -> Outcome {
    let before = handle(place, "g")?;
    fs::rename(place.at("g"), place.at("dir/sub/g"))?;
    append(place.at("dir/sub/g"), b"more\n")?;
    place.drop_caches()?;
    same("content", text(place, &before)?, b"second\nmore\n".to_vec())
}

fn handle_outlives_a_rename_of_the_directory(place: &Place) -> Outcome {
    let before = handle(place, "dir/sub/c")?;
    fs::rename(place.at("dir"), place.at("other/moved"))?;
    place.drop_caches()?;
    same("content", text(place, &before)?, b"dir/sub/c\n".to_vec())
}

fn handle_outlives_a_cache_drop(place: &Place) -> Outcome {
    let before = handle(place, "dir/sub/deep/d")?;
    place.drop_caches()?;
    same("content", text(place, &before)?, b"dir/sub/deep/d\n".to_vec())
}

fn handle_of_a_changed_file_outlives_a_cache_drop(place: &Place) -> Outcome {
    fs::write(place.at("dir/new"), "new")?;
    let handles = (handle(place, "dir/a")?, handle(place, "dir/new")?);
    append(place.at("dir/a"), b"more")?;
    place.drop_caches()?;
    same("copied up", text(place, &handles.0)?, b"dir/a\nmore".to_vec())?;
    same("created", text(place, &handles.1)?, b"new".to_vec())
}

fn handle_outlives_a_remount(place: &Place) -> Outcome {
    fs::write(place.at("dir/new"), "new")?;
    let handles = (handle(place, "dir/a")?, handle(place, "dir/new")?, handle(place, "g")?);
    append(place.at("dir/a"), b"more")?;
    place.remount()?;
    same("copied up", text(place, &handles.0)?, b"dir/a\nmore".to_vec())?;
    same("created", text(place, &handles.1)?, b"new".to_vec())?;
    same("base", text(place, &handles.2)?, b"second\n".to_vec())
}

fn handle_is_the_same_for_all_links(place: &Place) -> Outcome {
    same("h2", handle(place, "h2")?, handle(place, "h1")?)?;
    same("h3", handle(place, "dir/h3")?, handle(place, "h1")?)?;
    fs::hard_link(place.at("g"), place.at("g2"))?;
    same("g2", handle(place, "g2")?, handle(place, "g")?)
}

fn handle_of_a_removed_file_is_stale(place: &Place) -> Outcome {
    fs::write(place.at("new"), "new")?;
    for name in ["new", "g"] {
        let handle = handle(place, name)?;
        fs::remove_file(place.at(name))?;
        create(place.at(name))?;
        place.drop_caches()?;
        refused(text(place, &handle).map_err(errno), Errno::STALE)?;
    }
    Ok(())
}

/// The error of a failure, found again by its text.
fn errno(failure: Failure) -> std::io::Error {
    let stale = std::io::Error::from(Errno::STALE);
    if failure.text().contains(&stale.to_string()) {
        stale
    } else {
        std::io::Error::other(failure.text().to_string())
    }
}

fn handle_of_another_object_is_another(place: &Place) -> Outcome {
    let old = handle(place, "g")?;
    fs::rename(place.at("dir/a"), place.at("g"))?;
    ensure(handle(place, "g")? != old, "the file that replaced another has its handle")
}

fn handle_for_writing(place: &Place) -> Outcome {
    let handle = handle(place, "g")?;
    let file = open_by_handle(open(&place.dir)?, &handle, libc::O_RDWR)?;
    std::os::unix::fs::FileExt::write_all_at(&file, b"S", 0)?;
    same("content by path", fs::read(place.at("g"))?, b"Second\n".to_vec())
}

fn parent_of_a_directory_by_handle(place: &Place) -> Outcome {
    let handle = handle(place, "dir/sub/deep")?;
    place.drop_caches()?;
    let dir = open_by_handle(open(&place.dir)?, &handle, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let parent = rustix::fs::statat(&dir, "..", rustix::fs::AtFlags::empty())?;
    same("number of ..", parent.st_ino, stat(place.at("dir/sub"))?.ino())
}
