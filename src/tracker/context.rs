//! The inputs that all trackers of a registry share.

use super::link::OwnLink;
use crate::config::rules::Rules;
use crate::error::Failure;
use crate::outage::{OutageLimiter, PeerSource};
use crate::sync::{Arc, AtomicU8, AtomicU32, Loaded, Ordering, Swap, Total};
use crate::time::{Clock, Tick};

/// The bit of `looking` that asks for the time of the next success.
const DATING: u8 = 2;
/// A second: no success's time is asked for while a younger one is known.
const FRESH: u64 = 1_000_000_000;

/// The clock, the configuration, and the limiter of an outage of our own.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    rules: Swap<Rules>,
    /// 1 from the first configuration on that looked at healthy calls: see [`Rules::looks_at_successes`];
    /// beside it [`DATING`].
    looking: AtomicU8,
    /// 1 from the first configuration on that asked when a call began: see [`Rules::asks_for_starts`].
    timing: AtomicU8,
    /// [`Rules::streak_alone`] of the first configuration; 0 from the next one on.
    streak_alone: AtomicU32,
    /// The time of the latest success that was asked for its time; zero, which is that of the beginning,
    /// before the first.
    succeeded_at: Total,
    /// 1 from the first configuration on that has an outage limit.
    limiting: AtomicU8,
    /// The outage limiter (R30).
    pub(crate) outage: OutageLimiter,
    /// This node's own link (R33).
    pub(crate) link: OwnLink,
}

impl Context {
    pub(crate) fn new(clock: Clock, rules: Arc<Rules>) -> Self {
        let looking = AtomicU8::new(rules.looks_at_successes().into());
        let timing = AtomicU8::new(rules.asks_for_starts().into());
        let limiting = AtomicU8::new(rules.outage_limit.is_some().into());
        let streak_alone = AtomicU32::new(rules.streak_alone());
        let (rules, outage) = (Swap::new(rules), OutageLimiter::new(None));
        let succeeded_at = Total::new(0);
        let link = OwnLink::default();
        Self { clock, rules, looking, timing, streak_alone, succeeded_at, limiting, outage, link }
    }

    /// Returns this context with the peers that the outage limiter counts.
    pub(crate) fn guarding(self, source: Box<dyn PeerSource>) -> Self {
        Self { outage: OutageLimiter::new(Some(source)), ..self }
    }

    /// Returns whether this failure is the doing of our own link (R33), if its call took so long, or if that is
    /// not known.
    pub(crate) fn excuses(&self, failure: &Failure, took: Option<u64>, is_probe: bool) -> bool {
        let began = |now: Tick| took.map(|took| Tick(now.0.saturating_sub(took)));
        self.link.excuses(failure, || self.clock.now(), began, is_probe)
    }

    pub(crate) fn rules(&self) -> Loaded<Rules> {
        self.rules.load()
    }

    /// Replaces the configuration (R18).
    pub(crate) fn configure(&self, rules: Arc<Rules>) {
        let limited = rules.outage_limit.is_some();
        // Relaxed: pairs with `streak_alone`, as below.
        self.streak_alone.store(0, Ordering::Relaxed);
        if rules.looks_at_successes() {
            // Relaxed: pairs with `looks_at_successes`. A thread that has seen the new configuration has
            // acquired what came before it, and sees this too. The other bit is that of `ask` and `date`.
            self.looking.fetch_or(1, Ordering::Relaxed);
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

    /// Returns whether the configuration may look at a call of a healthy peer, or its time is asked for. Once a
    /// configuration did, this stays true, which costs each healthy call a look at the configuration and
    /// changes nothing.
    #[inline]
    pub(crate) fn looks_at_successes(&self) -> bool {
        // Relaxed: pairs with `configure`, as explained there.
        self.looking.load(Ordering::Relaxed) != 0
    }

    /// Asks for the time of the next success, if the last answer is not fresh, or there was none: a circuit has
    /// opened. So the registry knows in an export whether this node was online meanwhile, and no other success of a
    /// healthy peer reads the clock. A storm asks once a second, since each question and each answer costs all
    /// threads a line of cache. If a question is lost, the export knows less, and the next circuit that opens
    /// asks again.
    pub(crate) fn date_next(&self, now: Tick) {
        if self.succeeded_at() == Tick::default() {
            self.ask();
        }
        self.date_next_if_old(now);
    }

    /// Asks the same for an open circuit that refuses a call, if the last answer is not fresh.
    pub(crate) fn date_next_if_old(&self, now: Tick) {
        if now.since(self.succeeded_at()) >= FRESH {
            self.ask();
        }
    }

    fn ask(&self) {
        // Relaxed, twice: pairs with `date`; no thread reads anything else by it.
        if self.looking.load(Ordering::Relaxed) & DATING == 0 {
            self.looking.fetch_or(DATING, Ordering::Relaxed);
        }
    }

    /// Notes the time of a success, if one was asked for.
    pub(crate) fn date(&self) {
        // Relaxed, four times: pairs with `date_next` and with `succeeded_at`, as above.
        let relaxed = Ordering::Relaxed;
        if self.looking.load(relaxed) & DATING != 0 {
            self.succeeded_at.fetch_max(self.clock.now().0, relaxed);
            let _ = self.looking.fetch_update(relaxed, relaxed, |bits| Some(bits & !DATING));
        }
    }

    /// Returns the latest success whose time was noted.
    pub(crate) fn succeeded_at(&self) -> Tick {
        // Relaxed: pairs with `date`.
        Tick(self.succeeded_at.load(Ordering::Relaxed))
    }

    /// Returns whether the configuration may ask when a call began. Once one did, this stays true.
    #[inline]
    pub(crate) fn asks_for_starts(&self) -> bool {
        // Relaxed: pairs with `configure`, as explained there.
        self.timing.load(Ordering::Relaxed) == 1
    }

    /// Returns the streak that opens a circuit, if that is all that the configuration asks of a failure; 0 if it
    /// may ask more. Once a configuration has followed the first, this stays 0, which costs a failure a look at
    /// the configuration and at the circuit.
    #[inline]
    pub(crate) fn streak_alone(&self) -> u32 {
        // Relaxed: pairs with `configure`, as explained there.
        self.streak_alone.load(Ordering::Relaxed)
    }

    /// Returns whether the configuration may have an outage limit. Once one had, this stays true.
    #[inline]
    pub(crate) fn limits_outages(&self) -> bool {
        // Relaxed: pairs with `configure`, as explained there.
        self.limiting.load(Ordering::Relaxed) == 1
    }
}
