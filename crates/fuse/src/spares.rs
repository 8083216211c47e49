//! How a method of the file system says that it will take long, whichever
//! transport its thread serves.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Weak;

/// What a transport does when one of its threads announces slow work.
pub(crate) trait Spares {
    /// Sees to it that another thread can take the next request.
    fn announce(&self);
}

thread_local! {
    /// What this thread serves, if it serves requests.
    static CURRENT: RefCell<Option<Weak<dyn Spares>>> = const { RefCell::new(None) };
}

/// Makes this thread one that serves requests for `spares`.
pub(crate) fn serve_for(spares: Weak<dyn Spares>) {
    CURRENT.set(Some(spares));
}

/// Shows that slow work is going on; see [`blocking_section`].
#[derive(Debug)]
#[must_use = "the section lasts as long as the guard"]
pub struct BlockingSection(PhantomData<*const ()>);

/// To be called by a method of the file system before work that may take long
/// (a large copy, fsync, waiting for a lock): if no other thread is free to
/// serve requests, one is added, so that others are served meanwhile. Without
/// effect on threads that serve none.
pub fn blocking_section() -> BlockingSection {
    before_blocking();
    BlockingSection(PhantomData)
}

/// [`blocking_section`] as a plain function, to be handed to code that should
/// know nothing of this library: `fn()`.
pub fn before_blocking() {
    let spares = CURRENT.with_borrow(|current| current.as_ref().and_then(Weak::upgrade));
    if let Some(spares) = spares {
        spares.announce();
    }
}
