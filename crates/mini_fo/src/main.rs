//! mini_fo makes any read-only tree writable.
//!
//! One program under two names: `mini_fo COMMAND`, and `mount.mini_fo`, which
//! mount(8) calls.
#![deny(unsafe_code)]

mod adapter;
mod cli;
mod daemon;
mod exit;
mod handles;
mod ids;
mod iomode;
mod log;
mod mount_helper;
mod mountinfo;
mod options;
mod registry;
mod report;
mod request;
mod serve;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let called = args.first().and_then(|arg| Path::new(arg).file_name());
    let helper = mount_helper::NAMES.iter().find(|name| called == Some(name.as_ref()));
    let result = match helper {
        Some(_) => mount_helper::run(args.into_iter().skip(1).collect()),
        None => cli::run(args),
    };
    let Err(failure) = result else { return ExitCode::SUCCESS };
    let name = helper.unwrap_or(&"mini_fo");
    // Without a standard error only the exit code can tell.
    let _ = writeln!(std::io::stderr(), "{name}: {failure}");
    ExitCode::from(if helper.is_some() { failure.helper_code() } else { failure.code })
}
