//! `mini_fo COMMAND`: the commands of the program.
#![forbid(unsafe_code)]

pub mod args;
pub mod changes;
mod check;
mod du;
pub mod json;
mod list;
mod umount;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use clap::{CommandFactory, Parser};

use crate::exit::{Failure, code};
use crate::init;
use crate::options;
use crate::request::Typed;
use crate::review;
use crate::run as running;
use crate::serve;
use args::{Cli, Command, MountArgs};

/// Carries out a command line. Usage errors end the process (exit code 2).
///
/// # Errors
/// What the command says of itself.
pub fn run(args: Vec<OsString>) -> Result<(), Failure> {
    let runs = args.get(1).is_some_and(|word| word == "run");
    let cli = Cli::try_parse_from(args).map(Some).or_else(|error| match runs {
        true if error.use_stderr() => {
            // Its other exit codes are those of commands.
            let _ = error.print();
            Err(Failure::silent(code::RUN))
        }
        _ => refuse(error),
    })?;
    let Some(cli) = cli else { return Ok(()) };
    match cli.command {
        Command::Mount(args) => serve::carry_out(typed(args)?.order()?),
        Command::Run(args) => running::run(&args),
        Command::Rm(args) => running::rm(&args),
        Command::Umount(args) => umount::run(&args),
        Command::List(args) => list::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Du(args) => du::run(&args),
        Command::Status(args) => changes::status(&args),
        Command::Diff(args) => changes::diff(&args),
        Command::Review(args) => review::run(args),
        Command::Discard(args) => changes::discard(&args),
        Command::Commit(args) => changes::commit(&args),
        Command::Init(args) => init::run(args),
        Command::Shutdown(args) => init::shutdown::run(&args),
    }
}

/// Whether a first argument is a command, or asks what there is.
pub fn knows(word: Option<&OsString>) -> bool {
    let Some(word) = word.and_then(|word| word.to_str()) else { return false };
    matches!(word, "help" | "-h" | "--help" | "-V" | "--version")
        || Cli::command().find_subcommand(word).is_some()
}

/// Ends the process over a usage error; `None`: help or the version was asked for.
///
/// # Errors
/// Nobody has got what was asked for.
pub fn refuse<T>(error: clap::Error) -> Result<Option<T>, Failure> {
    if error.use_stderr() {
        error.exit();
    }
    let text = error.render();
    let terminal = io::stdout().is_terminal();
    print(&if terminal { text.ansi().to_string() } else { text.to_string() })?;
    Ok(None)
}

/// Writes to standard output. A reader that has seen enough is no error.
///
/// # Errors
/// Nobody has got it (a full disk).
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(code::FAILURE, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn typed(args: MountArgs) -> Result<Typed, Failure> {
    let mut items = Vec::new();
    for list in &args.options {
        items.extend(options::parse(list, false)?);
    }
    Ok(Typed {
        source: None,
        base: Some(args.base),
        under: args.under,
        dialects: Vec::new(),
        storage: args.storage,
        mountpoint: args.mountpoint,
        items,
        read_only: args.read_only,
        stays_ro: false,
        accept_base: args.accept_base,
        accept_storage: args.accept_storage,
        enable_uring: args.enable_uring,
        foreground: args.foreground,
        log: args.log,
        verbose: args.verbose,
    })
}
