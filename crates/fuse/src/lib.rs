//! FUSE server library.
#![deny(unsafe_code)]

pub mod abi;
mod args;
mod backing;
mod device;
mod flags;
mod init;
mod notify;
mod reply;
mod server;
mod types;
pub mod wire;

pub use args::*;
pub use backing::{BackingId, BackingRegistry};
pub use device::Device;
pub use init::{Config, InitFlags, Negotiated};
pub use notify::Notifier;
pub use reply::{DirPlusSink, DirSink, ReplyBuf};
pub use server::FileSystem;
pub use types::*;
