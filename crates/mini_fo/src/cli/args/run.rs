//! `mini_fo run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// `mini_fo run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The tree that the command sees as its root
    ///
    /// Without it the command sees the whole system. A command that sees DIR alone is in a
    /// chroot there.
    #[arg(short, long, value_name = "DIR", default_value = "/", value_hint = ValueHint::DirPath)]
    pub base: PathBuf,

    /// Keep the changes in DIR, and go on with what is there
    ///
    /// It is made where it is missing. Without this option a new directory below
    /// XDG_DATA_HOME/mini_fo/runs is taken, which goes if nothing has changed.
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub storage: Option<PathBuf>,

    /// Keep the changes under a name, and go on with what is there
    ///
    /// They lie below XDG_DATA_HOME/mini_fo/runs. A command of that name which is running is
    /// joined: both see the same tree. mini_fo list shows names, mini_fo rm takes one away.
    #[arg(short, long, value_name = "NAME", conflicts_with = "storage")]
    pub name: Option<PathBuf>,

    /// Run the command as root of a range of users of its own
    ///
    /// For an ordinary user, to install packages for example. In the run all owners are those
    /// of the system, and files can be given to others; outside, all that it has written is
    /// the user's, and he has no more rights than before. It needs a range of ids in
    /// /etc/subuid and /etc/subgid, and newuidmap(1). Root runs a command as root anyway.
    #[arg(long)]
    pub as_root: bool,

    /// Keep the changes in memory, at most SIZE (half of it); they are gone at the end
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "50%", conflicts_with_all = ["storage", "name"])]
    pub tmpfs: Option<String>,

    /// Let what is at PATH be changed for real
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub allow: Vec<PathBuf>,

    /// Show an empty directory, or an empty file, instead of PATH
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub hide: Vec<PathBuf>,

    /// Let nothing be changed at PATH, not even in the storage
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub read_only: Vec<PathBuf>,

    /// Which network there is: that of the system (host), or none but a loopback of its own
    ///
    /// With none, sockets of programs outside cannot be reached by their paths, either.
    #[arg(long, value_name = "WHICH", value_enum)]
    pub net: Option<Net>,

    /// Take what may be seen and done from FILE
    ///
    /// A line is allow PATH, hide PATH, read-only PATH, net host, net none, or options LIST;
    /// empty lines and those that begin with # do not count. Relative paths begin in the
    /// directory of FILE, ~/ in the home of the user. Options of the command line are added.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub policy: Vec<PathBuf>,

    /// What becomes of the changes when the command succeeds
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Ending::Keep)]
    pub on_exit: Ending,

    /// The same when it fails [default: as --on-exit]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub on_error: Option<Ending>,

    /// At the end, write an object to standard output, or to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "-", value_hint = ValueHint::FilePath)]
    pub json: Option<PathBuf>,

    /// Say nothing at the end but trouble
    #[arg(short, long)]
    pub quiet: bool,

    /// Options for the mount, separated by commas (see mini_fo-mount(1))
    #[arg(short, long = "options", value_name = "OPTIONS")]
    pub options: Vec<OsString>,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// `mini_fo rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Names of runs, or their directories
    #[arg(value_name = "NAME", required = true, value_hint = ValueHint::AnyPath)]
    pub names: Vec<PathBuf>,
}

/// Which network a command has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Net {
    /// That of the system.
    #[default]
    Host,
    /// None.
    None,
}

/// What becomes of changes. One more is one more here, and in `run/end.rs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ending {
    /// They stay, and it is said where.
    #[default]
    Keep,
    /// They go.
    Discard,
    /// They are written into the base, if it is what they were made from; else they stay.
    Commit,
    /// The user is asked, if there is a terminal; else they stay.
    Ask,
    /// They are shown in a browser, where some can be discarded; the rest stays.
    Review,
}
