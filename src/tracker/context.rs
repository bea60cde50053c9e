//! The inputs that all trackers of a registry share.

use crate::config::rules::Rules;
use crate::outage::{OutageLimiter, PeerSource};
use crate::sync::{Arc, AtomicU8, Loaded, Ordering, Swap};
use crate::time::Clock;

/// The clock, the configuration, and the limiter of an outage of our own.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    rules: Swap<Rules>,
    /// 1 from the first configuration on that looked at healthy calls: see [`Rules::looks_at_successes`].
    looking: AtomicU8,
    /// 1 from the first configuration on that asked when a call began: see [`Rules::asks_for_starts`].
    timing: AtomicU8,
    /// 1 from the first configuration on that has an outage limit.
    limiting: AtomicU8,
    /// The outage limiter (R30).
    pub(crate) outage: OutageLimiter,
}

impl Context {
    pub(crate) fn new(clock: Clock, rules: Arc<Rules>) -> Self {
        let looking = AtomicU8::new(rules.looks_at_successes().into());
        let timing = AtomicU8::new(rules.asks_for_starts().into());
        let limiting = AtomicU8::new(rules.outage_limit.is_some().into());
        let (rules, outage) = (Swap::new(rules), OutageLimiter::new(None));
        Self { clock, rules, looking, timing, limiting, outage }
    }

    /// Returns this context with the peers that the outage limiter counts.
    pub(crate) fn guarding(self, source: Box<dyn PeerSource>) -> Self {
        Self { outage: OutageLimiter::new(Some(source)), ..self }
    }

    pub(crate) fn rules(&self) -> Loaded<Rules> {
        self.rules.load()
    }

    /// Replaces the configuration (R18).
    pub(crate) fn configure(&self, rules: Arc<Rules>) {
        let limited = rules.outage_limit.is_some();
        if rules.looks_at_successes() {
            // Relaxed: pairs with `looks_at_successes`. A thread that has seen the new configuration has
            // acquired what came before it, and sees this too.
            self.looking.store(1, Ordering::Relaxed);
        }
        if rules.asks_for_starts() {
            // Relaxed: pairs with `asks_for_starts`, as above.
            self.timing.store(1, Ordering::Relaxed);
        }
        if limited {
            // Relaxed: pairs with `limits_outages`, as above.
            self.limiting.store(1, Ordering::Relaxed);
        }
        self.rules.replace(rules);
        if limited {
            self.outage.begin_anew();
        }
    }

    /// Returns whether the configuration may look at a call of a healthy peer. Once one did, this stays
    /// true, which costs each healthy call a look at the configuration and changes nothing.
    #[inline]
    pub(crate) fn looks_at_successes(&self) -> bool {
        // Relaxed: pairs with `configure`, as explained there.
        self.looking.load(Ordering::Relaxed) == 1
    }

    /// Returns whether the configuration may ask when a call began. Once one did, this stays true.
    #[inline]
    pub(crate) fn asks_for_starts(&self) -> bool {
        // Relaxed: pairs with `configure`, as explained there.
        self.timing.load(Ordering::Relaxed) == 1
    }

    /// Returns whether the configuration may have an outage limit. Once one had, this stays true.
    #[inline]
    pub(crate) fn limits_outages(&self) -> bool {
        // Relaxed: pairs with `configure`, as explained there.
        self.limiting.load(Ordering::Relaxed) == 1
    }
}
