//! What the caller of a request may do, where the kernel leaves it to us.
//!
//! Under idmapped mounts requests that create nothing carry no user ID, so the
//! process is asked.
#![forbid(unsafe_code)]

use std::fs;

use fuse_server::Request;

/// A capability (capabilities(7)), by its bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Keeps setuid and setgid bits when it changes a file.
    FsetId = 4,
    /// Sees and sets `trusted.*` attributes.
    SysAdmin = 21,
}

/// Whether the process that asks has a capability in our user namespace.
///
/// Reads /proc: only where the answer matters. A process that is gone, or in a
/// PID namespace that is not ours, has none.
pub fn holds(req: &Request, capability: Capability) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{}/status", req.pid)) else { return false };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_some_and(|set| set >> capability as u32 & 1 == 1) && same_namespace(req.pid)
}

fn same_namespace(pid: u32) -> bool {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    of("self").is_some_and(|ours| of(&pid.to_string()) == Some(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_nothing() {
        let by = |pid| Request {
            unique: 1,
            node: 1,
            uid: u32::MAX,
            gid: u32::MAX,
            pid,
            supplementary_group: None,
        };
        let (req, own) = (by(0), by(std::process::id()));
        assert!(!holds(&req, Capability::SysAdmin));
        let root = rustix::process::geteuid().is_root();
        assert!(root || !holds(&own, Capability::FsetId));
    }
}
