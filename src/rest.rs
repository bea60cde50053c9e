//! One word that says whether a circuit is at rest, so that a call to a healthy peer need not read
//! the circuit.
//!
//! At rest a circuit is Closed, with no streak, no error to be cleared and no window: an admission
//! and a success change nothing. The word tells the generation of that phase. What it promises:
//! *whenever it says so, it is so*. If it says nothing, the circuit itself is asked.
//!
//! 1. Whoever is about to replace a circuit first seals it ([`Cleared`]), and if it is at rest then
//!    takes the word back ([`take_back`]), each time with a higher count.
//! 2. Whoever has put a circuit at rest in place of another, has ended the streak of one by its
//!    mark, or has read the word and then found one that is not sealed, says so ([`say`]), if the
//!    word still is what it was before that.
//!
//! So nobody can have replaced what is said to be at rest: it would have been taken back since. The
//! word may stay silent about a circuit at rest, after two such steps at once; the next call that
//! meets it there speaks up.
//!
//! [`Cleared`]: crate::cleared::Cleared
//! [`take_back`]: Rest::take_back
//! [`say`]: Rest::say

use crate::sync::{AtomicU64, Ordering, prefetch};

/// Bit 63: at rest. Then 31 bits: how often it was taken back. Then 32 bits: the generation, while
/// at rest. A count or a generation that is too large for its bits ends this for good, and calls
/// go by the circuit: nothing wraps.
#[derive(Debug)]
pub(crate) struct Rest(AtomicU64);

/// What the word was, at rest or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

const AT_REST: u64 = 1 << 63;
const ONE: u64 = 1 << 32;
const COUNT: u64 = (AT_REST - 1) & !(ONE - 1);
const GENERATION: u64 = ONE - 1;

impl Word {
    fn at_rest(self, generation: u64) -> Option<Self> {
        let fits = self.0 & COUNT != COUNT && generation <= GENERATION;
        fits.then_some(Self(self.0 & COUNT | AT_REST | generation))
    }
}

impl Rest {
    /// The word of a circuit that begins at rest.
    pub(crate) fn new(generation: u64) -> Self {
        Self(AtomicU64::new(Self::first(generation)))
    }

    fn first(generation: u64) -> u64 {
        Word(0).at_rest(generation).map_or(0, |word| word.0)
    }

    /// Begins anew, as the word of another circuit. Only while nobody else knows it.
    pub(crate) fn begin(&self, generation: u64) {
        // Relaxed: pairs with nothing; whoever comes to know it comes to know this first.
        self.0.store(Self::first(generation), Ordering::Relaxed);
    }

    /// The generation of the circuit, if it is at rest.
    #[inline]
    pub(crate) fn generation(&self) -> Option<u64> {
        // Acquire: pairs with the Release in `say`: who is told of a phase finds its circuit there,
        // or a later one.
        let word = self.0.load(Ordering::Acquire);
        (word & AT_REST != 0).then_some(word & GENERATION)
    }

    /// Brings the word into the cache, before it is asked.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.0);
    }

    /// Before a circuit is put in place of one that is not at rest, or is looked at: the word, for
    /// [`Self::say`].
    pub(crate) fn read(&self) -> Word {
        // Acquire: pairs with the Release in `take_back`: who reads the word that was taken back
        // sees the seal on the circuit that is to be replaced.
        Word(self.0.load(Ordering::Acquire))
    }

    /// Before a circuit at rest is replaced: it is no longer said to be, and nobody else's
    /// [`Self::say`] succeeds that began before.
    pub(crate) fn take_back(&self) -> Word {
        let back = |word: u64| {
            let count = word & COUNT;
            if count == COUNT { COUNT } else { count + ONE }
        };
        // Release, Relaxed: pairs with the Acquire in `read`, which sees the seal that came before
        // this; and with `say` and `generation`: whoever finds the circuit that follows this
        // acquires it, and this with it.
        let taken =
            self.0.fetch_update(Ordering::Release, Ordering::Relaxed, |word| Some(back(word)));
        let (Ok(word) | Err(word)) = taken;
        Word(back(word))
    }

    /// After a circuit at rest was put in place: says so, if the word is still what it was before.
    pub(crate) fn say(&self, before: Word, generation: u64) {
        let Some(word) = before.at_rest(generation) else { return };
        // Release, Relaxed: pairs with the Acquire in `generation`. If it fails, somebody has
        // replaced what was put in place, or is about to try.
        let _ = self.0.compare_exchange(before.0, word.0, Ordering::Release, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_said_until_it_is_taken_back() {
        let rest = Rest::new(7);
        assert_eq!(rest.generation(), Some(7));
        let before = rest.take_back();
        assert_eq!(rest.generation(), None);
        rest.say(before, 8);
        assert_eq!(rest.generation(), Some(8));
        let (early, late) = (rest.take_back(), rest.take_back());
        rest.say(early, 9);
        assert_eq!(rest.generation(), None, "taken back since");
        rest.say(late, 9);
        assert_eq!(rest.generation(), Some(9));
    }

    #[test]
    fn is_silent_for_good_when_a_number_no_longer_fits() {
        let rest = Rest(AtomicU64::new(AT_REST | (COUNT - ONE) | 7));
        assert_eq!(rest.generation(), Some(7));
        for _ in 0..3 {
            let before = rest.take_back();
            rest.say(before, 8);
            assert_eq!(rest.generation(), None);
        }
        let rest = Rest::new(GENERATION + 1);
        assert_eq!(rest.generation(), None);
        rest.say(rest.read(), GENERATION + 1);
        assert_eq!(rest.generation(), None);
    }
}
