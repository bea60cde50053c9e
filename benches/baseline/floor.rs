//! What the least that counts an outcome costs: one addition to a shared word.

use std::sync::atomic::{AtomicU64, Ordering};

use super::single::Single;
use super::{Outcome, Setup};

/// A shared word. The outcome, with its error, is dropped.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Single for Counter {
    fn new(_: &Setup<'_>) -> Self {
        Self::default()
    }

    #[inline(always)]
    fn guard(&self, outcome: Outcome) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        drop(outcome);
        true
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) == u64::MAX
    }
}
