//! Copy-up: giving a base object its storage entry, after all directories above it.

use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;

use crate::copy_up::object::Source;
use crate::copy_up::partial::{Need, Plan};
use crate::copy_up::protected::{check_unprotected, is_append_only};
use crate::format::meta::{Kept, Record};
use crate::format::time::Timestamp;
use crate::layers::Hold;
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result, StoredDir};
use crate::tree::node::{BaseRef, Held, Node, Place};

impl Overlay {
    /// Makes sure that a node lies in the storage, with all directories above
    /// it, and as much of its data as `need` asks for.
    ///
    /// No lock may be held. Nothing is done where it lies there.
    pub(crate) fn copy_up(&self, node: &Arc<Node>, need: Need) -> Result<()> {
        self.past_leases(|| self.copy_up_now(node, need))
    }

    /// EAGAIN: somebody has a lease on the file.
    fn copy_up_now(&self, node: &Arc<Node>, need: Need) -> Result<()> {
        if node.in_storage() {
            let writing = matches!(need, Need::Writing { .. } | Need::Appending | Need::Data);
            if writing || need == Need::NoData {
                self.settle_for_writing(node)?;
            }
            return if writing { self.fill(node, need) } else { Ok(()) };
        }
        let stat = self.stat(node)?;
        if need == Need::Appending && is_append_only(&stat) {
            return self.copy_up_append_only(node);
        }
        check_unprotected(&stat)?;
        self.copy_up_chain(node, need, Some(stat))?;
        // Another thread may have needed less, and come first.
        if need == Need::Data { self.fill(node, need) } else { Ok(()) }
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
        self.copy_up_chain(node, Need::Data, None)?;
        let copy = self.change_at(node, |spot| sys::open_untraced(spot, OFlags::RDONLY))?;
        sys::set_flags(&copy, sys::get_flags(&copy)? | append)
    }

    /// As [`Overlay::copy_up`], of an object whose flags protect it from
    /// changes, to change these.
    pub(crate) fn copy_up_protected(&self, node: &Arc<Node>) -> Result<()> {
        let copy = || self.copy_up_chain(node, Need::Attributes, None);
        if node.in_storage() { Ok(()) } else { self.past_leases(copy) }
    }

    /// `stat`: attributes of the object as they were seen just now.
    fn copy_up_chain(&self, node: &Arc<Node>, need: Need, stat: Option<Statx>) -> Result<()> {
        // Others may change it.
        let stat = stat.filter(|_| self.live.is_none());
        // From the top down; a loop, because trees may be thousands deep.
        let mut chain = vec![Arc::clone(node)];
        while let Some(parent) = chain.last().and_then(|node| node.parent()) {
            if parent.in_storage() {
                break;
            }
            chain.push(parent);
        }
        while let Some(node) = chain.pop() {
            // With a coarse clock the change that follows may get the ctime of
            // the copy-up, so that one must show.
            let unseen = self.fine_clock.load(Atomic::Relaxed) || !chain.is_empty();
            let _lock = self.lock_slow(&node.copy_up);
            if !node.in_storage() {
                self.durability.copied_up();
                let stat = stat.filter(|_| chain.is_empty());
                self.copy_up_one(&node, (need, stat), unseen)?;
                self.durability.copied_up();
            }
        }
        Ok(())
    }

    /// `unseen`: the ctime shown stays that of the base object.
    fn copy_up_one(
        &self,
        node: &Arc<Node>,
        (need, stat): (Need, Option<Statx>),
        unseen: bool,
    ) -> Result<()> {
        self.check_writable()?;
        let link = node.place.read().names.first().cloned();
        if node.is_shared() && (link.is_some() || self.has_base_names(node)) {
            return self.copy_up_shared(node, need, unseen);
        }
        let Some(link) = link else {
            return self.copy_up_nameless(node, need);
        };
        let parent = self.dir(link.parent())?;
        let own = if node.is_dir() { Some(self.dir(node)?) } else { None };
        let source = self.hold(node)?;
        let from = source.object();
        let stat = match stat {
            Some(stat) => self.for_copy(node, stat),
            None => self.stat_for_copy(node, from)?,
        };
        let source = &Source { node, at: from, stat: &stat, plan: self.plan(node, &stat, need)? };
        let dir = parent.writable()?;
        // Data is copied before any lock is taken.
        let unnamed =
            if node.kind() == libc::S_IFREG { self.unnamed_copy(source, dir)? } else { None };
        let (unnamed, kept) = unnamed.unzip();
        let edit = parent.edit();
        let mut place = node.place.write();
        if !place.names.first().is_some_and(|now| now.is_same(&link)) {
            return moved_meanwhile(node, &mut place, unnamed);
        }
        self.drop_kept(&edit, link.name())?;
        let keep = |kept: &Kept| edit.append(&kept.records(link.name()));
        kept.as_ref().map_or(Ok(()), keep)?;
        let shown = stat.stx_ctime.into();
        let made = edit.unseen(
            |dir| match &unnamed {
                Some(fd) => sys::link_fd(fd.as_fd(), dir, link.name()).map(|()| None),
                None => self.named_copy(source, dir, link.name(), &keep).map(Some),
            },
            |made| match made.as_ref().or(unnamed.as_ref()).map_or(Err(Errno::IO), sys::stat_fd) {
                Ok(real) if unseen && !node.is_dir() => {
                    vec![ctime_record(link.name(), shown, real.stx_ctime.into())]
                }
                _ => Vec::new(),
            },
        )?;
        let (Some(own), Some(made)) = (own, made) else {
            place.base = BaseRef::None;
            node.set_in_storage();
            return Ok(());
        };
        let real = sys::stat_fd(&made);
        own.set_storage(StoredDir::new(made, dir.written()));
        node.set_in_storage();
        drop((edit, place));
        if let Err(errno) = self.take_over_hidden(node, &own) {
            tracing::debug!("META of the storage's root goes on to say what is hidden: {errno}");
        }
        if unseen {
            let edit = own.edit();
            // The skeleton is there, whatever time it shows.
            let kept = real
                .and_then(|real| edit.append(&[ctime_record(b".", shown, real.stx_ctime.into())]));
            if let Err(errno) = kept {
                tracing::warn!("a directory shows when it was copied up: {errno}");
            }
        }
        Ok(())
    }

    /// An open file whose name is gone gets a storage file without one.
    fn copy_up_nameless(&self, node: &Arc<Node>, need: Need) -> Result<()> {
        if node.kind() != libc::S_IFREG {
            return Err(Errno::STALE);
        }
        let source = self.hold(node)?;
        let from = source.object();
        let stat = self.stat_for_copy(node, from)?;
        // Without a name there is nothing by which META could keep anything.
        let plan = if need == Need::NoData { Plan::Empty } else { Plan::Copy };
        let source = &Source { node, at: from, stat: &stat, plan };
        let copy = self.unnamed_copy(source, self.anywhere().into())?;
        let (fd, _) = copy.ok_or(Errno::STALE)?;
        let mut place = node.place.write();
        place.hold(Held::new(Hold::stored(fd)));
        node.set_in_storage();
        Ok(())
    }
}

/// The name went away while its object was copied: an open file lives on in
/// the copy; whatever else was wanted finds its name gone.
fn moved_meanwhile(node: &Node, place: &mut Place, unnamed: Option<OwnedFd>) -> Result<()> {
    match unnamed {
        Some(fd) if place.names.first().is_none() => {
            place.hold(Held::new(Hold::stored(fd)));
            node.set_in_storage();
            Ok(())
        }
        _ => Err(Errno::STALE),
    }
}

fn ctime_record(name: &[u8], shown: Timestamp, real: Timestamp) -> Record {
    Record::Ctime { name: name.into(), shown, real }
}
