//! A copy that is made for a move: it gets the name of its original only to lose it at
//! once, so nothing keeps that out of the times of the directory unless the move fails.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Statx;
use std::sync::Arc;

use super::chain::{Wanted, ctime_record};
use crate::copy_up::object::Source;
use crate::copy_up::partial::Need;
use crate::copy_up::protected::check_unprotected;
use crate::format::meta::{Kept, Record};
use crate::format::print::Print;
use crate::format::time::Timestamp;
use crate::locks::MutexGuard;
use crate::reach::overlay::Overlay;
use crate::store::meta_dir::{Attributes, with_access};
use crate::sys::{self, Result, Spot};
use crate::tree::dir::{Dir, DirEdit};
use crate::tree::node::{BaseRef, Node, PlaceMut};

/// A copy without a name. Nobody else copies its original meanwhile.
pub(crate) struct Ahead<'a> {
    _lock: MutexGuard<'a, ()>,
    file: OwnedFd,
    kept: Kept,
    /// The change time of the original.
    shown: Timestamp,
    /// What the original was.
    print: Print,
    /// Attributes of the copy.
    pub stat: Statx,
}

/// The directory before the copy got its name there.
pub(crate) struct Before<'a> {
    stat: Statx,
    _held: Attributes<'a>,
}

impl Ahead<'_> {
    /// The record of what the change of the name was made from that the original had.
    pub fn print(&self, name: &[u8]) -> Record {
        Record::Print { print: self.print, name: name.into() }
    }
}

impl Overlay {
    /// Copies a file of the base that is about to move out of `dir`. `stat`: its
    /// attributes, as they were seen just now. `None`: it has to be copied up before.
    pub(crate) fn copy_ahead<'a>(
        &self,
        node: &'a Arc<Node>,
        dir: &Dir,
        stat: &Statx,
    ) -> Result<Option<Ahead<'a>>> {
        // On btrfs the copy must be on the device before anything moves.
        let alone = self.live.is_none() && !self.durability.syncs_before_changes();
        if !alone || node.in_storage() || node.is_shared() || node.kind() != libc::S_IFREG {
            return Ok(None);
        }
        self.check_writable()?;
        check_unprotected(stat)?;
        self.past_leases(|| self.copy_ahead_now(node, dir, stat))
    }

    fn copy_ahead_now<'a>(
        &self,
        node: &'a Arc<Node>,
        dir: &Dir,
        stat: &Statx,
    ) -> Result<Option<Ahead<'a>>> {
        let lock = self.lock_copy_up(node);
        if node.in_storage() {
            return Ok(None);
        }
        let wanted = Wanted { stat: Some(*stat), ..Wanted::of(Need::Attributes) };
        let (original, (stat, print), plan) = self.begin_copy(node, wanted)?;
        let (at, data) = (original.object()?, original.data());
        let source = Source { node, at, data, stat: &stat, plan, print };
        let Some(copy) = self.unnamed_copy(&source, None, dir)? else { return Ok(None) };
        let (file, kept, shown) = (copy.file, copy.kept, stat.stx_ctime.into());
        let (stat, print) = (sys::stat_fd(&file)?, source.print.get());
        Ok(Some(Ahead { _lock: lock, file, kept, shown, print, stat }))
    }

    /// Gives the copy the name of its original.
    pub(crate) fn name_ahead<'a>(
        &self,
        copy: &Ahead<'_>,
        (edit, name): (&DirEdit<'a>, &[u8]),
        place: &mut PlaceMut<'_>,
    ) -> Result<Before<'a>> {
        self.drop_kept(edit, name)?;
        edit.append(&copy.kept.records(name))?;
        // What is owed was decided by the names as they are now.
        edit.pay()?;
        edit.open_journal()?;
        let dir = edit.writable()?;
        let held = edit.dir().hold_attributes();
        let stat = sys::stat_fd(dir.fd())?;
        self.durability.copied_up();
        with_access(dir.fd(), || sys::link_fd(copy.file.as_fd(), dir, name))?;
        self.durability.copied_up();
        place.base = BaseRef::None;
        place.set_in_storage();
        Ok(Before { stat, _held: held })
    }

    /// The copy keeps the name: the move has failed. It must not be seen.
    pub(crate) fn stays(
        &self,
        copy: &Ahead<'_>,
        before: Before<'_>,
        (edit, name): (&DirEdit<'_>, &[u8]),
    ) {
        let kept = edit.writable().and_then(|dir| {
            sys::copy_times(&before.stat, Spot::Fd(dir.fd()))?;
            let (own, real) = (sys::stat_fd(&copy.file)?, sys::stat_fd(dir.fd())?);
            let shown = edit.shown_ctime(b".", before.stat.stx_ctime.into());
            edit.append(&[
                copy.print(name),
                ctime_record(name, copy.shown, own.stx_ctime.into()),
                ctime_record(b".", shown, real.stx_ctime.into()),
            ])
        });
        if let Err(errno) = kept {
            tracing::warn!("a copy for a move that failed shows in the times: {errno}");
        }
    }
}
