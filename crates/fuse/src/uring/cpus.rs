//! Which CPUs there are, and staying on one.

#![forbid(unsafe_code)]

use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_setaffinity};

/// The CPUs of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cpus {
    /// How many there can ever be; the kernel has a queue for each.
    pub(super) possible: u16,
    /// Those on which this process may run.
    pub(super) usable: Vec<u16>,
    /// Those from which requests can come.
    pub(super) online: Vec<u16>,
}

impl Cpus {
    /// `None` if the system does not tell.
    pub(super) fn read() -> Option<Cpus> {
        let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").ok()?;
        let possible = count(text.trim())?;
        let allowed = sched_getaffinity(None).ok()?;
        let usable =
            (0..possible).filter(|&cpu| is_set(&allowed, usize::from(cpu))).collect::<Vec<_>>();
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok();
        let online = online.and_then(|text| listed(text.trim()));
        let online = online.unwrap_or_else(|| (0..possible).collect());
        (!usable.is_empty()).then_some(Cpus { possible, usable, online })
    }

    /// Which CPUs share a thread at first. A thread that is at work for one of them holds up the others, so only
    /// those share from which no request comes: those that are off.
    pub(super) fn shared(&self, most: usize) -> Vec<Vec<u16>> {
        let mut own: Vec<u16> = self.usable.clone();
        own.extend(self.online.iter().filter(|cpu| !self.usable.contains(cpu)));
        own.retain(|&cpu| cpu < self.possible);
        let off: Vec<u16> = (0..self.possible).filter(|cpu| !own.contains(cpu)).collect();
        let own = own.into_iter().map(|cpu| vec![cpu]);
        own.chain(off.chunks(most).map(<[u16]>::to_vec)).collect()
    }
}

/// The CPUs in a list like `0-3,8`.
fn listed(list: &str) -> Option<Vec<u16>> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?);
    }
    Some(cpus)
}

/// The number of CPUs in a list like `0-3,8`. With holes the kernel's numbers
/// would exceed its number of queues: `None`.
fn count(list: &str) -> Option<u16> {
    let mut next = 0u16;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        if first != next || last < first {
            return None;
        }
        next = last.checked_add(1)?;
    }
    Some(next)
}

fn is_set(set: &CpuSet, cpu: usize) -> bool {
    cpu < CpuSet::MAX_CPU && set.is_set(cpu)
}

/// Keeps this thread on a CPU until the result is dropped. `None`: it may run
/// anywhere.
pub(super) fn pin(cpu: u16) -> Option<Pinned> {
    let before = sched_getaffinity(None).ok()?;
    let mut set = CpuSet::new();
    if usize::from(cpu) >= CpuSet::MAX_CPU {
        return None;
    }
    set.set(usize::from(cpu));
    sched_setaffinity(None, &set).ok()?;
    Some(Pinned { thread: gettid(), before, set })
}

/// A thread that stays on its CPU.
#[derive(Debug)]
pub(super) struct Pinned {
    thread: Pid,
    before: CpuSet,
    set: CpuSet,
}

impl Pinned {
    /// Lets the thread run anywhere for a while. Any thread may say so.
    pub(super) fn loosen(&self) {
        let _ = sched_setaffinity(Some(self.thread), &self.before);
    }

    /// Back to the CPU.
    pub(super) fn tighten(&self) {
        let _ = sched_setaffinity(Some(self.thread), &self.set);
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.loosen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-127"), Some(128));
        assert_eq!(count("0-3,4-7"), Some(8));
        for odd in ["", "0-3,8-11", "1", "0-", "3-0", "x", "0-65535"] {
            assert_eq!(count(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn only_cpus_that_are_off_share_a_thread() {
        let online = listed("0-5,8").unwrap();
        let cpus = Cpus { possible: 12, usable: vec![1, 2], online };
        let single = [1, 2, 0, 3, 4, 5, 8].map(|cpu| vec![cpu]);
        assert_eq!(cpus.shared(64), [&single[..], &[vec![6, 7, 9, 10, 11]]].concat());
        assert_eq!(cpus.shared(3).len(), 7 + 2);
        assert_eq!(listed("x"), None);
    }

    #[test]
    fn a_thread_can_stay_and_leave() {
        let before = sched_getaffinity(None).unwrap();
        let cpu = Cpus::read().unwrap().usable[0];
        let pinned = pin(cpu).unwrap();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        drop(pinned);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
        assert!(pin(u16::MAX).is_none());
    }
}
