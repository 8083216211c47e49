//! A FUSE server library: write a file system as a type with methods, and the
//! kernel mounts it.
//!
//! - Synchronous methods on several threads, which write their results into
//!   the buffer that goes to the kernel ([`FileSystem`]).
//! - Node ids apart from `st_ino`: an object may change its node while its
//!   number stays, and the reverse.
//! - Protocol 7.45 with STATX, TMPFILE, RENAME2, COPY_FILE_RANGE, the
//!   notifications ([`Notifier`]) and passthrough to other files
//!   ([`BackingRegistry`]); negotiated bit by bit, down to Linux 5.4.
//! - Mounting as root, as an ordinary user through `fusermount3`, or inside a
//!   user namespace ([`Mount`]).
//! - A request that makes no sense, or a method that panics, costs that
//!   request an EIO and a log line, never the mount.
//!
//! # A file system from start to end
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use fuse_server::{
//!     Attr, AttrReply, Config, FileSystem, Mount, MountOptions, Request, Result, Session,
//! };
//!
//! /// An empty directory.
//! struct Nothing;
//!
//! impl FileSystem for Nothing {
//!     fn getattr(&self, _: &Request, _: Option<u64>) -> Result<AttrReply> {
//!         let attr = Attr { ino: 1, mode: 0o040755, nlink: 2, ..Attr::default() };
//!         Ok(AttrReply { attr, ttl: Duration::from_secs(3600) })
//!     }
//! }
//!
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let mount = Mount::new(Path::new("/mnt"), &MountOptions::default())?;
//! let session = Session::new(mount, Arc::new(Nothing), &Config::default())?;
//! session.run()?; // until `umount /mnt`
//! # Ok(())
//! # }
//! ```
//!
//! `examples/hello.rs` is a little longer and has a file.
//!
//! # A daemon
//!
//! Fork first, for threads do not survive it: [`Mount::new`], then
//! [`Session::new`], which answers INIT and starts no thread yet, then
//! [`Session::start`], then tell the parent that the tree is usable, then
//! [`Session::run`]. To end on
//! SIGTERM, call [`StopHandle::stop`] from a thread that waits for signals;
//! reader threads receive none.
//!
//! The daemon must never touch its own mount: it would wait for itself.
//! Whatever lies below the mount point, and below the file system, is to be
//! opened before [`Mount::new`]. A daemon whose root may be moved into its mount
//! (pivot_root(2)) takes a root and a mount namespace of its own between
//! [`Session::new`] and [`Session::start`], and says so ([`Mount::has_left`]).
//!
//! # Transports
//!
//! Requests come from `/dev/fuse`, or through io_uring with threads on each
//! CPU where the kernel allows it ([`Config::transport`],
//! [`Session::transport`]). For others, [`Dispatcher`] serves a request in
//! parts ([`RawRequest`]) and builds the answer's body in memory of the
//! caller's choice ([`ReplyBuf`]).

#![deny(unsafe_code)]

pub mod abi;
// Tests share files with those of the finished library.
#[cfg(test)]
extern crate self as fuse_server;

mod args;
mod backing;
mod buffer;
mod crowd;
mod device;
mod dispatch;
mod error;
mod flags;
mod init;
mod load;
pub mod mount;
mod notify;
mod pool;
mod reply;
mod request;
mod sched;
mod server;
mod session;
mod signals;
mod spares;
mod transport;
mod types;
mod uring;
mod watch;
pub mod wire;

pub use args::*;
pub use backing::{BackingId, BackingRegistry};
pub use device::Device;
pub use dispatch::{Answer, Dispatcher};
pub use error::{MountError, SessionError};
pub use init::{Config, InitFlags, Negotiated};
pub use mount::{Mount, MountFlags, MountOptions};
pub use notify::Notifier;
pub use reply::{DirPlusSink, DirSink, ReplyBuf};
pub use request::RawRequest;
pub use server::FileSystem;
pub use session::{Session, StopHandle};
pub use spares::{BlockingSection, before_blocking, blocking_section};
pub use transport::{ENABLE_URING, NoRing, Transport, TransportChoice};
pub use types::*;
