//! What the caller of a request may do, where the kernel leaves it to us.
//!
//! Under idmapped mounts requests that create nothing carry no user ID, so the
//! process is asked.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use fuse_server::Request;
use mini_fo_core::procfs;

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
/// Reads /proc: only where the answer matters. A process that is gone or not to
/// be seen has none, nor has a thread of the kernel: what that does it does for
/// somebody else (nfsd).
pub fn holds(req: &Request, capability: Capability) -> bool {
    let effective = status(req, "CapEff:", |set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_some_and(|set| set >> capability as u32 & 1 == 1) && same_namespace(req.pid)
}

/// The user as whom the process that asks acts on files, as our user namespace
/// counts; not translated by an idmapped mount. `None`: as for [`holds`].
pub fn fsuid(req: &Request) -> Option<u32> {
    // Real, effective, saved, and that of file systems.
    status(req, "Uid:", |ids| ids.split_whitespace().nth(3)?.parse().ok())
}

/// Whether the process that asks has a group among its supplementary ones. Not for
/// idmapped mounts, which translate it.
pub fn is_in(req: &Request, group: u32) -> bool {
    let group = group.to_string();
    let listed = |groups: &str| Some(groups.split_whitespace().any(|one| one == group));
    status(req, "Groups:", listed).unwrap_or(false)
}

/// What /proc says of the process that asks in the line that begins so.
fn status<T>(req: &Request, line: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    if !can_see() || is_kernel_thread(req.pid) {
        return None;
    }
    // A name may hold anything.
    let status = procfs::read(&format!("{}/status", req.pid)).ok()?;
    value(&String::from_utf8_lossy(&status), line).and_then(parse)
}

fn value<'a>(status: &'a str, line: &str) -> Option<&'a str> {
    status.lines().find_map(|found| found.strip_prefix(line))
}

/// Whether /proc counts processes as requests do. If not, no caller is known.
/// Asked at the start of the daemon, so that its user reads the warning.
pub fn can_see() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let link = procfs::read_link("self").ok();
        let number = link.and_then(|link| std::str::from_utf8(&link).ok()?.parse().ok());
        let status = procfs::read("self/status").unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let can = is_of_our_namespace(std::process::id(), number, &status);
        if !can {
            tracing::warn!(
                "/proc is missing or of another PID namespace: callers count as having no \
                 capabilities"
            );
        }
        can
    })
}

/// `pid`: as the process knows it, and as the kernel counts in requests;
/// `number`: as /proc has it; `status`: the file of that name, which lists the
/// numbers from the namespace of /proc down to that of the process.
fn is_of_our_namespace(pid: u32, number: Option<u32>, status: &str) -> bool {
    let levels = value(status, "NSpid:").map_or(1, |pids| pids.split_whitespace().count());
    number == Some(pid) && levels == 1
}

/// `PF_KTHREAD` of the kernel's include/linux/sched.h.
const KERNEL_THREAD: u32 = 0x0020_0000;

fn is_kernel_thread(pid: u32) -> bool {
    let stat = procfs::read(&format!("{pid}/stat")).unwrap_or_default();
    flags_of(&stat).is_none_or(|flags| flags & KERNEL_THREAD != 0)
}

/// The flags of a process in /proc/PID/stat. Its name may hold anything, also
/// what is not UTF-8, and ends at the last parenthesis.
fn flags_of(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    // State, parent, group, session, terminal and its group come before.
    fields.split_whitespace().nth(6)?.parse().ok()
}

fn same_namespace(pid: u32) -> bool {
    let of = |pid: &str| procfs::read_link(&format!("{pid}/ns/user")).ok();
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

    #[test]
    fn another_namespace_is_noticed() {
        let status = "Name:\tx\nNSpid:\t7\nCapEff:\t0\n";
        assert!(is_of_our_namespace(7, Some(7), status));
        assert!(is_of_our_namespace(7, Some(7), "Name:\tx\n"));
        assert!(!is_of_our_namespace(7, Some(8), status));
        assert!(!is_of_our_namespace(7, None, ""));
        // The same number in both, by chance.
        assert!(!is_of_our_namespace(7, Some(7), "NSpid:\t7\t7\n"));
    }

    #[test]
    fn threads_of_the_kernel_are_told_apart() {
        let stat = b"2 (a) \xff(b)) S 0 0 0 0 -1 2129984 0 0";
        assert_eq!(flags_of(stat).map(|flags| flags & KERNEL_THREAD), Some(KERNEL_THREAD));
        assert_eq!(flags_of(b"2 (cut"), None);
        assert!(!is_kernel_thread(std::process::id()));
        assert!(is_kernel_thread(0));
    }
}
