//! Telling the kernel what changed behind its back.

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::abi;
use crate::backing::BackingRegistry;
use crate::device::Device;
use crate::types::Result;
use crate::wire;

/// Sends notifications to the kernel. Cheap to clone, usable on any thread.
///
/// Errors common to all: ENOENT (the kernel does not know the node or name,
/// so there is nothing to do), ENOTCONN or ENODEV (unmounted), EINVAL (the
/// kernel is too old for this notification).
///
/// **Deadlocks.** [`inval_entry`](Self::inval_entry), `expire_entry` and
/// `delete` take the lock of the parent directory, and
/// [`inval_inode`](Self::inval_inode) waits for pages that are being read or
/// written. Do not call them from a method that serves a request on the same
/// node or directory; use another thread.
#[derive(Clone, Debug)]
pub struct Notifier {
    device: Arc<Device>,
}

impl Notifier {
    pub(crate) fn new(device: Arc<Device>) -> Notifier {
        Notifier { device }
    }

    /// The registry of backing files on the same connection.
    pub fn backing(&self) -> BackingRegistry {
        BackingRegistry::new(Arc::clone(&self.device))
    }

    /// Forgets cached attributes of a node, and cached data from `offset` on:
    /// `len` bytes, or all that follow if `len` is 0. With a negative
    /// `offset` only attributes are forgotten.
    pub fn inval_inode(&self, node: u64, offset: i64, len: i64) -> Result<()> {
        let body = abi::NotifyInvalInodeOut { ino: node, off: offset, len };
        self.send(abi::notify::INVAL_INODE, &[wire::bytes_of(&body)])
    }

    /// Forgets a name in a directory, also that it does not exist.
    pub fn inval_entry(&self, parent: u64, name: &[u8]) -> Result<()> {
        self.entry(parent, name, 0)
    }

    /// Lets a name expire: it is looked up anew when next used, but mounts
    /// and watches on it stay. Needs `HAS_EXPIRE_ONLY`.
    pub fn expire_entry(&self, parent: u64, name: &[u8]) -> Result<()> {
        self.entry(parent, name, abi::EXPIRE_ONLY)
    }

    /// Forgets a name and tells watchers that `child` was deleted.
    pub fn delete(&self, parent: u64, child: u64, name: &[u8]) -> Result<()> {
        let body = abi::NotifyDeleteOut { parent, child, namelen: name_len(name)?, padding: 0 };
        self.send(abi::notify::DELETE, &[wire::bytes_of(&body), name, b"\0"])
    }

    /// Puts data into the page cache of a file.
    pub fn store(&self, node: u64, offset: u64, data: &[u8]) -> Result<()> {
        let size = u32::try_from(data.len()).map_err(|_| Errno::INVAL)?;
        let body = abi::NotifyStoreOut { nodeid: node, offset, size, padding: 0 };
        self.send(abi::notify::STORE, &[wire::bytes_of(&body), data])
    }

    /// Makes every cached name stale at once (6.16).
    pub fn inc_epoch(&self) -> Result<()> {
        self.send(abi::notify::INC_EPOCH, &[])
    }

    /// Asks the kernel to drop these nodes if nothing uses them (6.18);
    /// forgets follow for those it drops.
    pub fn prune(&self, nodes: &[u64]) -> Result<()> {
        // The kernel reads the ids by the page; stay well below any limit.
        for chunk in nodes.chunks(256) {
            let body =
                abi::NotifyPruneOut { count: chunk.len() as u32, ..abi::NotifyPruneOut::default() };
            let mut ids = Vec::with_capacity(size_of_val(chunk));
            for id in chunk {
                ids.extend_from_slice(&id.to_ne_bytes());
            }
            self.send(abi::notify::PRUNE, &[wire::bytes_of(&body), &ids])?;
        }
        Ok(())
    }

    /// Asks the kernel to send again all requests that were read but not
    /// answered, with the top bit of their number set. Needs `HAS_RESEND`.
    pub fn resend(&self) -> Result<()> {
        self.send(abi::notify::RESEND, &[])
    }

    fn entry(&self, parent: u64, name: &[u8], flags: u32) -> Result<()> {
        let body = abi::NotifyInvalEntryOut { parent, namelen: name_len(name)?, flags };
        self.send(abi::notify::INVAL_ENTRY, &[wire::bytes_of(&body), name, b"\0"])
    }

    fn send(&self, code: i32, parts: &[&[u8]]) -> Result<()> {
        let header_len = size_of::<abi::OutHeader>();
        let len = header_len + parts.iter().map(|part| part.len()).sum::<usize>();
        let header = abi::OutHeader {
            len: u32::try_from(len).map_err(|_| Errno::INVAL)?,
            error: code,
            unique: 0,
        };
        let mut slices = Vec::with_capacity(1 + parts.len());
        slices.push(IoSlice::new(wire::bytes_of(&header)));
        slices.extend(parts.iter().map(|part| IoSlice::new(part)));
        loop {
            match rustix::io::writev(self.device.as_fd(), &slices) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

fn name_len(name: &[u8]) -> Result<u32> {
    if name.is_empty() || name.len() > 1024 {
        return Err(Errno::INVAL);
    }
    Ok(name.len() as u32)
}
