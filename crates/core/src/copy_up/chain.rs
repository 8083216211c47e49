//! Copy-up: giving a base object its storage entry, after all directories above it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use crate::copy_up::object::{Original, Source};
use crate::copy_up::partial::{Need, Plan};
use crate::copy_up::protected::{check_unprotected, is_append_only};
use crate::format::meta::{Kept, Record};
use crate::format::print::Print;
use crate::format::time::Timestamp;
use crate::layers::Hold;
use crate::locks::{Rank, is_free, is_held};
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result, StoredDir};
use crate::tree::dir::Dir;
use crate::tree::node::{BaseRef, Held, Node, PlaceMut};

/// What a copy-up is to come to.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub need: Need,
    /// The mode that the copy gets instead of the base object's.
    pub mode: Option<u32>,
    /// Attributes of the object as they were seen just now.
    pub stat: Option<Statx>,
}

impl Wanted {
    pub fn of(need: Need) -> Wanted {
        Wanted { need, mode: None, stat: None }
    }
}

impl Overlay {
    /// Makes sure that a node lies in the storage, with all directories above
    /// it, and as much of its data as `need` asks for.
    ///
    /// Nothing is done where it lies there.
    pub(crate) fn copy_up(&self, node: &Arc<Node>, need: Need) -> Result<()> {
        debug_assert!(is_free(Rank::CopyUp));
        self.past_leases(|| self.copy_up_now(node, need, None)).map(drop)
    }

    /// The same, for one who is about to set the mode. The result tells whether that has
    /// happened: the copy came with it.
    pub(crate) fn copy_up_with_mode(
        &self,
        node: &Arc<Node>,
        need: Need,
        mode: u32,
    ) -> Result<bool> {
        let plain = node.kind() == libc::S_IFREG && !node.is_shared();
        let mode = (plain && self.holds().modes && !self.squashes()).then_some(mode & 0o7777);
        self.past_leases(|| self.copy_up_now(node, need, mode))
    }

    /// EAGAIN: somebody has a lease on the file.
    fn copy_up_now(&self, node: &Arc<Node>, need: Need, mode: Option<u32>) -> Result<bool> {
        if node.in_storage() {
            let writing = matches!(need, Need::Writing { .. } | Need::Appending | Need::Data);
            if writing || need == Need::NoData {
                self.settle_for_writing(node)?;
            }
            return if writing { self.fill(node, need).map(|()| false) } else { Ok(false) };
        }
        let stat = self.stat(node)?;
        if need == Need::Appending && is_append_only(&stat) {
            return self.copy_up_append_only(node).map(|()| false);
        }
        check_unprotected(&stat)?;
        let had_mode = self.copy_up_chain(node, Wanted { need, mode, stat: Some(stat) })?;
        // Another thread may have needed less, and come first.
        if need == Need::Data {
            self.fill(node, need)?;
        }
        Ok(had_mode)
    }

    /// A file that may only be appended to (`chattr +a`) stays one: its copy gets the
    /// flag as soon as it has its name, for before it could get none.
    ///
    /// EPERM where this process or the storage cannot give the flag.
    fn copy_up_append_only(&self, node: &Arc<Node>) -> Result<()> {
        let append = rustix::fs::IFlags::APPEND.bits();
        let trial = sys::create_private_unnamed(self.anywhere())?;
        sys::set_flags(&trial, append).map_err(|_| Errno::PERM)?;
        // Written at any place, as partial files are, it could not be.
        self.copy_up_chain(node, Wanted::of(Need::Data))?;
        let copy = self.change_at(node, |spot| sys::open_untraced(spot, OFlags::RDONLY))?;
        sys::set_flags(&copy, sys::get_flags(&copy)? | append)
    }

    /// As [`Overlay::copy_up`], of an object whose flags protect it from
    /// changes, to change these.
    pub(crate) fn copy_up_protected(&self, node: &Arc<Node>) -> Result<()> {
        let copy = || self.copy_up_chain(node, Wanted::of(Need::Attributes)).map(drop);
        if node.in_storage() { Ok(()) } else { self.past_leases(copy) }
    }

    /// The result tells whether the node's copy came with the mode wanted.
    fn copy_up_chain(&self, node: &Arc<Node>, wanted: Wanted) -> Result<bool> {
        // From the top down; a loop, because trees may be thousands deep.
        let mut chain = vec![Arc::clone(node)];
        while let Some(parent) = chain.last().and_then(|node| node.parent()) {
            if parent.in_storage() {
                break;
            }
            chain.push(parent);
        }
        let mut had_mode = false;
        while let Some(node) = chain.pop() {
            // With a coarse clock the change that follows may get the ctime of
            // the copy-up, so that one must show.
            let unseen = self.fine_clock.load(Atomic::Relaxed) || !chain.is_empty();
            let _lock = self.lock_copy_up(&node);
            if !node.in_storage() {
                self.durability.copied_up();
                let wanted = if chain.is_empty() { wanted } else { Wanted::of(wanted.need) };
                had_mode = self.copy_up_one(&node, wanted, unseen)?;
                self.durability.copied_up();
            }
        }
        Ok(had_mode)
    }

    /// `unseen`: the ctime shown stays that of the base object.
    fn copy_up_one(&self, node: &Arc<Node>, wanted: Wanted, unseen: bool) -> Result<bool> {
        debug_assert!(is_held(Rank::CopyUp, Some(node.id.0)));
        self.check_writable()?;
        let (need, mode) = (wanted.need, wanted.mode);
        let link = node.place().names.first().cloned();
        if node.is_shared() && (link.is_some() || self.has_base_names(node)) {
            return self.copy_up_shared(node, need, unseen).map(|()| false);
        }
        let Some(link) = link else {
            return self.copy_up_nameless(node, need).map(|()| false);
        };
        let parent = self.dir(link.parent())?;
        let own = if node.is_dir() { Some(self.dir(node)?) } else { None };
        let (original, (stat, print), plan) = self.begin_copy(node, wanted)?;
        let (at, data) = (original.object()?, original.data());
        let source = Source { node, at, data, stat: &stat, plan, print };
        let dir = parent.writable()?;
        // Data is copied before any lock is taken.
        let unnamed = match node.kind() {
            libc::S_IFREG => self.unnamed_copy(&source, mode, &parent)?,
            _ => None,
        };
        let had_mode = mode.is_some() && unnamed.as_ref().is_some_and(|copy| copy.exact);
        let unseen = unseen && !had_mode;
        let (unnamed, kept) = unnamed.map(|copy| (copy.file, copy.kept)).unzip();
        let edit = parent.edit();
        let mut place = node.place_mut();
        if !place.names.first().is_some_and(|now| now.is_same(&link)) {
            return moved_meanwhile(&mut place, unnamed).map(|()| had_mode);
        }
        self.drop_kept(&edit, link.name())?;
        let keep = |kept: &Kept| edit.append(&kept.records(link.name()));
        kept.as_ref().map_or(Ok(()), keep)?;
        let shown = stat.stx_ctime.into();
        // One with a redirect is another directory of the base than that of its name.
        let print = matches!(place.base, BaseRef::SameName);
        let made = edit.unseen(
            |dir| match &unnamed {
                Some(fd) => sys::link_fd(fd.as_fd(), dir, link.name()).map(|()| None),
                None => self.named_copy(&source, dir, link.name(), &keep).map(Some),
            },
            |made| {
                let mut records = Vec::with_capacity(3);
                records.extend(print.then(|| source.print(link.name())));
                if unseen && !node.is_dir() {
                    let copy = made.as_ref().or(unnamed.as_ref()).ok_or(Errno::IO);
                    let real = copy.and_then(sys::stat_fd).map(|real| real.stx_ctime.into());
                    records.extend(real.map(|real| ctime_record(link.name(), shown, real)));
                }
                records
            },
        )?;
        let (Some(own), Some(made)) = (own, made) else {
            place.base = BaseRef::None;
            place.set_in_storage();
            return Ok(had_mode);
        };
        let real = sys::stat_fd(&made);
        own.set_storage(StoredDir::new(made, dir.written()));
        place.set_in_storage();
        drop((edit, place));
        self.skeleton_made(node, &own, unseen.then_some((shown, real)));
        Ok(false)
    }

    /// What is left to do for a directory that has its skeleton, which stands whatever
    /// comes of that. `times`: the change time to show, and what the skeleton has.
    fn skeleton_made(
        &self,
        node: &Arc<Node>,
        own: &Dir,
        times: Option<(Timestamp, Result<Statx>)>,
    ) {
        if let Err(errno) = self.take_over_hidden(node, own) {
            tracing::debug!("META of the storage's root goes on to say what is hidden: {errno}");
        }
        let Some((shown, real)) = times else { return };
        let edit = own.edit();
        let kept =
            real.and_then(|real| edit.append(&[ctime_record(b".", shown, real.stx_ctime.into())]));
        if let Err(errno) = kept {
            tracing::warn!("a directory shows when it was copied up: {errno}");
        }
    }

    /// Opens what is to be copied, with the attributes that the copy gets and what
    /// happens to the data.
    pub(super) fn begin_copy(
        &self,
        node: &Arc<Node>,
        wanted: Wanted,
    ) -> Result<(Original, (Statx, Cell<Print>), Plan)> {
        // Others may change it.
        if let Some(stat) = wanted.stat.filter(|_| self.live.is_none()) {
            let print = Cell::new(Print::taken(&stat));
            let stat = self.for_copy(node, stat);
            let plan = self.plan(node, &stat, wanted.need)?;
            return Ok((self.original(node, &stat, &plan)?, (stat, print), plan));
        }
        let hold = self.hold(node)?;
        let (stat, print) = self.stat_for_copy(node, hold.object())?;
        let plan = self.plan(node, &stat, wanted.need)?;
        Ok((Original::Held(hold), (stat, print), plan))
    }

    /// An open file whose name is gone gets a storage file without one.
    fn copy_up_nameless(&self, node: &Arc<Node>, need: Need) -> Result<()> {
        if node.kind() != libc::S_IFREG {
            return Err(Errno::STALE);
        }
        let source = self.hold(node)?;
        let from = source.object();
        let (stat, print) = self.stat_for_copy(node, from)?;
        // Without a name there is nothing by which META could keep anything.
        let plan = if need == Need::NoData { Plan::Empty } else { Plan::Copy };
        let source = &Source { node, at: from, data: None, stat: &stat, plan, print };
        let copy = self.unnamed_copy(source, None, &self.root_dir)?.ok_or(Errno::STALE)?;
        let mut place = node.place_mut();
        place.hold(Held::new(Hold::stored(copy.file)));
        place.set_in_storage();
        Ok(())
    }
}

/// The name went away while its object was copied: an open file lives on in
/// the copy; whatever else was wanted finds its name gone.
fn moved_meanwhile(place: &mut PlaceMut<'_>, unnamed: Option<OwnedFd>) -> Result<()> {
    match unnamed {
        Some(fd) if place.names.first().is_none() => {
            place.hold(Held::new(Hold::stored(fd)));
            place.set_in_storage();
            Ok(())
        }
        _ => Err(Errno::STALE),
    }
}

pub(super) fn ctime_record(name: &[u8], shown: Timestamp, real: Timestamp) -> Record {
    Record::Ctime { name: name.into(), shown, real }
}
