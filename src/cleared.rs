//! Whether a success has ended the streak of a circuit, without another circuit in its place.
//!
//! A circuit is an immutable value, and to replace it costs a visit to every thread. The commonest
//! change, that a success follows a failure, needs no replacement: the success clears this mark,
//! which belongs to the value, and whoever looks at the value sees no streak from then on.
//!
//! Whoever is about to replace the value seals the mark first. So what the next value was made from
//! is cleared or not for good: a success that comes too late finds the seal, and replaces the value
//! like any other step.

use crate::sync::{AtomicU8, Ordering};

/// The mark of one value: cleared once at the most, and not after it was sealed.
#[derive(Debug, Default)]
pub(crate) struct Cleared(AtomicU8);

const CLEARED: u8 = 1;
const SEALED: u8 = 2;

impl Cleared {
    /// Clears. If it was cleared or sealed before, whether it was cleared.
    pub(crate) fn clear(&self) -> Result<(), bool> {
        // Release, Relaxed: pairs with the Acquire in `is_cleared`: who sees it sees what came before
        // the success. If it fails, this success changes nothing by it.
        let cleared = self.0.compare_exchange(0, CLEARED, Ordering::Release, Ordering::Relaxed);
        cleared.map(drop).map_err(|seen| seen & CLEARED != 0)
    }

    /// From now on nobody clears; whether somebody has.
    pub(crate) fn seal(&self) -> bool {
        // Relaxed: pairs with `clear`, of which a read-modify-write sees the latest. Whoever goes on
        // from what was cleared has looked at it by `is_cleared`.
        self.0.fetch_or(SEALED, Ordering::Relaxed) & CLEARED != 0
    }

    /// Whether it was cleared.
    #[inline]
    pub(crate) fn is_cleared(&self) -> bool {
        // Acquire: pairs with the Release in `clear`.
        self.0.load(Ordering::Acquire) & CLEARED != 0
    }

    /// Whether it was sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        // Relaxed: pairs with `seal`, which the Release of `Rest::take_back` follows: who has
        // acquired the word after that sees the seal.
        self.0.load(Ordering::Relaxed) & SEALED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_cleared_once_and_not_after_the_seal() {
        let mark = Cleared::default();
        assert!(!mark.is_cleared() && !mark.is_sealed());
        assert_eq!((mark.clear(), mark.clear(), mark.is_cleared()), (Ok(()), Err(true), true));
        assert!(mark.seal() && mark.is_sealed() && mark.seal());
        let sealed = Cleared::default();
        assert!(!sealed.seal() && sealed.clear() == Err(false) && !sealed.is_cleared());
    }
}
