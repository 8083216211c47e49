use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fuse_server::*;
use rustix::io::Errno;

const DIR: u32 = 0o040000;
const REG: u32 = 0o100000;
const LNK: u32 = 0o120000;
/// Added to a node's number to make its `st_ino`, so that confusing both shows.
pub const INO: u64 = 1000;

#[derive(Clone, Default)]
struct Inode {
    attr: Attr,
    data: Vec<u8>,
    children: BTreeMap<Vec<u8>, u64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    lookups: u64,
}

pub struct MemFs {
    inodes: Mutex<BTreeMap<u64, Inode>>,
    pub inits: AtomicUsize,
    pub destroys: AtomicUsize,
    pub slow: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
    pub reads: AtomicUsize,
}

impl MemFs {
    pub fn new() -> MemFs {
        let root = Inode {
            attr: Attr { ino: INO + 1, mode: DIR | 0o777, nlink: 1, ..Attr::default() },
            ..Inode::default()
        };
        MemFs {
            inodes: Mutex::new(BTreeMap::from([(ROOT_ID, root)])),
            inits: AtomicUsize::new(0),
            destroys: AtomicUsize::new(0),
            slow: Mutex::new(None),
            reads: AtomicUsize::new(0),
        }
    }

    /// Nodes that exist or that the kernel knows.
    pub fn nodes(&self) -> usize {
        self.inodes.lock().unwrap().len()
    }

    fn with<T>(&self, node: u64, f: impl FnOnce(&mut Inode) -> Result<T>) -> Result<T> {
        let mut inodes = self.inodes.lock().unwrap();
        f(inodes.get_mut(&node).ok_or(Errno::STALE)?)
    }

    fn entry(&self, node: u64) -> Result<Entry> {
        self.with(node, |inode| {
            inode.lookups += 1;
            Ok(Entry {
                node,
                generation: 0,
                attr: inode.attr,
                entry_ttl: Duration::from_secs(60),
                attr_ttl: Duration::from_secs(60),
            })
        })
    }

    fn make(&self, req: &Request, name: Option<&[u8]>, inode: Inode) -> Result<Entry> {
        let mut inodes = self.inodes.lock().unwrap();
        let node = inodes.keys().last().unwrap() + 1;
        let mut inode = inode;
        inode.attr.ino = INO + node;
        inode.attr.nlink = u32::from(name.is_some());
        (inode.attr.uid, inode.attr.gid) = (req.uid, req.gid);
        if let Some(name) = name {
            let parent = inodes.get_mut(&req.node).ok_or(Errno::STALE)?;
            if parent.children.contains_key(name) {
                return Err(Errno::EXIST);
            }
            parent.children.insert(name.to_vec(), node);
        }
        inodes.insert(node, inode);
        drop(inodes);
        self.entry(node)
    }

    fn child(&self, parent: u64, name: &[u8]) -> Result<u64> {
        self.with(parent, |dir| dir.children.get(name).copied().ok_or(Errno::NOENT))
    }

    fn remove(&self, parent: u64, name: &[u8]) -> Result<()> {
        let node = self.child(parent, name)?;
        self.with(parent, |dir| Ok(dir.children.remove(name)))?;
        self.with(node, |inode| {
            inode.attr.nlink -= 1;
            Ok(())
        })?;
        self.drop_unused(node);
        Ok(())
    }

    fn drop_unused(&self, node: u64) {
        let mut inodes = self.inodes.lock().unwrap();
        if inodes.get(&node).is_some_and(|inode| inode.attr.nlink == 0 && inode.lookups == 0) {
            inodes.remove(&node);
        }
    }

    fn of_mode(mode: u32) -> Inode {
        Inode { attr: Attr { mode, blksize: 4096, ..Attr::default() }, ..Inode::default() }
    }
}

fn copy_out(value: &[u8], out: &mut [u8]) -> Result<usize> {
    if !out.is_empty() {
        out.get_mut(..value.len()).ok_or(Errno::RANGE)?.copy_from_slice(value);
    }
    Ok(value.len())
}

impl FileSystem for MemFs {
    fn init(&self, _: &Negotiated, _: &Notifier) -> Result<()> {
        self.inits.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn destroy(&self) {
        self.destroys.fetch_add(1, Ordering::SeqCst);
    }

    fn lookup(&self, req: &Request, name: &[u8]) -> Result<Entry> {
        if let Some(number) = name.strip_prefix(b"errno ") {
            let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
            return Err(Errno::from_raw_os_error(number.ok_or(Errno::INVAL)?));
        }
        match name {
            b"panic" => panic!("as asked for"),
            // The second does not say so.
            b"slow" | b"silent" => {
                let _section = (name == b"slow").then(blocking_section);
                if let Some(go_on) = &*self.slow.lock().unwrap() {
                    let _ = go_on.recv_timeout(Duration::from_secs(10));
                }
                Err(Errno::NOENT)
            }
            name if name.starts_with(b"nothing") => Ok(Entry::negative(Duration::from_secs(60))),
            name => self.entry(self.child(req.node, name)?),
        }
    }

    fn forget(&self, node: u64, count: u64) {
        let _ = self.with(node, |inode| {
            inode.lookups = inode.lookups.checked_sub(count).expect("forgets balance");
            Ok(())
        });
        self.drop_unused(node);
    }

    fn getattr(&self, req: &Request, _: Option<u64>) -> Result<AttrReply> {
        self.with(req.node, |inode| Ok(AttrReply { attr: inode.attr, ttl: Duration::ZERO }))
    }

    fn setattr(&self, req: &Request, set: &SetAttr) -> Result<AttrReply> {
        self.with(req.node, |inode| {
            let attr = &mut inode.attr;
            if let Some(mode) = set.mode {
                attr.mode = (attr.mode & !0o7777) | (mode & 0o7777);
            }
            attr.uid = set.uid.unwrap_or(attr.uid);
            attr.gid = set.gid.unwrap_or(attr.gid);
            if let Some(size) = set.size {
                attr.size = size;
                inode.data.resize(size as usize, 0);
            }
            if let Some(SetTime::At(time)) = set.mtime {
                attr.mtime = time;
            }
            if let Some(SetTime::At(time)) = set.atime {
                attr.atime = time;
            }
            Ok(())
        })?;
        self.getattr(req, None)
    }

    fn readlink(&self, req: &Request, out: &mut [u8]) -> Result<usize> {
        self.with(req.node, |inode| copy_out(&inode.data, out))
    }

    fn mknod(&self, req: &Request, args: &MknodArgs<'_>) -> Result<Entry> {
        let mut inode = MemFs::of_mode(args.mode & !args.umask);
        inode.attr.rdev = args.rdev;
        self.make(req, Some(args.name), inode)
    }

    fn mkdir(&self, req: &Request, args: &MkdirArgs<'_>) -> Result<Entry> {
        let mode = DIR | (args.mode & 0o7777 & !args.umask);
        self.make(req, Some(args.name), MemFs::of_mode(mode))
    }

    fn symlink(&self, req: &Request, name: &[u8], target: &[u8]) -> Result<Entry> {
        let mut inode = MemFs::of_mode(LNK | 0o777);
        inode.data = target.to_vec();
        inode.attr.size = target.len() as u64;
        self.make(req, Some(name), inode)
    }

    fn unlink(&self, req: &Request, name: &[u8]) -> Result<()> {
        self.remove(req.node, name)
    }

    fn rmdir(&self, req: &Request, name: &[u8]) -> Result<()> {
        let node = self.child(req.node, name)?;
        if self.with(node, |inode| Ok(!inode.children.is_empty()))? {
            return Err(Errno::NOTEMPTY);
        }
        self.remove(req.node, name)
    }

    fn rename(&self, req: &Request, args: &RenameArgs<'_>) -> Result<()> {
        let node = self.child(req.node, args.name)?;
        if self.child(args.new_parent, args.new_name).is_ok() {
            match args.flags {
                0 => self.remove(args.new_parent, args.new_name)?,
                libc::RENAME_NOREPLACE => return Err(Errno::EXIST),
                _ => return Err(Errno::INVAL),
            }
        }
        self.with(req.node, |dir| Ok(dir.children.remove(args.name)))?;
        self.with(args.new_parent, |dir| Ok(dir.children.insert(args.new_name.to_vec(), node)))?;
        Ok(())
    }

    fn link(&self, req: &Request, node: u64, new_name: &[u8]) -> Result<Entry> {
        self.with(req.node, |dir| Ok(dir.children.insert(new_name.to_vec(), node)))?;
        self.with(node, |inode| {
            inode.attr.nlink += 1;
            Ok(())
        })?;
        self.entry(node)
    }

    fn open(&self, req: &Request, args: &OpenArgs) -> Result<OpenReply> {
        if args.flags & libc::O_TRUNC as u32 != 0 {
            self.setattr(req, &SetAttr { size: Some(0), ..SetAttr::default() })?;
        }
        Ok(OpenReply { fh: req.node, ..OpenReply::default() })
    }

    fn create(&self, req: &Request, args: &CreateArgs<'_>) -> Result<(Entry, OpenReply)> {
        let mode = REG | (args.mode & 0o7777 & !args.umask);
        let entry = self.make(req, Some(args.name), MemFs::of_mode(mode))?;
        Ok((entry, OpenReply { fh: entry.node, ..OpenReply::default() }))
    }

    fn tmpfile(&self, req: &Request, args: &CreateArgs<'_>) -> Result<(Entry, OpenReply)> {
        let entry = self.make(req, None, MemFs::of_mode(REG | (args.mode & 0o7777)))?;
        Ok((entry, OpenReply { fh: entry.node, ..OpenReply::default() }))
    }

    fn read(&self, req: &Request, args: &ReadArgs, out: &mut [u8]) -> Result<usize> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.with(req.node, |inode| {
            let rest = inode.data.get(args.offset as usize..).unwrap_or_default();
            let len = rest.len().min(out.len());
            out[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        })
    }

    fn write(&self, req: &Request, args: &WriteArgs, data: &[u8]) -> Result<usize> {
        // Laid out for direct I/O below the file system.
        assert_eq!(data.as_ptr() as usize % 4096, 0);
        self.with(req.node, |inode| {
            let start = args.offset as usize;
            let end = start + data.len();
            if inode.data.len() < end {
                inode.data.resize(end, 0);
            }
            inode.data[start..end].copy_from_slice(data);
            inode.attr.size = inode.data.len() as u64;
            Ok(data.len())
        })
    }

    fn flush(&self, _: &Request, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    fn fsync(&self, _: &Request, _: u64, _: bool) -> Result<()> {
        Ok(())
    }

    fn readdir(&self, req: &Request, _: u64, offset: u64, sink: &mut DirSink<'_>) -> Result<()> {
        let children = self.with(req.node, |dir| Ok(dir.children.clone()))?;
        for (next, (name, node)) in (1..).zip(&children).skip(offset as usize) {
            if !sink.add(INO + node, next, 0, name) {
                break;
            }
        }
        Ok(())
    }

    fn readdirplus(
        &self,
        req: &Request,
        _: u64,
        offset: u64,
        sink: &mut DirPlusSink<'_>,
    ) -> Result<()> {
        let children = self.with(req.node, |dir| Ok(dir.children.clone()))?;
        for (next, (name, &node)) in (1..).zip(&children).skip(offset as usize) {
            if !sink.fits(name) {
                break;
            }
            assert!(sink.add(&self.entry(node)?, next, name));
        }
        Ok(())
    }

    fn statfs(&self, _: &Request) -> Result<StatFs> {
        Ok(StatFs { blocks: 1000, bfree: 600, bavail: 500, ..StatFs::default() })
    }

    fn setxattr(&self, req: &Request, args: &SetXattrArgs<'_>) -> Result<()> {
        self.with(req.node, |inode| {
            inode.xattrs.insert(args.name.to_vec(), args.value.to_vec());
            Ok(())
        })
    }

    fn getxattr(&self, req: &Request, name: &[u8], out: &mut [u8]) -> Result<usize> {
        self.with(req.node, |inode| copy_out(inode.xattrs.get(name).ok_or(Errno::NODATA)?, out))
    }

    fn listxattr(&self, req: &Request, out: &mut [u8]) -> Result<usize> {
        self.with(req.node, |inode| {
            let names: Vec<u8> =
                inode.xattrs.keys().flat_map(|n| [n, &b"\0"[..]].concat()).collect();
            copy_out(&names, out)
        })
    }

    fn removexattr(&self, req: &Request, name: &[u8]) -> Result<()> {
        self.with(req.node, |inode| inode.xattrs.remove(name).map(drop).ok_or(Errno::NODATA))
    }

    fn fallocate(&self, req: &Request, args: &FallocateArgs) -> Result<()> {
        let size = Some(args.offset + args.length);
        self.setattr(req, &SetAttr { size, ..SetAttr::default() }).map(drop)
    }

    fn lseek(&self, _: &Request, _: u64, offset: u64, whence: u32) -> Result<u64> {
        // One hole from 100 to 200, for the sake of the test.
        match whence as i32 {
            libc::SEEK_HOLE => Ok(offset.max(100)),
            libc::SEEK_DATA => Ok(if offset >= 100 { offset.max(200) } else { offset }),
            _ => Err(Errno::INVAL),
        }
    }

    fn copy_file_range(&self, req: &Request, args: &CopyFileRangeArgs) -> Result<u64> {
        let data = self.with(req.node, |inode| Ok(inode.data.clone()))?;
        let from = args.offset_in as usize;
        let data = data.get(from..).unwrap_or_default();
        let data = &data[..data.len().min(args.len as usize)];
        self.with(args.node_out, |inode| {
            assert_eq!(args.offset_out, 0);
            inode.data = data.to_vec();
            inode.attr.size = data.len() as u64;
            Ok(data.len() as u64)
        })
    }

    fn statx(&self, req: &Request, _: &StatxArgs) -> Result<StatxReply> {
        self.with(req.node, |inode| {
            let btime = Some(Timestamp { sec: 12345, nsec: 678 });
            Ok(StatxReply { attr: inode.attr, btime, ..StatxReply::default() })
        })
    }

    fn ioctl(&self, _: &Request, args: &IoctlArgs<'_>, out: &mut [u8]) -> Result<IoctlReply> {
        out.fill(args.cmd as u8);
        Ok(IoctlReply { result: 7, len: out.len() })
    }
}
