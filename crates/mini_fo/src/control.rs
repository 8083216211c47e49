//! The control channel: commands talk to the daemon of a live mount through the mount
//! itself, so that they work wherever the mount shows (in a container, in a chroot), and
//! need to know no path of the storage.
//!
//! A command opens a directory of the mount and makes ioctls of our own on it. What it asks
//! for is one JSON object ([`wire::Request`]), sent in pieces; the answer comes in pieces,
//! too. Everything belongs to the open directory: when that is closed, what was asked for
//! ends. Only the owner of the mount and root are answered; for everybody else the mount
//! knows no such ioctl.
#![forbid(unsafe_code)]

pub mod client;
pub mod server;
pub mod wire;
