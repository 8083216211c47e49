//! A directory with one file in it: `hello MOUNTPOINT`, then `cat
//! MOUNTPOINT/hello`, then `umount MOUNTPOINT`.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fuse_server::{
    Attr, AttrReply, Config, DirSink, Entry, FileSystem, InitFlags, Mount, MountOptions, ROOT_ID,
    ReadArgs, Request, Result, Session,
};
use rustix::io::Errno;

const FILE_ID: u64 = 2;
const CONTENT: &[u8] = b"Hello from user space\n";
const FOREVER: Duration = Duration::from_secs(1 << 30);
const S_IFDIR: u32 = 0o040000;
const S_IFREG: u32 = 0o100000;

struct Hello;

impl Hello {
    fn attr(&self, node: u64) -> Result<Attr> {
        let (mode, nlink, size) = match node {
            ROOT_ID => (S_IFDIR | 0o755, 2, 0),
            FILE_ID => (S_IFREG | 0o444, 1, CONTENT.len() as u64),
            _ => return Err(Errno::NOENT),
        };
        Ok(Attr { ino: node, mode, nlink, size, ..Attr::default() })
    }
}

impl FileSystem for Hello {
    fn lookup(&self, _: &Request, name: &[u8]) -> Result<Entry> {
        if name != b"hello" {
            return Ok(Entry::negative(FOREVER));
        }
        Ok(Entry {
            node: FILE_ID,
            generation: 0,
            attr: self.attr(FILE_ID)?,
            entry_ttl: FOREVER,
            attr_ttl: FOREVER,
        })
    }

    fn getattr(&self, req: &Request, _: Option<u64>) -> Result<AttrReply> {
        Ok(AttrReply { attr: self.attr(req.node)?, ttl: FOREVER })
    }

    fn read(&self, _: &Request, args: &ReadArgs, out: &mut [u8]) -> Result<usize> {
        let rest = usize::try_from(args.offset).ok().and_then(|at| CONTENT.get(at..));
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn readdir(&self, _: &Request, _: u64, offset: u64, sink: &mut DirSink<'_>) -> Result<()> {
        let entries: [(u64, u32, &[u8]); 3] =
            [(ROOT_ID, S_IFDIR, b"."), (ROOT_ID, S_IFDIR, b".."), (FILE_ID, S_IFREG, b"hello")];
        for (next, (ino, kind, name)) in (1..).zip(entries).skip(offset as usize) {
            if !sink.add(ino, next, kind, name) {
                break;
            }
        }
        Ok(())
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let Some(point) = std::env::args_os().nth(1) else {
        return Err("usage: hello MOUNTPOINT".into());
    };
    let options = MountOptions {
        source: "hello".into(),
        subtype: Some("hello".to_owned()),
        ..MountOptions::default()
    };
    let mut config = Config::default();
    config.flags = config.flags.without(InitFlags::DO_READDIRPLUS);
    let mount = Mount::new(Path::new(&point), &options)?;
    let session = Session::new(mount, Arc::new(Hello), &config)?;
    session.run()?;
    Ok(())
}
