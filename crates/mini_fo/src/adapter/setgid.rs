//! Set-GID executables of new files, which kernels before 6.0 leave to the file
//! system: in a set-GID directory a file gets the directory's group, and who is
//! not in that group must not make a program that acts for it (CVE-2018-13405).
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use fuse_server::Request;
use mini_fo_core::NodeId;

use super::Adapter;
use super::caller::{self, Capability};

/// The first minor version of the protocol that no kernel before 6.0 speaks.
const JUDGES: u32 = 37;

const PROGRAM: u32 = libc::S_ISGID | libc::S_IXGRP;

impl Adapter {
    /// The mode of what a request makes in its directory.
    pub(super) fn new_mode(&self, req: &Request, mode: u32) -> u32 {
        let is_dir = mode & libc::S_IFMT == libc::S_IFDIR;
        let judged = self.minor.load(Ordering::Relaxed) >= JUDGES;
        if judged || is_dir || mode & PROGRAM != PROGRAM {
            return mode;
        }
        // Where that fails, so will the creation.
        let Ok(above) = self.overlay.getattr(NodeId(req.node)) else { return mode };
        let (_, group) = self.ids.owners(above.uid, above.gid);
        match above.mode & libc::S_ISGID != 0 && !may(req, group) {
            true => mode & !libc::S_ISGID,
            false => mode,
        }
    }
}

fn may(req: &Request, group: u32) -> bool {
    req.gid == group || caller::is_in(req, group) || caller::holds(req, Capability::FsetId)
}
