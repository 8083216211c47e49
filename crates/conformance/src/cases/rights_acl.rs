//! POSIX ACLs, and files that must not be changed.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{IFlags, ftruncate, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

use crate::kit::{
    Failure, Outcome, Place, append, chmod, create, mode, open, open_rw, refused, same,
};
use crate::sys::{USER, as_user};
use crate::tree::{
    ACL_GROUP, ACL_MASK, ACL_OTHER, ACL_OWNER, ACL_USER, AclEntry, NOBODY, acl, set_xattr,
};

super::cases!("rights_acl";
    an_acl_grants with acls, an_acl_denies with acls, a_new_acl_counts, acl_and_mode_agree,
    a_minimal_acl_is_the_mode, default_acl_of_a_base_directory with acls, default_acl_set_later,
    acl_survives_changes_and_a_remount with acls, acls_of_a_user, default_acl_on_a_file_is_refused,
    flags_are_read, flags_are_kept, flags_survive_a_remount, immutable_files, immutable_directories,
    append_only_files, append_only_directories, flags_are_for_owners,
);

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// An attribute's value; none when it is not there.
fn value(path: &Path, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let mut bytes = vec![0; 1000];
    match rustix::fs::lgetxattr(path, name, &mut bytes[..]) {
        Ok(length) => {
            bytes.truncate(length);
            Ok(Some(bytes))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Full rights for the owner, the given ones for [`USER`], the mask and others.
fn entries(user: u16, mask: u16, other: u16) -> [AclEntry; 5] {
    [
        (ACL_OWNER, 7, NOBODY),
        (ACL_USER, user, USER),
        (ACL_GROUP, 4, NOBODY),
        (ACL_MASK, mask, NOBODY),
        (ACL_OTHER, other, NOBODY),
    ]
}

fn an_acl_grants(place: &Place) -> Outcome {
    as_user(|| {
        append(place.at("granted"), b"x")?;
        Ok(open(place.at("granted")).map(drop)?)
    })
}

fn an_acl_denies(place: &Place) -> Outcome {
    as_user(|| refused(open(place.at("denied")), Errno::ACCESS))
}

fn a_new_acl_counts(place: &Place) -> Outcome {
    set_xattr(&place.at("secret"), ACCESS, &acl(&entries(6, 7, 0)))?;
    set_xattr(&place.at("shared"), ACCESS, &acl(&entries(0, 7, 7)))?;
    as_user(|| {
        append(place.at("secret"), b"x")?;
        refused(open(place.at("shared")), Errno::ACCESS)
    })?;
    set_xattr(&place.at("secret"), ACCESS, &acl(&entries(6, 4, 0)))?;
    as_user(|| {
        open(place.at("secret"))?;
        refused(append(place.at("secret"), b"x"), Errno::ACCESS)
    })?;
    rustix::fs::removexattr(place.at("secret"), ACCESS)?;
    as_user(|| refused(open(place.at("secret")), Errno::ACCESS))
}

fn acl_and_mode_agree(place: &Place) -> Outcome {
    set_xattr(&place.at("f"), ACCESS, &acl(&entries(6, 5, 1)))?;
    same("mode of the ACL", mode(place.at("f"))?, 0o751)?;
    chmod(place.at("f"), 0o640)?;
    let mut expected = entries(6, 4, 0);
    expected[0].1 = 6;
    same("ACL of the mode", value(&place.at("f"), ACCESS)?, Some(acl(&expected)))
}

fn a_minimal_acl_is_the_mode(place: &Place) -> Outcome {
    let minimal = acl(&[(ACL_OWNER, 6, NOBODY), (ACL_GROUP, 0, NOBODY), (ACL_OTHER, 4, NOBODY)]);
    set_xattr(&place.at("f"), ACCESS, &minimal)?;
    same("mode", mode(place.at("f"))?, 0o604)?;
    same("ACL", value(&place.at("f"), ACCESS)?, None)
}

fn inherits(place: &Place, dir: &str) -> Outcome {
    let at = |name: &str| place.at(dir).join(name);
    let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let made = (|| {
        OpenOptions::new().write(true).create_new(true).mode(0o664).open(at("file"))?;
        fs::create_dir(at("made"))
    })();
    rustix::process::umask(old);
    made?;
    same("mode instead of the umask", mode(at("file"))?, 0o664)?;
    let rights = value(&at("file"), ACCESS)?;
    same("the file has an ACL", rights.map(|bytes| bytes.len()), Some(44))?;
    let default = value(&place.at(dir), DEFAULT)?;
    same("default of a directory", value(&at("made"), DEFAULT)?, default)?;
    as_user(|| Ok(append(at("file"), b"x")?))
}

fn default_acl_of_a_base_directory(place: &Place) -> Outcome {
    inherits(place, "inherit")
}

fn default_acl_set_later(place: &Place) -> Outcome {
    set_xattr(&place.at("dir"), DEFAULT, &acl(&entries(7, 7, 5)))?;
    inherits(place, "dir")
}

fn acl_survives_changes_and_a_remount(place: &Place) -> Outcome {
    let before = (value(&place.at("granted"), ACCESS)?, value(&place.at("inherit"), DEFAULT)?);
    append(place.at("granted"), b"more")?;
    create(place.at("inherit/new"))?;
    fs::rename(place.at("granted"), place.at("dir/granted"))?;
    let now = || -> Result<_, Failure> {
        Ok((value(&place.at("dir/granted"), ACCESS)?, value(&place.at("inherit"), DEFAULT)?))
    };
    same("after changes", now()?, before.clone())?;
    place.remount()?;
    same("after a remount", now()?, before)
}

fn acls_of_a_user(place: &Place) -> Outcome {
    as_user(|| {
        let rights = acl(&entries(6, 7, 0));
        refused(set_xattr(&place.at("shared"), ACCESS, &rights), Errno::PERM)?;
        set_xattr(&place.at("owned"), ACCESS, &rights)?;
        same("ACL", value(&place.at("owned"), ACCESS)?, Some(rights))
    })
}

fn default_acl_on_a_file_is_refused(place: &Place) -> Outcome {
    refused(set_xattr(&place.at("f"), DEFAULT, &acl(&entries(6, 7, 0))), Errno::ACCESS)?;
    refused(set_xattr(&place.at("f"), ACCESS, b"rubbish"), Errno::OPNOTSUPP)
}

/// Sets flags and takes them away again at the end, so that all can be removed.
struct Flagged(File);

impl Flagged {
    fn new(place: &Place, name: &str, flag: IFlags) -> Result<Self, Failure> {
        let file = open(place.at(name))?;
        let old = ioctl_getflags(&file)?;
        ioctl_setflags(&file, old | flag)?;
        Ok(Self(file))
    }
}

impl Drop for Flagged {
    fn drop(&mut self) {
        if let Ok(flags) = ioctl_getflags(&self.0) {
            let _ = ioctl_setflags(&self.0, flags - (IFlags::IMMUTABLE | IFlags::APPEND));
        }
    }
}

fn flags_are_read(place: &Place) -> Outcome {
    create(place.at("dir/new"))?;
    for name in ["f", "dir", "dir/new"] {
        let flags = ioctl_getflags(open(place.at(name))?)?;
        let ours = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NODUMP;
        same(name, flags & ours, IFlags::empty())?;
    }
    Ok(())
}

fn flags_are_kept(place: &Place) -> Outcome {
    for name in ["f", "dir"] {
        let file = open(place.at(name))?;
        let old = ioctl_getflags(&file)?;
        ioctl_setflags(&file, old | IFlags::NODUMP | IFlags::NOATIME)?;
        chmod(place.at(name), 0o700)?;
        let now = ioctl_getflags(open(place.at(name))?)?;
        same(name, now - old, IFlags::NODUMP | IFlags::NOATIME)?;
        ioctl_setflags(&file, old)?;
        same(name, ioctl_getflags(&file)?, old)?;
    }
    Ok(())
}

fn flags_survive_a_remount(place: &Place) -> Outcome {
    let flagged = Flagged::new(place, "f", IFlags::NODUMP)?;
    drop(flagged);
    place.remount()?;
    let flags = ioctl_getflags(open(place.at("f"))?)?;
    same("nodump", flags & IFlags::NODUMP, IFlags::NODUMP)
}

fn immutable_files(place: &Place) -> Outcome {
    let flagged = Flagged::new(place, "f", IFlags::IMMUTABLE)?;
    refused(open_rw(place.at("f")), Errno::PERM)?;
    refused(fs::remove_file(place.at("f")), Errno::PERM)?;
    refused(fs::rename(place.at("f"), place.at("f2")), Errno::PERM)?;
    refused(fs::hard_link(place.at("f"), place.at("f2")), Errno::PERM)?;
    refused(chmod(place.at("f"), 0o600), Errno::PERM)?;
    refused(fs::rename(place.at("g"), place.at("f")), Errno::PERM)?;
    drop(flagged);
    Ok(append(place.at("f"), b"x")?)
}

fn immutable_directories(place: &Place) -> Outcome {
    let flagged = Flagged::new(place, "dir", IFlags::IMMUTABLE)?;
    refused(create(place.at("dir/new")), Errno::PERM)?;
    refused(fs::remove_file(place.at("dir/a")), Errno::PERM)?;
    refused(fs::rename(place.at("g"), place.at("dir/g")), Errno::PERM)?;
    append(place.at("dir/a"), b"x")?;
    drop(flagged);
    Ok(create(place.at("dir/new")).map(drop)?)
}

fn append_only_files(place: &Place) -> Outcome {
    let flagged = Flagged::new(place, "f", IFlags::APPEND)?;
    refused(open_rw(place.at("f")), Errno::PERM)?;
    let truncating =
        OpenOptions::new().append(true).custom_flags(libc::O_TRUNC).open(place.at("f"));
    refused(truncating, Errno::PERM)?;
    append(place.at("f"), b"more")?;
    let appender = OpenOptions::new().append(true).open(place.at("f"))?;
    refused(ftruncate(appender, 3), Errno::PERM)?;
    refused(fs::remove_file(place.at("f")), Errno::PERM)?;
    drop(flagged);
    same("size", fs::read(place.at("f"))?.len(), 20_004)
}

fn append_only_directories(place: &Place) -> Outcome {
    let flagged = Flagged::new(place, "dir", IFlags::APPEND)?;
    create(place.at("dir/new"))?;
    refused(fs::remove_file(place.at("dir/a")), Errno::PERM)?;
    refused(fs::rename(place.at("dir/a"), place.at("dir/z")), Errno::PERM)?;
    drop(flagged);
    Ok(fs::remove_file(place.at("dir/a"))?)
}

fn flags_are_for_owners(place: &Place) -> Outcome {
    as_user(|| {
        let owned = open(place.at("owned"))?;
        let flags = ioctl_getflags(&owned)?;
        refused(ioctl_setflags(&owned, flags | IFlags::IMMUTABLE), Errno::PERM)?;
        ioctl_setflags(&owned, flags | IFlags::NODUMP)?;
        let shared = open(place.at("shared"))?;
        let set = ioctl_setflags(&shared, ioctl_getflags(&shared)? | IFlags::NODUMP);
        refused(set, if set == Err(Errno::ACCESS) { Errno::ACCESS } else { Errno::PERM })
    })
}
