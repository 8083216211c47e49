//! FIFOs, sockets, devices, symbolic links, and names that others reserve.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::{FileType, makedev};
use rustix::io::Errno;

use crate::kit::{
    Outcome, Place, chmod, create, ensure, entries_from, mode, names, open, refused, same, skipped,
    stat, there,
};
use crate::sys::{as_user, spawn};
use crate::tree::{link_lengths, node};

super::cases!("special";
    a_base_fifo_works, a_new_fifo_works, a_socket_works, a_base_socket_is_dead, a_base_device_works,
    a_new_device_works, the_device_of_whiteouts, block_devices, making_files_by_mknod,
    users_make_no_devices, attributes_of_special_files, links_of_every_length with long_links,
    new_links_of_every_length, relative_and_absolute_links, names_that_overlays_use,
    names_that_fuse_uses, the_name_of_the_journal, numbers_of_the_file_system, many_open_files,
    a_bind_mount_inside,
);

fn fifo(place: &Place, name: &str) -> Outcome {
    let path = place.at(name);
    let writer = spawn(|| {
        OpenOptions::new().write(true).open(&path)?.write_all(b"through the pipe")?;
        Ok(())
    })?;
    let mut text = String::new();
    open(place.at(name))?.read_to_string(&mut text)?;
    writer.join()?;
    same("text", text.as_str(), "through the pipe")
}

fn a_base_fifo_works(place: &Place) -> Outcome {
    fifo(place, "fifo")?;
    chmod(place.at("fifo"), 0o600)?;
    fifo(place, "fifo")
}

fn a_new_fifo_works(place: &Place) -> Outcome {
    node(&place.at("dir/new"), FileType::Fifo, 0o644, 0)?;
    fifo(place, "dir/new")?;
    fs::rename(place.at("dir/new"), place.at("newer"))?;
    fifo(place, "newer")
}

/// Binds in the mount by a short relative path: the address has 108 bytes.
fn a_socket_works(place: &Place) -> Outcome {
    spawn(|| {
        std::env::set_current_dir(place.at("dir"))?;
        let listener = UnixListener::bind("new")?;
        ensure(stat("new")?.file_type().is_socket(), "it is no socket")?;
        fs::rename("new", "sub/newer")?;
        let client = spawn(|| {
            UnixStream::connect("sub/newer")?.write_all(b"hello")?;
            Ok(())
        })?;
        let mut text = String::new();
        listener.accept()?.0.read_to_string(&mut text)?;
        client.join()?;
        same("text", text.as_str(), "hello")?;
        refused(UnixListener::bind("sub/newer"), Errno::ADDRINUSE)
    })?
    .join()
}

fn a_base_socket_is_dead(place: &Place) -> Outcome {
    spawn(|| {
        std::env::set_current_dir(&place.dir)?;
        refused(UnixStream::connect("socket"), Errno::CONNREFUSED)
    })?
    .join()
}

fn device(place: &Place, name: &str) -> Outcome {
    if rustix::fs::statvfs(&place.dir)?.f_flag.contains(rustix::fs::StatVfsMountFlags::NODEV) {
        return skipped("mounted with nodev");
    }
    let mut file = OpenOptions::new().read(true).write(true).open(place.at(name))?;
    file.write_all(b"into nothing")?;
    same("read", file.read(&mut [0; 10])?, 0)?;
    same("device", stat(place.at(name))?.rdev(), makedev(1, 3))
}

fn a_base_device_works(place: &Place) -> Outcome {
    device(place, "null")?;
    chmod(place.at("null"), 0o600)?;
    device(place, "null")
}

fn a_new_device_works(place: &Place) -> Outcome {
    node(&place.at("dir/new"), FileType::CharacterDevice, 0o666, makedev(1, 3))?;
    device(place, "dir/new")
}

/// Kernel overlayfs marks what is deleted with device 0:0.
fn the_device_of_whiteouts(place: &Place) -> Outcome {
    node(&place.at("dir/new"), FileType::CharacterDevice, 0o644, 0)?;
    same("device", stat(place.at("dir/new"))?.rdev(), 0)?;
    place.drop_caches()?;
    ensure(stat(place.at("dir/new"))?.file_type().is_char_device(), "type")?;
    ensure(names(place.at("dir"))?.contains(&"new".to_string()), "it is not listed")?;
    Ok(fs::remove_file(place.at("dir/new"))?)
}

fn block_devices(place: &Place) -> Outcome {
    node(&place.at("dir/new"), FileType::BlockDevice, 0o640, makedev(259, 70_000))?;
    let found = stat(place.at("dir/new"))?;
    ensure(found.file_type().is_block_device(), "type")?;
    same("device", found.rdev(), makedev(259, 70_000))?;
    place.remount()?;
    same("after a remount", stat(place.at("dir/new"))?.rdev(), makedev(259, 70_000))
}

fn making_files_by_mknod(place: &Place) -> Outcome {
    node(&place.at("dir/new"), FileType::RegularFile, 0o640, 0)?;
    let found = stat(place.at("dir/new"))?;
    same("file", (found.is_file(), found.len(), found.mode() & 0o777), (true, 0, 0o640))?;
    fs::write(place.at("dir/new"), "text")?;
    same("content", fs::read(place.at("dir/new"))?, b"text".to_vec())
}

fn users_make_no_devices(place: &Place) -> Outcome {
    as_user(|| {
        let made = node(&place.at("public/x"), FileType::CharacterDevice, 0o666, makedev(1, 3));
        refused(made, Errno::PERM)?;
        Ok(node(&place.at("public/pipe"), FileType::Fifo, 0o666, 0)?)
    })
}

fn attributes_of_special_files(place: &Place) -> Outcome {
    for name in ["fifo", "socket", "null"] {
        let before = stat(place.at(name))?;
        chmod(place.at(name), 0o604)?;
        lchown(place.at(name), Some(3), Some(4))?;
        let after = stat(place.at(name))?;
        same(name, (after.uid(), after.gid()), (3, 4))?;
        same(name, mode(place.at(name))?, 0o604)?;
        same(name, (after.rdev(), after.ino()), (before.rdev(), before.ino()))?;
        same(name, after.mode() & libc::S_IFMT, before.mode() & libc::S_IFMT)?;
    }
    lchown(place.at("link"), Some(3), Some(4))?;
    let link = stat(place.at("link"))?;
    same("link", (link.uid(), link.is_symlink()), (3, true))?;
    same("target", stat(place.at("f"))?.uid(), 0)
}

fn links_of_every_length(place: &Place) -> Outcome {
    for length in link_lengths() {
        let name = format!("long_{length}");
        let target = fs::read_link(place.at(&name))?;
        same(&name, target.as_os_str().len(), length)?;
        same(&name, stat(place.at(&name))?.len(), length as u64)?;
        fs::rename(place.at(&name), place.at("dir").join(&name))?;
        lchown(place.at("dir").join(&name), Some(3), None)?;
        same(&name, fs::read_link(place.at("dir").join(&name))?, target)?;
    }
    Ok(())
}

fn new_links_of_every_length(place: &Place) -> Outcome {
    for length in link_lengths() {
        let (path, target) = (place.at("dir").join(length.to_string()), "t".repeat(length));
        symlink(&target, &path)?;
        same("target", fs::read_link(&path)?, target.into())?;
        same("size", stat(&path)?.len(), length as u64)?;
    }
    refused(symlink("t".repeat(4096), place.at("x")), Errno::NAMETOOLONG)?;
    refused(symlink("", place.at("x")), Errno::NOENT)
}

fn relative_and_absolute_links(place: &Place) -> Outcome {
    symlink("../g", place.at("dir/relative"))?;
    symlink(place.at("g"), place.at("dir/absolute"))?;
    symlink("../dir/../g", place.at("other/round"))?;
    for name in ["dir/relative", "dir/absolute", "other/round", "link_to_dir/relative"] {
        same(name, fs::read(place.at(name))?, b"second\n".to_vec())?;
    }
    fs::write(place.at("dir/relative"), "changed")?;
    same("through another", fs::read(place.at("dir/absolute"))?, b"changed".to_vec())
}

fn ordinary(place: &Place, reserved: &[&str]) -> Outcome {
    for name in reserved {
        let path = place.at("dir").join(name);
        fs::write(&path, name)?;
        same(name, fs::read(&path)?, name.as_bytes().to_vec())?;
    }
    place.drop_caches()?;
    let listed = names(place.at("dir"))?;
    for &name in reserved {
        ensure(listed.iter().any(|entry| entry == name), &format!("{name} is not listed"))?;
    }
    same("others", listed.len(), 4 + reserved.len())?;
    ensure(there(place.at("dir/a")), "another entry is hidden")?;
    for name in reserved {
        fs::remove_file(place.at("dir").join(name))?;
    }
    same("left", entries_from(&open(place.at("dir"))?)?.len(), 4)
}

fn names_that_overlays_use(place: &Place) -> Outcome {
    ordinary(place, &[".wh.a", ".wh.sub", ".wh..wh..opq", ".wh..opq", "a_HIDDEN~", "#1a"])
}

fn names_that_fuse_uses(place: &Place) -> Outcome {
    ordinary(place, &[".fuse_hidden0000000100000001", ".nfs0001", ".unionfs"])
}

fn the_name_of_the_journal(place: &Place) -> Outcome {
    ordinary(place, &["META_dAfFgHE39ktF3HD2sr"])
}

fn numbers_of_the_file_system(place: &Place) -> Outcome {
    let found = rustix::fs::statvfs(&place.dir)?;
    same("longest name", found.f_namemax, 255)?;
    ensure(found.f_bsize >= 512 && found.f_frsize >= 512, "block size")?;
    ensure(found.f_blocks >= found.f_bfree && found.f_bfree >= found.f_bavail, "blocks")?;
    ensure(found.f_bavail > 0, "no space")
}

fn many_open_files(place: &Place) -> Outcome {
    fs::create_dir(place.at("made"))?;
    let mut held = Vec::new();
    for number in 0..900 {
        let mut file = create(place.at(&format!("made/{number}")))?;
        file.write_all(number.to_string().as_bytes())?;
        held.push(file);
    }
    fs::remove_dir_all(place.at("made"))?;
    for (number, file) in held.iter().enumerate() {
        same("content", crate::kit::read_at(file, 0, 10)?, number.to_string().into_bytes())?;
    }
    Ok(())
}

fn a_bind_mount_inside(place: &Place) -> Outcome {
    let (from, to) = (place.at("dir"), place.at("empty"));
    if let Err(error) = rustix::mount::mount_bind(&from, &to) {
        return skipped(format!("cannot mount: {error}"));
    }
    let seen = fs::write(place.at("empty/new"), "new").and_then(|()| fs::read(place.at("dir/new")));
    let busy = refused(fs::remove_dir(place.at("empty")), Errno::BUSY);
    rustix::mount::unmount(&to, rustix::mount::UnmountFlags::empty())?;
    same("content", seen?, b"new".to_vec())?;
    busy
}
