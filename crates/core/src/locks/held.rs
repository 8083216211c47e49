//! What locks a thread holds, in builds with debug assertions.

use super::Rank;

/// How a lock is taken beside others of its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    /// There is none that the thread holds.
    Only,
    /// The same. With its number, by which [`is_held`] knows it.
    Alone(u64),
    /// Those that it holds have smaller numbers.
    Numbered(u64),
    /// The caller sees to it that nobody takes the two the other way round. With its
    /// number, for those that come after it.
    Beside(u64),
    /// The thread may hold this very one.
    Again(u64),
    /// The same; and it may come before its turn if the thread holds one of the first
    /// rank with this number, without which nobody takes the two.
    Under(Rank, u64),
}

#[cfg(debug_assertions)]
mod checked {
    use std::cell::RefCell;

    use super::{Among, Rank};

    thread_local! {
        static HELD: RefCell<Vec<(Rank, Option<u64>)>> = const { RefCell::new(Vec::new()) };
    }

    /// A lock is held.
    pub(crate) struct Held {
        rank: Rank,
        number: Option<u64>,
    }

    impl Held {
        /// The thread is about to wait for a lock.
        pub fn wait(rank: Rank, among: Among) -> Held {
            HELD.with_borrow(|held| check(held, rank, among));
            Held::tried(rank, among)
        }

        /// The thread has got one that was free.
        pub fn tried(rank: Rank, among: Among) -> Held {
            let number = match among {
                Among::Only => None,
                Among::Alone(number)
                | Among::Numbered(number)
                | Among::Beside(number)
                | Among::Again(number)
                | Among::Under(_, number) => Some(number),
            };
            HELD.with_borrow_mut(|held| held.push((rank, number)));
            Held { rank, number }
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let own = (self.rank, self.number);
            // A thread that ends has let go of its list before.
            let _ = HELD.try_with(|held| {
                let mut held = held.borrow_mut();
                if let Some(at) = held.iter().rposition(|other| *other == own) {
                    held.remove(at);
                }
            });
        }
    }

    fn check(held: &[(Rank, Option<u64>)], rank: Rank, among: Among) {
        match among {
            Among::Again(number) if held.contains(&(rank, Some(number))) => return,
            Among::Under(above, number)
                if held.contains(&(rank, Some(number)))
                    || held.contains(&(above, Some(number))) =>
            {
                return;
            }
            _ => {}
        }
        for (other, number) in held {
            let fits = *other < rank
                || *other == rank
                    && match among {
                        Among::Numbered(own) => number.is_some_and(|number| number < own),
                        Among::Beside(_) => true,
                        Among::Only | Among::Alone(_) | Among::Again(_) | Among::Under(..) => false,
                    };
            debug_assert!(
                fits,
                "order of locks: {rank:?} ({among:?}) is waited for by one who has {other:?} \
                 ({number:?}); all that he has: {held:?}"
            );
        }
    }

    /// The thread holds no lock of this rank, nor one that comes after it.
    pub(crate) fn is_free(from: Rank) -> bool {
        HELD.with_borrow(|held| held.iter().all(|(rank, _)| *rank < from))
    }

    /// The thread holds a lock of this rank, with this number if one is given.
    pub(crate) fn is_held(rank: Rank, number: Option<u64>) -> bool {
        HELD.with_borrow(|held| {
            let fits = |other: &(Rank, Option<u64>)| number.is_none() || other.1 == number;
            held.iter().any(|other| other.0 == rank && fits(other))
        })
    }
}

#[cfg(not(debug_assertions))]
mod checked {
    use super::{Among, Rank};

    pub(crate) struct Held;

    impl Held {
        #[inline(always)]
        pub fn wait(_: Rank, _: Among) -> Held {
            Held
        }

        #[inline(always)]
        pub fn tried(_: Rank, _: Among) -> Held {
            Held
        }
    }

    /// Only asked by debug assertions.
    pub(crate) fn is_free(_: Rank) -> bool {
        true
    }

    /// Only asked by debug assertions.
    pub(crate) fn is_held(_: Rank, _: Option<u64>) -> bool {
        true
    }
}

pub(crate) use checked::{Held, is_free, is_held};
