//! mini_fo makes any read-only tree writable.
//!
//! One program under several names: `mini_fo COMMAND`, `mount.mini_fo`, which
//! mount(8) calls, `fuse-overlayfs` for container engines, `mini_fo-init` and
//! `mini_fo.shutdown` for a system's first and last step, `mini_fo-overlay` and
//! `mini_fo-merge`, which were scripts in 2005.
#![deny(unsafe_code)]

mod adapter;
mod cli;
mod control;
mod daemon;
mod exit;
mod fuse_overlayfs;
mod handles;
mod ids;
mod init;
mod iomode;
mod log;
mod mount_helper;
mod mountinfo;
mod options;
mod registry;
mod remount;
mod report;
mod request;
mod review;
mod run;
mod scripts;
mod scripts_args;
mod secret;
mod serve;
mod stack;
mod usage;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use cli::args::ShutdownArgs;
use exit::Failure;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let called = args.first().and_then(|arg| Path::new(arg).file_name());
    let helper = mount_helper::NAMES.iter().find(|name| called == Some(name.as_ref()));
    let script = scripts::of_name(called);
    let words: Vec<OsString> = args.iter().skip(1).cloned().collect();
    let (name, codes): (_, fn(&Failure) -> u8) = match helper {
        Some(helper) => (*helper, Failure::helper_code),
        None if fuse_overlayfs::is_called(called) => {
            (fuse_overlayfs::NAME, |_| fuse_overlayfs::FAILED)
        }
        None => (script.map_or("mini_fo", |(name, _)| name), |failure| failure.code),
    };
    let result = match (helper, script) {
        (Some(_), _) => mount_helper::run(words),
        (_, Some((_, script))) => script(args),
        _ if fuse_overlayfs::is_called(called) => fuse_overlayfs::run(words),
        _ if called == Some(init::shutdown::NAME.as_ref()) => {
            init::shutdown::run(&ShutdownArgs::default())
        }
        _ if called == Some(init::NAME.as_ref()) => init::boot(words),
        // init=/usr/bin/mini_fo: an error in words that are not even meant for it
        // would be the end of the system.
        _ if init::is_first() && !cli::knows(args.get(1)) => init::boot(words),
        _ if fuse_overlayfs::is_meant(&words) => fuse_overlayfs::run(words),
        _ => cli::run(args),
    };
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if !failure.is_silent() {
        // Without a standard error only the exit code can tell.
        let _ = writeln!(std::io::stderr(), "{name}: {failure}");
    }
    ExitCode::from(codes(&failure))
}
