//! Extended attributes.

use std::fs;
use std::path::Path;

use rustix::fs::{
    XattrFlags, getxattr, lgetxattr, listxattr, lremovexattr, lsetxattr, removexattr,
};
use rustix::io::Errno;

use crate::kit::{
    Failure, Outcome, Place, append, content, create, ensure, failed, open, refused, same, stat,
};
use crate::sys::as_user;
use crate::tree::set_xattr;

super::cases!("xattrs";
    base_attributes_show, a_new_attribute, trusted_attributes, security_labels,
    creating_and_replacing, sizes_and_small_buffers, lists_are_exact, removing,
    an_empty_value, a_value_of_many_kilobytes, many_attributes, attributes_of_directories,
    user_attributes_of_other_types_are_refused, trusted_attributes_of_symbolic_links,
    unknown_namespaces, names_too_long, users_do_not_see_trusted_ones, users_need_rights,
    names_that_overlays_use, attributes_follow_a_rename, attributes_survive_a_remount,
    attributes_by_descriptor, setting_leaves_the_data_alone,
);

fn value(path: &Path, name: &str) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; 70_000];
    let length = lgetxattr(path, name, &mut bytes[..])?;
    bytes.truncate(length);
    Ok(bytes)
}

fn list(path: &Path) -> Result<Vec<String>, Failure> {
    let mut bytes = vec![0; 70_000];
    let length = listxattr(path, &mut bytes[..])?;
    bytes.truncate(length);
    let names = bytes.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    // A security module may label everything.
    names.retain(|name| !["security.selinux", "security.SMACK64"].contains(&name.as_str()));
    names.sort();
    Ok(names)
}

fn base_attributes_show(place: &Place) -> Outcome {
    same("user", value(&place.at("xattrs"), "user.base")?, b"as given".to_vec())?;
    same("of a directory", value(&place.at("dir"), "user.base")?, b"of a directory".to_vec())?;
    refused(value(&place.at("f"), "user.base"), Errno::NODATA)
}

fn a_new_attribute(place: &Place) -> Outcome {
    set_xattr(&place.at("xattrs"), "user.new", b"\0binary\xff")?;
    same("new", value(&place.at("xattrs"), "user.new")?, b"\0binary\xff".to_vec())?;
    same("old", value(&place.at("xattrs"), "user.base")?, b"as given".to_vec())?;
    set_xattr(&place.at("xattrs"), "user.base", b"changed")?;
    same("changed", value(&place.at("xattrs"), "user.base")?, b"changed".to_vec())
}

fn trusted_attributes(place: &Place) -> Outcome {
    same("base", value(&place.at("xattrs"), "trusted.base")?, b"trusted".to_vec())?;
    set_xattr(&place.at("f"), "trusted.new", b"new")?;
    same("new", value(&place.at("f"), "trusted.new")?, b"new".to_vec())?;
    append(place.at("xattrs"), b"x")?;
    same("kept", value(&place.at("xattrs"), "trusted.base")?, b"trusted".to_vec())
}

fn security_labels(place: &Place) -> Outcome {
    same("base", value(&place.at("xattrs"), "security.base")?, b"a label\0".to_vec())?;
    set_xattr(&place.at("f"), "security.new", b"as given\0")?;
    same("new", value(&place.at("f"), "security.new")?, b"as given\0".to_vec())?;
    append(place.at("xattrs"), b"x")?;
    same("kept", value(&place.at("xattrs"), "security.base")?, b"a label\0".to_vec())
}

fn creating_and_replacing(place: &Place) -> Outcome {
    let set = |name: &str, flags| lsetxattr(place.at("xattrs"), name, b"new", flags);
    refused(set("user.base", XattrFlags::CREATE), Errno::EXIST)?;
    refused(set("user.other", XattrFlags::REPLACE), Errno::NODATA)?;
    same("unchanged", value(&place.at("xattrs"), "user.base")?, b"as given".to_vec())?;
    set("user.base", XattrFlags::REPLACE)?;
    set("user.other", XattrFlags::CREATE)?;
    same("replaced", value(&place.at("xattrs"), "user.base")?, b"new".to_vec())
}

fn sizes_and_small_buffers(place: &Place) -> Outcome {
    let path = place.at("xattrs");
    let size = rustix::fs::getxattr_query(&path, "user.base")?;
    same("size", size, 8)?;
    refused(getxattr(&path, "user.base", &mut [0; 7]), Errno::RANGE)?;
    same("exact", getxattr(&path, "user.base", &mut [0; 8])?, 8)?;
    let size = rustix::fs::listxattr_query(&path)?;
    ensure(size >= b"user.base\0".len(), "size of the list")?;
    refused(listxattr(&path, &mut [0; 5]), Errno::RANGE)
}

fn lists_are_exact(place: &Place) -> Outcome {
    let base = ["security.base", "trusted.base", "user.base"].map(String::from).to_vec();
    same("base", list(&place.at("xattrs"))?, base)?;
    same("none", list(&place.at("f"))?, vec![])?;
    set_xattr(&place.at("xattrs"), "user.new", b"x")?;
    removexattr(place.at("xattrs"), "user.base")?;
    let now = ["security.base", "trusted.base", "user.new"].map(String::from).to_vec();
    same("after changes", list(&place.at("xattrs"))?, now)?;
    append(place.at("f"), b"x")?;
    same("none after a copy-up", list(&place.at("f"))?, vec![])?;
    create(place.at("dir/new"))?;
    same("none of a new file", list(&place.at("dir/new"))?, vec![])?;
    same("one of a directory", list(&place.at("dir"))?, vec!["user.base".to_string()])
}

fn removing(place: &Place) -> Outcome {
    removexattr(place.at("xattrs"), "user.base")?;
    refused(value(&place.at("xattrs"), "user.base"), Errno::NODATA)?;
    refused(removexattr(place.at("xattrs"), "user.base"), Errno::NODATA)?;
    refused(removexattr(place.at("f"), "user.none"), Errno::NODATA)
}

fn an_empty_value(place: &Place) -> Outcome {
    set_xattr(&place.at("f"), "user.empty", b"")?;
    same("value", value(&place.at("f"), "user.empty")?, vec![])?;
    same("list", list(&place.at("f"))?, vec!["user.empty".to_string()])
}

/// ext4 has room for less than 4 KiB, others for 64: all or nothing.
fn a_value_of_many_kilobytes(place: &Place) -> Outcome {
    let large: Vec<u8> = (0..60_000_u32).map(|at| at as u8).collect();
    match set_xattr(&place.at("f"), "user.large", &large) {
        Ok(()) => same("value", value(&place.at("f"), "user.large")?, large),
        Err(error) if [libc::ENOSPC, libc::E2BIG].contains(&error.raw_os_error().unwrap_or(0)) => {
            same("list", list(&place.at("f"))?, vec![])
        }
        Err(error) => failed(error),
    }?;
    let middle = vec![7; 3000];
    set_xattr(&place.at("g"), "user.middle", &middle)?;
    same("value", value(&place.at("g"), "user.middle")?, middle)?;
    let beyond = vec![0; 65_537];
    refused(set_xattr(&place.at("g"), "user.beyond", &beyond), Errno::TOOBIG)
}

fn many_attributes(place: &Place) -> Outcome {
    for number in 0..50 {
        set_xattr(&place.at("f"), &format!("user.n{number:02}"), b"v")?;
    }
    let expected: Vec<_> = (0..50).map(|number| format!("user.n{number:02}")).collect();
    same("list", list(&place.at("f"))?, expected)
}

fn attributes_of_directories(place: &Place) -> Outcome {
    set_xattr(&place.at("dir/sub"), "user.new", b"x")?;
    set_xattr(&place.at("dir"), "trusted.new", b"y")?;
    same("new", value(&place.at("dir/sub"), "user.new")?, b"x".to_vec())?;
    let expected = ["trusted.new", "user.base"].map(String::from).to_vec();
    same("list", list(&place.at("dir"))?, expected)?;
    ensure(stat(place.at("dir/a"))?.is_file(), "entries")
}

fn user_attributes_of_other_types_are_refused(place: &Place) -> Outcome {
    for name in ["link", "fifo", "null"] {
        refused(set_xattr(&place.at(name), "user.x", b"y"), Errno::PERM)?;
    }
    // New kernels have them for sockets.
    match set_xattr(&place.at("socket"), "user.x", b"y") {
        Ok(()) => same("socket", value(&place.at("socket"), "user.x")?, b"y".to_vec()),
        error => refused(error, Errno::PERM),
    }
}

fn trusted_attributes_of_symbolic_links(place: &Place) -> Outcome {
    for name in ["link", "fifo", "null"] {
        set_xattr(&place.at(name), "trusted.x", b"y")?;
        same(name, value(&place.at(name), "trusted.x")?, b"y".to_vec())?;
        lremovexattr(place.at(name), "trusted.x")?;
    }
    refused(value(&place.at("f"), "trusted.x"), Errno::NODATA)
}

fn unknown_namespaces(place: &Place) -> Outcome {
    refused(set_xattr(&place.at("f"), "nonsense.x", b"y"), Errno::OPNOTSUPP)?;
    refused(value(&place.at("f"), "nonsense.x"), Errno::OPNOTSUPP)
}

fn names_too_long(place: &Place) -> Outcome {
    let longest = format!("user.{}", "n".repeat(250));
    set_xattr(&place.at("f"), &longest, b"y")?;
    same("list", list(&place.at("f"))?, vec![longest.clone()])?;
    refused(set_xattr(&place.at("f"), &format!("{longest}n"), b"y"), Errno::RANGE)
}

fn users_do_not_see_trusted_ones(place: &Place) -> Outcome {
    as_user(|| {
        refused(value(&place.at("xattrs"), "trusted.base"), Errno::NODATA)?;
        refused(set_xattr(&place.at("owned"), "trusted.x", b"y"), Errno::PERM)?;
        refused(set_xattr(&place.at("owned"), "security.x", b"y"), Errno::PERM)?;
        let seen = list(&place.at("xattrs"))?;
        ensure(!seen.contains(&"trusted.base".to_string()), "it is listed")
    })
}

fn users_need_rights(place: &Place) -> Outcome {
    as_user(|| {
        refused(set_xattr(&place.at("f"), "user.x", b"y"), Errno::ACCESS)?;
        refused(value(&place.at("secret"), "user.x"), Errno::ACCESS)?;
        set_xattr(&place.at("owned"), "user.x", b"y")?;
        set_xattr(&place.at("shared"), "user.x", b"y")?;
        // In sticky directories' own case only the owner may.
        refused(set_xattr(&place.at("sticky"), "user.x", b"y"), Errno::PERM)
    })
}

fn names_that_overlays_use(place: &Place) -> Outcome {
    let names = ["trusted.overlay.opaque", "user.fuseoverlayfs.opaque", "user.overlay.whiteout"];
    for name in names {
        set_xattr(&place.at("dir"), name, b"y")?;
        same(name, value(&place.at("dir"), name)?, b"y".to_vec())?;
    }
    place.drop_caches()?;
    same("entries", crate::kit::names(place.at("dir"))?.len(), 4)?;
    same("list", list(&place.at("dir"))?.len(), 4)
}

fn attributes_follow_a_rename(place: &Place) -> Outcome {
    fs::rename(place.at("xattrs"), place.at("dir/sub/x"))?;
    fs::rename(place.at("dir"), place.at("moved"))?;
    same("file", value(&place.at("moved/sub/x"), "user.base")?, b"as given".to_vec())?;
    same("directory", value(&place.at("moved"), "user.base")?, b"of a directory".to_vec())?;
    set_xattr(&place.at("moved"), "user.base", b"new")?;
    same("directory", value(&place.at("moved"), "user.base")?, b"new".to_vec())
}

fn attributes_survive_a_remount(place: &Place) -> Outcome {
    set_xattr(&place.at("dir"), "user.new", b"x")?;
    set_xattr(&place.at("f"), "security.new", b"y")?;
    removexattr(place.at("xattrs"), "user.base")?;
    place.remount()?;
    same("directory", value(&place.at("dir"), "user.new")?, b"x".to_vec())?;
    same("file", value(&place.at("f"), "security.new")?, b"y".to_vec())?;
    refused(value(&place.at("xattrs"), "user.base"), Errno::NODATA)
}

fn attributes_by_descriptor(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    rustix::fs::fsetxattr(&held, "user.x", b"y", XattrFlags::empty())?;
    same("by path", value(&place.at("f"), "user.x")?, b"y".to_vec())?;
    set_xattr(&place.at("f"), "user.x", b"zz")?;
    let mut bytes = [0; 2];
    same("by descriptor", rustix::fs::fgetxattr(&held, "user.x", &mut bytes)?, 2)?;
    same("value", bytes, *b"zz")
}

fn setting_leaves_the_data_alone(place: &Place) -> Outcome {
    let before = stat(place.at("f"))?.modified()?;
    set_xattr(&place.at("f"), "user.x", b"y")?;
    same("content", fs::read(place.at("f"))?, content())?;
    same("modification time", stat(place.at("f"))?.modified()?, before)
}
