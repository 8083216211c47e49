//! What users may do: modes, groups, directories with special bits.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::process::Command;

use rustix::fs::{
    Access, AtFlags, CWD, Gid, Mode, OFlags, Timestamps, Uid, accessat, chownat, openat, utimensat,
};
use rustix::io::Errno;

use crate::kit::{
    OLD, Outcome, Place, append, chmod, create, ensure, mode, names, open, open_rw, refused, same,
    set_times, stat, there,
};
use crate::sys::{USER, as_member, as_number, as_user, idmapped};
use crate::tree::GROUP;

super::cases!("rights";
    mode_of_a_file, mode_of_a_directory, supplementary_groups, owner_is_bound_by_the_owner_s_mode,
    owner_of_what_is_made, sticky_directories, setgid_directories, umask, deleting_needs_the_directory,
    chown_by_a_user, chmod_by_a_user, times_by_a_user, access_says_the_same,
    changes_are_obeyed_at_once, noatime_is_for_owners, programs_run with programs,
    setuid_programs with programs, chroot_into_it, idmapped_mounts,
);

fn mode_of_a_file(place: &Place) -> Outcome {
    as_user(|| {
        refused(open(place.at("secret")), Errno::ACCESS)?;
        refused(append(place.at("f"), b"x"), Errno::ACCESS)?;
        open(place.at("f"))?;
        append(place.at("shared"), b"x")?;
        refused(open(place.at("secret")), Errno::ACCESS)?;
        Ok(append(place.at("owned"), b"x")?)
    })
}

fn mode_of_a_directory(place: &Place) -> Outcome {
    chmod(place.at("other"), 0o711)?;
    chmod(place.at("dir"), 0o744)?;
    as_user(|| {
        refused(open(place.at("private")), Errno::ACCESS)?;
        refused(stat(place.at("private/x")), Errno::ACCESS)?;
        refused(open(place.at("other")), Errno::ACCESS)?;
        open(place.at("other/o"))?;
        same("names", names(place.at("dir"))?.len(), 4)?;
        refused(stat(place.at("dir/a")), Errno::ACCESS)?;
        refused(create(place.at("other/new")), Errno::ACCESS)?;
        create(place.at("public/new")).map(drop)?;
        Ok(create(place.at("owned_dir/new")).map(drop)?)
    })
}

fn supplementary_groups(place: &Place) -> Outcome {
    as_user(|| {
        refused(open(place.at("grouped")), Errno::ACCESS)?;
        refused(create(place.at("team/new")), Errno::ACCESS)
    })?;
    as_member(&[7, GROUP], || {
        open(place.at("grouped"))?;
        refused(append(place.at("grouped"), b"x"), Errno::ACCESS)?;
        create(place.at("team/new"))?;
        Ok(fs::remove_file(place.at("team/new"))?)
    })
}

fn owner_is_bound_by_the_owner_s_mode(place: &Place) -> Outcome {
    chmod(place.at("owned"), 0o066)?;
    as_user(|| {
        refused(open(place.at("owned")), Errno::ACCESS)?;
        refused(append(place.at("owned"), b"x"), Errno::ACCESS)
    })?;
    // Root is not bound.
    open_rw(place.at("owned")).map(drop)?;
    Ok(())
}

fn owner_of_what_is_made(place: &Place) -> Outcome {
    as_user(|| {
        create(place.at("public/file"))?;
        fs::create_dir(place.at("public/made"))?;
        std::os::unix::fs::symlink("x", place.at("public/link"))?;
        Ok(())
    })?;
    for name in ["public/file", "public/made", "public/link"] {
        let stat = stat(place.at(name))?;
        same(name, (stat.uid(), stat.gid()), (USER, USER))?;
    }
    Ok(())
}

fn sticky_directories(place: &Place) -> Outcome {
    as_user(|| {
        refused(fs::remove_file(place.at("sticky/theirs")), Errno::PERM)?;
        let away = fs::rename(place.at("sticky/theirs"), place.at("public/theirs"));
        refused(away, Errno::PERM)?;
        refused(fs::rename(place.at("sticky/mine"), place.at("sticky/theirs")), Errno::PERM)?;
        append(place.at("sticky/theirs"), b"x")?;
        refused(fs::remove_file(place.at("sticky/theirs")), Errno::PERM)?;
        Ok(fs::remove_file(place.at("sticky/mine"))?)
    })
}

fn setgid_directories(place: &Place) -> Outcome {
    as_user(|| {
        create(place.at("setgid/file"))?;
        fs::create_dir(place.at("setgid/made"))?;
        create(place.at("setgid/made/file"))?;
        Ok(())
    })?;
    same("group of a file", stat(place.at("setgid/file"))?.gid(), GROUP)?;
    same("group of a directory", stat(place.at("setgid/made"))?.gid(), GROUP)?;
    same("bit of a directory", mode(place.at("setgid/made"))? & 0o2000, 0o2000)?;
    same("group further below", stat(place.at("setgid/made/file"))?.gid(), GROUP)
}

fn umask(place: &Place) -> Outcome {
    let old = rustix::process::umask(Mode::from_raw_mode(0o027));
    let made = (|| {
        OpenOptions::new().write(true).create_new(true).mode(0o666).open(place.at("dir/file"))?;
        fs::create_dir(place.at("dir/made"))?;
        crate::tree::node(&place.at("dir/pipe"), rustix::fs::FileType::Fifo, 0o666, 0)
    })();
    rustix::process::umask(old);
    made?;
    same("file", mode(place.at("dir/file"))?, 0o640)?;
    same("directory", mode(place.at("dir/made"))?, 0o750)?;
    same("FIFO", mode(place.at("dir/pipe"))?, 0o640)
}

fn deleting_needs_the_directory(place: &Place) -> Outcome {
    as_user(|| {
        fs::remove_file(place.at("public/p"))?;
        chmod(place.at("owned_dir/x"), 0)?;
        fs::remove_file(place.at("owned_dir/x"))?;
        refused(fs::remove_file(place.at("shared")), Errno::ACCESS)?;
        refused(fs::rename(place.at("shared"), place.at("public/shared")), Errno::ACCESS)?;
        refused(fs::remove_dir(place.at("empty")), Errno::ACCESS)
    })?;
    ensure(there(place.at("shared")) && !there(place.at("public/p")), "names")
}

fn chown_by_a_user(place: &Place) -> Outcome {
    as_member(&[GROUP], || {
        refused(chown(place.at("owned"), Some(0), None), Errno::PERM)?;
        refused(chown(place.at("owned"), None, Some(7)), Errno::PERM)?;
        refused(chown(place.at("f"), None, Some(GROUP)), Errno::PERM)?;
        chown(place.at("owned"), None, Some(GROUP))?;
        same("group", stat(place.at("owned"))?.gid(), GROUP)
    })
}

fn chmod_by_a_user(place: &Place) -> Outcome {
    as_user(|| {
        refused(chmod(place.at("shared"), 0o777), Errno::PERM)?;
        chmod(place.at("owned"), 0o4711)?;
        same("mode", mode(place.at("owned"))?, 0o4711)
    })
}

fn times_by_a_user(place: &Place) -> Outcome {
    as_user(|| {
        refused(set_times(&place.at("shared"), OLD, OLD), Errno::PERM)?;
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        utimensat(CWD, place.at("shared"), &times, AtFlags::empty())?;
        refused(utimensat(CWD, place.at("f"), &times, AtFlags::empty()), Errno::ACCESS)?;
        Ok(set_times(&place.at("owned"), OLD, OLD)?)
    })
}

fn access_says_the_same(place: &Place) -> Outcome {
    as_user(|| {
        let may = |name: &str, access| accessat(CWD, place.at(name), access, AtFlags::EACCESS);
        may("f", Access::READ_OK)?;
        refused(may("f", Access::WRITE_OK), Errno::ACCESS)?;
        refused(may("f", Access::EXEC_OK), Errno::ACCESS)?;
        may("shared", Access::READ_OK | Access::WRITE_OK)?;
        refused(may("secret", Access::READ_OK), Errno::ACCESS)?;
        may("suid", Access::EXEC_OK)?;
        refused(may("dir", Access::WRITE_OK), Errno::ACCESS)?;
        Ok(may("public", Access::WRITE_OK | Access::EXEC_OK)?)
    })
}

fn changes_are_obeyed_at_once(place: &Place) -> Outcome {
    as_user(|| open(place.at("f")).map(drop).map_err(Into::into))?;
    chmod(place.at("f"), 0o600)?;
    as_user(|| refused(open(place.at("f")), Errno::ACCESS))?;
    chownat(CWD, place.at("f"), Some(Uid::from_raw(USER)), None::<Gid>, AtFlags::empty())?;
    as_user(|| append(place.at("f"), b"x").map_err(Into::into))?;
    chmod(&place.dir, 0o700)?;
    as_user(|| refused(open(place.at("shared")), Errno::ACCESS))
}

fn noatime_is_for_owners(place: &Place) -> Outcome {
    let flags = OFlags::RDONLY | OFlags::NOATIME | OFlags::CLOEXEC;
    as_user(|| {
        refused(openat(CWD, place.at("shared"), flags, Mode::empty()), Errno::PERM)?;
        openat(CWD, place.at("owned"), flags, Mode::empty()).map(drop)?;
        Ok(())
    })
}

fn programs_run(place: &Place) -> Outcome {
    chmod(place.at("sleep"), 0o711)?;
    as_user(|| {
        ensure(Command::new(place.at("sleep")).arg("0").status()?.success(), "sleep")?;
        let output = Command::new(place.at("script")).output()?;
        same("script", output.stdout, b"ran\n".to_vec())?;
        refused(Command::new(place.at("f")).status(), Errno::ACCESS)
    })
}

fn setuid_programs(place: &Place) -> Outcome {
    let root = rustix::fs::statvfs(&place.dir)?;
    if root.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID) {
        return crate::kit::skipped("mounted with nosuid");
    }
    as_user(|| {
        let output = Command::new(place.at("id")).arg("-u").output()?;
        same("effective user", String::from_utf8_lossy(&output.stdout).trim(), "0")
    })
}

fn chroot_into_it(place: &Place) -> Outcome {
    crate::sys::spawn(|| {
        rustix::process::chroot(&place.dir)?;
        std::env::set_current_dir("/")?;
        append("/dir/a", b"more\n")?;
        same("content", fs::read_to_string("/../dir/a")?, "dir/a\nmore\n".into())
    })?
    .join()
}

/// A mount of the directory on which 70000 is root.
fn idmapped_mounts(place: &Place) -> Outcome {
    const FIRST: u32 = 70_000;
    let mount = idmapped(&place.dir, FIRST)?;
    let owner = |name: &str| -> Result<u32, crate::kit::Failure> {
        Ok(rustix::fs::statat(&mount, name, AtFlags::SYMLINK_NOFOLLOW)?.st_uid)
    };
    same("owner of a base file", owner("f")?, FIRST)?;
    same("owner of another", owner("owned")?, FIRST + USER)?;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = |name: &str| openat(&mount, name, flags, Mode::from_raw_mode(0o600));
    as_number(FIRST, || {
        made("dir/new")?;
        made("secret")?;
        rustix::fs::mkdirat(&mount, "made", Mode::from_raw_mode(0o700))?;
        refused(made("owned"), Errno::ACCESS)
    })?;
    as_number(FIRST + USER, || {
        refused(made("secret"), Errno::ACCESS)?;
        made("owned").map(drop)?;
        Ok(made("public/theirs").map(drop)?)
    })?;
    same("owner on the file system", stat(place.at("dir/new"))?.uid(), 0)?;
    same("of a directory", stat(place.at("made"))?.uid(), 0)?;
    same("of the other's", stat(place.at("public/theirs"))?.uid(), USER)?;
    let owner_again = Some(Uid::from_raw(FIRST + 7));
    chownat(&mount, "dir/new", owner_again, None::<Gid>, AtFlags::empty())?;
    same("after chown", stat(place.at("dir/new"))?.uid(), 7)
}
