//! Set-user-ID and set-group-ID bits and file capabilities.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::chown;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::Errno;

use crate::kit::{
    Failure, Outcome, Place, append, chmod, mode, open, open_rw, same, stat, write_at,
};
use crate::sys::{Mapping, as_member, as_user};
use crate::tree::{CAPABILITIES, GROUP};

super::cases!("rights_bits";
    bits_go_with_a_write, bits_go_with_a_write_to_an_own_file, bits_go_with_a_truncation,
    bits_go_with_an_opening_that_truncates, bits_go_with_fallocate, bits_go_with_a_copied_range,
    bits_go_with_a_second_write, bits_go_after_a_cache_drop, bits_stay_with_a_write_by_root,
    bits_stay_with_an_opening, bits_go_with_chown, bits_of_directories_stay_with_chown,
    setgid_goes_with_chmod_by_a_stranger, setgid_is_stripped_at_creation, group_bit_without_execution_stays,
    capabilities_stay_with_an_opening, capabilities_stay_with_other_changes,
    capabilities_go_with_a_write, capabilities_go_with_a_mapped_write_s_opening_only,
    capabilities_go_with_a_truncation, capabilities_go_with_chown, capabilities_stay_over_a_remount,
);

fn has(place: &Place, name: &str, bits: u32) -> Outcome {
    same("mode", mode(place.at(name))?, bits)
}

fn bits_go_with_a_write(place: &Place) -> Outcome {
    has(place, "suid", 0o6777)?;
    as_user(|| Ok(append(place.at("suid"), b"x")?))?;
    has(place, "suid", 0o777)
}

fn bits_go_with_a_write_to_an_own_file(place: &Place) -> Outcome {
    as_user(|| Ok(write_at(place.at("suid_owned"), 0, b"x")?))?;
    has(place, "suid_owned", 0o777)
}

fn bits_go_with_a_truncation(place: &Place) -> Outcome {
    as_user(|| Ok(ftruncate(open_rw(place.at("suid"))?, 3)?))?;
    has(place, "suid", 0o777)
}

fn bits_go_with_an_opening_that_truncates(place: &Place) -> Outcome {
    as_user(|| {
        Ok(OpenOptions::new().write(true).truncate(true).open(place.at("suid")).map(drop)?)
    })?;
    has(place, "suid", 0o777)
}

fn bits_go_with_fallocate(place: &Place) -> Outcome {
    as_user(|| Ok(fallocate(open_rw(place.at("suid"))?, FallocateFlags::empty(), 0, 5000)?))?;
    has(place, "suid", 0o777)
}

fn bits_go_with_a_copied_range(place: &Place) -> Outcome {
    as_user(|| {
        let (from, to) = (open(place.at("f"))?, open_rw(place.at("suid"))?);
        rustix::fs::copy_file_range(&from, Some(&mut 0), &to, Some(&mut 0), 10)?;
        Ok(())
    })?;
    has(place, "suid", 0o777)
}

/// The bits are set again while the file is open for writing.
fn bits_go_with_a_second_write(place: &Place) -> Outcome {
    let writer = open_rw(place.at("suid"))?;
    as_user(|| Ok(std::os::unix::fs::FileExt::write_all_at(&writer, b"x", 0)?))?;
    has(place, "suid", 0o777)?;
    chmod(place.at("suid"), 0o6777)?;
    as_user(|| Ok(std::os::unix::fs::FileExt::write_all_at(&writer, b"y", 0)?))?;
    has(place, "suid", 0o777)
}

fn bits_go_after_a_cache_drop(place: &Place) -> Outcome {
    append(place.at("suid"), b"x")?;
    chmod(place.at("suid"), 0o6777)?;
    place.drop_caches()?;
    as_user(|| Ok(append(place.at("suid"), b"y")?))?;
    has(place, "suid", 0o777)?;
    place.drop_caches()?;
    has(place, "suid", 0o777)
}

fn bits_stay_with_a_write_by_root(place: &Place) -> Outcome {
    append(place.at("suid"), b"x")?;
    ftruncate(open_rw(place.at("suid"))?, 3)?;
    has(place, "suid", 0o6777)
}

fn bits_stay_with_an_opening(place: &Place) -> Outcome {
    as_user(|| Ok(open_rw(place.at("suid")).map(drop)?))?;
    has(place, "suid", 0o6777)
}

fn bits_go_with_chown(place: &Place) -> Outcome {
    chown(place.at("suid"), Some(3), Some(4))?;
    has(place, "suid", 0o777)
}

fn bits_of_directories_stay_with_chown(place: &Place) -> Outcome {
    chown(place.at("setgid"), Some(3), None)?;
    has(place, "setgid", 0o2777)
}

fn setgid_goes_with_chmod_by_a_stranger(place: &Place) -> Outcome {
    chown(place.at("owned"), None, Some(GROUP))?;
    as_user(|| Ok(chmod(place.at("owned"), 0o2755)?))?;
    has(place, "owned", 0o755)?;
    as_member(&[GROUP], || Ok(chmod(place.at("owned"), 0o2755)?))?;
    has(place, "owned", 0o2755)
}

/// In a set-group-ID directory of a group that the maker is not a member of.
fn setgid_is_stripped_at_creation(place: &Place) -> Outcome {
    let create = |name: &str| {
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o2775);
        options.write(true).create_new(true).open(place.at("setgid").join(name)).map(drop)
    };
    let old = rustix::process::umask(rustix::fs::Mode::empty());
    let made = as_user(|| Ok(create("stranger")?))
        .and_then(|()| as_member(&[GROUP], || Ok(create("member")?)));
    rustix::process::umask(old);
    made?;
    has(place, "setgid/stranger", 0o775)?;
    has(place, "setgid/member", 0o2775)
}

/// Without group execution the bit once meant mandatory locking, and root's
/// chown leaves it.
fn group_bit_without_execution_stays(place: &Place) -> Outcome {
    chmod(place.at("suid"), 0o2767)?;
    chown(place.at("suid"), Some(3), None)?;
    has(place, "suid", 0o2767)
}

fn capabilities(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let mut bytes = [0; 64];
    match rustix::fs::getxattr(path, "security.capability", &mut bytes) {
        Ok(length) => Ok(Some(bytes.iter().copied().take(length).collect())),
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn kept(place: &Place, name: &str) -> Outcome {
    same("capabilities", capabilities(&place.at(name))?, Some(CAPABILITIES.to_vec()))
}

fn gone(place: &Place) -> Outcome {
    same("capabilities", capabilities(&place.at("caps"))?, None)
}

fn capabilities_stay_with_an_opening(place: &Place) -> Outcome {
    kept(place, "caps")?;
    open_rw(place.at("caps"))?;
    as_user(|| Ok(open_rw(place.at("caps")).map(drop)?))?;
    kept(place, "caps")
}

fn capabilities_stay_with_other_changes(place: &Place) -> Outcome {
    chmod(place.at("caps"), 0o755)?;
    fs::hard_link(place.at("caps"), place.at("dir/caps"))?;
    fs::rename(place.at("caps"), place.at("caps2"))?;
    crate::tree::set_xattr(&place.at("caps2"), "user.x", b"y")?;
    kept(place, "caps2")?;
    kept(place, "dir/caps")
}

fn capabilities_go_with_a_write(place: &Place) -> Outcome {
    write_at(place.at("caps"), 0, b"x")?;
    gone(place)
}

/// The kernel takes them away at a write, not at a store into a mapping.
fn capabilities_go_with_a_mapped_write_s_opening_only(place: &Place) -> Outcome {
    let file = open_rw(place.at("caps"))?;
    let mapping = Mapping::new(&file, 8, true, rustix::mm::MapFlags::SHARED)?;
    same("content", mapping.byte(0), b'c')?;
    kept(place, "caps")
}

fn capabilities_go_with_a_truncation(place: &Place) -> Outcome {
    ftruncate(open_rw(place.at("caps"))?, 2)?;
    gone(place)
}

fn capabilities_go_with_chown(place: &Place) -> Outcome {
    chown(place.at("caps"), Some(3), None)?;
    gone(place)
}

fn capabilities_stay_over_a_remount(place: &Place) -> Outcome {
    let size = stat(place.at("caps"))?.len();
    chmod(place.at("caps"), 0o700)?;
    place.remount()?;
    kept(place, "caps")?;
    same("size", stat(place.at("caps"))?.len(), size)
}
