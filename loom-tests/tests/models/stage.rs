//! The stage that the models share: the passes over all executions (`passes`), and one peer with the
//! operations on it.

mod passes;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::circuit::{
    Admission, Circuit, Control, Emitted, HalfOpen, Outcome, Phase, Reported, Ticket,
};
use crate::config::HealthConfig;
use crate::error::{Failure, SyncError};
use crate::event::EventKind;
use crate::outage::PeerSource;
use crate::outcome::{Reason, Recorded, Refused, Status};
use crate::peer::PeerEntry;
use crate::snapshot::PeerTotals;
use crate::sync::Arc;
use crate::time::{Clock, ManualClock, Tick};
use crate::tracker::{Context, Tracker, View};

pub(crate) use passes::{both, three, three_twice, two, two_bounded, two_narrowly};

/// The length of an Open phase in the models, and of a lease, in nanoseconds, as all times here.
pub(crate) const OPEN: u64 = 10;
pub(crate) const LEASE: u64 = 100;

/// Returns rules by which `failures` in a row open, and `successes` close.
pub(crate) fn config(failures: u32, successes: u32) -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(failures)
        .with_streak_gap(None)
        .with_success_threshold(successes)
        .with_open_timeout(Duration::from_nanos(OPEN))
        .with_open_multiplier(1.0)
        .with_open_jitter(0.0)
        .with_probe_lease(Duration::from_nanos(LEASE))
}

/// One peer, and its events.
pub(crate) struct Peer {
    tracker: Arc<Tracker>,
    config: HealthConfig,
    told: std::sync::Arc<Mutex<Vec<(u64, EventKind)>>>,
}

/// A thread's access to a peer. Each has a clock of its own, which begins at zero: threads bring times that
/// are out of order.
pub(crate) struct Hand {
    tracker: Arc<Tracker>,
    context: std::sync::Arc<Context>,
    clock: ManualClock,
    told: std::sync::Arc<Mutex<Vec<(u64, EventKind)>>>,
}

impl Peer {
    pub(crate) fn new(config: HealthConfig) -> Self {
        Self::after(0, config)
    }

    /// A peer in this generation, as after earlier trackers of it.
    pub(crate) fn after(generation: u64, config: HealthConfig) -> Self {
        let tracker = Arc::new(Tracker::new(Arc::new(Circuit::new(generation)), 0, 0));
        Self { tracker, config, told: Default::default() }
    }

    /// Returns a peer that was open, and whose wait is over for all threads that come at `OPEN` or later.
    pub(crate) fn open(config: HealthConfig) -> Self {
        let peer = Self::new(config);
        let hand = peer.hand();
        while peer.circuit().status() == Status::Closed {
            hand.fail(hand.admitted());
        }
        peer
    }

    /// Returns a half-open peer, and the tickets of its first probes.
    pub(crate) fn in_half_open(config: HealthConfig, probes: usize) -> (Self, Vec<Ticket>) {
        let peer = Self::open(config);
        let hand = peer.hand_at(OPEN);
        let tickets = (0..probes).map(|_| hand.admitted()).collect();
        (peer, tickets)
    }

    pub(crate) fn hand(&self) -> Hand {
        self.hand_by(|context| context)
    }

    /// With a guard that counts these peers.
    pub(crate) fn guarded_hand(&self, source: Box<dyn PeerSource>) -> Hand {
        self.hand_by(|context| context.guarding(source))
    }

    fn hand_by(&self, made: impl FnOnce(Context) -> Context) -> Hand {
        let (clock, hand) = Clock::manual();
        let rules = Arc::new(self.config.check().unwrap());
        Hand {
            tracker: Arc::clone(&self.tracker),
            context: std::sync::Arc::new(made(Context::new(clock, rules))),
            clock: hand,
            told: self.told.clone(),
        }
    }

    pub(crate) fn hand_at(&self, now: u64) -> Hand {
        let hand = self.hand();
        hand.at(now);
        hand
    }

    pub(crate) fn circuit(&self) -> View {
        self.tracker.circuit()
    }

    pub(crate) fn half_open(&self) -> Option<HalfOpen> {
        match &self.circuit().phase {
            Phase::HalfOpen(half_open) => Some((**half_open).clone()),
            _ => None,
        }
    }

    pub(crate) fn rests(&self) -> Option<u64> {
        self.tracker.rests()
    }

    pub(crate) fn totals(&self) -> PeerTotals {
        self.tracker.totals()
    }

    /// Returns the average of latencies, at the time zero.
    pub(crate) fn latency(&self) -> Option<u64> {
        self.tracker.latency(Tick::default)
    }

    /// Returns the errors since the last reset.
    pub(crate) fn errors(&self) -> u64 {
        self.tracker.errors(&self.circuit()).count
    }

    /// Returns the number of the last error, as a snapshot shows it.
    pub(crate) fn last_error(&self) -> Option<u64> {
        self.tracker.errors(&self.circuit()).last.map(|last| last.number)
    }

    /// When the last error came that is shown.
    pub(crate) fn last_error_at(&self) -> Option<Tick> {
        self.tracker.errors(&self.circuit()).last.map(|last| last.at)
    }

    pub(crate) fn told(&self) -> Vec<(u64, EventKind)> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.sort_by_key(|(generation, _)| *generation);
        told
    }

    /// Returns how often this event was told.
    pub(crate) fn count(&self, wanted: impl Fn(EventKind) -> bool) -> usize {
        self.told().iter().filter(|(_, turn)| wanted(*turn)).count()
    }

    /// Checks the end of every model: each transition was told once (R29), and time and successes lead to
    /// Closed, whatever is still out (P10).
    pub(crate) fn finish(&self) {
        is_told_rightly(&self.tracker);
        let told: Vec<u64> = self.told().iter().map(|(generation, _)| *generation).collect();
        let made: Vec<u64> = (1..=self.circuit().generation).collect();
        assert_eq!(told, made, "each transition is told exactly once");
        if self.circuit().is_removed() {
            return;
        }
        let late = self.hand_at(1_000_000);
        if matches!(
            self.circuit().status(),
            Status::ForcedOpen | Status::Disabled | Status::MetricsOnly
        ) {
            late.control(Control::Reset);
        }
        let mut calls = 0;
        while self.circuit().status() != Status::Closed {
            calls += 1;
            assert!(calls <= 64, "time and successes do not lead to Closed: {:?}", self.circuit());
            late.succeed(late.admitted());
        }
    }
}

impl Hand {
    /// Returns another thread's access, with the same clock and the same configuration.
    pub(crate) fn twin(&self) -> Self {
        Self {
            tracker: Arc::clone(&self.tracker),
            context: self.context.clone(),
            clock: self.clock.clone(),
            told: self.told.clone(),
        }
    }

    pub(crate) fn at(&self, now: u64) {
        self.clock.set(Duration::from_nanos(now));
    }

    pub(crate) fn circuit(&self) -> View {
        self.tracker.circuit()
    }

    pub(crate) fn configure(&self, config: &HealthConfig) {
        self.context.configure(Arc::new(config.check().unwrap()));
    }

    /// Asks for admission, as a registry does once the word is not at rest.
    pub(crate) fn acquire(&self) -> Admission {
        if let Some(ticket) = self.tracker.admit_in_streak(&self.context) {
            return Admission::Admitted(ticket);
        }
        let circuit = match self.tracker.rest_of_wait(&self.context) {
            Ok(rest) => return Admission::Refused(Refused::in_wait(rest)),
            Err(circuit) => circuit,
        };
        let (admission, emitted) = self.tracker.acquire(&self.context, circuit);
        self.tell(emitted);
        admission
    }

    pub(crate) fn ticket(&self) -> Option<Ticket> {
        match self.acquire() {
            Admission::Admitted(ticket) => Some(ticket),
            _ => None,
        }
    }

    pub(crate) fn admitted(&self) -> Ticket {
        self.ticket().unwrap()
    }

    pub(crate) fn succeed(&self, ticket: Ticket) -> Recorded {
        self.settle(ticket, Outcome::Success)
    }

    pub(crate) fn fail(&self, ticket: Ticket) -> Recorded {
        self.settle(ticket, Outcome::Failure)
    }

    /// Records a success whose latency is stated.
    pub(crate) fn succeed_within(&self, ticket: Ticket, nanos: u64) -> Recorded {
        let (success, latency) = (Outcome::Success, Some(nanos));
        let (recorded, emitted) =
            self.tracker.settle(&self.context, &ticket, success, &mut None, latency);
        self.tell(emitted);
        recorded
    }

    pub(crate) fn settle(&self, ticket: Ticket, outcome: Outcome) -> Recorded {
        let mut failure = (outcome == Outcome::Failure).then(failure);
        let (recorded, emitted) =
            self.tracker.settle(&self.context, &ticket, outcome, &mut failure, None);
        self.tell(emitted);
        recorded
    }

    pub(crate) fn report(&self, outcome: Outcome) -> Reported<Recorded> {
        self.numbered(outcome).0
    }

    /// Reports an outcome, and returns the number of its error among those without a success between.
    pub(crate) fn numbered(&self, outcome: Outcome) -> (Reported<Recorded>, u32) {
        let failure = (outcome != Outcome::Success).then(failure);
        let (reply, number, emitted) =
            self.tracker.report(&self.context, outcome, failure.as_ref());
        self.tell(emitted);
        (reply, number)
    }

    pub(crate) fn control(&self, control: Control) -> bool {
        let (done, emitted) = self.tracker.control(&self.context, control);
        self.tell(emitted);
        done.is_some()
    }

    pub(crate) fn end_wait(&self) -> bool {
        let (may_be_probed, emitted) = self.tracker.end_wait(&self.context);
        self.tell(emitted);
        may_be_probed
    }

    pub(crate) fn note_reachable(&self) -> bool {
        let (may_be_probed, emitted) = self.tracker.note_reachable(&self.context);
        self.tell(emitted);
        may_be_probed
    }

    pub(crate) fn remove(&self) -> Option<PeerTotals> {
        let (totals, emitted) = self.tracker.remove(&self.context);
        self.tell(emitted);
        totals
    }

    pub(crate) fn refuse(&self) {
        self.tracker.count_refusal(Reason::Open);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.tracker.refuses(&self.context)
    }

    /// Returns the number of the last error, as a snapshot shows it.
    pub(crate) fn last_error(&self) -> Option<u64> {
        self.tracker.errors(&self.circuit()).last.map(|last| last.number)
    }

    pub(crate) fn unused_since(&self) -> Option<Tick> {
        self.tracker.unused_since(&self.circuit())
    }

    fn tell(&self, emitted: Emitted) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend(emitted.events());
    }
}

/// Asks an entry for admission, in the order of the registry and of a handle.
pub(crate) fn acquire<K>(entry: &PeerEntry<K>) -> Admission {
    if let Some(ticket) = entry.admit_at_rest().or_else(|| entry.admit_in_streak()) {
        return Admission::Admitted(ticket);
    }
    match entry.refuse_in_wait() {
        Ok(rest) => Admission::Refused(Refused::in_wait(rest)),
        Err(circuit) => entry.acquire(circuit),
    }
}

/// Checks that the word of a circuit at rest tells the truth: see `word`.
pub(crate) fn is_told_rightly(tracker: &Tracker) {
    if let Some(generation) = tracker.rests() {
        let circuit = tracker.circuit();
        let rests = circuit.has_no_window() && circuit.health.run == Default::default();
        assert!(rests && circuit.generation == generation, "said to be at rest: {circuit:?}");
    }
}

pub(crate) fn failure() -> Failure {
    Failure::from(SyncError::State(String::new()))
}

pub(crate) fn opened(recorded: &Recorded) -> bool {
    matches!(recorded, Recorded::Opened { .. })
}
