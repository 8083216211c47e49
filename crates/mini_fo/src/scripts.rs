//! The two scripts that came with the module of 2005, as names of the program.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::cli;
use crate::cli::args::{CommitArgs, ShowArgs, WhereArgs};
use crate::cli::changes;
use crate::exit::{Failure, code, shown};
use crate::request::Typed;
use crate::scripts_args::{MergeArgs, OverlayArgs};
use crate::serve;

/// A script, by the name under which it is called, and what carries it out.
pub type Script = (&'static str, fn(Vec<OsString>) -> Result<(), Failure>);

/// Both of them.
const SCRIPTS: [Script; 2] = [("mini_fo-overlay", overlay), ("mini_fo-merge", merge)];

/// The script that the program was called as, if it was.
pub fn of_name(called: Option<&OsStr>) -> Option<Script> {
    SCRIPTS.into_iter().find(|(name, _)| called == Some(OsStr::new(name)))
}

/// A directory that goes again, unless it is kept.
struct Made {
    path: PathBuf,
    is_new: bool,
}

impl Made {
    /// Makes one, which only its owner may enter, or takes what is there. Nothing is made in
    /// the base.
    fn new(dir: &Path, name: OsString, base: &Path) -> Result<Made, Failure> {
        let path = dir.join(name);
        if !path.is_dir() && dir.canonicalize().is_ok_and(|dir| dir.starts_with(base)) {
            let text =
                format!("{}: it would be made in the base: make it yourself", path.display());
            return Err(Failure::new(code::NESTED, text));
        }
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Made { path, is_new: true }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                Ok(Made { path, is_new: false })
            }
            Err(error) => Err(Failure::new(
                code::FAILURE,
                format!(
                    "{}: cannot be made: {error}; -d and -m name directories where you may",
                    path.display()
                ),
            )),
        }
    }

    fn keep(mut self) {
        self.is_new = false;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.is_new {
            // It is only left behind.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// Carries out the command line of `mini_fo-overlay` (`args` with the program's name).
///
/// # Errors
/// As `mini_fo mount`. Nothing is left then.
fn overlay(args: Vec<OsString>) -> Result<(), Failure> {
    let Some(args) = OverlayArgs::try_parse_from(args).map(Some).or_else(cli::refuse)? else {
        return Ok(());
    };
    let failed = |error: io::Error| {
        Failure::new(code::BASE, format!("base {}: {error}", args.base.display()))
    };
    let base = args.base.canonicalize().map_err(failed)?;
    let name = |before: &str| name(before, &base, args.suffix.as_deref());
    let storage = Made::new(&args.dir, name("sto-"), &base)?;
    let mountpoint = Made::new(&args.mounts, name("mini_fo-"), &base)?;
    let typed = Typed {
        base: Some(escaped(&base)),
        storage: Some(storage.path.clone()),
        mountpoint: mountpoint.path.clone(),
        ..Typed::default()
    };
    if is_mount_point(&mountpoint.path) {
        let path = mountpoint.path.display();
        let text = format!("{path}: something is mounted there; -s gives another name");
        return Err(Failure::new(code::MOUNT, text));
    }
    serve::carry_out(typed.order()?)?;
    let text = format!(
        "{} is writable at {}; the changes go to {}\n",
        shown(&base.to_string_lossy()),
        shown(&mountpoint.path.to_string_lossy()),
        shown(&storage.path.to_string_lossy())
    );
    storage.keep();
    mountpoint.keep();
    cli::print(&text)
}

/// Carries out the command line of `mini_fo-merge` (`args` with the program's name).
///
/// # Errors
/// As `mini_fo commit`.
fn merge(args: Vec<OsString>) -> Result<(), Failure> {
    let Some(args) = MergeArgs::try_parse_from(args).map(Some).or_else(cli::refuse)? else {
        return Ok(());
    };
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| Failure::new(code::USAGE, format!("{path}: {error}"))
    };
    let base = args.base.canonicalize().map_err(failed(&args.base))?;
    let storage = args.storage.canonicalize().map_err(failed(&args.storage))?;
    changes::commit(&CommitArgs {
        place: WhereArgs { base: Some(escaped(&base)), ..WhereArgs::default() },
        dry_run: args.dry_run,
        // Nobody was asked in 2005, and scripts that call it cannot answer.
        yes: true,
        quiet: !args.verbose && !args.dry_run,
        show: ShowArgs { no_pager: true, ..ShowArgs::default() },
        paths: vec![storage],
        ..CommitArgs::default()
    })
}

/// `sto-NAME[-SUFFIX]`; what the root is called has no name of its own.
fn name(before: &str, base: &Path, suffix: Option<&OsStr>) -> OsString {
    let mut name = OsString::from(before);
    name.push(base.file_name().unwrap_or(OsStr::new("root")));
    if let Some(suffix) = suffix {
        name.push("-");
        name.push(suffix);
    }
    name
}

/// One base, whatever its name has: colons would part several.
fn escaped(base: &Path) -> PathBuf {
    let mut out = Vec::new();
    for byte in base.as_os_str().as_bytes() {
        if matches!(byte, b':' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    OsString::from_vec(out).into()
}

fn is_mount_point(path: &Path) -> bool {
    let number = |path: &Path| {
        let stat = rustix::fs::statx(
            rustix::fs::CWD,
            path,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            rustix::fs::StatxFlags::MNT_ID,
        );
        stat.ok().map(|stat| stat.stx_mnt_id)
    };
    let above = path.parent().unwrap_or(Path::new("/"));
    number(path).is_some_and(|own| number(above) != Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_2005() {
        let named = |base: &str, suffix: Option<&str>| {
            name("sto-", Path::new(base), suffix.map(OsStr::new))
        };
        assert_eq!(named("/a/b", None), "sto-b");
        assert_eq!(named("/a/b", Some("x y")), "sto-b-x y");
        assert_eq!(named("/", None), "sto-root");
        assert_eq!(escaped(Path::new("/a:b\\c")), Path::new("/a\\:b\\\\c"));
    }
}
