//! What the values of options mean.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fuse_server::TransportChoice;
use mini_fo_core::MetaName;
use rustix::mount::MountFlags;

use crate::exit::{Failure, code};
use crate::options::{Flag, Item, Opt, OptionError};

/// How soon changes of the base are to be seen, if nothing else is said.
const LIVE_BASE: Duration = Duration::from_secs(1);

pub(super) fn transport(item: &Item) -> TransportChoice {
    match item.value.as_deref().and_then(OsStr::to_str) {
        Some("classic") => TransportChoice::Classic,
        Some("uring") => TransportChoice::Uring,
        _ => TransportChoice::Auto,
    }
}

/// Takes the value of an option that may be given once (or again, the same).
pub(super) fn once(
    slot: &mut Option<OsString>,
    item: &Item,
    name: &'static str,
) -> Result<(), Failure> {
    match slot {
        Some(before) if Some(&*before) != item.value.as_ref() => {
            Err(OptionError::Twice(name).into())
        }
        _ => {
            *slot = item.value.clone();
            Ok(())
        }
    }
}

/// The value of `live_base`: seconds, also fractions.
pub(super) fn live_base(item: &Item) -> Result<Duration, Failure> {
    let Some(value) = &item.value else { return Ok(LIVE_BASE) };
    let seconds: Option<f64> = value.to_str().and_then(|text| text.parse().ok());
    match seconds {
        Some(seconds) if (0.01..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => {
            let value = value.to_string_lossy().into_owned();
            let known = "seconds, from 0.01 to 86400";
            Err(OptionError::BadValue { name: "live_base", value, known }.into())
        }
    }
}

/// The value of `meta_name`.
///
/// # Errors
/// It cannot be the name of META.
pub fn meta_name(value: &OsStr) -> Result<MetaName, Failure> {
    MetaName::of_bytes(value.as_bytes())
        .map_err(|error| Failure::new(code::USAGE, format!("meta_name: {error}")))
}

/// The value of `max_nodes`.
pub(super) fn max_nodes(item: &Item) -> Result<usize, Failure> {
    let value = item.value.as_ref().map(|value| value.to_string_lossy()).unwrap_or_default();
    value.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
        let (value, known) = (value.into_owned(), "a number from 1 on");
        OptionError::BadValue { name: "max_nodes", value, known }.into()
    })
}

/// A value in bytes, or with a suffix.
pub(super) fn size(item: &Item, name: &'static str) -> Result<u64, Failure> {
    let value = item.value.as_ref().map(|value| value.to_string_lossy()).unwrap_or_default();
    let (number, shift) = match value.as_bytes().last() {
        Some(b'K' | b'k') => (value.get(..value.len() - 1), 10),
        Some(b'M' | b'm') => (value.get(..value.len() - 1), 20),
        Some(b'G' | b'g') => (value.get(..value.len() - 1), 30),
        _ => (Some(&*value), 0),
    };
    let number = number.and_then(|text| text.parse::<u64>().ok());
    number.and_then(|number| number.checked_mul(1 << shift)).ok_or_else(|| {
        let (value, known) = (value.into_owned(), "a number of bytes, also with K, M or G");
        OptionError::BadValue { name, value, known }.into()
    })
}

/// The path from the root, symlinks followed as far as the path exists.
pub(super) fn absolute(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_path_buf())
}

const ATIME: MountFlags =
    MountFlags::NOATIME.union(MountFlags::STRICTATIME).union(MountFlags::RELATIME);

/// Applies one option to the flags of a mount, as mount(8) reads them: a
/// later option wins.
pub(super) fn apply(flags: MountFlags, item: &Item) -> MountFlags {
    let secure = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let (flag, on) = match item.opt {
        Opt::Flag(flag, on) => (flag, on),
        Opt::User => return flags | secure,
        Opt::StaysReadOnly => return flags | MountFlags::RDONLY,
        Opt::Defaults => {
            return flags - secure - MountFlags::RDONLY - MountFlags::SYNCHRONOUS;
        }
        _ => return flags,
    };
    let bit = bits(flag);
    match on {
        true if ATIME.contains(bit) => (flags - ATIME) | bit,
        true => flags | bit,
        false => flags - bit,
    }
}

fn bits(flag: Flag) -> MountFlags {
    match flag {
        Flag::ReadOnly => MountFlags::RDONLY,
        Flag::NoSuid => MountFlags::NOSUID,
        Flag::NoDev => MountFlags::NODEV,
        Flag::NoExec => MountFlags::NOEXEC,
        Flag::Sync => MountFlags::SYNCHRONOUS,
        Flag::DirSync => MountFlags::DIRSYNC,
        Flag::NoAtime => MountFlags::NOATIME,
        Flag::NoDirAtime => MountFlags::NODIRATIME,
        Flag::StrictAtime => MountFlags::STRICTATIME,
        Flag::RelAtime => MountFlags::RELATIME,
        Flag::LazyTime => MountFlags::LAZYTIME,
        Flag::NoSymFollow => MountFlags::from_bits_retain(256),
    }
}
