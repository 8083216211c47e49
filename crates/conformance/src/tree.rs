//! What lies in the base for each case, and what some cases want besides.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, chown, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, mkdirat, mknodat, openat};

use crate::kit::{OLD, chmod, content, set_times};
use crate::sys::USER;

/// A group of which nobody is a member.
pub const GROUP: u32 = 12345;
/// Levels of the directory `deep` of [`deep`].
pub const DEEP: usize = 500;
/// Entries of the directory `many` of [`many`].
pub const MANY: usize = 100_000;
/// Size of the base file `sparse`, in bytes.
pub const SPARSE: u64 = 8 << 20;

/// A capability set as the kernel stores it: version 2, effective,
/// CAP_NET_RAW permitted.
pub const CAPABILITIES: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One entry of an ACL: tag, rights and id.
pub type AclEntry = (u16, u16, u32);
/// The file's owner.
pub const ACL_OWNER: u16 = 1;
/// A user by number.
pub const ACL_USER: u16 = 2;
/// The file's group.
pub const ACL_GROUP: u16 = 4;
/// The most that users and groups by number get.
pub const ACL_MASK: u16 = 0x10;
/// Everybody else.
pub const ACL_OTHER: u16 = 0x20;
/// No id.
pub const NOBODY: u32 = u32::MAX;

/// An ACL as extended attributes hold it.
pub fn acl(entries: &[AclEntry]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Sets an extended attribute, of a symbolic link itself too.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())?)
}

/// A device, FIFO or socket.
pub fn node(path: &Path, kind: FileType, bits: u32, device: u64) -> io::Result<()> {
    Ok(mknodat(CWD, path, kind, Mode::from_raw_mode(bits), device)?)
}

fn owner(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    if_allowed(chown(path, Some(uid), Some(gid)))
}

/// Users, and root of a user namespace, have to do without some objects.
fn if_allowed(result: io::Result<()>) -> io::Result<()> {
    let refusals = [libc::EPERM, libc::EINVAL];
    result.or_else(|error| match error.raw_os_error() {
        Some(number) if refusals.contains(&number) => Ok(()),
        _ => Err(error),
    })
}

/// Makes the directory of one case and everything that all cases find there.
pub fn standard(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    fs::write(dir.join("f"), content())?;
    fs::write(dir.join("g"), "second\n")?;
    for name in ["dir", "dir/sub", "dir/sub/deep", "empty", "other"] {
        fs::create_dir(dir.join(name))?;
    }
    for name in ["dir/a", "dir/b", "dir/sub/c", "dir/sub/deep/d", "other/o"] {
        fs::write(dir.join(name), format!("{name}\n"))?;
    }
    fs::write(dir.join("h1"), "linked\n")?;
    fs::hard_link(dir.join("h1"), dir.join("h2"))?;
    fs::hard_link(dir.join("h1"), dir.join("dir/h3"))?;
    symlink("f", dir.join("link"))?;
    symlink("dir", dir.join("link_to_dir"))?;
    symlink("nothing", dir.join("dangling"))?;
    node(&dir.join("fifo"), FileType::Fifo, 0o644, 0)?;
    node(&dir.join("socket"), FileType::Socket, 0o755, 0)?;
    let sparse = File::create(dir.join("sparse"))?;
    sparse.set_len(SPARSE)?;
    sparse.write_all_at(&[b's'; 4096], 0)?;
    sparse.write_all_at(&[b't'; 4096], SPARSE / 2)?;
    rights(dir)?;
    attributes(dir)?;
    age(dir)
}

/// Objects of other owners and modes.
fn rights(dir: &Path) -> io::Result<()> {
    for (name, uid, gid, mode) in [
        ("shared", 0, 0, 0o666),
        ("secret", 0, 0, 0o600),
        ("owned", USER, USER, 0o644),
        ("grouped", 0, GROUP, 0o640),
        ("suid", 0, 0, 0o6777),
        ("suid_owned", USER, USER, 0o6777),
    ] {
        fs::write(dir.join(name), "#!/bin/sh\nexit 7\n")?;
        owner(&dir.join(name), uid, gid)?;
        chmod(dir.join(name), mode)?;
    }
    for (name, uid, gid, mode) in [
        ("public", 0, 0, 0o777),
        ("private", 0, 0, 0o700),
        ("team", 0, GROUP, 0o770),
        ("owned_dir", USER, USER, 0o755),
        ("sticky", 0, 0, 0o1777),
        ("setgid", 0, GROUP, 0o2777),
    ] {
        fs::create_dir(dir.join(name))?;
        owner(&dir.join(name), uid, gid)?;
        chmod(dir.join(name), mode)?;
    }
    for (name, uid) in
        [("sticky/mine", USER), ("sticky/theirs", 0), ("owned_dir/x", USER), ("public/p", 0)]
    {
        fs::write(dir.join(name), "x\n")?;
        owner(&dir.join(name), uid, uid)?;
        chmod(dir.join(name), 0o666)?;
    }
    Ok(())
}

/// Objects with extended attributes.
fn attributes(dir: &Path) -> io::Result<()> {
    let path = dir.join("xattrs");
    fs::write(&path, "with attributes\n")?;
    set_xattr(&path, "user.base", b"as given")?;
    set_xattr(&dir.join("dir"), "user.base", b"of a directory")?;
    if_allowed(set_xattr(&path, "trusted.base", b"trusted"))?;
    if_allowed(set_xattr(&path, "security.base", b"a label\0"))?;
    fs::write(dir.join("caps"), "capable\n")?;
    chmod(dir.join("caps"), 0o777)?;
    if_allowed(set_xattr(&dir.join("caps"), "security.capability", &CAPABILITIES))?;
    let null = rustix::fs::makedev(1, 3);
    if_allowed(node(&dir.join("null"), FileType::CharacterDevice, 0o666, null))?;
    Ok(())
}

/// Makes everything old, the deepest first.
fn age(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            age(&entry.path())?;
        } else {
            set_times(&entry.path(), OLD, OLD)?;
        }
    }
    set_times(dir, OLD, OLD)
}

/// Nothing more.
pub fn nothing(_: &Path) -> io::Result<()> {
    Ok(())
}

/// A directory `many` with [`MANY`] files.
pub fn many(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir.join("many"))?;
    let many = File::open(dir.join("many"))?;
    for number in 0..MANY {
        mknodat(
            &many,
            format!("{number:06}"),
            FileType::RegularFile,
            Mode::from_raw_mode(0o644),
            0,
        )?;
    }
    Ok(())
}

/// A directory `some` with 500 files.
pub fn some(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir.join("some"))?;
    for number in 0..500 {
        File::create(dir.join(format!("some/base_{number:03}")))?;
    }
    Ok(())
}

/// A directory `deep` of [`DEEP`] levels with a file `bottom` in the last.
pub fn deep(dir: &Path) -> io::Result<()> {
    let mut at = openat(CWD, dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for _ in 0..DEEP {
        mkdirat(&at, "deep", Mode::from_raw_mode(0o755))?;
        at = openat(&at, "deep", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let bottom = openat(&at, "bottom", flags, Mode::from_raw_mode(0o644))?;
    File::from(bottom).write_all(b"bottom\n")
}

/// Files of every name of one byte, and one of the longest name.
pub fn odd_names(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir.join("odd"))?;
    for name in one_byte_names() {
        File::create(dir.join("odd").join(name))?;
    }
    File::create(dir.join("odd").join("n".repeat(255))).map(drop)
}

/// Every name `x` and one byte.
pub fn one_byte_names() -> Vec<std::ffi::OsString> {
    let bytes = (1..=255_u8).filter(|&byte| byte != b'/');
    bytes.map(|byte| std::os::unix::ffi::OsStringExt::from_vec(vec![b'x', byte])).collect()
}

/// Programs: `sleep`, and `id` that runs as root.
pub fn programs(dir: &Path) -> io::Result<()> {
    for (program, mode) in [("sleep", 0o755), ("id", 0o4755)] {
        fs::copy(Path::new("/usr/bin").join(program), dir.join(program))?;
        chmod(dir.join(program), mode)?;
    }
    fs::write(dir.join("script"), "#!/bin/sh\necho ran\n")?;
    chmod(dir.join("script"), 0o755)
}

/// Directories and files with ACLs.
pub fn acls(dir: &Path) -> io::Result<()> {
    let rights = |user: u16| {
        acl(&[
            (ACL_OWNER, 7, NOBODY),
            (ACL_USER, user, USER),
            (ACL_GROUP, 5, NOBODY),
            (ACL_MASK, 7, NOBODY),
            (ACL_OTHER, 5, NOBODY),
        ])
    };
    fs::create_dir(dir.join("inherit"))?;
    if_allowed(set_xattr(&dir.join("inherit"), "system.posix_acl_default", &rights(7)))?;
    chmod(dir.join("inherit"), 0o777)?;
    for (name, user) in [("granted", 7), ("denied", 0)] {
        fs::write(dir.join(name), "acl\n")?;
        if_allowed(set_xattr(&dir.join(name), "system.posix_acl_access", &rights(user)))?;
    }
    Ok(())
}

/// Symbolic links of every interesting length.
pub fn long_links(dir: &Path) -> io::Result<()> {
    for length in link_lengths() {
        symlink("l".repeat(length), dir.join(format!("long_{length}")))?;
    }
    Ok(())
}

/// Lengths of targets, in bytes; the last is the longest that Linux allows.
pub fn link_lengths() -> [usize; 6] {
    [1, 59, 60, 255, 1024, 4095]
}

/// Opens for appending, and makes it when it is not there.
pub fn log(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().append(true).create(true).open(path)
}

/// A directory `blocks` of 64 files of 4 KiB.
pub fn blocks(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir.join("blocks"))?;
    (0..64).try_for_each(|number| fs::write(dir.join(format!("blocks/{number}")), [b'0'; 4096]))
}
