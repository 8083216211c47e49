//! How a method of the file system says that it will take long, whichever
//! transport its thread serves.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a transport does when one of its threads announces slow work.
pub(crate) trait Spares {
    /// Sees to it that another thread can take the next request.
    fn announce(&self);

    /// The threads in blocking sections.
    fn blocked(&self) -> &Blocked;
}

/// Threads in blocking sections. They do not count against the bound of threads,
/// so that those who wait for one another leave places to everybody else.
#[derive(Debug, Default)]
pub(crate) struct Blocked(AtomicUsize);

/// How many of them do not count, in multiples of the bound.
const UNCOUNTED: usize = 4;

impl Blocked {
    /// How many threads there may be, where `max` are wanted.
    pub(crate) fn most(&self, max: usize) -> usize {
        max + self.0.load(Ordering::Acquire).min(max * UNCOUNTED)
    }
}

thread_local! {
    /// What this thread serves, if it serves requests.
    static CURRENT: RefCell<Option<Weak<dyn Spares>>> = const { RefCell::new(None) };

    /// Blocking sections that it is in, one within the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread one that serves requests for `spares`.
pub(crate) fn serve_for(spares: Weak<dyn Spares>) {
    CURRENT.set(Some(spares));
}

/// Shows that slow work is going on; see [`blocking_section`].
#[must_use = "the section lasts as long as the guard"]
pub struct BlockingSection {
    /// Of the outermost section, if this thread serves requests.
    counted: Option<Weak<dyn Spares>>,
    /// It ends on the thread on which it began.
    stays: PhantomData<*const ()>,
}

impl std::fmt::Debug for BlockingSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockingSection").finish_non_exhaustive()
    }
}

impl Drop for BlockingSection {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
        if let Some(spares) = self.counted.take().and_then(|spares| spares.upgrade()) {
            spares.blocked().0.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// To be called by a method of the file system before work that may take long
/// (a large copy, fsync, waiting for a lock): if no other thread is free to
/// serve requests, one is added, so that others are served meanwhile. Without
/// effect on threads that serve none.
pub fn blocking_section() -> BlockingSection {
    let outermost = DEPTH.replace(DEPTH.get() + 1) == 0;
    let counted = outermost.then(|| CURRENT.with_borrow(Option::clone)).flatten();
    if let Some(spares) = counted.as_ref().and_then(Weak::upgrade) {
        spares.blocked().0.fetch_add(1, Ordering::AcqRel);
    }
    before_blocking();
    BlockingSection { counted, stays: PhantomData }
}

/// [`blocking_section`] as a plain function, to be handed to code that should
/// know nothing of this library: `fn()`.
pub fn before_blocking() {
    let spares = CURRENT.with_borrow(|current| current.as_ref().and_then(Weak::upgrade));
    if let Some(spares) = spares {
        spares.announce();
    }
}
