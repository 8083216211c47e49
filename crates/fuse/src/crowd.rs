//! Whether others have work for every CPU.
//!
//! A client is moved only to a CPU that is idle. Where none is, `SCHED_IDLE`
//! brings nothing and makes requests wait behind others' work.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long is looked at before anything is concluded: the kernel tells the time
/// in which CPUs were idle in steps of 10 ms.
const WINDOW: Duration = Duration::from_millis(100);

/// Looks at the CPUs' time.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Kept open: its path may lead into the file system that is served.
    uptime: Option<File>,
    cpus: u32,
    before: Option<Times>,
}

/// Since some moment long ago.
#[derive(Clone, Copy, Debug)]
struct Times {
    at: Instant,
    /// All CPUs had nothing to do, summed up.
    idle: Duration,
    /// This process ran.
    ours: Duration,
}

impl Crowd {
    /// `cpus`: how many there are. Where the system does not tell its times,
    /// there is never a crowd.
    pub(crate) fn new(cpus: u32) -> Crowd {
        Crowd { uptime: File::open("/proc/uptime").ok(), cpus, before: None }
    }

    /// To be called again and again: `None` while there is nothing new to say.
    pub(crate) fn look(&mut self) -> Option<bool> {
        if self.before.is_some_and(|before| before.at.elapsed() < WINDOW) {
            return None;
        }
        let now = self.times()?;
        let before = self.before.replace(now)?;
        let passed = now.at.duration_since(before.at);
        // Nobody has looked for some time.
        (passed < 4 * WINDOW).then(|| {
            let idle = now.idle.saturating_sub(before.idle);
            let ours = now.ours.saturating_sub(before.ours);
            is_crowd(passed, self.cpus, idle, ours)
        })
    }

    fn times(&self) -> Option<Times> {
        let mut text = [0; 64];
        let len = self.uptime.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..len)?).ok()?;
        let idle: f64 = text.split_whitespace().nth(1)?.parse().ok()?;
        let ours = clock_gettime(ClockId::ProcessCPUTime);
        Some(Times {
            at: Instant::now(),
            idle: Duration::try_from_secs_f64(idle).ok()?,
            ours: Duration::try_from(ours).ok()?,
        })
    }
}

/// No CPU was idle, and not for our sake: clients that do nothing but ask take
/// about as much time as we do.
fn is_crowd(passed: Duration, cpus: u32, idle: Duration, ours: Duration) -> bool {
    idle * 20 < passed && ours * 4 < passed * cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_others() {
        let ms = Duration::from_millis;
        assert!(is_crowd(ms(100), 2, ms(0), ms(20)));
        assert!(!is_crowd(ms(100), 2, ms(10), ms(20)), "a CPU was idle at times");
        assert!(!is_crowd(ms(100), 2, ms(0), ms(90)), "it is us");
    }

    #[test]
    fn it_is_told_now_and_then() {
        let mut crowd = Crowd::new(1);
        assert_eq!(crowd.look(), None);
        assert_eq!(crowd.look(), None);
        std::thread::sleep(WINDOW);
        assert!(crowd.uptime.is_none() || crowd.look().is_some());
        assert_eq!(crowd.look(), None);
        crowd.uptime = None;
        std::thread::sleep(WINDOW);
        assert_eq!(crowd.look(), None);
    }
}
