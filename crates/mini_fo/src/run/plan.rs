//! What is to be run, and what it may see and do.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::policy::{Policy, Said};
use super::spaces;
use super::subids::Subids;
use crate::cli::args::run::{Net, RunArgs};
use crate::exit::{Failure, code};

/// A command, and the tree in which it runs.
#[derive(Debug)]
pub struct Plan {
    /// The base, without links: the root of the tree.
    pub base: PathBuf,
    /// It needs a user namespace.
    pub for_users: bool,
    /// In that it is root, and there are other users.
    pub as_root: Option<Subids>,
    /// Its network.
    pub net: Net,
    /// What is different for some paths, from the root down.
    pub rules: Vec<Rule>,
    /// Lists of options for the mount.
    pub options: Vec<OsString>,
    /// Where it begins, from the root of the tree.
    pub directory: PathBuf,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// What holds for a path and all below it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    pub what: What,
    /// The path outside, without links.
    pub outside: PathBuf,
    /// The same in the tree, without a leading slash.
    pub inside: PathBuf,
}

/// What holds there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Changes are made for real.
    Allow,
    /// Nothing is to be seen.
    Hide,
    /// Nothing can be changed.
    ReadOnly,
}

impl What {
    fn option(self) -> &'static str {
        match self {
            What::Allow => "--allow",
            What::Hide => "--hide",
            What::ReadOnly => "--read-only",
        }
    }
}

impl Plan {
    /// From what was typed.
    ///
    /// # Errors
    /// A path is not there, or not in the base.
    pub fn new(args: &RunArgs) -> Result<Plan, Failure> {
        let base = args.base.canonicalize().map_err(|error| {
            Failure::new(code::RUN, format!("base {}: {error}", args.base.display()))
        })?;
        let policy = policy(args)?;
        let mut rules = Vec::new();
        for said in &policy.rules {
            rules.push(Rule::new(said, &base)?);
        }
        // What is said of a path counts more than what is said of one above it.
        rules.sort_by_key(|rule| rule.inside.components().count());
        let directory = std::env::current_dir().unwrap_or_default();
        let directory = match directory.strip_prefix(&base) {
            Ok(inside) => Path::new("/").join(inside),
            Err(_) => PathBuf::from("/"),
        };
        let for_users = spaces::are_for_users();
        let as_root = match args.as_root && for_users {
            true => Some(Subids::of_user()?),
            false => None,
        };
        let command = args.command.clone();
        let net = policy.net.unwrap_or_default();
        let options = policy.options;
        Ok(Plan { base, for_users, as_root, net, rules, options, directory, command })
    }

    /// All objects show the user as their owner.
    pub fn is_of_one_owner(&self) -> bool {
        self.for_users && self.as_root.is_none()
    }

    /// The tree is the system, with all that belongs to one.
    pub fn is_system(&self) -> bool {
        self.base == Path::new("/")
    }
}

/// What files say, and then options: of `--net` the last one counts.
fn policy(args: &RunArgs) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    for file in &args.policy {
        policy.read(file)?;
    }
    let lists =
        [(What::Allow, &args.allow), (What::Hide, &args.hide), (What::ReadOnly, &args.read_only)];
    for (what, paths) in lists {
        let said = |path: &PathBuf| Said { what, path: path.clone(), by: what.option().to_owned() };
        policy.rules.extend(paths.iter().map(said));
    }
    policy.net = args.net.or(policy.net);
    policy.options.extend(args.options.iter().cloned());
    Ok(policy)
}

impl Rule {
    fn new(said: &Said, base: &Path) -> Result<Rule, Failure> {
        let Said { what, path, by } = said;
        let failed = |why: &str| Failure::new(code::RUN, format!("{by} {}: {why}", path.display()));
        let outside = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed("it must be there: make it first"),
            _ => failed(&error.to_string()),
        })?;
        let inside = outside.strip_prefix(base).map(Path::to_path_buf);
        let inside =
            inside.map_err(|_| failed(&format!("it must be in the base, {}", base.display())))?;
        Ok(Rule { what: *what, outside, inside })
    }
}
