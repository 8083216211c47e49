//! What a daemon has used.

use std::fs;

/// Processor time and memory of a daemon since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds, in user mode and in the kernel.
    pub cpu: f64,
    /// Largest resident memory, in KiB.
    pub peak_kib: u64,
}

impl Usage {
    /// Of the process `pid`; nothing when there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ticks = rustix::param::clock_ticks_per_second();
        // Counts of ticks stay far below 2^52.
        Some(Self { cpu: ticks_of(&stat)? as f64 / ticks as f64, peak_kib: peak_of(&status)? })
    }
}

/// `utime` and `stime` of proc_pid_stat(5): fields 14 and 15. The second one
/// is a name that may hold anything, up to the last parenthesis.
fn ticks_of(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_may_hold_anything() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 90 0 1 0 31 11 0 0 20 0 1 0";
        assert_eq!(ticks_of(stat), Some(42));
        assert_eq!(ticks_of("7 (x) S 1"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        assert_eq!(peak_of("Name:\tx\nVmHWM:\t    5120 kB\n"), Some(5120));
        assert!(Usage::of(std::process::id()).unwrap().peak_kib > 0);
    }
}
