//! Whether `call` and `call_async` time what they call (D13).
//!
//! A call to a healthy peer reads one word to know it, and no clock unless somebody asks: a monitor,
//! which ranks peers by their latency, or the configuration. Under a slow-call rule the circuit measures
//! all calls itself.

use std::time::Duration;

use super::subscribers::Unsubscribe;
use super::{HealthRegistry, PeerKey};
use crate::config::rules::Rules;
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::time::{Clock, Tick};

/// How many ask for it, and [`BY_CONFIG`].
#[derive(Default)]
pub(super) struct Timing(AtomicU32);

/// Once a configuration asked for it: whether the one in force does is for its rules to say.
const BY_CONFIG: u32 = 1 << 31;

impl Timing {
    pub(super) fn configure(&self, rules: &Rules) {
        if rules.given.timing {
            // Relaxed: pairs with `wanted`; whoever sees it looks at the rules, and others time one call
            // more or less.
            self.0.fetch_or(BY_CONFIG, Ordering::Relaxed);
        }
    }

    #[inline]
    fn wanted(&self, rules: impl FnOnce() -> bool) -> bool {
        // Relaxed: pairs with `configure` and `time_calls`; nothing else is read by it.
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            BY_CONFIG => rules(),
            _ => true,
        }
    }
}

/// Somebody who asks that calls be timed, until this is dropped.
#[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "for the monitor"))]
#[must_use = "calls are timed until this is dropped"]
pub(crate) struct CallTiming {
    _stop: Unsubscribe,
}

/// The beginning of a call that is timed.
pub(super) struct Timer(Clock, Tick);

impl Timer {
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.now().since(self.1))
    }
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Asks that calls be timed.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "for the monitor"))]
    pub(crate) fn time_calls(&self) -> CallTiming {
        // Relaxed, twice: pairs with `Timing::wanted`; a count.
        self.inner.timing.0.fetch_add(1, Ordering::Relaxed);
        let inner = Arc::downgrade(&self.inner);
        let stop = move || {
            if let Some(inner) = inner.upgrade() {
                inner.timing.0.fetch_sub(1, Ordering::Relaxed); // Relaxed: as above
            }
        };
        CallTiming { _stop: Unsubscribe(Box::new(stop)) }
    }

    /// A timer that begins now, if a call that begins now is to be timed.
    #[inline]
    pub(super) fn timer(&self) -> Option<Timer> {
        self.inner.timing.wanted(|| self.rules().given.timing).then(|| {
            let clock = self.clock();
            let now = clock.now();
            Timer(clock, now)
        })
    }
}
