//! A striped counter, as `LongAdder` of Java: a total that many threads raise at once, where every task asks
//! for one peer that is dead.
//!
//! It begins as one word. A thread that loses two compare-and-swaps in a row has met others there, and makes the
//! stripes; from then on each thread raises a stripe in a line of cache that few others write. So a peer at
//! which no threads meet pays for no stripes.

use crate::sync::{CachePadded, Once, Ordering, Total, thread_number};

const STRIPES: usize = 4;
/// The number of compare-and-swaps that a thread tries on the one word.
const TRIES: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct StripedTotal {
    word: Total,
    stripes: Once<[CachePadded<Total>; STRIPES]>,
}

impl StripedTotal {
    pub(super) fn raise(&self) {
        if self.stripes.get().is_none() && (0..TRIES).any(|_| self.raise_word()) {
            return;
        }
        let stripe = &self.stripes.get_or_make()[thread_number() % STRIPES];
        // Relaxed: pairs with nothing; a total.
        stripe.fetch_add(1, Ordering::Relaxed);
    }

    fn raise_word(&self) -> bool {
        // Relaxed, three times: pairs with itself in other threads: a read-modify-write loses none.
        let seen = self.word.load(Ordering::Relaxed);
        let relaxed = Ordering::Relaxed; // Relaxed: as above
        self.word.compare_exchange(seen, seen + 1, relaxed, relaxed).is_ok()
    }

    /// Returns the sum of all words, each as `read` reads it.
    pub(super) fn sum(&self, read: impl Fn(&Total) -> u64) -> u64 {
        let stripes = self.stripes.get().map_or(0, |all| all.iter().map(|one| read(one)).sum());
        read(&self.word) + stripes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(total: &StripedTotal) -> u64 {
        total.sum(|word| word.load(Ordering::Relaxed)) // Relaxed: pairs with `raise`; after a join
    }

    #[test]
    fn where_no_threads_meet_there_is_one_word_and_what_it_counted_stays() {
        let total = StripedTotal::default();
        (0..5).for_each(|_| total.raise());
        assert_eq!((sum(&total), total.stripes.get().is_none()), (5, true));
        total.stripes.get_or_make();
        (0..3).for_each(|_| total.raise());
        let taken = total.sum(|word| word.swap(0, Ordering::Relaxed)); // Relaxed: one thread
        assert_eq!((taken, sum(&total)), (8, 0), "each word was taken once");
    }

    #[test]
    fn threads_that_meet_lose_no_count() {
        let total = StripedTotal::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50_000).for_each(|_| total.raise()));
            }
        });
        assert_eq!(sum(&total), 8 * 50_000);
    }
}
