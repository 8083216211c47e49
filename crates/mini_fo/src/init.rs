//! `mini_fo init`: the first program of a system whose root cannot be written,
//! or shall not.
//!
//! It mounts the storage and the overlay, makes that the root, and executes the
//! real init. Whatever fails on the way is told on the console, and the system
//! runs on the root as it is: a device always boots.
#![forbid(unsafe_code)]

mod console;
mod devices;
mod early;
mod keep;
mod modules;
mod overlay;
mod reset;
mod settings;
pub mod shutdown;
mod spec;
mod superblock;
mod switch;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::args::InitArgs;
use crate::exit::{Failure, code};
use crate::mountinfo;
use settings::{Fallback, Settings};
use spec::Spec;

/// The name that `init=` is given.
pub const NAME: &str = "mini_fo-init";

/// Where the kernel looks for an init, and so do we.
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// `mini_fo init`.
///
/// # Errors
/// As the first process: nothing can be executed at all. Else why there is no
/// overlay.
pub fn run(args: InitArgs) -> Result<(), Failure> {
    let first = is_first();
    if args.root.is_none() && !first {
        let text = "mini_fo init is for the first process of a system (boot with \
                    init=/sbin/mini_fo-init); an initramfs calls it with --root DIR";
        return Err(Failure::new(code::USAGE, text));
    }
    let root = args.root.unwrap_or_else(|| "/".into());
    let mut words = args.words;
    // Words of the kernel's command line may come without a program.
    let program = words.first().is_some_and(|word| Path::new(word).is_absolute());
    let program = program.then(|| PathBuf::from(words.remove(0)));
    start(&root, program, words, first)
}

/// The program under the name [`NAME`]: all words are for the real init.
///
/// # Errors
/// As [`run`].
pub fn boot(words: Vec<OsString>) -> Result<(), Failure> {
    match is_first() {
        true => start(Path::new("/"), None, words, true),
        false => run(InitArgs { root: None, words }),
    }
}

/// Whether this is process 1: somebody's first, also in a namespace of its own.
pub fn is_first() -> bool {
    std::process::id() == 1
}

fn start(
    root: &Path,
    program: Option<PathBuf>,
    words: Vec<OsString>,
    first: bool,
) -> Result<(), Failure> {
    let early = early::prepare();
    let file = std::fs::read_to_string(root.join(settings::FILE)).ok();
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_else(|error| {
        console::warn(format!("/proc/cmdline: {error}"));
        String::new()
    });
    let settings = Settings::read(file.as_deref(), &line);
    for problem in &settings.problems {
        console::warn(problem);
    }
    let result = overlay(root, &settings, first, &early.unneeded);
    match &result {
        Ok(()) => early.undo.keep(),
        Err(error) => {
            console::warn(format!("{error}; the root stays as it is"));
            drop(early.undo);
        }
    }
    if !first {
        return result.map_err(|error| Failure::new(code::FAILURE, error));
    }
    let program = program.or_else(|| settings.init.map(PathBuf::from));
    Err(execute(root, program, &words, result.is_ok()))
}

/// Makes the overlay the root, with the storage that is wanted or the fall-back.
fn overlay(
    root: &Path,
    settings: &Settings,
    first: bool,
    unneeded: &[PathBuf],
) -> Result<(), String> {
    let mounts = mountinfo::read().unwrap_or_default();
    if mountinfo::at(&mounts, root).is_some_and(mountinfo::Mount::is_ours) {
        console::say("the root is an overlay already");
        return Ok(());
    }
    let wanted = settings.storage.as_deref();
    if wanted.is_none() {
        console::say("no storage is named (mini_fo.storage=): changes go to memory");
    }
    let spec = Spec::parse(wanted.unwrap_or("tmpfs"));
    let assembled = match spec.and_then(|spec| overlay::assemble(root, &spec, settings)) {
        Err(error) if settings.fallback == Fallback::Tmpfs && wanted.is_some() => {
            console::warn(format!("{error}; changes go to memory and will be lost"));
            overlay::assemble(root, &Spec::Tmpfs(None), settings)?
        }
        other => other?,
    };
    match first {
        true => switch::change(root, assembled, unneeded)?,
        false => switch::cover(root, assembled)?,
    }
    let shown = wanted.unwrap_or("tmpfs");
    let how = if settings.read_only {
        "shows, read-only, what is in"
    } else {
        "is writable; changes go to"
    };
    console::say(format!("the root {how} {shown}"));
    Ok(())
}

/// Executes the real init, or what else there is. It returns only when nothing
/// can be executed.
fn execute(root: &Path, program: Option<PathBuf>, words: &[OsString], changed: bool) -> Failure {
    if !changed && root != Path::new("/") {
        enter(root);
    }
    if let Some(program) = &program {
        attempt(program, words);
    }
    for init in INITS {
        attempt(Path::new(init), words);
    }
    // A storage may hide the init that the base has.
    if changed {
        console::warn("the overlay has no init: the root as it is is taken");
        let base = Path::new("/run/mini_fo/root/base");
        for point in ["dev", "proc", "sys", "run"] {
            let _ =
                rustix::mount::mount_bind_recursive(Path::new("/").join(point), base.join(point));
        }
        if rustix::process::chroot(base).and_then(|()| rustix::process::chdir("/")).is_ok() {
            for init in program.iter().map(|path| &**path).chain(INITS.map(Path::new)) {
                attempt(init, words);
            }
        }
    }
    Failure::new(code::FAILURE, "no init can be executed: name one with mini_fo.init=")
}

/// Changes to a root that an initramfs has mounted, as it is.
fn enter(root: &Path) {
    for point in ["dev", "proc", "sys", "run"] {
        let from = Path::new("/").join(point);
        if early::is_mounted(&from) {
            let _ = rustix::mount::mount_move(&from, root.join(point));
        }
    }
    let moved = rustix::process::chdir(root)
        .and_then(|()| rustix::mount::mount_move(".", "/"))
        .and_then(|()| rustix::process::chroot("."))
        .and_then(|()| rustix::process::chdir("/"));
    if let Err(errno) = moved {
        console::warn(format!("{}: cannot become the root: {errno}", root.display()));
    }
}

fn attempt(program: &Path, words: &[OsString]) {
    if program.exists() {
        let error = Command::new(program).args(words).exec();
        console::warn(format!("{} cannot be executed: {error}", program.display()));
    } else {
        console::warn(format!("there is no {}", program.display()));
    }
}
