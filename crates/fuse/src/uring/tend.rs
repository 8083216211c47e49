//! Seeing to threads while they work.

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::Uring;
use crate::crowd::Crowd;
use crate::server::FileSystem;
use crate::spares::Spares;

/// Ticks without a request after which threads are ordinary until the next one: it
/// may be that one has come, and the thread that has it does not get the CPU.
const STARVED: u32 = 4;

impl<F: FileSystem> Uring<F> {
    /// The thread that sees which requests take long, though nobody has said so.
    pub(super) fn start_watch(self: &Arc<Self>, mut crowd: Crowd) {
        let uring = Arc::clone(self);
        let thread = std::thread::Builder::new().name("fuse-watch".to_owned());
        let (mut before, mut quiet) = (0, 0);
        let spawned = thread.spawn(move || {
            let look = || {
                let (received, long) = uring.look();
                if uring.idle_class {
                    crowd.look().into_iter().for_each(|crowded| uring.tell_crowd(crowded));
                }
                let progress = std::mem::replace(&mut before, received) != received;
                quiet = if progress || long { 0 } else { quiet + 1 };
                if uring.idle_class && quiet == STARVED {
                    uring.join_in();
                }
                quiet == 0
            };
            uring.watch.run(look, || uring.dispatcher.give_back());
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot start the watch");
        }
    }

    /// Requests begun so far, and whether one takes long: its thread is told.
    fn look(&self) -> (u64, bool) {
        let (mut received, mut any) = (0, false);
        self.watched.lock().retain(|thread| {
            let Some(thread) = thread.upgrade() else { return false };
            let (begun, long) = thread.look();
            received += begun;
            any |= long;
            if long {
                thread.announce();
            }
            true
        });
        (received, any)
    }

    /// Whether others have work for every CPU.
    fn tell_crowd(&self, crowded: bool) {
        let before = self.crowded.swap(crowded, Ordering::Relaxed);
        if crowded && !before {
            self.join_in();
        }
    }

    /// All threads take their part in the work.
    fn join_in(&self) {
        self.watched.lock().iter().filter_map(Weak::upgrade).for_each(|one| one.join_in());
    }
}
