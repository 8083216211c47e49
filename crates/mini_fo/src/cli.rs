//! `mini_fo COMMAND`: the commands of the program.
#![forbid(unsafe_code)]

pub mod args;
mod check;
mod list;
mod umount;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use crate::exit::Failure;
use crate::init;
use crate::options;
use crate::request::Typed;
use crate::serve;
use args::{Cli, Command, MountArgs};

/// Carries out a command line. Usage errors end the process (exit code 2).
///
/// # Errors
/// What the command says of itself.
pub fn run(args: Vec<OsString>) -> Result<(), Failure> {
    match Cli::parse_from(args).command {
        Command::Mount(args) => serve::carry_out(typed(args)?.order()?),
        Command::Umount(args) => umount::run(&args),
        Command::List(args) => list::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Init(args) => init::run(args),
        Command::Shutdown(args) => init::shutdown::run(&args),
    }
}

/// Whether a first argument is a command, or asks what there is.
pub fn knows(word: Option<&OsString>) -> bool {
    let Some(word) = word.and_then(|word| word.to_str()) else { return false };
    matches!(word, "-h" | "--help" | "-V" | "--version")
        || Cli::command().find_subcommand(word).is_some()
}

fn typed(args: MountArgs) -> Result<Typed, Failure> {
    let mut items = Vec::new();
    for list in &args.options {
        items.extend(options::parse(list, false)?);
    }
    Ok(Typed {
        source: None,
        base: Some(args.base),
        storage: args.storage,
        mountpoint: args.mountpoint,
        items,
        read_only: args.read_only,
        accept_base: args.accept_base,
        accept_storage: args.accept_storage,
        enable_uring: args.enable_uring,
        foreground: args.foreground,
        log: args.log,
        verbose: args.verbose,
    })
}
