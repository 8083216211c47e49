//! Copy-up: giving a base object its storage entry.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Statx};
use rustix::io::Errno;

use crate::copy_up::attributes::{Copied, Fresh, copy_attributes};
use crate::copy_up::kept::{cannot_hold, is_device, make_link};
use crate::copy_up::partial::{CAPABILITY, Plan};
use crate::format::meta::{Kept, Record};
use crate::format::name::MetaName;
use crate::format::print::{Hash, Print};
use crate::interface::types::SetTime;
use crate::layers::{Hold, Object};
use crate::reach::overlay::Overlay;
use crate::store::meta::{Firm, Journal, Session};
use crate::store::meta_dir::MetaDir;
use crate::store::partial::Data;
use crate::sys::own::Own;
use crate::sys::{self, Result, Spot, Within};
use crate::tree::node::{Contents, Node};
use std::cell::Cell;
use std::sync::Arc;

/// What is copied, and how.
pub(crate) struct Source<'a> {
    pub node: &'a Node,
    pub at: Object<'a>,
    /// Its data, if that is open already.
    pub data: Option<&'a Data>,
    pub stat: &'a Statx,
    pub plan: Plan,
    /// What it is, for whoever asks later what the change was made from.
    pub print: Cell<Print>,
}

impl Source<'_> {
    /// The record of what a change of an entry of this name was made from.
    pub fn print(&self, name: &[u8]) -> Record {
        Record::Print { print: self.print.get(), name: name.into() }
    }

    fn hashed(&self, hash: Option<Hash>) {
        self.print.set(Print { hash, ..self.print.get() });
    }
}

/// An object that is copied, as it was opened for that.
pub(crate) enum Original {
    /// To be reached.
    Held(Hold),
    /// To be read: a file of a plain layer.
    Open(Data),
}

impl Original {
    /// ESTALE: its data is in several places, so it was not opened here.
    pub fn object(&self) -> Result<Object<'_>> {
        match self {
            Original::Held(hold) => Ok(hold.object()),
            Original::Open(data) => {
                let file = data.file().ok_or(Errno::STALE)?;
                Ok(Object::plain(Spot::Fd(file.as_fd())))
            }
        }
    }

    /// Its data, if that is open.
    pub fn data(&self) -> Option<&Data> {
        match self {
            Original::Held(_) => None,
            Original::Open(data) => Some(data),
        }
    }
}

/// A finished copy of a regular file that has no name yet.
pub(crate) struct Unnamed {
    pub file: OwnedFd,
    /// What the storage does not hold of it.
    pub kept: Kept,
    /// It has all that was asked for by itself.
    pub exact: bool,
}

impl Overlay {
    /// Attributes that the copy of a base object gets, and what it is.
    pub(crate) fn stat_for_copy(
        &self,
        node: &Arc<Node>,
        from: Object<'_>,
    ) -> Result<(Statx, Cell<Print>)> {
        let stat = from.stat(&self.stack)?;
        Ok((self.for_copy(node, stat), Cell::new(Print::taken(&stat))))
    }

    pub(crate) fn for_copy(&self, node: &Arc<Node>, mut stat: Statx) -> Statx {
        let atime = self.accesses.shown(node.ino(), stat.stx_atime.into());
        (stat.stx_atime.tv_sec, stat.stx_atime.tv_nsec) = (atime.sec, atime.nsec);
        if let Some(at) = self.far_changed(node) {
            (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec) = (at.sec, at.nsec);
            (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec) = (at.sec, at.nsec);
        }
        self.settle_copy(&mut stat);
        stat
    }

    /// Opens what is to be copied, once and for all that is read of it.
    pub(crate) fn original(&self, node: &Arc<Node>, stat: &Statx, plan: &Plan) -> Result<Original> {
        let is_file = sys::kind(stat) == libc::S_IFREG && stat.stx_size > 0;
        let reads = is_file && matches!(plan, Plan::Copy) && !self.submounts;
        self.at(node, |object| match object.is_plain() && reads && self.live.is_none() {
            true => object.open_data(&self.stack, OFlags::empty()).map(Original::Open),
            false => object.hold().map(Original::Held),
        })
    }

    /// A finished copy of a regular file, without a name. `None`: the storage
    /// file system has no unnamed files. `mode`: what it gets instead of the original's.
    pub(crate) fn unnamed_copy(
        &self,
        source: &Source<'_>,
        mode: Option<u32>,
        dir: &MetaDir,
    ) -> Result<Option<Unnamed>> {
        let mut stat = *source.stat;
        stat.stx_mode =
            mode.map_or(stat.stx_mode, |mode| stat.stx_mode & libc::S_IFMT as u16 | mode as u16);
        // Nobody reaches it before it has its name, so it can have its mode (but for
        // set-ID bits, which a write takes away). Only a user could not use it with less.
        let (bits, all) = (u32::from(stat.stx_mode) & 0o7777, self.partials.may_have(0));
        let mode = if bits & !0o777 == 0 { bits } else { 0 } | if all { 0 } else { 0o600 };
        let made = match dir.make_unnamed(mode) {
            // Closed by its owner, or immutable: only its name has to go there.
            Err(Errno::ACCESS | Errno::PERM) => self.root_dir.make_unnamed(mode),
            other => other,
        };
        let (file, made) = match made {
            Ok(made) => made,
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => return Ok(None),
            // A directory that its owner may not write: opened for a moment
            // when the name is made.
            Err(Errno::ACCESS) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        if !all && !made.is_some_and(|made| made.plain) {
            sys::set_mode(Spot::Fd(file.as_fd()), 0o600)?;
        }
        let fresh = made.map(|made| Fresh { made, mode });
        let Copied { kept, narrowed } = self.fill_file((source, &stat), &file, fresh)?;
        let exact = !narrowed && kept == Kept::default();
        Ok(Some(Unnamed { file, kept, exact }))
    }

    fn fill_file(
        &self,
        (source, stat): (&Source<'_>, &Statx),
        fd: &OwnedFd,
        fresh: Option<Fresh>,
    ) -> Result<Copied> {
        let (to, size) = (Spot::Fd(fd.as_fd()), source.stat.stx_size);
        let mut contents = Contents::Whole;
        match &source.plan {
            Plan::Empty => {}
            Plan::Copy => self.copy_data(source, fd)?,
            Plan::Leave(_) if self.partials.clones() && self.clone_data(source.at, fd)? => {}
            Plan::Leave(mark) => match self.own.set(to, Own::Partial, &mark.encode()) {
                Ok(()) => {
                    contents = Contents::Partial;
                    rustix::fs::ftruncate(fd, size)?;
                }
                // No room for it: the data takes its own.
                Err(_) => self.copy_data(source, fd)?,
            },
        }
        source.node.set_contents(contents);
        let from = (&*self.stack, source.at);
        let mut copied = copy_attributes(from, to, stat, self.holds().modes, fresh)?;
        if self.settle_capabilities(|| source.at.stat(&self.stack), to)? {
            copied.kept.xattrs.remove(CAPABILITY);
        }
        if matches!(source.plan, Plan::Empty) {
            // The name shows at once that the content is gone, and when it went.
            sys::set_times(to, None, Some(SetTime::Now))?;
        }
        Ok(copied)
    }

    /// A copy of anything, made under a reserved name and moved to its own,
    /// after `keep` was given what META has to keep of it. Run it as a
    /// change that is not seen, for the directory's times.
    pub(crate) fn named_copy(
        &self,
        source: &Source<'_>,
        dir: Within<'_>,
        name: &[u8],
        keep: &dyn Fn(&Kept) -> Result<()>,
    ) -> Result<OwnedFd> {
        let temp = self.meta.temp();
        let made = match sys::kind(source.stat) {
            libc::S_IFREG => sys::create_private(dir, &temp)
                .and_then(|fd| self.fill_file((source, source.stat), &fd, None))
                .map(|copied| copied.kept),
            libc::S_IFDIR => self.copy_dir(source, dir, &temp),
            _ => self.copy_special(source, dir, &temp),
        };
        // Nothing may fail any more once it has its name.
        made.and_then(|kept| keep(&kept))
            .and_then(|()| sys::hold(Spot::at(dir, &temp)))
            .and_then(|held| publish(dir, &temp, name).map(|()| held))
            .inspect_err(|_| discard(self.meta, dir, &temp))
    }

    fn copy_data(&self, source: &Source<'_>, to: &OwnedFd) -> Result<()> {
        let stat = source.stat;
        if stat.stx_size == 0 && !self.submounts {
            return Ok(());
        }
        let opened;
        let data = match source.data {
            Some(data) => data,
            None => {
                opened = match source.at.open_data(&self.stack, OFlags::empty()) {
                    // That there is nothing in it everybody may know.
                    Err(Errno::ACCESS) if stat.stx_size == 0 && !is_made_up(source) => {
                        return Ok(());
                    }
                    opened => opened?,
                };
                &opened
            }
        };
        if self.submounts && data.file().is_some_and(sys::is_generated) {
            return data.copy_buffered(to, 0, u64::MAX);
        }
        if self.partials.clones() && is_cloned(data, to) {
            return Ok(());
        }
        let _slow = self.slow_if(stat.stx_size);
        let dense = stat.stx_blocks >= stat.stx_size.div_ceil(512);
        source.hashed(data.copy_whole(to, stat.stx_size, dense)?);
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
        let to = Spot::Fd(fd.as_fd());
        copy_attributes(from, to, source.stat, self.holds().modes, None).map(|copied| copied.kept)
    }

    /// A copy of a symlink, FIFO, socket or device. What the storage cannot hold becomes
    /// a file that stands for it.
    fn copy_special(&self, source: &Source<'_>, dir: Within<'_>, temp: &[u8]) -> Result<Kept> {
        let (stat, holds) = (source.stat, self.holds());
        let from = (&*self.stack, source.at);
        let kind = sys::kind(stat);
        let to = Spot::At(dir, temp);
        let copied =
            || copy_attributes(from, to, stat, holds.modes, None).map(|copied| copied.kept);
        if kind == libc::S_IFLNK {
            let target = source.at.read_link()?;
            source.hashed(Some(Hash::of(&target)));
            let stands = make_link(holds, &target, dir, temp)?;
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

/// Whether the content of a file that may not be read is made up when it is.
fn is_made_up(source: &Source<'_>) -> bool {
    source.at.open_as_it_is(OFlags::PATH).map_or(true, sys::is_generated)
}

fn is_cloned(from: &Data, to: &OwnedFd) -> bool {
    from.file().is_some_and(|file| rustix::fs::ioctl_ficlone(to, file).is_ok())
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
