//! Copy-up: giving a base object its storage entry.

use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Statx};
use rustix::io::Errno;

use super::copy_attributes::copy_attributes;
use super::kept::{cannot_hold, is_device, make_link};
use super::partial::{CAPABILITY, Need, Plan};
use super::{Overlay, flags};
use crate::layers::{Hold, Object};
use crate::meta::{Firm, Journal, Kept, Record, Session};
use crate::name::MetaName;
use crate::node::{BaseRef, Contents, Held, Node, Place};
use crate::own::Own;
use crate::partial::{Data, copy_dense};
use crate::sys::{self, Result, Spot, StoredDir, Within};
use crate::types::{SetTime, Timestamp};

/// What is copied, and how.
pub(super) struct Source<'a> {
    pub node: &'a Node,
    pub at: Object<'a>,
    pub stat: &'a Statx,
    pub plan: Plan,
}

impl Overlay {
    /// Makes sure that a node lies in the storage, with all directories above
    /// it, and as much of its data as `need` asks for.
    ///
    /// No lock may be held. Nothing is done where it lies there.
    pub(super) fn copy_up(&self, node: &Arc<Node>, need: Need) -> Result<()> {
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
        if need == Need::Appending && flags::is_append_only(&stat) {
            return self.copy_up_append_only(node);
        }
        flags::check_unprotected(&stat)?;
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
    pub(super) fn copy_up_protected(&self, node: &Arc<Node>) -> Result<()> {
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
        let lock = parent.mutate.lock();
        let mut place = node.place.write();
        if !place.names.first().is_some_and(|now| now.is_same(&link)) {
            return moved_meanwhile(node, &mut place, unnamed);
        }
        self.drop_kept(&parent, link.name())?;
        let keep = |kept: &Kept| parent.append(&kept.records(link.name()));
        kept.as_ref().map_or(Ok(()), keep)?;
        let shown = stat.stx_ctime.into();
        let made = parent.unseen(
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
        drop((lock, place));
        if let Err(errno) = self.take_over_hidden(&own) {
            tracing::debug!("META of the storage's root goes on to say what is hidden: {errno}");
        }
        if unseen {
            let _own_lock = own.mutate.lock();
            // The skeleton is there, whatever time it shows.
            let kept = real
                .and_then(|real| own.append(&[ctime_record(b".", shown, real.stx_ctime.into())]));
            if let Err(errno) = kept {
                tracing::warn!("a directory shows when it was copied up: {errno}");
            }
        }
        Ok(())
    }

    /// Attributes that the copy of a base object gets.
    pub(super) fn stat_for_copy(&self, node: &Arc<Node>, from: Object<'_>) -> Result<Statx> {
        Ok(self.for_copy(node, from.stat(&self.stack)?))
    }

    fn for_copy(&self, node: &Arc<Node>, mut stat: Statx) -> Statx {
        let atime = self.accesses.shown(node.ino, stat.stx_atime.into());
        (stat.stx_atime.tv_sec, stat.stx_atime.tv_nsec) = (atime.sec, atime.nsec);
        if let Some(at) = self.far_changed(node) {
            (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec) = (at.sec, at.nsec);
            (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec) = (at.sec, at.nsec);
        }
        self.settle_copy(&mut stat);
        stat
    }

    /// A finished copy of a regular file, without a name. `None`: the storage
    /// file system has no unnamed files.
    pub(super) fn unnamed_copy(
        &self,
        source: &Source<'_>,
        dir: Within<'_>,
    ) -> Result<Option<(OwnedFd, Kept)>> {
        // Nobody reaches it before it has its mode; only a user could not use it with less.
        let create = match self.partials.may_have(0) {
            true => |dir| sys::create_unnamed(dir, 0o600),
            false => sys::create_private_unnamed,
        };
        let made = match create(dir.fd()) {
            // Closed by its owner, or immutable: only its name has to go there.
            Err(Errno::ACCESS | Errno::PERM) => create(self.anywhere()),
            other => other,
        };
        let fd = match made {
            Ok(fd) => fd,
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => return Ok(None),
            // A directory that its owner may not write: opened for a moment
            // when the name is made.
            Err(Errno::ACCESS) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let kept = self.fill_file(source, &fd)?;
        Ok(Some((fd, kept)))
    }

    fn fill_file(&self, source: &Source<'_>, fd: &OwnedFd) -> Result<Kept> {
        let (to, size) = (Spot::Fd(fd.as_fd()), source.stat.stx_size);
        let mut contents = Contents::Whole;
        match &source.plan {
            Plan::Empty => {}
            Plan::Copy => self.copy_data(source.at, fd, source.stat)?,
            Plan::Leave(_) if self.partials.clones() && self.clone_data(source.at, fd)? => {}
            Plan::Leave(mark) => match self.own.set(to, Own::Partial, &mark.encode()) {
                Ok(()) => {
                    contents = Contents::Partial;
                    rustix::fs::ftruncate(fd, size)?;
                }
                // No room for it: the data takes its own.
                Err(_) => self.copy_data(source.at, fd, source.stat)?,
            },
        }
        source.node.set_contents(contents);
        let from = (&*self.stack, source.at);
        let mut kept = copy_attributes(from, to, source.stat, self.holds().modes)?;
        if self.settle_capabilities(|| source.at.stat(&self.stack), to)? {
            kept.xattrs.remove(CAPABILITY);
        }
        if matches!(source.plan, Plan::Empty) {
            // The name shows at once that the content is gone, and when it went.
            sys::set_times(to, None, Some(SetTime::Now))?;
        }
        Ok(kept)
    }

    /// A copy of anything, made under a reserved name and moved to its own,
    /// after `keep` was given what META has to keep of it. Run with the
    /// directory's `mutate` held, for its times are put back.
    pub(super) fn named_copy(
        &self,
        source: &Source<'_>,
        dir: Within<'_>,
        name: &[u8],
        keep: &dyn Fn(&Kept) -> Result<()>,
    ) -> Result<OwnedFd> {
        let temp = self.meta.temp();
        let made = match sys::kind(source.stat) {
            libc::S_IFREG => {
                sys::create_private(dir, &temp).and_then(|fd| self.fill_file(source, &fd))
            }
            libc::S_IFDIR => self.copy_dir(source, dir, &temp),
            _ => self.copy_special(source, dir, &temp),
        };
        // Nothing may fail any more once it has its name.
        made.and_then(|kept| keep(&kept))
            .and_then(|()| sys::hold(Spot::at(dir, &temp)))
            .and_then(|held| publish(dir, &temp, name).map(|()| held))
            .inspect_err(|_| discard(self.meta, dir, &temp))
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

    fn copy_data(&self, from: Object<'_>, to: &OwnedFd, stat: &Statx) -> Result<()> {
        if stat.stx_size == 0 && !self.submounts {
            return Ok(());
        }
        let source = from.open_data(&self.stack, OFlags::empty())?;
        if self.submounts && source.file().is_some_and(sys::is_generated) {
            return source.copy_buffered(to, 0, u64::MAX);
        }
        if self.partials.clones() && is_cloned(&source, to) {
            return Ok(());
        }
        let _slow = self.slow_if(stat.stx_size);
        match source.file().filter(|_| stat.stx_blocks >= stat.stx_size.div_ceil(512)) {
            Some(dense) => copy_dense(dense, to, stat.stx_size)?,
            None => {
                rustix::fs::ftruncate(to, stat.stx_size)?;
                source.copy_extents(to, 0, stat.stx_size)?;
            }
        }
        // The name must not reach the disk before the data does.
        self.ordering.write_out(|| Ok(to))
    }

    /// Shares the data of a file with its copy, where their file system can.
    fn clone_data(&self, from: Object<'_>, to: &OwnedFd) -> Result<bool> {
        Ok(is_cloned(&from.open_data(&self.stack, OFlags::empty())?, to))
    }

    /// The skeleton of a directory. META is made before the mode is set: a
    /// directory that is not writable would not take it any more.
    fn copy_dir(&self, source: &Source<'_>, dir: Within<'_>, temp: &[u8]) -> Result<Kept> {
        sys::mkdir(dir, temp, Mode::from_raw_mode(0o700))?;
        // The umask of this thread is that of some caller.
        sys::set_mode(Spot::At(dir, temp), 0o700)?;
        let fd = sys::open_dir(dir, temp)?;
        Journal::open(fd.as_fd(), None, Firm::No, Session::none(self.meta))?;
        let from = (&*self.stack, source.at);
        copy_attributes(from, Spot::Fd(fd.as_fd()), source.stat, self.holds().modes)
    }

    /// A copy of a symlink, FIFO, socket or device. What the storage cannot hold becomes
    /// a file that stands for it.
    fn copy_special(&self, source: &Source<'_>, dir: Within<'_>, temp: &[u8]) -> Result<Kept> {
        let (stat, holds) = (source.stat, self.holds());
        let from = (&*self.stack, source.at);
        let kind = sys::kind(stat);
        let copied = || copy_attributes(from, Spot::At(dir, temp), stat, holds.modes);
        if kind == libc::S_IFLNK {
            let stands = make_link(holds, &source.at.read_link()?, dir, temp)?;
            let device = stands.then_some((kind, 0));
            return copied().map(|kept| Kept { device, ..kept });
        }
        let device = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
        let mode = Mode::from_raw_mode(0o600);
        let made = if holds.specials {
            sys::mknod(dir, temp, FileType::from_raw_mode(kind), mode, device)
        } else {
            Err(Errno::PERM)
        };
        let stands = match made {
            Err(errno) if cannot_hold(errno) && (is_device(kind) || !holds.specials) => {
                sys::create_private(dir, temp)?;
                Some((kind, device))
            }
            other => other.map(|()| None)?,
        };
        copied().map(|kept| Kept { device: stands, ..kept })
    }
}

fn is_cloned(from: &Data, to: &OwnedFd) -> bool {
    from.file().is_some_and(|file| rustix::fs::ioctl_ficlone(to, file).is_ok())
}

fn ctime_record(name: &[u8], shown: Timestamp, real: Timestamp) -> Record {
    Record::Ctime { name: name.into(), shown, real }
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

/// Gives a copy its name, which must be free.
fn publish(dir: Within<'_>, temp: &[u8], name: &[u8]) -> Result<()> {
    let rename = |flags| sys::rename((dir, temp), (dir, name), flags);
    match rename(RenameFlags::NOREPLACE) {
        // Some file systems know no flags; nothing else writes here.
        Err(Errno::INVAL) => rename(RenameFlags::empty()),
        other => other,
    }
}

/// Removes a copy that will not be used. Failures leave a reserved name, which
/// the next mount removes.
fn discard(meta: MetaName, dir: Within<'_>, temp: &[u8]) {
    let removed = sys::unlink(dir, temp, AtFlags::empty());
    if removed == Err(Errno::ISDIR) {
        if let Ok(fd) = sys::open_dir(dir, temp) {
            let _ = sys::unlink(&fd, meta.as_bytes(), AtFlags::empty());
        }
        let _ = sys::unlink(dir, temp, AtFlags::REMOVEDIR);
    }
}
