//! Where changes are looked for.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mini_fo_core::{
    LayerOptions, OpenError, Overlay, RestOptions, changes_at_rest, writing_at_rest,
};

use crate::cli::args::WhereArgs;
use crate::control::client::Channel;
use crate::exit::{self, Failure, code};
use crate::mountinfo;
use crate::registry;
use crate::run;
use crate::{request, serve, stack};

/// What WHERE names.
pub enum Where {
    /// A directory with changes that is not mounted.
    AtRest(PathBuf),
    /// A path in a live mount: the way to its daemon, and the path there that is asked for,
    /// without a leading slash; `None`: all.
    Live(Channel, Option<Vec<u8>>),
}

impl Where {
    /// Finds out what a path is. What lies in a mount need not be there (any more).
    ///
    /// # Errors
    /// It is not there, or lies in a mount that does not answer.
    pub fn find(path: &Path) -> Result<Where, Failure> {
        if let Some(run) = run_of(path)? {
            return Where::of_run(&run);
        }
        if run::note::read(path).is_some() {
            return Where::of_run(path);
        }
        match Where::in_mount(path, path.is_dir()) {
            Some(found) => Ok(found),
            None => Where::elsewhere(path),
        }
    }

    /// A run: the daemon of one that goes on is found by who is in it.
    fn of_run(dir: &Path) -> Result<Where, Failure> {
        if !run::note::is_in_use(dir) {
            return Where::elsewhere(dir);
        }
        let failed = |why: String| Failure::new(code::IN_USE, format!("{}: {why}", dir.display()));
        // Before this process may become another user.
        let key = run::note::key_of(dir);
        match run::join::find(dir) {
            Some(run::join::Found::Ended) => Where::elsewhere(dir),
            Some(run::join::Found::Live(member)) => {
                let channel = member
                    .channel()
                    .map_err(|error| failed(format!("its daemon does not answer: {error}")))?;
                Ok(Where::Live(channel.with_key(key), None))
            }
            None => Err(failed("it is in use, and nobody who is in it can be found".to_owned())),
        }
    }

    /// The same of a name: a symbolic link in a mount is meant itself.
    ///
    /// # Errors
    /// As [`Where::find`].
    pub fn find_name(path: &Path) -> Result<Where, Failure> {
        let itself = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        match Where::in_mount(path, itself) {
            Some(found) => Ok(found),
            None => Where::find(path),
        }
    }

    /// The way to what lies in a live mount, also if some of the directories on the way to
    /// it are not there (any more).
    fn in_mount(path: &Path, is_dir: bool) -> Option<Where> {
        let (mut dir, mut names) = (path, Vec::new());
        if !is_dir {
            loop {
                names.push(dir.file_name()?);
                dir = dir.parent()?;
                if dir.as_os_str().is_empty() {
                    dir = Path::new(".");
                }
                if dir.symlink_metadata().is_ok() {
                    break;
                }
            }
        }
        // Nothing but directories is opened: a FIFO would wait.
        let (channel, info) = dir.is_dir().then(|| Channel::open(dir).ok())??;
        let above = info.path.0;
        let above = above.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let inside: Vec<&[u8]> =
            above.chain(names.iter().rev().map(|name| name.as_bytes())).collect();
        let inside = inside.join(&b'/');
        Some(Where::Live(channel, Some(inside).filter(|path| !path.is_empty())))
    }

    /// What is not the way to a mount that answers.
    fn elsewhere(path: &Path) -> Result<Where, Failure> {
        let failed = |error| Failure::new(code::FAILURE, format!("{}: {error}", path.display()));
        let full = path.canonicalize().map_err(failed)?;
        let dev = full.metadata().map_err(failed)?.dev();
        let dev = (rustix::fs::major(dev), rustix::fs::minor(dev));
        let mounts = mountinfo::read()
            .map_err(|e| Failure::new(code::FAILURE, format!("/proc/self/mountinfo: {e}")))?;
        if mounts.iter().any(|mount| mount.is_ours() && mount.dev == dev) {
            let text = format!(
                "{}: its mount answers root and the user who has mounted it, if its daemon lives \
                 and is not of an earlier version",
                full.display()
            );
            return Err(Failure::new(code::IN_USE, text));
        }
        Ok(Where::AtRest(full))
    }
}

/// The directory of the run that a name is of.
fn run_of(name: &Path) -> Result<Option<PathBuf>, Failure> {
    let found = run::place::named(name);
    if found.is_some() && name.symlink_metadata().is_ok() {
        let text = format!(
            "{0}: there is a run and a file of that name: the file is called ./{0}, of runs \
             'mini_fo list' shows the directories, which can be named instead",
            name.display()
        );
        return Err(Failure::new(code::USAGE, text));
    }
    Ok(found)
}

/// Opens both trees of what is not mounted, to be compared.
///
/// # Errors
/// They cannot be read; exit code and message say why.
pub fn at_rest(path: &Path, args: &WhereArgs) -> Result<Overlay, Failure> {
    open_at_rest(path, args, changes_at_rest)
}

/// Opens a storage that is not mounted, to change it.
///
/// # Errors
/// As [`at_rest`].
pub fn to_change(path: &Path, args: &WhereArgs) -> Result<Overlay, Failure> {
    open_at_rest(path, args, writing_at_rest)
}

fn open_at_rest(
    path: &Path,
    args: &WhereArgs,
    open: fn(&RestOptions) -> Result<Overlay, OpenError>,
) -> Result<Overlay, Failure> {
    opened(open(&options(path, args)?), failure)
}

/// What the command line says of what is not mounted.
///
/// # Errors
/// It cannot be understood.
pub fn options(path: &Path, args: &WhereArgs) -> Result<RestOptions, Failure> {
    let mut base = args.base.as_ref().map_or_else(Vec::new, |base| stack::split(base.as_os_str()));
    base.extend(args.under.iter().cloned());
    let dialects = args.dialect.as_deref().map_or_else(|| Ok(Vec::new()), stack::dialects)?;
    let mut dialects = dialects.into_iter();
    let run = run::note::read(path);
    let of_run = run.as_ref().map(|(note, _)| OsString::from(&note.meta_name));
    let meta_name = args.meta_name.clone().or(of_run).filter(|name| !name.is_empty());
    let meta_name = meta_name.as_deref().map(request::meta_name).transpose()?;
    let submounts = run.is_some();
    let one_owner = run.as_ref().is_some_and(|(note, _)| note.one_owner);
    Ok(RestOptions {
        path: run.map_or_else(|| path.to_path_buf(), |(_, storage)| storage),
        submounts,
        one_owner,
        dialect: dialects.next().flatten(),
        base: base
            .into_iter()
            .map(|path| LayerOptions { path, dialect: dialects.next().flatten() })
            .collect(),
        meta_name: meta_name.unwrap_or_default(),
        accept_other_base: args.accept_base,
    })
}

/// What was opened, after its warnings were told.
///
/// # Errors
/// It could not be, as `failure` has it.
pub fn opened(
    overlay: Result<Overlay, OpenError>,
    failure: fn(OpenError) -> Failure,
) -> Result<Overlay, Failure> {
    let overlay = overlay.map_err(failure)?;
    for warning in overlay.warnings() {
        // Without a standard error nobody wants to know.
        let _ = writeln!(std::io::stderr(), "mini_fo: {}", exit::shown(&warning.to_string()));
    }
    Ok(overlay)
}

/// Why what is not mounted cannot be opened.
pub fn failure(error: OpenError) -> Failure {
    match error {
        OpenError::StorageInUse { path, .. } => in_use(&path),
        OpenError::LayerWithoutBase { path } => Failure::new(
            code::USAGE,
            format!(
                "{}: it does not tell what it lies on: name that with --base DIR (and --under \
                 DIR for each tree below that)",
                path.display()
            ),
        ),
        error => serve::refusal(error),
    }
}

/// A storage that is mounted for writing changes while it is read.
pub fn in_use(storage: &Path) -> Failure {
    let storage_text = storage.display();
    let Some(record) = registry::holder(storage) else {
        return Failure::new(
            code::IN_USE,
            format!(
                "storage {storage_text}: a mount writes to it, or another command (mini_fo commit, \
                 discard, review): unmount that, or wait until it has ended"
            ),
        );
    };
    let mountpoint = record.mountpoint.display();
    Failure::new(
        code::IN_USE,
        format!(
            "storage {storage_text}: it is mounted at {mountpoint} (process {}), which may be \
             changing it: name that path instead",
            record.pid
        ),
    )
}

/// Paths from the command line, as the trees have them.
pub fn inside(paths: &[PathBuf]) -> Vec<Vec<u8>> {
    let clean = |path: &PathBuf| {
        let names = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
        let names: Vec<&[u8]> = names.filter(|name| !matches!(*name, b"" | b".")).collect();
        names.join(&b'/')
    };
    paths.iter().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_trees() {
        let paths = ["/etc/x/", "./a//b", "."].map(PathBuf::from);
        assert_eq!(inside(&paths), [b"etc/x".to_vec(), b"a/b".to_vec(), Vec::new()]);
    }
}
