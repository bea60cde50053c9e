//! How often a peer's calls were refused, counted beside its circuit and on the refusing path only.

use crate::answer::Reason;
use crate::snapshot::Refusals;
use crate::sync::{AtomicU64, Ordering};

/// The counts of one peer. They lie behind its key, off the lines of cache that a healthy call uses.
#[derive(Debug, Default)]
pub(crate) struct RefusalCounts {
    open: AtomicU64,
    probes_in_flight: AtomicU64,
    forced_open: AtomicU64,
}

impl RefusalCounts {
    pub(crate) fn count(&self, reason: Reason) {
        let counter = match reason {
            Reason::Open => &self.open,
            Reason::ProbesInFlight => &self.probes_in_flight,
            Reason::ForcedOpen => &self.forced_open,
        };
        // Relaxed: pairs with nothing; a total, in no order with the circuit.
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Refusals {
        // Relaxed: pairs with nothing; totals, for display.
        self.each(|counter| counter.load(Ordering::Relaxed))
    }

    /// The counts, and zero in their place: what is counted later is counted elsewhere.
    pub(crate) fn take(&self) -> Refusals {
        // Relaxed: pairs with nothing; whatever is added after this is taken by the next one.
        self.each(|counter| counter.swap(0, Ordering::Relaxed))
    }

    fn each(&self, read: impl Fn(&AtomicU64) -> u64) -> Refusals {
        Refusals {
            open: read(&self.open),
            probes_in_flight: read(&self.probes_in_flight),
            forced_open: read(&self.forced_open),
        }
    }
}
