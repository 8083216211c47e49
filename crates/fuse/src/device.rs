//! The device `/dev/fuse`: opening it and its ioctls.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::abi;

/// Path of the device.
pub const PATH: &str = "/dev/fuse";

/// An open descriptor of the device: once mounted, one end of a connection
/// with the kernel.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    /// Opens the device, not yet connected to anything.
    ///
    /// Errors: ENOENT (no such device node), ENODEV (no FUSE in the kernel),
    /// EACCES.
    pub fn open() -> Result<Device, Errno> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Device(rustix::fs::open(PATH, flags, Mode::empty())?))
    }

    /// Takes over a descriptor that is mounted already (from a privileged
    /// helper, or handed down by a parent process).
    pub fn from_fd(fd: OwnedFd) -> Device {
        Device(fd)
    }

    /// Whether there is still a mount, or at least no end of the connection.
    pub(crate) fn is_connected(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(0) => true,
            Ok(_) => fds.iter().all(|fd| !fd.revents().contains(PollFlags::ERR)),
            Err(_) => false,
        }
    }

    /// Whether there is something to read within a time, or reading fails: what it
    /// says then counts.
    pub(crate) fn has_request_within(&self, time: Duration) -> bool {
        let Ok(time) = Timespec::try_from(time) else { return true };
        !matches!(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)), Ok(0))
    }

    /// A further descriptor of the same connection with a queue of its own.
    pub(crate) fn try_clone(&self) -> Result<Device, Errno> {
        let clone = Device::open()?;
        let mut source = self.0.as_raw_fd().cast_unsigned();
        // SAFETY: the ioctl reads the u32 it is given the address of, which
        // lives across the call; both descriptors are open.
        let rc =
            unsafe { libc::ioctl(clone.0.as_raw_fd(), abi::DEV_IOC_CLONE as _, &raw mut source) };
        check(rc)?;
        Ok(clone)
    }

    /// Registers a backing file.
    pub(crate) fn backing_open(&self, fd: BorrowedFd<'_>) -> Result<i32, Errno> {
        let mut map = abi::BackingMap { fd: fd.as_raw_fd(), flags: 0, padding: 0 };
        // SAFETY: the ioctl reads a `fuse_backing_map`, whose layout
        // `BackingMap` has, and which lives across the call.
        let rc = unsafe {
            libc::ioctl(self.0.as_raw_fd(), abi::DEV_IOC_BACKING_OPEN as _, &raw mut map)
        };
        check(rc)
    }

    /// Gives a backing file up.
    pub(crate) fn backing_close(&self, id: i32) -> Result<(), Errno> {
        let mut id = id.cast_unsigned();
        // SAFETY: the ioctl reads the u32 it is given the address of, which
        // lives across the call.
        let rc = unsafe {
            libc::ioctl(self.0.as_raw_fd(), abi::DEV_IOC_BACKING_CLOSE as _, &raw mut id)
        };
        check(rc).map(drop)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn check(rc: libc::c_int) -> Result<i32, Errno> {
    if rc < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        return Err(Errno::from_raw_os_error(errno));
    }
    Ok(rc)
}
