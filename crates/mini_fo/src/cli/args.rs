//! The command line: the one definition that `--help`, the man pages and the
//! shell completions are made from.
#![forbid(unsafe_code)]

#[path = "args/run.rs"]
pub mod run;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::{exit, options};
use run::{RmArgs, RunArgs};

/// Makes any read-only tree writable.
///
/// mini_fo shows a directory tree (the base) as an ordinary read-write tree.
/// The base is never changed: every change lies in another directory (the
/// storage), survives unmounting, and is gone when the storage is emptied.
#[derive(Debug, Parser)]
#[command(name = "mini_fo", version, propagate_version = true, subcommand_required = true)]
#[command(arg_required_else_help = true, after_long_help = exit::help(""))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show BASE at MOUNTPOINT as a writable tree
    ///
    /// Returns when the tree is usable; a daemon then serves it in the
    /// background until it is unmounted.
    #[command(override_usage = "mini_fo mount BASE MOUNTPOINT --storage DIR [OPTIONS]")]
    #[command(after_long_help = format!("{}\n{}", options::help(), exit::help("mount")))]
    Mount(MountArgs),
    /// Run a command whose changes are kept apart
    ///
    /// The command sees the whole system, or DIR alone, as writable; what it changes lands
    /// in a storage, to be looked at, kept or dropped. Any user may do that. Exit status,
    /// signals, job control and standard streams are those of the command.
    #[command(override_usage = "mini_fo run [OPTIONS] [--] COMMAND [ARGS]...")]
    #[command(after_long_help = exit::help("run"))]
    Run(Box<RunArgs>),
    /// Take runs away, with all that they have changed
    ///
    /// Asks before it does. What is running stays.
    #[command(override_usage = "mini_fo rm [--yes] NAME...")]
    #[command(after_long_help = exit::help("rm"))]
    Rm(RmArgs),
    /// Unmount mini_fo mounts
    ///
    /// Returns when the daemon has ended and the storage is free again. A
    /// plain umount(8) does as well, but does not wait. Of several mounts each is
    /// tried; the exit code is that of the first that could not be unmounted.
    #[command(after_long_help = exit::help("umount"))]
    Umount(UmountArgs),
    /// List the live mini_fo mounts
    ///
    /// Shows mount point, base and storage of each mount, the daemon's
    /// process number and whether it can be written.
    #[command(after_long_help = exit::help("list"))]
    List(ListArgs),
    /// Look for damage in a storage, and compare it with a base
    ///
    /// Lists damaged lines of META, and every entry that the storage speaks of
    /// and the base has not, or not any more. Nothing is changed. The storage
    /// must not be mounted for writing.
    #[command(override_usage = "mini_fo check BASE --storage DIR")]
    #[command(after_long_help = exit::help("check"))]
    Check(CheckArgs),
    /// Show what a storage holds, and what takes the room
    ///
    /// WHERE is a live mount, a directory in one (then only what is below it counts), or
    /// a storage. Sizes are what is taken on the storage's file system.
    #[command(override_usage = "mini_fo du [OPTIONS] [WHERE]")]
    #[command(after_long_help = exit::help("du"))]
    Du(DuArgs),
    /// Tell what has changed
    ///
    /// Compares the tree as a mount shows it with what is below the storage: one line for
    /// each entry that was added, deleted, renamed, or differs in content, attributes or
    /// type. A deleted directory is one line, and so is a renamed one, followed by what has
    /// changed in it. What was only opened or is the same again is not listed. Nothing is
    /// written.
    #[command(override_usage = "mini_fo status [OPTIONS] [WHERE]")]
    #[command(after_long_help = exit::help("status"))]
    Status(StatusArgs),
    /// Show what has changed as a patch
    ///
    /// Writes changes in git's extended format, as git apply and patch(1) take them. What
    /// git does not know (owners, devices, empty directories, access lists) is told in
    /// lines that begin with "mini_fo: ".
    #[command(override_usage = "mini_fo diff [OPTIONS] [WHERE] [PATHS]...")]
    #[command(after_long_help = exit::help("diff"))]
    Diff(DiffArgs),
    /// Throw changes away: show what is below again
    ///
    /// Takes back what has changed at the given paths and below them, or with --all
    /// everything: what was added goes, what was changed, deleted or renamed is as it is
    /// below. PATHS that lie in a live mount name it, too; else WHERE comes first, a
    /// storage that is not mounted or the directory where a tree is mounted, and PATHS are
    /// those of the tree.
    #[command(visible_alias = "reset")]
    #[command(override_usage = "mini_fo discard [OPTIONS] [WHERE] <PATHS...|--all>")]
    #[command(after_long_help = exit::help("discard"))]
    Discard(DiscardArgs),
    /// Write changes into the base
    ///
    /// Makes of the base what the tree shows, at the given paths and below them, or
    /// everywhere: all of it, or nothing. What is committed leaves the storage, and the tree
    /// shows the same before and after. WHERE is the directory where it is mounted, a path
    /// in it, or a storage that is not mounted, and PATHS are
    /// those of the tree. What was interrupted is finished first, or taken back with --abort.
    /// Nothing is written where the base has something else than what a change was made from.
    #[command(override_usage = "mini_fo commit [OPTIONS] [WHERE] [PATHS]...")]
    #[command(after_long_help = exit::help("commit"))]
    Commit(CommitArgs),
    /// Look at what has changed in a browser, and choose what stays
    ///
    /// Serves a page to a browser of this machine alone, by an address that can be used
    /// once: the changed tree, texts side by side, pictures before and after. What is marked
    /// there is discarded when that is confirmed. It ends by Ctrl-C, by the page, or when
    /// nothing was asked for some time.
    #[command(override_usage = "mini_fo review [OPTIONS] [WHERE]")]
    #[command(after_long_help = exit::help("review"))]
    Review(ReviewArgs),
    /// Start a system on a root that becomes writable
    ///
    /// The first program of a system, for init=/sbin/mini_fo-init on the
    /// kernel's command line, or called by an initramfs. It mounts the storage
    /// that mini_fo.storage= names and the overlay, makes that the root, and
    /// executes the real init; when anything fails, on the root as it is.
    #[command(override_usage = "mini_fo init [--root DIR] [INIT [ARG]...]")]
    #[command(after_long_help = exit::help("init"))]
    Init(InitArgs),
    /// Bring the storage of the root to rest before the power goes
    ///
    /// Makes the root read-only, and then the file system that holds its
    /// storage. Without an overlay on the root nothing happens.
    #[command(override_usage = "mini_fo shutdown [--kill]")]
    #[command(after_long_help = exit::help("shutdown"))]
    Shutdown(ShutdownArgs),
}

/// `mini_fo mount`.
#[derive(Debug, Args)]
pub struct MountArgs {
    /// The tree that is only read; of several, A:B:C, the first is the uppermost
    ///
    /// A colon in a path is written \:
    #[arg(value_name = "BASE", value_hint = ValueHint::DirPath)]
    pub base: PathBuf,

    /// A tree below BASE, and below those that --under has named before
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub under: Vec<PathBuf>,

    /// Where the writable tree appears; an existing directory
    #[arg(value_name = "MOUNTPOINT", value_hint = ValueHint::DirPath)]
    pub mountpoint: PathBuf,

    /// The directory that receives every change; existing, at first empty
    ///
    /// Without one the tree is shown read-only (-r).
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub storage: Option<PathBuf>,

    /// Mount options, separated by commas (ro, noatime, nosuid, ...)
    ///
    /// All options of the 2005 mount line and the generic ones of mount(8) are
    /// known; they are listed below. A comma in a value is written \,
    #[arg(short, long = "options", value_name = "OPTIONS")]
    pub options: Vec<OsString>,

    /// Show the tree, but allow no changes (the same as -o ro)
    #[arg(short, long)]
    pub read_only: bool,

    /// Use a storage that was made for another base (the same as -o accept_base)
    #[arg(long)]
    pub accept_base: bool,

    /// Use a storage that is not empty and does not look like one (the same as -o accept_storage)
    #[arg(long)]
    pub accept_storage: bool,

    /// Let the kernel's fuse module use io_uring, for all mounts from now on
    ///
    /// Writes Y to /sys/module/fuse/parameters/enable_uring, which root may,
    /// on Linux 6.14 or later. Without this option nothing is switched.
    #[arg(long)]
    pub enable_uring: bool,

    /// Stay in the foreground and log to standard error
    #[arg(short, long)]
    pub foreground: bool,

    /// Append the log to FILE instead of the system log
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub log: Option<PathBuf>,

    /// Log more
    #[arg(short, long)]
    pub verbose: bool,
}

/// `mini_fo umount`.
#[derive(Debug, Args)]
pub struct UmountArgs {
    /// The mount points
    #[arg(value_name = "MOUNTPOINT", required = true, value_hint = ValueHint::DirPath)]
    pub mountpoints: Vec<PathBuf>,

    /// Detach a busy mount now; the daemon ends when its last user does
    #[arg(short, long)]
    pub lazy: bool,
}

/// `mini_fo list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print a JSON array instead of a table
    #[arg(long)]
    pub json: bool,

    /// Show how requests and data go, and what would make it faster
    #[arg(short, long)]
    pub verbose: bool,
}

/// `mini_fo check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The tree that is only read; of several, A:B:C, the first is the uppermost
    #[arg(value_name = "BASE", value_hint = ValueHint::DirPath)]
    pub base: PathBuf,

    /// A tree below BASE, and below those that --under has named before
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub under: Vec<PathBuf>,

    /// How each of these trees is to be read (see the option dialect of mount)
    #[arg(long, value_name = "NAME[:NAME...]")]
    pub dialect: Option<OsString>,

    /// The directory that received the changes
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub storage: PathBuf,

    /// What META is called in it (see the option meta_name of mount)
    #[arg(long, value_name = "NAME")]
    pub meta_name: Option<OsString>,
}

/// `mini_fo du`.
#[derive(Debug, Args)]
pub struct DuArgs {
    /// How many levels of directories get a line of their own
    #[arg(short, long, value_name = "LEVELS", default_value_t = 1)]
    pub depth: usize,

    /// Show the N largest files, too
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    pub largest: usize,

    /// Print a JSON object instead of a table
    #[arg(long)]
    pub json: bool,

    /// What META is called in a storage (see the option meta_name of mount)
    #[arg(long, value_name = "NAME")]
    pub meta_name: Option<OsString>,

    /// A live mount, a directory in one, or a storage
    #[arg(value_name = "WHERE", default_value = ".", value_hint = ValueHint::DirPath)]
    pub place: PathBuf,
}

/// What is compared, for `mini_fo status` and `mini_fo diff`.
#[derive(Debug, Default, Args)]
pub struct WhereArgs {
    /// The tree below the changes; of several, A:B:C, the first is the uppermost
    ///
    /// A storage tells by itself what it was made for.
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub base: Option<PathBuf>,

    /// A tree below the base, and below those that --under has named before
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub under: Vec<PathBuf>,

    /// How WHERE and these trees are to be read (see the option dialect of mount)
    ///
    /// The first name is that of WHERE.
    #[arg(long, value_name = "NAME[:NAME...]")]
    pub dialect: Option<OsString>,

    /// What META is called in the storage (see the option meta_name of mount)
    #[arg(long, value_name = "NAME")]
    pub meta_name: Option<OsString>,

    /// Compare a storage with another base than the one that it was made for
    #[arg(long)]
    pub accept_base: bool,
}

/// How text is shown.
#[derive(Debug, Default, Args)]
pub struct ShowArgs {
    /// Colours: on a terminal (auto), always, or never
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorWhen::Auto)]
    pub color: ColorWhen,

    /// Do not send the text through a pager on a terminal
    #[arg(long)]
    pub no_pager: bool,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `mini_fo status`.
#[derive(Debug, Default, Args)]
pub struct StatusArgs {
    /// What is compared.
    #[command(flatten)]
    pub place: WhereArgs,

    /// List also what is in deleted and renamed directories
    #[arg(short, long)]
    pub all: bool,

    /// Look through the base for other names of changed files (hard links)
    #[arg(long)]
    pub links: bool,

    /// Print a JSON object for each change, and one for the totals, a line each
    #[arg(long)]
    pub json: bool,

    /// Print a letter, a blank and the path for each change, ended by NUL
    #[arg(short, conflicts_with = "json")]
    pub z: bool,

    /// How it is shown.
    #[command(flatten)]
    pub show: ShowArgs,

    /// A storage, an upper directory of overlayfs (with --base), or a path in a live mount
    #[arg(value_name = "WHERE", default_value = ".", value_hint = ValueHint::DirPath)]
    pub path: PathBuf,
}

/// `mini_fo diff`.
#[derive(Debug, Default, Args)]
pub struct DiffArgs {
    /// What is compared.
    #[command(flatten)]
    pub place: WhereArgs,

    /// Write binary files so that git apply takes them
    #[arg(long)]
    pub binary: bool,

    /// Tell for each file how many lines were added and deleted
    #[arg(long, conflicts_with_all = ["name_only", "name_status"])]
    pub stat: bool,

    /// Print paths only
    #[arg(long, conflicts_with = "name_status")]
    pub name_only: bool,

    /// Print a letter for what happened, and the path
    #[arg(long)]
    pub name_status: bool,

    /// End paths by NUL, and quote nothing (with --name-only and --name-status)
    #[arg(short)]
    pub z: bool,

    /// How it is shown.
    #[command(flatten)]
    pub show: ShowArgs,

    /// A storage, an upper directory of overlayfs (with --base), or a path in a live mount
    #[arg(value_name = "WHERE", default_value = ".", value_hint = ValueHint::DirPath)]
    pub path: PathBuf,

    /// Only what is at these paths of the tree, or below them
    #[arg(value_name = "PATHS")]
    pub paths: Vec<PathBuf>,
}

/// `mini_fo review`.
#[derive(Debug, Args)]
pub struct ReviewArgs {
    /// What is compared.
    #[command(flatten)]
    pub place: WhereArgs,

    /// The port that is listened at; 0: one that is free
    #[arg(short, long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,

    /// Do not open a browser, only print the address
    #[arg(long)]
    pub no_open: bool,

    /// End when nothing was asked for so many minutes; 0: never
    #[arg(long, value_name = "MINUTES", default_value = "60")]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=525_600))]
    pub idle: Option<u64>,

    /// A storage, an upper directory of overlayfs (with --base), or a path in a live mount
    #[arg(value_name = "WHERE", default_value = ".", value_hint = ValueHint::DirPath)]
    pub path: PathBuf,
}

/// `mini_fo discard`.
#[derive(Debug, Default, Args)]
pub struct DiscardArgs {
    /// What the storage lies on.
    #[command(flatten)]
    pub place: WhereArgs,

    /// Discard everything, or all that is below the paths
    #[arg(short, long)]
    pub all: bool,

    /// Keep what matches one of the globs in FILE, one a line, and all that is below it
    ///
    /// A glob with a slash is matched with the whole path in the tree, others with each
    /// name. Empty lines and those that begin with # do not count.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub keep: Option<PathBuf>,

    /// Tell what would go, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Do not ask before content is lost
    #[arg(short, long)]
    pub yes: bool,

    /// Tell nothing but trouble
    #[arg(short, long, conflicts_with_all = ["json", "dry_run"])]
    pub quiet: bool,

    /// Print a JSON object for each change that goes, and one for the totals, a line each
    #[arg(long)]
    pub json: bool,

    /// How it is shown.
    #[command(flatten)]
    pub show: ShowArgs,

    /// Paths in a live mount; or WHERE, and paths of the tree
    #[arg(value_name = "PATHS", value_hint = ValueHint::AnyPath, required_unless_present = "all")]
    pub paths: Vec<PathBuf>,
}

/// `mini_fo commit`.
#[derive(Debug, Default, Args)]
pub struct CommitArgs {
    /// What the storage lies on.
    #[command(flatten)]
    pub place: WhereArgs,

    /// Commit only what matches this glob, or is below what does (can be repeated)
    ///
    /// A glob with a slash is matched with the whole path in the tree, others with each
    /// name. What belongs together goes or stays together.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,

    /// Leave what matches this glob, or is below what does, in the storage (can be repeated)
    #[arg(long, value_name = "GLOB")]
    pub except: Vec<String>,

    /// Show each change, and ask whether it is to be committed: of texts each hunk
    ///
    /// As git add --patch does; '?' tells the answers. Without a terminal they are read from
    /// standard input, and --yes is needed. What was not picked stays in the storage.
    #[arg(short, long, conflicts_with_all = ["theirs", "abort", "json", "quiet"])]
    pub patch: bool,

    /// Write changes over what the base has now, if it is not what they were made from
    #[arg(long, conflicts_with = "theirs")]
    pub ours: bool,

    /// Give such changes up for what the base has now
    #[arg(long)]
    pub theirs: bool,

    /// Take an interrupted commit back, and commit nothing
    #[arg(long, conflicts_with_all = ["only", "except", "ours", "theirs", "dry_run", "json"])]
    pub abort: bool,

    /// Tell what would be committed, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Do not ask before the base is written
    #[arg(short, long)]
    pub yes: bool,

    /// Tell nothing but trouble
    #[arg(short, long, conflicts_with_all = ["json", "dry_run"])]
    pub quiet: bool,

    /// Print a JSON object for each change that was asked for, and one for the totals, a
    /// line each
    #[arg(long)]
    pub json: bool,

    /// How it is shown.
    #[command(flatten)]
    pub show: ShowArgs,

    /// Paths in a live mount; or WHERE, and paths of the tree
    #[arg(value_name = "PATHS", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
}

/// `mini_fo init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where an initramfs has mounted the root
    ///
    /// As process 1 mini_fo changes to it; else the overlay covers DIR, and
    /// whoever called changes to it.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub root: Option<PathBuf>,

    /// The program to execute (default: what mini_fo.init= names, /sbin/init)
    /// and its arguments
    #[arg(value_name = "INIT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// `mini_fo shutdown`.
#[derive(Debug, Default, Args)]
pub struct ShutdownArgs {
    /// First end all programs but process 1 and what the root needs
    ///
    /// For an init that runs its last commands before it does so, as that of
    /// busybox. They get SIGTERM, and SIGKILL after 5 seconds.
    #[arg(long)]
    pub kill: bool,
}
