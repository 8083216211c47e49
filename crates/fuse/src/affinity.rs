//! Which CPUs threads may run on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs that the process may use, to be shared out among readers.
#[derive(Debug)]
pub(crate) struct Affinity {
    all: CpuSet,
}

impl Affinity {
    /// Of the calling thread; `None` if the kernel does not tell.
    pub(crate) fn current() -> Option<Affinity> {
        sched_getaffinity(None).ok().map(|all| Affinity { all })
    }

    /// Ties the calling thread to the `nth` CPU, or with `None` to none in
    /// particular, for a thread inherits the ties of the one that starts it.
    pub(crate) fn apply(&self, nth: Option<usize>) {
        let set = nth.and_then(|nth| self.single(nth)).unwrap_or(self.all);
        if let Err(errno) = sched_setaffinity(None, &set) {
            tracing::debug!(%errno, "cannot tie a reader to its CPU");
        }
    }

    fn single(&self, nth: usize) -> Option<CpuSet> {
        let count = self.all.count() as usize;
        let nth = nth.checked_rem(count)?;
        let cpu = (0..CpuSet::MAX_CPU).filter(|&cpu| self.all.is_set(cpu)).nth(nth)?;
        let mut set = CpuSet::new();
        set.set(cpu);
        Some(set)
    }
}
