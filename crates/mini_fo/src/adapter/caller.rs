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
    /// May do to any object what its owner may.
    Fowner = 3,
    /// Keeps setuid and setgid bits when it changes a file.
    FsetId = 4,
    /// Sets and clears the immutable and append-only flags.
    LinuxImmutable = 9,
    /// Sees and sets `trusted.*` attributes.
    SysAdmin = 21,
    /// Goes beyond quotas and into reserved space.
    SysResource = 24,
}

/// Whether the process that asks has a capability in our user namespace.
///
/// Reads /proc: only where the answer matters. A process that is gone, or in a
/// PID namespace that is not ours, has none.
pub fn holds(req: &Request, capability: Capability) -> bool {
    let effective = status(req, "CapEff:", |set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_some_and(|set| set >> capability as u32 & 1 == 1) && same_namespace(req.pid)
}

/// The user as whom the process that asks acts on files, as our user namespace
/// counts; not translated by an idmapped mount.
pub fn fsuid(req: &Request) -> Option<u32> {
    // Real, effective, saved, and that of file systems.
    status(req, "Uid:", |ids| ids.split_whitespace().nth(3)?.parse().ok())
}

/// What /proc says of the process that asks in the line that begins so.
fn status<T>(req: &Request, line: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let status = fs::read_to_string(format!("/proc/{}/status", req.pid)).ok()?;
    status.lines().find_map(|found| found.strip_prefix(line)).and_then(parse)
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
        assert_eq!(fsuid(&req), None);
        assert_eq!(fsuid(&own), Some(rustix::process::geteuid().as_raw()));
        let root = rustix::process::geteuid().is_root();
        assert!(root || !holds(&own, Capability::FsetId));
    }
}
