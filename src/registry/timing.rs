//! Decides whether `call` and `call_async` measure the latency of their calls (D13).
//!
//! A call to a healthy peer reads one word to know, and no clock unless a monitor, which ranks peers by
//! their latency, or the configuration asks for it. Under a slow-call rule the circuit measures all calls
//! itself.

use super::subscribers::Unsubscribe;
use super::{HealthRegistry, PeerKey};
use crate::config::rules::Rules;
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::time::Tick;

/// The number of monitors that ask, and [`BY_CONFIG`].
#[derive(Default)]
pub(super) struct Timing(AtomicU32);

/// Set once a configuration has asked; the rules in force tell whether theirs does.
const BY_CONFIG: u32 = 1 << 31;

impl Timing {
    pub(super) fn configure(&self, rules: &Rules) {
        if rules.given.timing {
            // Relaxed: pairs with `asked`; a thread that sees it looks at the rules, and others time one call
            // more or less.
            self.0.fetch_or(BY_CONFIG, Ordering::Relaxed);
        }
    }

    /// Returns whether a monitor or a configuration has asked.
    #[inline]
    fn asked(&self) -> bool {
        // Relaxed: pairs with `configure` and `time_calls`; no thread reads anything else by it.
        self.0.load(Ordering::Relaxed) != 0
    }

    fn wanted(&self, rules: impl FnOnce() -> bool) -> bool {
        // Relaxed: as for `asked`.
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            BY_CONFIG => rules(),
            _ => true,
        }
    }
}

/// Asks for the latency of calls, until this is dropped.
#[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "for the monitor"))]
#[must_use = "calls are timed until this is dropped"]
pub(crate) struct CallTiming {
    _stop: Unsubscribe,
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Asks for the latency of calls.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "for the monitor"))]
    pub(crate) fn time_calls(&self) -> CallTiming {
        // Relaxed, twice: pairs with `Timing::asked`; a count.
        self.inner.timing.0.fetch_add(1, Ordering::Relaxed);
        let inner = Arc::downgrade(&self.inner);
        let stop = move || {
            if let Some(inner) = inner.upgrade() {
                inner.timing.0.fetch_sub(1, Ordering::Relaxed); // Relaxed: as above
            }
        };
        CallTiming { _stop: Unsubscribe(Box::new(stop)) }
    }

    /// Returns the time at which a call begins, if its latency is asked for.
    #[inline]
    pub(super) fn begin(&self) -> Option<Tick> {
        self.inner.timing.asked().then(|| self.begin_asked())?
    }

    #[cold]
    #[inline(never)]
    fn begin_asked(&self) -> Option<Tick> {
        let wanted = self.inner.timing.wanted(|| self.rules().given.timing);
        wanted.then(|| self.now())
    }
}
