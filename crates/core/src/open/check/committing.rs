//! Bases into which a commit goes on, or was interrupted.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::layers::Opened;
use super::{Result, found};
use crate::format::commit::Token;
use crate::format::name::{MetaName, STAGE_IN_A_MOUNT};
use crate::interface::error::OpenError;
use crate::interface::options::OpenOptions;
use crate::store::commit_journal;
use crate::store::commit_owner::{self, StageOwner};
use crate::sys::{self, Spot, trust};

/// Refuses layers that hold the stage of a commit: what they show is neither what was before
/// nor what is to be. A commit of the storage that is opened itself is not meant here: what
/// its journal says decides about that.
pub(super) fn check(opened: &[Opened], options: &OpenOptions) -> Result<()> {
    if options.after_commit {
        return Ok(());
    }
    let usual = Some(MetaName::default()).filter(|usual| *usual != options.meta_name);
    let names = || [options.meta_name].into_iter().chain(usual).map(MetaName::stage);
    for layer in opened {
        for name in names().chain([STAGE_IN_A_MOUNT]) {
            let Some(owner) = owner(layer.root(), name) else { continue };
            let token = owner.as_ref().map(|(token, _)| *token);
            if token.is_some_and(|token| is_own(options, token)) {
                continue;
            }
            return Err(OpenError::BaseInCommit {
                base: layer.given.clone(),
                stage: layer.given.join(name),
                owner: owner.map(|(_, path)| path),
            });
        }
    }
    Ok(())
}

/// The commit and the storage that a stage in this directory belongs to. `None`: there is no stage
/// that counts. `Some(None)`: there is, and it does not tell.
#[allow(clippy::option_option)]
pub(crate) fn owner(root: &OwnedFd, name: &str) -> Option<Option<(Token, PathBuf)>> {
    let above = sys::stat_fd(root).ok()?;
    let stage = match sys::open_dir(root.as_fd(), name.as_bytes()) {
        Ok(stage) => stage,
        // Root's, most likely.
        Err(Errno::ACCESS) => return Some(None),
        Err(_) => return None,
    };
    // Anybody can make one in a directory like /tmp; that is to lock nobody out.
    let made_by = sys::stat_fd(&stage).ok()?.stx_uid;
    if ![0, above.stx_uid, trust::user()].contains(&made_by) {
        return None;
    }
    match commit_owner::read(stage.as_fd()) {
        Ok(StageOwner::Commit(token, path)) => Some(Some((token, path))),
        // It was being made, and there is nothing in it yet.
        Ok(StageOwner::Unclear) if !holds_slots(&stage) => None,
        Ok(StageOwner::Unclear) | Err(_) => Some(None),
        Ok(StageOwner::Nobody) => None,
    }
}

/// A stage has something in it that is to come or has gone. What cannot be listed may have.
fn holds_slots(stage: &OwnedFd) -> bool {
    let mut found = false;
    let listed = sys::open(Spot::at(stage.as_fd(), b"."), OFlags::RDONLY | OFlags::DIRECTORY);
    let listed = listed.and_then(|dir| {
        sys::each_entry(dir.as_fd(), |entry| {
            found |= entry.name.starts_with(b"n");
            !found
        })
    });
    found || listed.is_err()
}

/// The journal of the storage that is opened is of this commit. One that cannot be read is
/// refused for itself.
fn is_own(options: &OpenOptions, token: Token) -> bool {
    if options.storage.as_os_str().is_empty() {
        return false;
    }
    let Ok(storage) = found::open_storage(&options.storage) else { return false };
    match commit_journal::load(storage.as_fd(), options.meta_name) {
        Ok(journal) => journal.is_some_and(|journal| journal.head.token == token),
        Err(_) => true,
    }
}
