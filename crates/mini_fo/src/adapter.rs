//! The overlay as a FUSE file system: every operation is decoded, handed to
//! the overlay, and its result encoded. Nothing is decided here.
#![forbid(unsafe_code)]

mod begin;
mod behind;
mod bound;
mod caller;
mod control;
mod convert;
mod data;
mod failures;
pub mod flags;
mod judge;
mod live;
mod numbers;
mod programs;
mod setgid;
mod xattrs;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fuse_server::{
    AttrReply, CopyFileRangeArgs, CreateArgs, DirPlusSink, DirSink, Entry, FallocateArgs,
    FileSystem, IoctlArgs, IoctlReply, MkdirArgs, MknodArgs, Negotiated, Notifier, OpenArgs,
    OpenFlags, OpenReply, ReadArgs, ReleaseArgs, RenameArgs, Request, Result, SetAttr,
    SetXattrArgs, StatFs, StatxArgs, StatxReply, WriteArgs,
};
use mini_fo_core::{self as core, ListFor, NodeId, OpenDir, OpenFile, Overlay};
use rustix::io::Errno;

use crate::handles::Handles;
use crate::ids::Ids;
use begin::Beginning;
use caller::Capability;
use control::Control;
pub use control::Facts;
use convert::LONG;
use data::{Files, How};
use failures::Failures;
use judge::Judge;

/// The file system that a session serves.
pub struct Adapter {
    overlay: Arc<Overlay>,
    files: Arc<Files>,
    dirs: Arc<Handles<OpenDir>>,
    ids: Ids,
    judge: Arc<Judge>,
    most_nodes: usize,
    /// STATX is answered.
    birth_times: bool,
    /// Programs and libraries of the base are read past the daemon.
    programs: bool,
    /// Of the protocol, once it is agreed on.
    minor: AtomicU32,
    written: Beginning,
    failures: Failures,
    control: Control,
}

impl Adapter {
    /// Serves `overlay`, with its owners translated by `ids`.
    pub fn new(overlay: Arc<Overlay>, ids: Ids, birth_times: bool) -> Adapter {
        overlay.set_slow_hook(Box::new(|| Box::new(fuse_server::blocking_section())));
        let judge = Arc::new(Judge::new(&overlay, false));
        let files = Arc::new(Files::new(&overlay, Arc::clone(&judge)));
        let dirs = Arc::new(Handles::new());
        let (minor, written) = (AtomicU32::new(0), Beginning::default());
        let most_nodes = bound::MOST;
        let (failures, control) = (Failures::default(), Control::default());
        Adapter {
            overlay,
            files,
            dirs,
            ids,
            judge,
            most_nodes,
            birth_times,
            programs: false,
            minor,
            written,
            failures,
            control,
        }
    }

    /// What is served.
    pub fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// Programs and libraries of the base are read past the daemon, where the kernel allows it.
    pub fn reading_programs_past(self, programs: bool) -> Adapter {
        Adapter { programs, ..self }
    }

    /// What commands are told that ask for the mount.
    pub fn known_as(self, facts: Facts) -> Adapter {
        Adapter { control: Control::new(facts), ..self }
    }

    /// Other than the usual number of nodes may be known; `None`: the usual one.
    pub fn with_most_nodes(self, most: Option<usize>) -> Adapter {
        Adapter { most_nodes: most.unwrap_or(bound::MOST), ..self }
    }

    /// The process can act as other users, and is to do so where the storage's
    /// file system judges.
    pub fn acting_as_others(self, can: bool) -> Adapter {
        let judge = Arc::new(Judge::new(&self.overlay, can));
        let files = Arc::new(Files::new(&self.overlay, Arc::clone(&judge)));
        Adapter { files, judge, ..self }
    }

    fn attr_ttl(&self, node: u64) -> Duration {
        if self.files.is_mapped(&self.overlay, node) { Duration::ZERO } else { self.ttl(node) }
    }

    /// How long a node, and a name that leads to it, may be believed in.
    fn ttl(&self, node: u64) -> Duration {
        self.overlay.trust(Some(NodeId(node))).unwrap_or(LONG)
    }

    fn attr(&self, node: u64, attr: &core::Attr) -> fuse_server::Attr {
        let (uid, gid) = self.ids.owners(attr.uid, attr.gid);
        let ino = self.files.number(node, attr.ino);
        fuse_server::Attr { ino, uid, gid, ..convert::attr(attr) }
    }

    /// `then` is called when a read-only mount has begun to write.
    pub fn when_written(&self, then: Box<dyn Fn() + Send + Sync>) {
        self.written.followed_by(then);
    }

    /// Starts the threads that look after the mount. They stay in the mount namespace
    /// in which they are started.
    pub fn start(&self, notifier: &Notifier) {
        if let Some(time) = self.overlay.trust(None) {
            live::watch(self.files.watched(), &self.overlay, notifier, time);
        }
        behind::watch(&self.overlay);
        bound::watch(self.most_nodes, &self.overlay, notifier);
    }

    /// Something is to be changed, which the kernel asks for only where its mount is
    /// not read-only (any more): so this one begins to write, if it has not before.
    fn changes(&self) -> Result<()> {
        if self.overlay.is_read_only() {
            self.written.begin(&self.overlay, &self.files, false)?;
        }
        Ok(())
    }

    fn caller(&self, req: &Request, umask: u32) -> Result<core::Caller> {
        self.ids.caller(convert::caller(req, umask))
    }

    fn entry(&self, entry: &core::Entry) -> Entry {
        Entry {
            node: entry.node.0,
            generation: 0,
            attr: self.attr(entry.node.0, &entry.attr),
            entry_ttl: self.ttl(entry.node.0),
            attr_ttl: self.attr_ttl(entry.node.0),
        }
    }

    fn attr_reply(&self, node: u64, attr: &core::Attr) -> AttrReply {
        AttrReply { attr: self.attr(node, attr), ttl: self.attr_ttl(node) }
    }

    /// Whether a change of data by this caller takes setuid and setgid bits
    /// away, for requests in which the kernel does not say so.
    fn kills_id_bits(&self, req: &Request, node: u64) -> bool {
        data::has_id_bits(&self.overlay, node, None) && !caller::holds(req, Capability::FsetId)
    }

    /// Enters a file that was opened for a request.
    fn opened(
        &self,
        req: &Request,
        file: Arc<OpenFile>,
        flags: u32,
        created: Option<u32>,
    ) -> OpenReply {
        let goes_on = self.judge.goes_on(req, &self.overlay, convert::writes(flags));
        self.files.opened(&self.overlay, file, &How { flags, created, goes_on })
    }

    fn dir(&self, fh: u64) -> Result<Arc<OpenDir>> {
        self.dirs.get(fh).ok_or(Errno::BADF)
    }
}

impl FileSystem for Adapter {
    fn failed(&self, req: &Request, operation: &'static str, errno: Errno) {
        self.failures.tell(&self.overlay, req, operation, errno);
    }

    fn give_back(&self) {
        crate::daemon::let_go_of_code();
    }

    fn serve(&self, work: &mut dyn FnMut()) -> Result<()> {
        let _pass = self.overlay.pass()?;
        work();
        Ok(())
    }

    fn init(&self, negotiated: &Negotiated, notifier: &Notifier) -> Result<()> {
        caller::can_see();
        self.minor.store(negotiated.minor, Ordering::Relaxed);
        self.files.connect(negotiated, notifier, self.programs);
        self.control.connect(notifier);
        Ok(())
    }

    fn lookup(&self, req: &Request, name: &[u8]) -> Result<Entry> {
        // Only for file handles: it resolves the dots of paths itself.
        match name {
            b"." => return Ok(self.entry(&self.overlay.lookup_node(NodeId(req.node))?)),
            b".." => return Ok(self.entry(&self.overlay.lookup_parent(NodeId(req.node))?)),
            _ => {}
        }
        let found = self.overlay.lookup(NodeId(req.node), name)?;
        Ok(found.map_or_else(
            || Entry::negative(self.overlay.trust(None).unwrap_or(LONG)),
            |entry| self.entry(&entry),
        ))
    }

    fn forget(&self, node: u64, count: u64) {
        self.overlay.forget(NodeId(node), count);
        self.files.forgotten(&self.overlay, node);
        self.overlay.let_go(NodeId(node));
    }

    fn getattr(&self, req: &Request, _fh: Option<u64>) -> Result<AttrReply> {
        let attr = self.overlay.getattr(NodeId(req.node))?;
        Ok(self.attr_reply(req.node, &attr))
    }

    fn setattr(&self, req: &Request, set: &SetAttr) -> Result<AttrReply> {
        self.changes()?;
        let file = set.fh.and_then(|fh| self.files.get(fh).ok());
        let file = file.as_ref().map(|file| &*file.file);
        let set = self.ids.set_attr(convert::set_attr(set))?;
        let change = || self.judge.run(req, || self.overlay.setattr(NodeId(req.node), &set, file));
        let attr = match set.size {
            Some(_) => self.files.about_to_write(&self.overlay, req.node, change),
            None => change(),
        }?;
        Ok(self.attr_reply(req.node, &attr))
    }

    fn readlink(&self, req: &Request, out: &mut [u8]) -> Result<usize> {
        let target = self.overlay.readlink(NodeId(req.node))?;
        out.get_mut(..target.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(&target);
        Ok(target.len())
    }

    fn mknod(&self, req: &Request, args: &MknodArgs<'_>) -> Result<Entry> {
        self.changes()?;
        let caller = self.caller(req, args.umask)?;
        let (parent, mode) = (NodeId(req.node), self.new_mode(req, args.mode));
        let make = || self.overlay.mknod(&caller, parent, args.name, mode, args.rdev);
        let entry = self.judge.run(req, make)?;
        Ok(self.entry(&entry))
    }

    fn mkdir(&self, req: &Request, args: &MkdirArgs<'_>) -> Result<Entry> {
        self.changes()?;
        let caller = self.caller(req, args.umask)?;
        let make = || self.overlay.mkdir(&caller, NodeId(req.node), args.name, args.mode);
        let entry = self.judge.run(req, make)?;
        Ok(self.entry(&entry))
    }

    fn symlink(&self, req: &Request, name: &[u8], target: &[u8]) -> Result<Entry> {
        self.changes()?;
        let caller = self.caller(req, 0)?;
        let make = || self.overlay.symlink(&caller, NodeId(req.node), name, target);
        let entry = self.judge.run(req, make)?;
        Ok(self.entry(&entry))
    }

    fn unlink(&self, req: &Request, name: &[u8]) -> Result<()> {
        self.changes()?;
        self.overlay.unlink(NodeId(req.node), name)
    }

    fn rmdir(&self, req: &Request, name: &[u8]) -> Result<()> {
        self.changes()?;
        self.overlay.rmdir(NodeId(req.node), name)
    }

    fn rename(&self, req: &Request, args: &RenameArgs<'_>) -> Result<()> {
        self.changes()?;
        let mode = convert::rename_mode(args.flags, || self.caller(req, 0))?;
        let (from, to) = (NodeId(req.node), NodeId(args.new_parent));
        self.judge.run(req, || self.overlay.rename(from, args.name, to, args.new_name, mode))
    }

    fn link(&self, req: &Request, node: u64, new_name: &[u8]) -> Result<Entry> {
        self.changes()?;
        let link = || self.overlay.link(NodeId(node), NodeId(req.node), new_name);
        let entry = self.judge.run(req, link)?;
        Ok(self.entry(&entry))
    }

    fn open(&self, req: &Request, args: &OpenArgs) -> Result<OpenReply> {
        let mode = convert::open_mode(args.flags, args.kill_suidgid);
        if mode.write || mode.truncate {
            self.changes()?;
        }
        let open = || self.overlay.open(NodeId(req.node), mode);
        // The copy-up may drop bits that spoke of another owner.
        let kills = args.kill_suidgid || mode.write && self.ids.is_squashed();
        let file = self.files.dropping_id_bits(&self.overlay, req.node, kills, || {
            if !mode.write && !mode.truncate {
                return open();
            }
            let open = || self.judge.run(req, open);
            self.files.about_to_write(&self.overlay, req.node, open)
        })?;
        Ok(self.opened(req, file, args.flags, None))
    }

    fn create(&self, req: &Request, args: &CreateArgs<'_>) -> Result<(Entry, OpenReply)> {
        self.changes()?;
        let caller = self.caller(req, args.umask)?;
        let (open, mode) = (convert::open_mode(args.flags, false), self.new_mode(req, args.mode));
        let create = || self.overlay.create(&caller, NodeId(req.node), args.name, mode, open);
        match self.judge.run(req, create) {
            Ok((entry, file)) => {
                let reply = self.opened(req, file, args.flags, Some(mode));
                Ok((self.entry(&entry), reply))
            }
            // The kernel believed that there is nothing, so it has not judged
            // whether this caller may open what is there (a base that others
            // change). It looks the name up again, and then does.
            Err(Errno::EXIST) if args.flags & libc::O_EXCL as u32 == 0 => Err(Errno::STALE),
            Err(errno) => Err(errno),
        }
    }

    fn tmpfile(&self, req: &Request, args: &CreateArgs<'_>) -> Result<(Entry, OpenReply)> {
        self.changes()?;
        let caller = self.caller(req, args.umask)?;
        let (open, mode) = (convert::open_mode(args.flags, false), self.new_mode(req, args.mode));
        let make = || self.overlay.tmpfile(&caller, NodeId(req.node), mode, open);
        let (entry, file) = self.judge.run(req, make)?;
        let reply = self.opened(req, file, args.flags, Some(mode));
        Ok((self.entry(&entry), reply))
    }

    fn read(&self, _req: &Request, args: &ReadArgs, out: &mut [u8]) -> Result<usize> {
        self.overlay.read(&self.files.get(args.fh)?.file, out, args.offset)
    }

    fn write(&self, req: &Request, args: &WriteArgs, data: &[u8]) -> Result<usize> {
        self.changes()?;
        let file = self.files.get(args.fh)?;
        let kills = args.kill_suidgid;
        self.files.dropping_id_bits(&self.overlay, req.node, kills, || {
            let write = || self.overlay.write(&file.file, data, args.offset, kills);
            self.judge.run_by(file.goes_on, req, write)
        })
    }

    fn release(&self, _req: &Request, args: &ReleaseArgs) -> Result<()> {
        self.files.released(&self.overlay, args.fh);
        Ok(())
    }

    fn fsync(&self, _req: &Request, fh: u64, datasync: bool) -> Result<()> {
        self.overlay.fsync(&self.files.get(fh)?.file, datasync)
    }

    fn opendir(&self, req: &Request, _args: &OpenArgs) -> Result<OpenReply> {
        let dir = self.overlay.open_dir(NodeId(req.node))?;
        // A listing from the kernel's cache would not move the time of access.
        let flags = match self.overlay.access_is_due(NodeId(req.node)) {
            _ if self.overlay.trust(None).is_some() => OpenFlags::empty(),
            true => OpenFlags::CACHE_DIR,
            false => OpenFlags::CACHE_DIR | OpenFlags::KEEP_CACHE,
        };
        Ok(OpenReply { fh: self.dirs.insert(dir), flags, backing_id: 0 })
    }

    fn readdir(&self, _: &Request, fh: u64, offset: u64, sink: &mut DirSink<'_>) -> Result<()> {
        let dir = self.dir(fh)?;
        self.overlay.read_dir(&dir, offset, ListFor::Entries, &mut |entry| {
            sink.add(entry.ino, entry.next, entry.kind, entry.name)
        })
    }

    fn readdirplus(
        &self,
        req: &Request,
        fh: u64,
        offset: u64,
        sink: &mut DirPlusSink<'_>,
    ) -> Result<()> {
        let dir = self.dir(fh)?;
        self.overlay.read_dir(&dir, offset, ListFor::Lookups, &mut |listed| {
            let found = match listed.name {
                b"." | b".." => Ok(None),
                name if sink.fits(name) => self.overlay.lookup(NodeId(req.node), name),
                _ => return false,
            };
            match found {
                Ok(Some(entry)) if sink.add(&self.entry(&entry), listed.next, listed.name) => true,
                Ok(Some(entry)) => {
                    self.forget(entry.node.0, 1);
                    false
                }
                _ => sink.add_name(listed.ino, listed.next, listed.kind, listed.name),
            }
        })
    }

    fn releasedir(&self, _req: &Request, args: &ReleaseArgs) -> Result<()> {
        self.control.closed(args.fh);
        self.dirs.remove(args.fh);
        Ok(())
    }

    fn fsyncdir(&self, req: &Request, _fh: u64, _datasync: bool) -> Result<()> {
        self.overlay.fsync_dir(NodeId(req.node))
    }

    fn statfs(&self, _req: &Request) -> Result<StatFs> {
        Ok(convert::space(&self.overlay.space()?))
    }

    fn setxattr(&self, req: &Request, args: &SetXattrArgs<'_>) -> Result<()> {
        self.changes()?;
        self.set_attribute(req, args)
    }

    fn getxattr(&self, req: &Request, name: &[u8], out: &mut [u8]) -> Result<usize> {
        self.get_attribute(NodeId(req.node), name, out)
    }

    fn listxattr(&self, req: &Request, out: &mut [u8]) -> Result<usize> {
        let trusted = || caller::holds(req, Capability::SysAdmin);
        self.overlay.listxattr(NodeId(req.node), &trusted, out)
    }

    fn removexattr(&self, req: &Request, name: &[u8]) -> Result<()> {
        self.changes()?;
        self.overlay.removexattr(NodeId(req.node), name)
    }

    fn ioctl(&self, req: &Request, args: &IoctlArgs<'_>, out: &mut [u8]) -> Result<IoctlReply> {
        if control::is(args.cmd) {
            return self.control.ioctl(&self.overlay, (&self.files, &self.dirs), (req, args), out);
        }
        let _pass = self.overlay.pass()?;
        let minor = self.minor.load(Ordering::Relaxed);
        match args.cmd {
            // Older kernels do not look whether the mount is read-only.
            cmd if flags::changes(cmd) && minor >= flags::JUDGES => self.changes()?,
            flags::WRITE => {
                return flags::may_mount(req)
                    .and_then(|()| self.written.begin(&self.overlay, &self.files, true))
                    .map(|()| IoctlReply { result: 0, len: 0 });
            }
            _ => {}
        }
        let reply = flags::ioctl(&self.overlay, req, minor, args, out)?;
        if flags::changes(args.cmd) {
            // The kernel does not see that this moves the time of change.
            self.files.forget_attributes(req.node);
        }
        Ok(reply)
    }

    fn fallocate(&self, req: &Request, args: &FallocateArgs) -> Result<()> {
        self.changes()?;
        let file = self.files.get(args.fh)?;
        let kills = self.kills_id_bits(req, req.node);
        self.files.dropping_id_bits(&self.overlay, req.node, kills, || {
            self.judge.run_by(file.goes_on, req, || {
                self.overlay.fallocate(&file.file, args.mode, args.offset, args.length, kills)
            })
        })
    }

    fn lseek(&self, _req: &Request, fh: u64, offset: u64, whence: u32) -> Result<u64> {
        let whence = i32::try_from(whence).map_err(|_| Errno::INVAL)?;
        self.overlay.seek(&self.files.get(fh)?.file, offset, whence)
    }

    fn copy_file_range(&self, req: &Request, args: &CopyFileRangeArgs) -> Result<u64> {
        self.changes()?;
        let (from, to) = (self.files.get(args.fh_in)?, self.files.get(args.fh_out)?);
        let len = usize::try_from(args.len).unwrap_or(usize::MAX);
        let node = to.file.node_id().0;
        let kills = self.kills_id_bits(req, node);
        let copied = self.files.dropping_id_bits(&self.overlay, node, kills, || {
            let (from, to) = ((&*from.file, args.offset_in), (&*to.file, args.offset_out));
            self.judge.run(req, || self.overlay.copy_range(from, to, len, kills))
        })?;
        Ok(copied as u64)
    }

    fn statx(&self, req: &Request, _args: &StatxArgs) -> Result<StatxReply> {
        if !self.birth_times {
            // The kernel asks by GETATTR then, where what came with the name
            // does not do.
            return Err(Errno::NOSYS);
        }
        let attr = self.overlay.getattr(NodeId(req.node))?;
        let btime = attr.btime.map(convert::timestamp);
        let AttrReply { attr, ttl } = self.attr_reply(req.node, &attr);
        Ok(StatxReply { attr, btime, ttl, ..StatxReply::default() })
    }
}

#[cfg(test)]
mod tests;
