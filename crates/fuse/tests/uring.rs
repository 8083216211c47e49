//! The transport over io_uring: all tests of mounts, and its own.
//!
//! They switch the kernel's parameter on and back; where they may not, they
//! say so and pass.

#[path = "mounted.rs"]
mod operations;

use std::fs::{self, File};

use fuse_server::Transport;
use operations::common::Mounted;

#[test]
fn rings_are_used() {
    let Some(mounted) = Mounted::default() else { return };
    assert_eq!(mounted.transport, Transport::Uring);
    fs::write(mounted.path("f"), b"x").unwrap();
    File::open(mounted.path("f")).unwrap();
    mounted.end();
}
