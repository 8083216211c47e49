//! Why a tree cannot be shown, and what was odd about one that can.
#![forbid(unsafe_code)]

mod class;
mod paste;

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::format::name::META_NAME;
use std::fmt;

pub use class::ErrorClass;

/// What a stage in a base says.
fn in_commit(owner: Option<&Path>, stage: &Path) -> String {
    let stage = stage.display();
    match owner {
        Some(owner) => {
            let owner = paste::path(owner);
            format!(
                "a commit of the storage {owner} into it goes on, or was not finished, so it is \
                 neither as before nor as it is to be: wait for it, finish it (mini_fo commit \
                 {owner}) or take it back (mini_fo commit --abort {owner}); what that has taken \
                 away is in {stage}"
            )
        }
        None => format!(
            "a commit into it goes on, or was not finished, so it is neither as before nor as it \
             is to be, and {stage}/owner, which tells of which storage, cannot be read: whoever \
             has begun it can finish it (mini_fo commit STORAGE) or take it back (mini_fo commit \
             --abort STORAGE); what it has taken away is in {stage}"
        ),
    }
}

/// Why an overlay cannot be opened. Messages name the path and the way out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A commit of this storage was interrupted.
    #[error("storage {}: a commit of its changes into the base was interrupted: \"mini_fo commit {0}\" finishes it, \"mini_fo commit --abort {0}\" takes it back", path.display())]
    CommitUnfinished {
        /// The storage.
        path: PathBuf,
    },
    /// A commit changes the base, or was interrupted while it did.
    #[error("base {}: {}", base.display(), in_commit(owner.as_deref(), stage))]
    BaseInCommit {
        /// The base.
        base: PathBuf,
        /// The directory in it that has what the commit has taken away.
        stage: PathBuf,
        /// The storage that is committed, if that can be read.
        owner: Option<PathBuf>,
    },
    /// The file system of the storage cannot hold everything.
    #[error("storage {}: its file system cannot hold {missing}; choose another one, or make a file there that holds a file system (docs/RECIPES.md, \"a storage on FAT\"), or take it with -o poor_storage: what it cannot hold then fails", path.display())]
    StoragePoor {
        /// The storage.
        path: PathBuf,
        /// What.
        missing: String,
    },
    /// Its file system mixes up names, and the names in it are as they are.
    #[error("storage {}: it holds names as they are, of which its file system takes some for one (`a` and `A`), or not at all: begin a new storage there, or copy this one to a file system that tells all names apart; `-o ro` shows it as far as can be", path.display())]
    StorageNames {
        /// The storage.
        path: PathBuf,
    },
    /// A storage over other layers.
    #[error("storage {}: below its base it was made for {recorded}; name the same layers with --under, in their order, or take these with --accept-base", path.display())]
    OtherLayers {
        /// The storage as given.
        path: PathBuf,
        /// Those that it was made for.
        recorded: String,
    },
    /// META of a storage is called otherwise.
    #[error("storage {}: its META is called '{found}', and not '{name}': mount it with -o {} (as a layer of others with -o {})", path.display(), paste::meta_name(found), paste::dialect(found))]
    OtherMetaName {
        /// The storage.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
        /// The name that it has.
        found: String,
    },
    /// By the name of META something else would be hidden.
    #[error("meta_name={name}: {} has '{entry}', and what begins with that name would be hidden; choose another name", path.display())]
    MetaNameTaken {
        /// The layer or storage.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
        /// What is there.
        entry: String,
    },
    /// The storage's file system may not take that name.
    #[error("meta_name={name}: storage {}: its file system does not take every name; choose one of letters, digits and _", path.display())]
    MetaNameUnfit {
        /// The storage.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
    },
    /// More layers than there can be.
    #[error("{count} layers: at most {most} can be put together")]
    TooManyLayers {
        /// How many were given.
        count: usize,
        /// How many there can be.
        most: usize,
    },
    /// The process may not have as many files open as the layers need.
    #[error(
        "{count} layers: this process may have {limit} files open, which is not enough; raise the limit (ulimit -n, LimitNOFILE= of a unit) to {wanted}, or give fewer layers"
    )]
    FewDescriptors {
        /// How many layers were given.
        count: usize,
        /// How many files may be open.
        limit: u64,
        /// How many should be.
        wanted: u64,
    },
    /// Changes are wanted, and there is nowhere to put them.
    #[error(
        "no storage is given: add --storage DIR or the option sto=DIR; without one a tree can be shown, but not changed (-r)"
    )]
    StorageNeeded,
    /// A base that changes, and more than one layer.
    #[error("live_base: it works with one plain base, not with several layers")]
    LiveLayers,
    /// Changes that can only be read.
    #[error("{}: it is no storage of mini_fo, so its changes can be looked at, but not taken back", path.display())]
    NotStorage {
        /// The directory as given.
        path: PathBuf,
    },
    /// A storage as the lowest layer, which does not say what it stands on.
    #[error("layer {}: it is a storage of mini_fo that does not say what it was made for; name that with --under ({OR_PLAIN})", path.display())]
    LayerWithoutBase {
        /// The layer as given.
        path: PathBuf,
    },
    /// The same of one that says it, but was not written where it is now.
    #[error("layer {}: it is a storage of mini_fo that was not made in this very directory, as far as can be told (it was copied or unpacked, is in an image, or an earlier version has written it), so what it says of the directory that it was made for may be anything; name that with --under ({OR_PLAIN})", path.display())]
    LayerFromElsewhere {
        /// The layer as given.
        path: PathBuf,
    },
    /// The same of one that was made for something else than what is there.
    #[error("layer {}: it is a storage of mini_fo, and at {} is another directory than the one that it was made for; name what comes below it with --under ({OR_PLAIN})", path.display(), base.display())]
    LayerBaseReplaced {
        /// The layer as given.
        path: PathBuf,
        /// Where it was made for something.
        base: PathBuf,
    },
    /// Storages that were made for each other.
    #[error("layer {}: it is a storage of mini_fo that stands on itself, by what those below it say; name what it was made for with --under", path.display())]
    LayersInCircle {
        /// The layer that came again.
        path: PathBuf,
    },
    /// A storage as a layer that tells of deletions for which it had no room.
    #[error("layer {}: files were deleted in it while it was full, and what tells of them counts in a mount of its own only; mount it once for writing, with room for it to grow, and unmount it", path.display())]
    LayerFar {
        /// The layer as given.
        path: PathBuf,
    },
    /// A layer that this version cannot read.
    #[error("layer {}: it uses the feature {word}, which this version does not know; a newer one is needed", path.display())]
    LayerFeature {
        /// The layer as given.
        path: PathBuf,
        /// The feature.
        word: String,
    },
    /// The base does not exist.
    #[error("base {}: there is no such directory", path.display())]
    BaseMissing {
        /// The base as given.
        path: PathBuf,
    },
    /// The base is something else.
    #[error("base {}: it is not a directory (mount an image first, for example with mount -o loop,ro)", path.display())]
    BaseNotDirectory {
        /// The base as given.
        path: PathBuf,
    },
    /// The base cannot be entered.
    #[error("base {}: {errno}; user {uid} needs read and search permission on it and search permission above it", path.display())]
    BaseUnreadable {
        /// The base as given.
        path: PathBuf,
        /// Who asks.
        uid: u32,
        /// What the system says.
        errno: Errno,
    },
    /// The base cannot be reached for another reason.
    #[error("base {}: {errno}", path.display())]
    BaseUnreachable {
        /// The base as given.
        path: PathBuf,
        /// What the system says.
        errno: Errno,
    },
    /// A copy of a storage in which a crash has left work that only the original can
    /// finish.
    #[error("storage {}: it is a copy of a storage that came to no orderly end, and what was going on then can be found out in the original only; mount that once, for writing, and copy it again; if there is none any more, -o damaged=rw takes this one, and directories that were renamed at that moment may not show all of the base", path.display())]
    StorageCopied {
        /// The storage as given.
        path: PathBuf,
    },
    /// `chattr +i` was used on the storage's root, or on that of its mount.
    #[error("storage {}: it is immutable (chattr +i), so that nothing can be written; allow it with: chattr -i {}", path.display(), paste::path(path))]
    StorageImmutable {
        /// The storage as given.
        path: PathBuf,
    },
    /// The storage does not exist.
    #[error("storage {}: there is no such directory; make it with: mkdir -p {}", path.display(), paste::path(path))]
    StorageMissing {
        /// The storage as given.
        path: PathBuf,
    },
    /// The storage that is to be checked does not exist.
    #[error("storage {}: there is no such directory, so there is nothing to check", path.display())]
    NothingToCheck {
        /// The storage as given.
        path: PathBuf,
    },
    /// The storage cannot be reached.
    #[error("storage {}: {errno}", path.display())]
    StorageUnreachable {
        /// The storage as given.
        path: PathBuf,
        /// What the system says.
        errno: Errno,
    },
    /// The storage is something else.
    #[error("storage {}: it is not a directory", path.display())]
    StorageNotDirectory {
        /// The storage as given.
        path: PathBuf,
    },
    /// The storage cannot be written by this user.
    #[error("storage {}: user {uid}, group {gid} has no write permission: it belongs to user {owner}, group {group}, mode {mode:04o}; choose another storage, or give permission with chown or chmod", path.display())]
    StorageNotWritable {
        /// The storage as given.
        path: PathBuf,
        /// Who asks.
        uid: u32,
        /// With which group.
        gid: u32,
        /// Who has it.
        owner: u32,
        /// Which group has it.
        group: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// The storage cannot be written by anybody.
    #[error("storage {}: its file system is read-only; choose another storage, remount that one writable, or mount with -o ro to look at it", path.display())]
    StorageReadOnly {
        /// The storage as given.
        path: PathBuf,
    },
    /// Somebody else uses the storage.
    #[error("storage {}: it is in use by {}; unmount that first, or choose another storage", path.display(), by.as_deref().unwrap_or("another mount"))]
    StorageInUse {
        /// The storage as given.
        path: PathBuf,
        /// Which mount, where that is known.
        by: Option<String>,
    },
    /// The storage was made for another base.
    #[error("storage {}: it holds the changes of another base, {}; choose another storage, or take it for this base with -o accept_base", path.display(), recorded.display())]
    OtherBase {
        /// The storage as given.
        path: PathBuf,
        /// The base it was made for.
        recorded: PathBuf,
    },
    /// The storage is a copy that lacks what its files need.
    #[error("storage {}: it was copied without extended attributes, which tell where data of some of its files is: these would show as zeros; copy it again with attributes (cp -a, rsync -aHX, tar --xattrs --xattrs-include='*'; as root, if root wrote it), or take it as it is with -o damaged=rw", path.display())]
    AttributesLost {
        /// The storage as given.
        path: PathBuf,
    },
    /// The storage is another user's.
    #[error("storage {}: it belongs to user {owner}, who could change what it says, and user {user} mounts it; mount it as user {owner}, choose another storage, or, if you trust all that it holds, make it yours (as root) with: chown -hR {user} {}", path.display(), paste::path(path))]
    StorageForeign {
        /// The storage as given.
        path: PathBuf,
        /// Who has it.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// Others could have put into the storage what it holds.
    #[error("storage {}: others may write in it (mode {mode:04o}), and it is not empty; if you trust all that it holds, close it with: chmod 700 {}", path.display(), paste::path(path))]
    StorageWritable {
        /// The storage as given.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory that is most likely no storage.
    #[error("storage {}: it is not empty, and nothing in it says that it is a storage; choose an empty directory (are the arguments swapped?), name its META with -o meta_name if that is called otherwise (of a copy nobody can tell it), or take it as a storage with -o accept_storage", path.display())]
    StorageUnknown {
        /// The storage as given.
        path: PathBuf,
    },
    /// The storage's file system keeps no permissions.
    #[error("storage {}: its file system lets everybody write there and cannot be told otherwise (mode {mode:04o}); mount that with umask=077, or choose another storage", path.display())]
    StorageUnclosable {
        /// The storage as given.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file of mini_fo's own does not count, without which nothing can be shown.
    #[error("{}: {foreign}, so that it does not count; if you trust it, make it yours with chown, close it with chmod 600 (a directory: 700) and copy it if it has several names", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why.
        foreign: Foreign,
    },
    /// The marks are of an earlier version, and others could have written them.
    #[error("storage {}: the marks that tell where data of some of its files is were written by an earlier version, and others, who can enter it (mode {mode:04o}), could have changed them; if you trust them, close it with: chmod 700 {}", path.display(), paste::path(path))]
    OldMarksOpen {
        /// The storage as given.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The marks are of an earlier version.
    #[error("storage {}: the marks that tell where data of some of its files is were written by an earlier version; mount it once for writing, which renews them", path.display())]
    OldMarks {
        /// The storage as given.
        path: PathBuf,
    },
    /// Base and storage are one directory.
    #[error("base and storage are the same directory, {}: the base would be written; choose an empty directory as storage", path.display())]
    SameDirectory {
        /// That directory.
        path: PathBuf,
    },
    /// The base lies in the storage.
    #[error("base {} lies inside storage {}: every change would appear in the base; choose a storage outside of the base's parents", base.display(), storage.display())]
    BaseInsideStorage {
        /// The base.
        base: PathBuf,
        /// The storage.
        storage: PathBuf,
    },
    /// The mount would cover or enter the storage.
    #[error("mount point {} lies inside storage {}: the mount would cover its own storage; choose another mount point", mountpoint.display(), storage.display())]
    MountpointInsideStorage {
        /// The mount point.
        mountpoint: PathBuf,
        /// The storage.
        storage: PathBuf,
    },
    /// The mount would be seen in its own base.
    #[error("mount point {} lies inside base {}: without the right to clone the base's mount (CAP_SYS_ADMIN) the mount would see itself; {}", mountpoint.display(), base.display(), around(base))]
    MountpointInsideBase {
        /// The mount point.
        mountpoint: PathBuf,
        /// The base.
        base: PathBuf,
    },
    /// A system call failed.
    #[error("{}: {what}: {errno}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system says.
        errno: Errno,
    },
}

/// What to do with a layer that only looks like a storage.
const OR_PLAIN: &str = "or, if it is none, read it as it is with -o dialect=plain";

/// What an ordinary user can do who wants his mount point inside the base.
fn around(base: &Path) -> &'static str {
    // Everything is inside `/`.
    if base == Path::new("/") {
        "work in namespaces of your own, where you have that right: unshare -Urm"
    } else {
        "choose a mount point outside, mount over the base itself, or work in namespaces of your \
         own, where you have that right: unshare -Urm"
    }
}

/// What was odd about a storage or a base that can be used all the same.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A META line cannot be read and was skipped.
    #[error("{}: line {line}: {reason}; the line is ignored", path.display())]
    DamagedMeta {
        /// The META file.
        path: PathBuf,
        /// The line, from 1; 0: the file as a whole.
        line: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// META of a directory does not count.
    #[error("{}: {foreign}, so that it does not count, and its directory gives I/O errors; if you trust it, make it yours with chown, close it with chmod 600, and copy it if it has several names", path.display())]
    Foreign {
        /// The META file.
        path: PathBuf,
        /// Why.
        foreign: Foreign,
    },
    /// More of them than are worth listing.
    #[error("storage {}: {count} more META files that do not count", path.display())]
    MoreForeign {
        /// The storage.
        path: PathBuf,
        /// How many.
        count: u64,
    },
    /// Others can enter the storage.
    #[error("{}: others can enter it (mode {mode:04o}); close it with: chmod 700 {}", path.display(), paste::path(path))]
    StorageOpen {
        /// The storage.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others can read in the storage, and it cannot be closed.
    #[error("storage {}: its file system cannot close it to others (mode {mode:04o}): they can read there what the base closes to them; mount that with umask=077", path.display())]
    StorageReadable {
        /// The storage.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// META ends in half a line, as a crash leaves it.
    #[error("{}: its last line is unfinished (a crash while it was written) and does not count", path.display())]
    UnfinishedMeta {
        /// The META file.
        path: PathBuf,
    },
    /// More damage than is worth listing.
    #[error("storage {}: {count} more damaged lines", path.display())]
    MoreDamage {
        /// The storage.
        path: PathBuf,
        /// How much.
        count: u64,
    },
    /// The consequence of damage.
    #[error("storage {}: mounted read-only because META is damaged; -o damaged=rw mounts it writable without the damaged lines", path.display())]
    ReadOnlyByDamage {
        /// The storage.
        path: PathBuf,
    },
    /// The storage uses something this version does not know.
    #[error("storage {}: mounted read-only, because it uses the feature '{word}', which this version does not know", path.display())]
    UnknownFeature {
        /// The storage.
        path: PathBuf,
        /// The feature's word.
        word: String,
    },
    /// Where the base was there is another one.
    #[error(
        "base {}: another file system or directory is at this path than the one the storage was \
         made for; what it has now shows, except where the storage holds something", path.display()
    )]
    BaseReplaced {
        /// The base.
        path: PathBuf,
    },
    /// Where a layer was there is another one.
    #[error(
        "layer {}: another file system or directory is at this path than the one that the storage \
         above it was made for; what it has now shows, except where those above hold something", path.display()
    )]
    LayerReplaced {
        /// The layer as given.
        path: PathBuf,
    },
    /// The storage was made for a base that lies elsewhere; only where this is
    /// no reason to refuse.
    #[error("storage {}: it holds the changes of another base, {}", path.display(), recorded.display())]
    OtherBase {
        /// The storage.
        path: PathBuf,
        /// The base it was made for.
        recorded: PathBuf,
    },
    /// The storage was made for other layers below the base; only where this is no
    /// reason to refuse.
    #[error("storage {}: below its base it was made for {recorded}", path.display())]
    OtherLayers {
        /// The storage.
        path: PathBuf,
        /// Those that it was made for.
        recorded: String,
    },
    /// A layer is a storage that nobody has put in order after a crash.
    #[error("layer {}: it is a storage that came to no orderly end; it shows what counts, and a mount of it for writing puts it in order", path.display())]
    LayerUnended {
        /// The layer as given.
        path: PathBuf,
    },
    /// Entries that the base has not (any more), counted as far as was looked.
    #[error(
        "base {}: at least {count} entries that the storage speaks of are not there any more, or of \
         another type; mini_fo check lists them", path.display()
    )]
    LostEntries {
        /// The base.
        path: PathBuf,
        /// How many.
        count: u64,
    },
    /// A whiteout hides nothing.
    #[error("{}: it was deleted, and is not in the base any more", path.display())]
    WhiteoutLost {
        /// The entry, as a path in the storage.
        path: PathBuf,
    },
    /// Base and storage differ in what an entry is.
    #[error("{}: it is of another type in the base, which is not shown", path.display())]
    TypeChanged {
        /// The entry in the storage.
        path: PathBuf,
    },
    /// A crash has left something that was not removed.
    #[error("{}: {count} unfinished files that a crash has left; a mount for writing removes them", path.display())]
    LeftoversFound {
        /// The storage.
        path: PathBuf,
        /// How many.
        count: u64,
    },
    /// A renamed directory has lost what it shows.
    #[error("{}: it shows the base directory /{}, which is not there any more", path.display(), target.display())]
    RedirectLost {
        /// The directory in the storage.
        path: PathBuf,
        /// The base path.
        target: PathBuf,
    },
    /// A discard of changes was interrupted.
    #[error("storage {}: a discard of changes was interrupted, {}", path.display(), discard_end(*errno))]
    DiscardBegun {
        /// The storage.
        path: PathBuf,
        /// Why it is not finished now.
        errno: Option<Errno>,
    },
    /// Unfinished work of a crash was removed.
    #[error("storage {}: removed {count} unfinished files that a crash had left there", path.display())]
    Leftovers {
        /// The storage.
        path: PathBuf,
        /// How many.
        count: u64,
    },
    /// The root of a layer has names that belong to mini_fo.
    #[error("base {}: {count} of its names begin with {name} and are hidden{}", path.display(), looks_like(name))]
    ReservedNames {
        /// The layer as given.
        path: PathBuf,
        /// What META is called.
        name: String,
        /// How many names.
        count: u64,
    },
    /// The storage has names that belong to mini_fo and that it has not made.
    #[error("storage {}: {count} names in it begin with {name}, are not mini_fo's own, and do not show, the first {}; move them away", path.display(), first.display())]
    UnseenNames {
        /// The storage.
        path: PathBuf,
        /// What META is called.
        name: String,
        /// The first of them.
        first: PathBuf,
        /// How many.
        count: u64,
    },
    /// A layer may be a storage all the same.
    #[error("layer {}: it has more files than are looked at for the META of a storage that has another name than the usual one; -o dialect=mini_fo=NAME says so if it is a storage, -o dialect=plain (overlay, oci) if it is none", path.display())]
    NotRecognised {
        /// The layer as given.
        path: PathBuf,
    },
    /// No space left.
    #[error("storage {}: it is full; only deleting what was created will work", path.display())]
    StorageFull {
        /// The storage.
        path: PathBuf,
    },
    /// Its file system cannot hold everything, and that was accepted.
    #[error("storage {}: its file system cannot hold {missing}", path.display())]
    StoragePoor {
        /// The storage.
        path: PathBuf,
        /// What.
        missing: String,
    },
    /// Nothing keeps two mounts apart.
    #[error("storage {}: its file system has no locks; make sure that no other mount uses it", path.display())]
    NoLock {
        /// The storage.
        path: PathBuf,
    },
    /// A file has lost data that the base had.
    #[error("{}: its data is in the base file /{}, which is gone or was changed; without it the file cannot be read", path.display(), source_path.display())]
    DataLost {
        /// The file in the storage.
        path: PathBuf,
        /// The base file.
        source_path: PathBuf,
    },
    /// Files have lost data that the base had, counted as far as was looked.
    #[error("base {}: at least {count} files of the storage cannot be read, because what they have in the base is gone or was changed; mini_fo check lists them", path.display())]
    LostData {
        /// The base.
        path: PathBuf,
        /// How many.
        count: u64,
    },
    /// Files depend on the base as it is, counted as far as was looked. No
    /// problem, as long as the base stays: see [`Warning::is_problem`].
    #[error("storage {}: {count} of its files have data of their own on top of base files, and need these exactly as they are", path.display())]
    NeedsBase {
        /// The storage.
        path: PathBuf,
        /// How many.
        count: u64,
    },
    /// The counts of a mount are of a part of the storage.
    #[error("storage {}: it has more files or deletions than a mount compares with the base, {looks} of each; what is said of them is of these; mini_fo check compares all", path.display())]
    NotCompared {
        /// The storage.
        path: PathBuf,
        /// How many of each were compared.
        looks: u64,
    },
    /// A mount with `-o volatile` came to no clean end.
    #[error("storage {}: a mount with -o volatile did not end cleanly; if the system went down then, files may be empty or hold zeros, changes may be lost and what was deleted may show again; look at what matters, or begin with an empty storage; -o damaged=rw takes it as it is, and this is not said again", path.display())]
    Unclean {
        /// The storage.
        path: PathBuf,
    },
    /// Nothing will tell that a mount with `-o volatile` came to no clean end.
    #[error("storage {}: it cannot be marked as mounted with -o volatile ({errno}), so the next mount will not warn if the system goes down", path.display())]
    Unmarked {
        /// The storage.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// What a crash has left was not put in order. Nothing of it is lost.
    #[error("{}: what a crash has left of it cannot be put in order ({errno}); it counts all the same, and the next mount for writing tries again", path.display())]
    Unended {
        /// The META file.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// A part of the storage could not be looked at.
    #[error("{}: cannot be checked: {errno}", path.display())]
    Unchecked {
        /// What.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
}

impl Warning {
    /// Something is wrong; else it is good to know.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        !matches!(
            self,
            Warning::NeedsBase { .. } | Warning::NotCompared { .. } | Warning::NotRecognised { .. }
        )
    }
}

/// What a base is whose names begin so.
fn looks_like(name: &str) -> &'static str {
    if name == META_NAME { "; it looks like the storage of another mount" } else { "" }
}

/// Why a file of mini_fo's own does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Who mounts.
    pub user: u32,
    /// Who owns it.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
    /// How many names it has.
    pub names: u32,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Foreign { user, owner, mode, names } = self;
        if owner != user {
            write!(f, "it belongs to user {owner}, not to user {user} who mounts")
        } else if mode & 0o022 != 0 {
            write!(f, "others may write it (mode {mode:04o})")
        } else {
            write!(f, "it has {names} names (hard links), by which others may write it")
        }
    }
}

fn discard_end(errno: Option<Errno>) -> String {
    match errno {
        None => "and is finished now".to_owned(),
        Some(errno) => format!("and cannot be finished: {errno}"),
    }
}
