//! A mount namespace that the process is not in any more, or whose root it has left:
//! how to unmount there all the same.
//!
//! No descriptor of the namespace is kept, for that would keep the namespace, and so
//! the mount. It is found again by the processes that are in it; where there are
//! none, nobody sees the mount.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A mount namespace by its number.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Device and inode number in nsfs.
    id: (u32, u32, u64),
    /// A proc file system in which its processes are seen.
    proc: Arc<OwnedFd>,
    /// The process by which it was found last, or 0.
    last: Arc<AtomicU32>,
}

impl Namespace {
    /// That of the calling thread. `proc`: a descriptor of a proc file system.
    ///
    /// # Errors
    /// ENOENT: without namespaces.
    pub fn current(proc: Arc<OwnedFd>) -> Result<Namespace, Errno> {
        let id = id_at(proc.as_fd(), "thread-self/ns/mnt")?;
        Ok(Namespace { id, proc, last: Arc::default() })
    }

    /// Runs something in it, on a thread of its own whose root is that of the
    /// namespace.
    ///
    /// # Errors
    /// ESRCH: no process is in it. EPERM: needs `CAP_SYS_ADMIN` and
    /// `CAP_SYS_CHROOT`.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Errno> {
        let there = self.find().ok_or(Errno::SRCH)?;
        let mut work = Some(work);
        let mut enter = || {
            // SAFETY: root and working directory become this thread's own; no
            // descriptor is affected.
            unsafe { unshare_unsafe(UnshareFlags::FS) }?;
            move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Mount))?;
            work.take().map(|work| work()).ok_or(Errno::IO)
        };
        let done = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("unmount".to_owned());
            let entered = thread.spawn_scoped(scope, &mut enter).ok()?;
            Some(entered.join().unwrap_or(Err(Errno::IO)))
        });
        // Without a thread this one goes, and stays there: at the end of a daemon that
        // found no room for its threads.
        done.unwrap_or_else(enter)
    }

    /// A descriptor of the namespace, by somebody who is in it. Single threads may be
    /// where their process is not.
    fn find(&self) -> Option<OwnedFd> {
        let by = |pid: u32| self.open(&format!("{pid}/ns/mnt"));
        if let Some(found) = by(self.last.load(Ordering::Relaxed)) {
            return Some(found);
        }
        let processes = numbers(self.proc.as_fd(), ".");
        let by_process = processes.iter().find_map(|&pid| {
            let found = by(pid)?;
            self.last.store(pid, Ordering::Relaxed);
            Some(found)
        });
        by_process.or_else(|| {
            processes.iter().find_map(|pid| {
                let tasks = format!("{pid}/task");
                let threads = numbers(self.proc.as_fd(), &tasks);
                threads.iter().find_map(|tid| self.open(&format!("{tasks}/{tid}/ns/mnt")))
            })
        })
    }

    fn open(&self, path: &str) -> Option<OwnedFd> {
        if id_at(self.proc.as_fd(), path).ok()? != self.id {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.proc, path, flags, Mode::empty()).ok()?;
        // The process may have gone elsewhere between the two calls.
        (id_at(fd.as_fd(), "").ok()? == self.id).then_some(fd)
    }
}

fn id_at(dir: BorrowedFd<'_>, path: &str) -> Result<(u32, u32, u64), Errno> {
    let stat = rustix::fs::statx(dir, path, AtFlags::EMPTY_PATH, StatxFlags::INO)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}

/// The entries of a directory that are numbers.
fn numbers(proc: BorrowedFd<'_>, path: &str) -> Vec<u32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(proc, path, flags, Mode::empty());
    let entries = opened.and_then(rustix::fs::Dir::new);
    let entries = entries.into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proc() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/proc").unwrap().into())
    }

    #[test]
    fn our_own_is_found() {
        let own = Namespace::current(proc()).unwrap();
        let found = own.find().unwrap();
        assert_eq!(id_at(found.as_fd(), "").unwrap(), own.id);
    }

    #[test]
    fn one_that_is_gone_is_not() {
        let gone = Namespace { id: (0, 0, 1), proc: proc(), last: Arc::default() };
        assert_eq!(gone.run(|| ()), Err(Errno::SRCH));
    }
}
