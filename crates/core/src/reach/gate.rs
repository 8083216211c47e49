//! A gate through which all requests go: while it is shut, nobody asks the overlay anything.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::locks::{ReadGuard, WriteGuard};
use crate::reach::overlay::Overlay;
use crate::sys::Result;

/// So long new requests wait for those that are still served, at one attempt.
const ATTEMPT: Duration = Duration::from_millis(200);

/// And so long they are served again before the next one.
const BETWEEN: Duration = Duration::from_millis(50);

/// A request is served. The gate is not shut before it is dropped.
pub struct Pass<'a>(#[allow(dead_code)] ReadGuard<'a, ()>);

/// Nothing is served until it is dropped.
pub(crate) struct Shut<'a>(#[allow(dead_code)] WriteGuard<'a, ()>);

impl Overlay {
    /// To be held while a request is served, and by whatever else uses the overlay of its
    /// own accord. Nobody may have it twice.
    ///
    /// # Errors
    /// EIO: a commit has failed midway, and nothing can be served any more.
    pub fn pass(&self) -> Result<Pass<'_>> {
        let pass = self.gate.lock.read_slow(|| self.slow_section());
        if self.is_lost() { Err(Errno::IO) } else { Ok(Pass(pass)) }
    }

    /// Waits until nothing is served, which nothing will be then. `None`: some requests take
    /// longer than this.
    pub(crate) fn shut(&self, most: Duration) -> Option<Shut<'_>> {
        let begun = Instant::now();
        loop {
            if let Some(lock) = self.gate.lock.try_write_for(ATTEMPT) {
                return Some(Shut(lock));
            }
            if begun.elapsed() >= most {
                return None;
            }
            std::thread::sleep(BETWEEN);
        }
    }

    /// Nothing is served any more.
    pub fn is_lost(&self) -> bool {
        self.gate.lost.load(Ordering::Acquire)
    }

    pub(crate) fn set_lost(&self) {
        self.gate.lost.store(true, Ordering::Release);
    }
}
