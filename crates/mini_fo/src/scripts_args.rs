//! The command lines of the two scripts that came with the module of 2005.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::exit;

/// Makes a directory writable somewhere else, without further questions
///
/// The directory BASE shows writable at MOUNTS/mini_fo-NAME[-SUFFIX], and its changes go to
/// STORAGES/sto-NAME[-SUFFIX], where NAME is the last part of BASE. Both directories are made
/// if they are not there. This is the script of 2005 of that name, as a name of mini_fo;
/// "mini_fo mount" can do more.
#[derive(Debug, Parser)]
#[command(name = "mini_fo-overlay", version, after_long_help = exit::help("mini_fo-overlay"))]
pub struct OverlayArgs {
    /// What the names of both directories end with, so that a base can have several
    #[arg(short, value_name = "SUFFIX")]
    pub suffix: Option<OsString>,

    /// Where the directory of the changes is made
    #[arg(short, value_name = "STORAGES", default_value = "/tmp", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,

    /// Where the mount point is made
    #[arg(short, value_name = "MOUNTS", default_value = "/mnt", value_hint = ValueHint::DirPath)]
    pub mounts: PathBuf,

    /// The directory that shall be writable
    #[arg(value_name = "BASE", value_hint = ValueHint::DirPath)]
    pub base: PathBuf,
}

/// Writes the changes of a storage into the base, without further questions
///
/// All changes go into BASE and leave STORAGE, or none do: what the base has got since a change
/// was made is not written over, but told. This is the script of 2005 of that name, as a name
/// of mini_fo; "mini_fo commit" can do more, such as to choose, or to say whose change counts.
#[derive(Debug, Parser)]
#[command(name = "mini_fo-merge", version, after_long_help = exit::help("mini_fo-merge"))]
pub struct MergeArgs {
    /// The directory that is written
    #[arg(short, value_name = "BASE", value_hint = ValueHint::DirPath)]
    pub base: PathBuf,

    /// The directory with the changes, which is not mounted
    #[arg(short, value_name = "STORAGE", value_hint = ValueHint::DirPath)]
    pub storage: PathBuf,

    /// Tell what would be written, and change nothing
    #[arg(short)]
    pub dry_run: bool,

    /// Taken and not used: nothing lies in a third place meanwhile
    #[arg(short, value_name = "TMPDIR", value_hint = ValueHint::DirPath)]
    pub tmpdir: Option<PathBuf>,

    /// Tell what was written
    #[arg(short)]
    pub verbose: bool,
}
