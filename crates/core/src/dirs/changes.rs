//! Changes of what META says.

use std::sync::atomic::Ordering;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::{Dir, with_access};
use crate::meta::{self, Index, Record, Said};
use crate::name::META_NAME;
use crate::sys::{self, Result, Spot};
use crate::types::{SetTime, Timestamp};

/// What META said at some point, of the names that are about to change.
pub(crate) struct Mark {
    /// Size of the file in bytes; 0 where there was none.
    size: u64,
    torn_at: Option<u64>,
    rewrites: u64,
    said: Vec<(Box<[u8]>, Said)>,
}

impl Dir {
    /// Makes sure that META is there, so that appending changes no directory
    /// time. `mutate` is held.
    pub fn open_journal(&self) -> Result<()> {
        let mut journal = self.journal.lock();
        if journal.is_none() {
            let dir = self.writable()?;
            *journal = Some(with_access(dir, || meta::open_for_append(dir))?);
        }
        Ok(())
    }

    /// The file, as a descriptor of its own.
    pub fn journal_file(&self) -> Result<OwnedFd> {
        self.open_journal()?;
        let journal = self.journal.lock();
        rustix::io::fcntl_dupfd_cloexec(journal.as_ref().ok_or(Errno::IO)?, 0)
    }

    /// Appends records to META and takes them into the index. `mutate` is held.
    pub fn append(&self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.open_journal()?;
        let journal = self.journal.lock();
        let fd = journal.as_ref().ok_or(Errno::IO)?;
        self.unsynced.store(true, Ordering::Release);
        let mut torn_at = self.torn_at.lock();
        meta::append_to(fd.as_fd(), records, *torn_at)?;
        *torn_at = None;
        drop(torn_at);
        drop(journal);
        let mut index = self.meta.write();
        records.iter().for_each(|record| index.apply(record));
        if index.is_wasteful() {
            self.compact(&mut index);
        }
        Ok(())
    }

    /// Appends records, or writes META anew where one of them replaces a
    /// redirect, or the redirect of `dropped` goes: readers of the old format
    /// may take the first line they find. All of it happens, or nothing.
    /// `mutate` is held.
    pub fn change(&self, mut records: Vec<Record>, dropped: Option<&[u8]>) -> Result<()> {
        let mut anew = false;
        {
            let meta = self.meta.read();
            anew |= dropped.is_some_and(|name| meta.redirect(name).is_some());
            records.retain(|record| match record {
                Record::Redirect { path, name } => {
                    let old = meta.redirect(name);
                    anew |= old.is_some_and(|old| *old != **path);
                    old != Some(&**path)
                }
                _ => true,
            });
        }
        if !anew {
            return self.append(&records);
        }
        let mut index = self.meta.write();
        let names: Vec<&[u8]> = records.iter().filter_map(Record::name).chain(dropped).collect();
        let before: Vec<Said> = names.iter().map(|name| index.said(name)).collect();
        dropped.map(|name| index.remove_redirect(name));
        records.iter().for_each(|record| index.apply(record));
        self.rewrite(&mut index).inspect_err(|_| {
            names.iter().zip(before).for_each(|(name, said)| index.say(name, said));
        })
    }

    /// Takes the redirect of a name away, if there is one. `mutate` is held.
    pub fn remove_redirect(&self, name: &[u8]) -> Result<()> {
        self.change(Vec::new(), Some(name))
    }

    /// Sets the redirect of a name. `mutate` is held.
    pub fn set_redirect(&self, path: &[u8], name: &[u8]) -> Result<()> {
        self.change(vec![Record::Redirect { path: path.into(), name: name.into() }], None)
    }

    /// Marks what META says of some names, for [`Dir::roll_back`]. `mutate` is
    /// held.
    pub fn mark(&self, names: &[&[u8]]) -> Result<Mark> {
        let file = Spot::At(self.writable()?, META_NAME.as_bytes());
        let size = sys::absent(sys::stat(file))?.map_or(0, |stat| stat.stx_size);
        let meta = self.meta.read();
        let said = names.iter().map(|name| ((*name).into(), meta.said(name))).collect();
        let rewrites = self.rewrites.load(Ordering::Relaxed);
        Ok(Mark { size, torn_at: *self.torn_at.lock(), rewrites, said })
    }

    /// Makes META say again what it said at a mark. Takes no space where only
    /// appending was done since. `mutate` has been held all the time.
    pub fn roll_back(&self, mark: Mark) {
        let mut index = self.meta.write();
        for (name, said) in mark.said {
            index.say(&name, said);
        }
        let appended = self.rewrites.load(Ordering::Relaxed) == mark.rewrites;
        let undone = match &*self.journal.lock() {
            None if appended => Ok(()),
            Some(fd) if appended => {
                let cut = rustix::fs::ftruncate(fd, mark.torn_at.unwrap_or(mark.size));
                cut.map(|()| *self.torn_at.lock() = None)
            }
            _ => Err(Errno::STALE),
        };
        let undone = undone.or_else(|_| self.rewrite(&mut index));
        if let Err(errno) = undone {
            tracing::error!("META keeps records of a change that was taken back: {errno}");
        }
    }

    fn rewrite(&self, index: &mut Index) -> Result<()> {
        let mut journal = self.journal.lock();
        let dir = self.writable()?;
        with_access(dir, || meta::rewrite(dir, index))?;
        // The file that was open has no name any more.
        *journal = None;
        self.rewrites.fetch_add(1, Ordering::Relaxed);
        *self.torn_at.lock() = None;
        self.unsynced.store(true, Ordering::Release);
        Ok(())
    }

    /// Drops dead records. The directory's times stay; a failure costs nothing
    /// but space.
    fn compact(&self, index: &mut Index) {
        let compacted = self.writable().and_then(|dir| {
            let before = sys::stat_fd(dir)?;
            let shown = before.stx_ctime.into();
            let shown = index.ctime(b".", shown).unwrap_or(shown);
            self.rewrite(index)?;
            let keep = |time: rustix::fs::StatxTimestamp| Some(SetTime::At(time.into()));
            sys::set_times(Spot::Fd(dir), keep(before.stx_atime), keep(before.stx_mtime))?;
            let real = sys::stat_fd(dir)?.stx_ctime.into();
            let record = Record::Ctime { name: Box::from(&b"."[..]), shown, real };
            let fd = meta::open_for_append(dir)?;
            meta::append_to(fd.as_fd(), std::slice::from_ref(&record), None)?;
            index.apply(&record);
            Ok(())
        });
        if let Err(errno) = compacted {
            tracing::warn!("META is not compacted: {errno}");
        }
    }

    /// Hands META to the device, if it may have anything new.
    pub fn sync_meta(&self) -> Result<()> {
        let Some(dir) = self.storage() else {
            return Ok(());
        };
        if self.unsynced.swap(false, Ordering::AcqRel) {
            meta::sync(dir).inspect_err(|_| self.unsynced.store(true, Ordering::Release))?;
        }
        Ok(())
    }

    /// Runs a change of the storage directory that programs must not see in
    /// its times, and puts them back.
    ///
    /// `records` are made after the change and go to META together with the
    /// one that keeps the shown ctime. `mutate` is held.
    pub fn unseen<T>(
        &self,
        change: impl Fn(BorrowedFd<'_>) -> Result<T>,
        records: impl FnOnce(&T) -> Vec<Record>,
    ) -> Result<T> {
        self.open_journal()?;
        let dir = self.writable()?;
        let before = sys::stat_fd(dir)?;
        let shown = self.shown_ctime(b".", before.stx_ctime.into());
        let keep = |time: rustix::fs::StatxTimestamp| Some(SetTime::At(time.into()));
        let (value, timed) = with_access(dir, || {
            let changed = change(dir);
            // Also where it failed: it may have left traces on the way.
            let (atime, mtime) = (keep(before.stx_atime), keep(before.stx_mtime));
            let timed = sys::set_times(Spot::Fd(dir), atime, mtime);
            Ok((changed?, timed))
        })?;
        let kept = timed.and_then(|()| sys::stat_fd(dir)).and_then(|stat| {
            let real = stat.stx_ctime.into();
            let mut records = records(&value);
            records.push(Record::Ctime { name: Box::from(&b"."[..]), shown, real });
            self.append(&records)
        });
        if let Err(errno) = kept {
            // The change itself stands: a full device only costs the old times.
            tracing::warn!("a copy-up shows in the times of its directory: {errno}");
        }
        Ok(value)
    }

    /// The ctime to show for an entry whose own is `real`.
    pub fn shown_ctime(&self, name: &[u8], real: Timestamp) -> Timestamp {
        self.meta.read().ctime(name, real).unwrap_or(real)
    }

    /// The type that a storage entry shows whose own is `kind`.
    pub fn shown_kind(&self, name: &[u8], kind: u32) -> u32 {
        if kind != libc::S_IFREG {
            return kind;
        }
        let meta = self.meta.read();
        meta.kept(name).and_then(|kept| kept.device).map_or(kind, |(device, _)| device)
    }

    /// The directory was changed where programs must see it. Where clocks are
    /// coarse its ctime may be the one of a change that they must not (tmpfs
    /// takes that of the removed entry at an unlink). `mutate` is held.
    pub fn seen(&self) {
        let Some((shown, recorded)) = self.meta.read().ctime_record(b".") else { return };
        // Time goes on: what differs once does not become equal again.
        if shown == recorded || *self.left_behind.lock() == Some(recorded) {
            return;
        }
        let moved = self.writable().and_then(sys::stat_fd).and_then(|stat| {
            let real: Timestamp = stat.stx_ctime.into();
            if real != recorded {
                *self.left_behind.lock() = Some(recorded);
                return Ok(());
            }
            self.append(&[Record::Ctime { name: Box::from(&b"."[..]), shown: real, real }])
        });
        if let Err(errno) = moved {
            tracing::debug!("the change time of a directory is an older one: {errno}");
        }
    }
}
