//! Why nothing is committed, and what to do.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mini_fo_core::{CommitError, CommitRefusal, Committed, OpenError};
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use super::list::{Sums, changes, quoted_path};
use crate::cli::changes::place;
use crate::cli::changes::quote::quoted;
use crate::exit::{Failure, code};
use crate::registry::{self, Record};

/// What statfs(2) calls overlayfs.
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;

/// So many paths stand in a message.
const FEW: usize = 5;

/// What is given up shows as the base has it, which is a discard.
pub fn theirs_live() -> Failure {
    Failure::new(
        code::USAGE,
        "--theirs gives changes up, so that the mount would show something else: 'mini_fo discard' \
         does that while it is mounted; nothing was changed",
    )
}

/// A live mount has nothing to be taken back.
pub fn nothing_to_abort() -> Failure {
    Failure::new(
        code::USAGE,
        "a storage of which a commit was interrupted cannot be mounted, and this one is: there is \
         nothing to be taken back",
    )
}

/// The mount does not let anything be changed.
pub fn read_only() -> Failure {
    Failure::new(
        code::FAILURE,
        "nothing can be changed here: it is mounted read-only; unmount it, and commit its storage",
    )
}

/// The daemon of a mount has gone.
pub fn no_answer(error: &std::io::Error) -> Failure {
    Failure::new(code::FAILURE, format!("the daemon of the mount does not answer: {error}"))
}

/// As [`meanwhile`], of a live mount.
pub fn meanwhile_live() -> String {
    "nothing is committed: something is not as it was before the question; the same command shows \
     what there is now"
        .to_owned()
}

fn mounted(record: &Record) -> Failure {
    let (point, storage) = (quoted_path(&record.mountpoint), quoted_path(&record.storage));
    let text = format!(
        "storage {storage}: it is mounted: name the mount point, 'mini_fo commit {point}', or \
         unmount it first"
    );
    Failure::new(code::IN_USE, text)
}

/// The storage cannot be opened.
pub fn open(error: OpenError) -> Failure {
    match error {
        OpenError::StorageInUse { path, .. } => match registry::holder(&path) {
            Some(record) => mounted(&record),
            None => place::in_use(&path),
        },
        OpenError::OtherBase { path, recorded } => Failure::new(
            code::OTHER_BASE,
            format!(
                "storage {}: it holds the changes of another base, {}; --accept-base takes it for \
                 this one",
                quoted_path(&path),
                quoted_path(&recorded)
            ),
        ),
        OpenError::NotStorage { path } => Failure::new(
            code::USAGE,
            format!(
                "{}: it is no storage of mini_fo, so its changes can be looked at (mini_fo status, \
                 mini_fo diff), but not committed",
                path.display()
            ),
        ),
        error => place::failure(error),
    }
}

/// The base cannot be written by anybody. What this user may write there the plan finds out.
///
/// # Errors
/// So it is.
pub fn unwritable(base: &Path) -> Result<(), Failure> {
    let may = rustix::fs::accessat(CWD, base, Access::WRITE_OK, AtFlags::EACCESS);
    let why = match may {
        Ok(()) | Err(Errno::ACCESS | Errno::PERM) => return Ok(()),
        Err(Errno::ROFS) => "it lies on what is read-only, so nothing can be written into it",
        Err(errno) => &errno.to_string(),
    };
    Err(Failure::new(code::BASE, format!("base {}: {why}", quoted_path(base))))
}

/// It is no single directory.
pub fn several_layers() -> Failure {
    Failure::new(
        code::BASE,
        "the storage lies on several trees, and a commit writes into one: 'mini_fo diff' makes a \
         patch of what has changed",
    )
}

/// No plan can be made.
pub fn plan(refusal: &CommitRefusal, base: &Path) -> Failure {
    let shown = |path: &[u8]| String::from_utf8_lossy(&quoted(path)).into_owned();
    let text = match refusal {
        CommitRefusal::NotPlain => return several_layers(),
        CommitRefusal::Unread(path, Errno::ACCESS) if !rustix::process::geteuid().is_root() => {
            format!(
                "{}: what has changed there cannot be read by you: chmod u+r there in a mount, or \
                 let root commit it; --except leaves it in the storage",
                shown(path)
            )
        }
        CommitRefusal::Unread(path, errno) => format!(
            "{}: what has changed there cannot be read: {errno}; --except leaves it in the storage",
            shown(path)
        ),
        CommitRefusal::Fixed(path) => format!(
            "{}: the base does not let it go (chattr +i or +a): take that flag away there, or \
             leave it in the storage with --except",
            shown(path)
        ),
        CommitRefusal::Elsewhere(path) => format!(
            "{}: in the base it lies on another file system, or something is mounted there: \
             unmount that, or leave it in the storage with --except",
            shown(path)
        ),
        CommitRefusal::Closed(paths, Errno::ROFS) => format!(
            "{}: in the base it lies on what is read-only; nothing was changed: leave it in the \
             storage (--except, or --only what can be written)",
            some(paths)
        ),
        CommitRefusal::Closed(paths, _) => format!(
            "{}: you may not change that in the base; nothing was changed: open its directory \
             there (chmod u+w), let root commit it, or leave it in the storage (--except, or --only \
             what is yours)",
            some(paths)
        ),
        CommitRefusal::NoPlace(Some(path)) => format!(
            "{}: it is of another user, and in the way of a commit, which gathers what comes in \
             a directory of this name: have it moved away, or leave what has changed there in the \
             storage (--except); nothing was changed",
            at(base, path)
        ),
        CommitRefusal::NoPlace(None) => {
            "nothing of what has changed lies in a directory of the base \
             that you can write and not everybody else, in which a commit can gather what comes: \
             let root commit it, or take the right to write from others there (chmod o-w); \
             nothing was changed"
                .to_owned()
        }
        CommitRefusal::Across(path) => format!(
            "{}: it was moved to another file system as a directory, or has names on several, and \
             the base cannot do that at once: copy it in a mount and delete the old one, or leave \
             it in the storage with --except; nothing was changed",
            shown(path)
        ),
        CommitRefusal::HoldsStorage(path) => format!(
            "{}: in the base it holds the storage itself: leave it in the storage with --except",
            shown(path)
        ),
        CommitRefusal::WouldDrop(paths) => format!(
            "--theirs would give up changes that are in no conflict, for they belong together with \
             some that are: {}; 'mini_fo discard' gives them up, --ours commits them",
            some(paths)
        ),
        CommitRefusal::NotInParts(path) => format!(
            "{}: no part of it can be committed any more, for it has changed since, or belongs \
             together with something that has: nothing is committed; try again",
            shown(path)
        ),
        CommitRefusal::Base(path, errno) => format!("{}: {errno}", at(base, path)),
        other => format!("nothing can be committed: {other:?}"),
    };
    Failure::new(code::USAGE, text)
}

fn at(base: &Path, path: &[u8]) -> String {
    let path: PathBuf = base.join(std::ffi::OsStr::from_bytes(path));
    format!("base {}", quoted_path(&path))
}

/// Some of many paths.
fn some(paths: &[Box<[u8]>]) -> String {
    let first = paths.iter().take(FEW);
    let mut shown: Vec<String> =
        first.map(|path| String::from_utf8_lossy(&quoted(path)).into_owned()).collect();
    if paths.len() > FEW {
        shown.push(format!("and {} more", paths.len() - FEW));
    }
    shown.join(", ")
}

/// The base has something else than what changes were made from.
pub fn conflicts(sums: &Sums) -> String {
    let (what, they) = match sums.conflicts {
        1 => ("of 1 change the base has".to_owned(), "it"),
        more => (format!("of {more} changes the base has"), "them"),
    };
    format!(
        "nothing is committed: {what} something else than what was changed: --ours writes {they} \
         over that, --theirs gives {they} up for it, --except leaves {they} in the storage \
         (mini_fo diff shows {they})"
    )
}

/// Nobody is asked about what is in conflict.
pub fn not_offered(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(&quoted(path)).into_owned();
    format!(
        "{path}: not asked about: the base has something else than what was changed (--ours asks)\n"
    )
}

/// Nobody can be asked.
pub fn unasked(sums: &Sums, base: &Path) -> Failure {
    let what = match (sums.goes + sums.follows, sums.dropped) {
        (0, dropped) => {
            format!("{} would be given up for what {} has", changes(dropped), quoted_path(base))
        }
        _ => format!("{} would be written into {}", sums.written(), quoted_path(base)),
    };
    let text =
        format!("{what}: --yes does so without a question, --dry-run shows what it comes to");
    Failure::new(code::USAGE, text)
}

/// It has not come to its end.
pub fn commit(error: CommitError, base: &Path) -> Failure {
    let in_the_way;
    let hint = match &error {
        CommitError::Open(_) => "",
        CommitError::TakenBack { errno: Errno::XDEV, .. }
        | CommitError::Immovable { errno: Errno::XDEV, .. }
            if is_overlayfs(base) =>
        {
            "; the base is on overlayfs, which does not let directories of its lower layers be \
             renamed, if it is not mounted with redirect_dir=on: mount it so, or leave what was \
             renamed or deleted there in the storage with --except"
        }
        CommitError::Immovable { errno: Errno::ACCESS, .. } => {
            "; you may not write there: open it in the base (chmod u+w) for the commit, let root do \
             it, or leave what has changed there in the storage with --except"
        }
        CommitError::TakenBack { errno: Errno::XDEV, .. }
        | CommitError::Immovable { errno: Errno::XDEV, .. } => {
            "; something is mounted there, or it has a quota \
             or a key of its own: --except leaves it in the storage"
        }
        CommitError::Make { errno: Errno::PERM, .. } if !rustix::process::geteuid().is_root() => {
            "; owner, group or attributes of it are such that root alone can give them: commit it \
             as root, or leave it in the storage with --except"
        }
        CommitError::BaseUnwritable { errno: Errno::NOTDIR | Errno::LOOP, .. } => {
            in_the_way = self::in_the_way(base).unwrap_or_default();
            &in_the_way
        }
        _ => "",
    };
    match error {
        CommitError::Open(error) => open(error),
        error => Failure::new(code::FAILURE, format!("{error}{hint}")),
    }
}

fn is_overlayfs(base: &Path) -> bool {
    rustix::fs::statfs(base).is_ok_and(|stat| stat.f_type == OVERLAYFS)
}

/// What has the name of the directory that a commit makes, and is none.
fn in_the_way(base: &Path) -> Option<String> {
    let names = std::fs::read_dir(base).ok()?.flatten();
    let is_meant = |entry: &std::fs::DirEntry| {
        entry.file_name().as_bytes().ends_with(b"_stage")
            && entry.file_type().is_ok_and(|kind| !kind.is_dir())
    };
    let found = names.map(|entry| (is_meant(&entry), entry.path())).find(|(meant, _)| *meant)?.1;
    Some(format!(
        "; {} has the name of the directory that a commit makes there, and is none: move it away",
        quoted_path(&found)
    ))
}

/// The storage may hold zeros where there was content.
pub fn unclean(storage: &Path) -> Failure {
    let storage = quoted_path(storage);
    Failure::new(
        code::STORAGE,
        format!(
            "storage {storage}: a mount with -o volatile did not end cleanly, so files in it may \
             be empty or hold zeros, and changes may be lost; nothing of it is committed: look at \
             what matters ('mini_fo diff {storage}'), and take it as it is by one mount with -o \
             damaged=rw, or give it up ('mini_fo discard {storage}')"
        ),
    )
}

/// The answer was yes to something else than what would be done.
pub fn meanwhile(path: &[u8]) -> String {
    format!(
        "nothing is committed: {}: it is not as it was before the question; the same command shows \
         what there is now",
        String::from_utf8_lossy(&quoted(path))
    )
}

/// A path at which there is nothing.
pub fn unknown(path: &[u8]) -> Failure {
    let path = quoted(path);
    let path = String::from_utf8_lossy(&path);
    Failure::new(
        code::USAGE,
        format!(
            "{path}: the tree has nothing there, and nothing has changed there (paths are those \
             of the tree, from its root)"
        ),
    )
}

/// All is done, but nobody could be told.
pub fn untold(failure: &Failure) -> Failure {
    Failure::new(failure.code, format!("all is committed, but cannot be told: {}", failure.message))
}

/// What was committed is to leave the storage.
///
/// # Errors
/// Something of it could not.
pub fn left(committed: &Committed) -> Result<(), Failure> {
    if !committed.remains.is_empty() {
        let places: Vec<String> =
            committed.remains.iter().map(|place| quoted_path(place)).collect();
        let text = format!(
            "all is in the base, and out of the storage, but not all that was taken out of the base \
             could be removed: it lies in {}; take that away (as root)",
            places.join(", ")
        );
        return Err(Failure::new(code::BASE, text));
    }
    if committed.left.is_empty() {
        return Ok(());
    }
    let text = format!(
        "all is in the base, but the storage does not let its own of these go (chattr +i or +a?): \
         {}; 'mini_fo discard' takes them away when it does",
        some(&committed.left)
    );
    Err(Failure::new(code::STORAGE, text))
}
