//! The command line of fuse-overlayfs, with which container engines mount their layers.
//!
//! `fuse-overlayfs [-f] [--debug] -o lowerdir=A:B:C[,upperdir=U,workdir=W] MOUNTPOINT`.
//! The trees are read as layers of container images, and so is the upper directory, which
//! has the storage in it (`upper.rs`). What other options it has is in `options.rs` beside this file; those of `mini_fo mount`
//! work as well, and what neither knows is passed over with a warning, as there.
#![forbid(unsafe_code)]

mod options;
mod upper;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::cli;
use crate::exit::{Failure, code};
use crate::request::{Order, Typed};
use crate::serve;
use options::Options;

/// The name under which the program is that one.
pub const NAME: &str = "fuse-overlayfs";

/// What it ends with when anything fails.
pub const FAILED: u8 = 1;

const USAGE: &str = "\
Usage: fuse-overlayfs [-f] [--debug] -o lowerdir=A[:B...][,upperdir=DIR,workdir=DIR][,OPTIONS] MOUNTPOINT

This is mini_fo, called as container engines call fuse-overlayfs. See fuse-overlayfs(1)
for the options, and mini_fo-mount(1) for those that can be given in addition.";

/// What was typed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    mountpoint: Option<PathBuf>,
    lists: Vec<OsString>,
    foreground: bool,
    debug: bool,
    help: bool,
    version: bool,
}

/// Whether arguments (without the program's name) are meant for that program.
pub fn is_meant(args: &[OsString]) -> bool {
    let begins = args.first().is_some_and(|word| word.as_bytes().starts_with(b"-"));
    begins
        && read(args.iter().cloned())
            .is_ok_and(|line| line.lists.iter().any(|list| options::names_layers(list)))
}

/// Carries out a command line (`args` without the program's name).
///
/// # Errors
/// As `mini_fo mount`.
pub fn run(args: Vec<OsString>) -> Result<(), Failure> {
    let line = read(args)?;
    if line.help {
        return cli::print(&format!("{USAGE}\n"));
    }
    if line.version {
        return cli::print(concat!("fuse-overlayfs: mini_fo ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    let options = Options::read(&line.lists)?;
    for name in &options.unknown {
        // Without a standard error nobody wants to know.
        let _ = writeln!(std::io::stderr(), "unknown argument ignored: {name}");
    }
    serve::carry_out(order(line, options)?)
}

/// What a command line asks for.
fn order(line: Line, options: Options) -> Result<Order, Failure> {
    let mountpoint = line.mountpoint.ok_or_else(|| usage("no mount point is given"))?;
    if options.lowers.is_empty() {
        return Err(usage("no lower directory is given: lowerdir=DIR"));
    }
    if let Some(work) = options.work.as_deref().filter(|work| !work.is_dir()) {
        let text = format!("workdir {}: it is no directory", work.display());
        return Err(Failure::new(code::STORAGE, text));
    }
    let stack = upper::stack(options.upper.as_deref(), &options.lowers)?;
    let (under, dialects) = stack.layers.into_iter().unzip();
    let typed = Typed {
        source: Some(NAME.into()),
        under,
        dialects,
        read_only: stack.storage.is_none(),
        storage: stack.storage,
        mountpoint,
        items: options.items,
        // Layers are what the engine says they are, also when they come from a backup.
        accept_base: true,
        foreground: line.foreground,
        verbose: line.debug,
        ..Typed::default()
    };
    let mut order = typed.order()?;
    if let Order::Mount(request) = &mut order {
        request.acl = !options.no_acl;
        request.context = options.context;
        // Engines mount so what they only read, as the layer of an image that others use.
        request.writes_late = stack.inside;
    }
    Ok(order)
}

fn usage(what: &str) -> Failure {
    Failure::usage(what, USAGE)
}

fn read(args: impl IntoIterator<Item = OsString>) -> Result<Line, Failure> {
    let mut line = Line::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"-o" => line.lists.push(args.next().ok_or_else(|| usage("-o needs a value"))?),
            [b'-', b'o', list @ ..] => line.lists.push(OsString::from_vec(list.to_vec())),
            b"-f" => line.foreground = true,
            // As in all programs that are made with libfuse.
            b"-d" | b"--debug" => (line.foreground, line.debug) = (true, true),
            b"-h" | b"--help" => line.help = true,
            b"-V" | b"--version" => line.version = true,
            b"-s" => {}
            [b'-', _, ..] => {
                let name = arg.to_string_lossy();
                return Err(usage(&format!("unknown option '{name}'")));
            }
            _ if line.mountpoint.is_some() => return Err(usage("too many arguments")),
            _ => line.mountpoint = Some(arg.into()),
        }
    }
    Ok(line)
}

/// The name of a program, whatever its directory.
pub fn is_called(name: Option<&OsStr>) -> bool {
    name == Some(NAME.as_ref())
}

#[cfg(test)]
mod tests;
