//! Random lives of one peer, in the library and in a reference that says the rules as plainly as
//! it can (`model/reference.rs`): after every operation both must have answered the same and look
//! the same.
//!
//! `PROPTEST_CASES=100000 cargo test --test proofs model` looks further.

mod reference;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use peer_health::{
    CircuitState, Clock, ErrorHandler, Event, EventKind, Failure, HalfOpenMode, HealthConfig,
    HealthRegistry, ManualClock, NextAdmission, OwnedPermit, PeerHandle, Permit, Recorded, Refused,
    Status, SyncError, Window,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use reference::{Control, Counts, End, How, Next, Reference, Reply, Reported, Ticket, Told, nanos};

const PEER: u32 = 7;

#[derive(Debug, Clone)]
enum Op {
    /// A call that begins here and ends with some later `Settle`.
    Acquire,
    Settle {
        which: usize,
        end: End,
    },
    /// A call that ends before anything else happens, `took` later.
    Call {
        by_handle: bool,
        took: Duration,
        end: End,
    },
    ReportSuccess,
    ReportError(Reported),
    Ask {
        by_handle: bool,
    },
    Control(Control),
    Configure(Box<HealthConfig>),
    Remove,
    /// Good news, or an operator who ends the wait.
    News {
        by_operator: bool,
    },
    Wait(Duration),
    /// To one of the moments at which time alone changes something; or just before, or after.
    GoTo {
        which: usize,
        nudge: i64,
    },
}

// What may happen.

const MS: Duration = Duration::from_millis(1);

fn some_time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        2 => Just(Duration::ZERO),
        1 => Just(Duration::from_nanos(1)),
        8 => (1u32..=20).prop_map(|n| MS * n),
        2 => (1u32..=50).prop_map(|n| MS * n * 20),
        1 => Just(Duration::from_secs(3600)),
    ]
}

fn above_zero() -> impl Strategy<Value = Duration> {
    prop_oneof![9 => (1u32..=20).prop_map(|n| MS * n), 1 => Just(Duration::MAX)]
}

fn a_rate() -> impl Strategy<Value = Option<f64>> {
    let rates = prop::sample::select(vec![0.01, 0.25, 0.3, 0.5, 2.0 / 3.0, 0.75, 1.0]);
    option::weighted(0.6, rates)
}

fn a_window() -> impl Strategy<Value = Option<Window>> {
    let count = prop_oneof![Just(1u32), Just(2), Just(3), Just(5), Just(16), Just(200)];
    let time = (1u32..=5, prop::sample::select(vec![1u32, 2, 3, 4, 10]));
    prop_oneof![
        2 => Just(None),
        3 => count.prop_map(|size| Some(Window::count(size))),
        3 => time.prop_map(|(width, buckets)| Some(Window::time(MS * width * buckets, buckets))),
    ]
}

/// Waits whose growth is exact in floating point, so that two ways to compute it agree.
fn open_times() -> impl Strategy<Value = (Duration, f64, Duration)> {
    let cap = prop::sample::select(vec![MS * 5, MS * 60, MS * 5000]);
    prop_oneof![
        8 => (prop::sample::select(vec![MS, MS * 10, MS * 64]),
              prop::sample::select(vec![1.0, 1.5, 2.0, 10.0, 1e308]), cap),
        1 => (Just(Duration::ZERO), Just(2.0), Just(MS)),
        1 => (Just(MS * 10), Just(1.0), Just(Duration::ZERO)),
        1 => (Just(MS * 10), Just(2.0), Just(Duration::MAX)),
        1 => (Just(Duration::MAX), Just(f64::MAX), Just(MS * 50)),
    ]
}

/// Any configuration that makes sense, mostly of small numbers: much happens in sixty steps.
fn a_config() -> impl Strategy<Value = HealthConfig> {
    let streak =
        prop_oneof![4 => (1u32..=4).prop_map(Some), 1 => Just(None), 1 => Just(Some(u32::MAX))];
    let gap = prop_oneof![Just(None), Just(Some(MS * 5)), Just(Some(MS * 30))];
    let trip = (streak, gap, a_window(), option::of(1u32..=6), a_rate());
    let slow = (option::weighted(0.6, above_zero()), a_rate());
    let n = prop_oneof![12 => 1u32..=5, 1 => Just(64u32)];
    let trial = (
        n,
        any::<bool>(),
        option::weighted(0.4, above_zero()),
        option::weighted(0.6, above_zero()),
    );
    (trip, slow, open_times(), trial).prop_map(|(trip, slow, open, trial)| {
        let (streak, gap, window, min_calls, failure_rate) = trip;
        let (slow_call, slow_rate) = slow;
        let (open_timeout, multiplier, open_max) = open;
        let (n, by_rate, half_open_max, lease) = trial;
        let slow_rate = slow_rate.filter(|_| slow_call.is_some());
        let by_rate = by_rate && (failure_rate.is_some() || slow_rate.is_some());
        // A rate without a window is for the probes of mode Rate alone.
        let judged = by_rate || window.is_some();
        let (failure_rate, slow_rate) =
            if judged { (failure_rate, slow_rate) } else { (None, None) };
        let min_calls = match window {
            Some(Window::Count { size }) => min_calls.map(|calls| calls.min(size)),
            _ => min_calls,
        };
        HealthConfig::default()
            .with_failure_threshold(streak)
            .with_streak_gap(gap)
            .with_window(window)
            .with_min_calls(min_calls)
            .with_failure_rate(failure_rate)
            .with_slow_call(slow_call)
            .with_slow_rate(slow_rate)
            .with_open_timeout(open_timeout)
            .with_open_multiplier(multiplier)
            .with_open_max(open_max)
            .with_open_jitter(0.0)
            .with_success_threshold(n)
            .with_half_open_mode(if by_rate { HalfOpenMode::Rate } else { HalfOpenMode::All })
            .with_half_open_max(half_open_max)
            .with_probe_lease(lease)
    })
}

fn an_end() -> impl Strategy<Value = End> {
    let how = prop_oneof![
        5 => Just(How::Success),
        6 => Just(How::Failure),
        1 => Just(How::Document),
        1 => Just(How::Neutral),
        1 => Just(How::Drop),
    ];
    let time = || prop_oneof![4 => some_time(), 1 => Just(Duration::MAX)];
    let (latency, wish) = (option::weighted(0.3, time()), option::weighted(0.2, time()));
    (how, latency, wish).prop_map(|(how, latency, wish)| End { how, latency, wish })
}

fn an_op() -> impl Strategy<Value = Op> {
    let reported = prop::sample::select(vec![
        Reported::Network,
        Reported::Network,
        Reported::Protocol,
        Reported::Document,
        Reported::Quota,
    ]);
    let control = prop_oneof![
        2 => Just(Control::Reset),
        1 => Just(Control::ForceOpen),
        1 => prop_oneof![8 => some_time(), 1 => Just(Duration::ZERO), 1 => Just(Duration::MAX)]
            .prop_map(Control::ForceOpenFor),
        1 => Just(Control::Disable),
        1 => Just(Control::MetricsOnly),
    ];
    let which = || 0usize..64;
    let call = (any::<bool>(), some_time(), an_end());
    let far = Duration::from_nanos(u64::MAX / 200);
    prop_oneof![
        16 => Just(Op::Acquire),
        18 => (which(), an_end()).prop_map(|(which, end)| Op::Settle { which, end }),
        20 => call.prop_map(|(by_handle, took, end)| Op::Call { by_handle, took, end }),
        6 => Just(Op::ReportSuccess),
        8 => reported.prop_map(Op::ReportError),
        6 => any::<bool>().prop_map(|by_handle| Op::Ask { by_handle }),
        2 => control.prop_map(Op::Control),
        3 => a_config().prop_map(|config| Op::Configure(Box::new(config))),
        1 => Just(Op::Remove),
        8 => prop::bool::weighted(0.2).prop_map(|by_operator| Op::News { by_operator }),
        10 => some_time().prop_map(Op::Wait),
        1 => Just(Op::Wait(far)),
        16 => (which(), -1i64..=1).prop_map(|(which, nudge)| Op::GoTo { which, nudge }),
    ]
}

// Both of them, side by side.

struct Pair {
    reference: Reference,
    registry: HealthRegistry<u32>,
    handler: ErrorHandler<u32>,
    handle: Option<PeerHandle<u32>>,
    hand: ManualClock,
    events: Arc<Mutex<Vec<Event<u32>>>>,
    permits: Vec<(OwnedPermit<u32>, Ticket)>,
    admitted: u64,
    generation: u64,
    last: Option<EventKind>,
    /// Which of the peer's trackers the handle holds.
    handle_of: Option<u64>,
}

impl Pair {
    fn new(config: HealthConfig) -> Self {
        let (clock, hand) = Clock::manual();
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let registry = HealthRegistry::builder()
            .config(config.clone())
            .clock(clock)
            .listener(move |event: &Event<u32>| told.lock().unwrap().push(event.clone()))
            .build()
            .unwrap();
        Self {
            reference: Reference::new(config),
            handler: ErrorHandler::with_registry(registry.clone()),
            registry,
            handle: None,
            hand,
            events,
            permits: Vec::new(),
            admitted: 0,
            generation: 0,
            last: None,
            handle_of: None,
        }
    }

    fn go_to(&mut self, now: u64) {
        self.reference.now = now;
        self.hand.set(Duration::from_nanos(now));
    }

    fn wait(&mut self, time: Duration) {
        self.go_to(self.reference.now.saturating_add(nanos(time)));
    }

    fn step(&mut self, op: Op) -> TestCaseResult {
        match op {
            Op::Acquire => {
                let got = self.registry.acquire(&PEER);
                let expected = self.reference.acquire();
                if let Some((permit, ticket)) = admitted(got, expected)? {
                    self.admitted += 1;
                    self.permits.push((permit, ticket));
                }
            }
            Op::Settle { which, end } => {
                if !self.permits.is_empty() {
                    let (permit, ticket) = self.permits.remove(which % self.permits.len());
                    let end = self.reference.known_latency(ticket, end);
                    let expected = self.reference.settle(ticket, end);
                    settled(finish(permit, end), expected)?;
                }
            }
            Op::Call { by_handle, took, end } => self.call(by_handle, took, end)?,
            Op::ReportSuccess => {
                self.reference.report_success();
                self.handler.record_success(&PEER);
            }
            Op::ReportError(reported) => {
                let expected = self.reference.report_error(reported);
                let got = match self.handler.handle_error(&PEER, error(reported)) {
                    Err(SyncError::CircuitBreakerOpen) => Reply::CircuitOpen,
                    Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
                    Ok(None) => Reply::Never,
                    Ok(Some(Duration::ZERO)) => Reply::Now,
                    Ok(Some(_)) => Reply::Later,
                };
                prop_assert_eq!(got, expected, "reply to {:?}", reported);
            }
            Op::Ask { by_handle } => {
                let expected = self.reference.ask();
                let got = match &mut self.handle {
                    Some(handle) if by_handle => handle.is_circuit_open(),
                    _ => self.handler.is_circuit_open(&PEER),
                };
                prop_assert_eq!(got, expected, "is_circuit_open");
            }
            Op::Control(control) => {
                match control {
                    Control::ForceOpen => self.registry.force_open(&PEER).unwrap(),
                    Control::ForceOpenFor(time) => {
                        self.registry.force_open_for(&PEER, time).unwrap();
                    }
                    Control::Disable => self.registry.disable(&PEER).unwrap(),
                    Control::MetricsOnly => self.registry.metrics_only(&PEER).unwrap(),
                    Control::Reset => {
                        let known = self.reference.peer.is_some();
                        prop_assert_eq!(self.registry.reset(&PEER), known);
                    }
                }
                self.reference.control(control);
            }
            Op::Configure(config) => {
                self.registry.set_config(HealthConfig::clone(&config)).unwrap();
                self.reference.config = *config;
            }
            Op::Remove => {
                prop_assert_eq!(self.registry.remove(&PEER), self.reference.peer.is_some());
                self.reference.remove();
            }
            Op::News { by_operator: true } => {
                prop_assert_eq!(self.registry.end_wait(&PEER), self.reference.end_wait());
            }
            Op::News { by_operator: false } => {
                let expected = self.reference.note_reachable();
                prop_assert_eq!(self.registry.note_reachable(&PEER), expected, "news");
            }
            Op::Wait(time) => self.wait(time),
            Op::GoTo { which, nudge } => {
                let mut moments = self.reference.moments();
                moments.extend(self.permits.iter().filter_map(|(_, ticket)| {
                    Some(ticket.at.saturating_add(nanos(self.reference.config.slow_call?)))
                }));
                let ahead = |moment: &u64| (self.reference.now..u64::MAX / 2).contains(moment);
                moments.retain(ahead);
                if !moments.is_empty() {
                    let moment = moments[which % moments.len()].saturating_add_signed(nudge);
                    self.go_to(moment.max(self.reference.now));
                }
            }
        }
        self.same_events()?;
        self.same_looks()
    }

    fn call(&mut self, by_handle: bool, took: Duration, end: End) -> TestCaseResult {
        let Self { reference, registry, handle, hand, .. } = self;
        let handle = by_handle.then(|| handle.get_or_insert_with(|| registry.peer(&PEER)));
        let got = match handle {
            Some(handle) => handle.acquire(),
            None => registry.acquire(&PEER),
        };
        let expected = reference.acquire();
        if by_handle {
            self.handle_of = reference.life();
        }
        if let Some((permit, ticket)) = admitted(got, expected)? {
            self.admitted += 1;
            reference.now = reference.now.saturating_add(nanos(took));
            hand.set(Duration::from_nanos(reference.now));
            let expected = reference.settle(ticket, end);
            settled(finish(permit, end), expected)?;
        }
        Ok(())
    }

    /// R29: each exactly once, in order, with rising generations.
    fn same_events(&mut self) -> TestCaseResult {
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        let kinds: Vec<_> = events.iter().map(|event| Told::from(event.kind)).collect();
        prop_assert_eq!(kinds, std::mem::take(&mut self.reference.events), "events");
        for event in events {
            prop_assert!(event.generation > self.generation, "{event:?} is not new");
            self.generation = event.generation;
            self.last = Some(event.kind);
        }
        Ok(())
    }

    fn same_looks(&mut self) -> TestCaseResult {
        let Self { reference, registry, generation, .. } = self;
        let now = reference.now;
        prop_assert_eq!(next(registry.next_admission(&PEER)), reference.next_admission());
        let totals = registry.totals();
        prop_assert_eq!((totals.untracked, totals.evicted), (0, 0));
        let ever = reference.peer.as_ref().map_or(reference.gone, |p| p.counts.and(reference.gone));
        let got = counts(&totals.all);
        let outstanding = self.permits.len() as u64;
        prop_assert_eq!(totals.all.settled() + outstanding, self.admitted, "R8: the sum");
        prop_assert_eq!(got, ever, "totals of the registry");

        prop_assert_eq!(registry.contains(&PEER), reference.peer.is_some());
        let Some(peer) = &reference.seen() else { return Ok(()) };
        let got = registry.snapshot(&PEER).unwrap();
        if let Some(status) = peer.shown_status(now) {
            prop_assert_eq!(got.status, status);
            prop_assert_eq!(registry.status(&PEER), status);
            if let Some(handle) = &mut self.handle {
                prop_assert_eq!(handle.status(), status);
            }
        }
        prop_assert_eq!(got.consecutive_failures, peer.streak, "streak");
        if let Some(window) = peer.shown_window(&reference.config, now) {
            let got = got.window;
            prop_assert_eq!((got.total, got.failures, got.slow), window, "window");
        }
        prop_assert_eq!(got.next_admission, registry.next_admission(&PEER));
        prop_assert_eq!(counts(&got.totals), peer.counts, "totals");
        prop_assert_eq!(got.errors, peer.errors, "errors");
        prop_assert_eq!(got.retry_attempt, peer.attempts, "retry_attempt");
        prop_assert_eq!(got.open_for, peer.open_for(now), "open_for");
        if let Some(probes) = peer.probes_in_flight(now) {
            prop_assert_eq!(got.probes_in_flight, probes, "probes_in_flight");
        }
        if let Some(successes) = peer.successes {
            prop_assert_eq!(got.consecutive_successes, successes, "consecutive_successes");
        }
        let began_with_an_event = !matches!(self.last, None | Some(EventKind::Removed));
        prop_assert!(got.generation >= *generation, "generation {} fell", got.generation);
        prop_assert!(!began_with_an_event || got.generation == *generation, "not the event's");

        let health = self.handler.peer_health(&PEER).unwrap();
        prop_assert_eq!(health.consecutive_failures, peer.streak);
        prop_assert_eq!(health.total_failures, peer.errors);
        prop_assert_eq!(health.retry_attempt, peer.attempts);
        prop_assert_eq!(u64::from(health.consecutive_successes), got.consecutive_successes);
        prop_assert_eq!(health.circuit_opened_at.is_some(), got.open_for.is_some());
        let shown = match got.status {
            Status::Open | Status::ForcedOpen => CircuitState::Open,
            Status::HalfOpen => CircuitState::HalfOpen,
            _ => CircuitState::Closed,
        };
        prop_assert_eq!(health.circuit_state, shown, "the state of sync_errors");
        Ok(())
    }
}

/// Both admitted, or both refused for the same reason and time.
fn admitted<'h>(
    got: Result<Permit<'h, u32>, Refused>,
    expected: Result<Ticket, reference::No>,
) -> Result<Option<(Permit<'h, u32>, Ticket)>, TestCaseError> {
    match (got, expected) {
        (Ok(permit), Ok(ticket)) => {
            prop_assert!(permit.is_tracked());
            prop_assert_eq!(permit.is_probe(), ticket.probe.is_some(), "is_probe");
            Ok(Some((permit, ticket)))
        }
        (Err(got), Err(no)) => {
            prop_assert_eq!((got.reason, got.retry_after.map(nanos)), (no.reason, no.retry_after));
            Ok(None)
        }
        (got, expected) => {
            Err(TestCaseError::fail(format!("admission: got {got:?}, expected {expected:?}")))
        }
    }
}

/// `None` for a permit that was dropped: it tells nobody.
fn settled(got: Option<Recorded>, expected: Recorded) -> TestCaseResult {
    if let Some(got) = got {
        prop_assert_eq!(got, expected, "recorded");
    }
    Ok(())
}

fn finish(permit: Permit<'_, u32>, end: End) -> Option<Recorded> {
    let permit = match end.latency {
        Some(latency) => permit.with_latency(latency),
        None => permit,
    };
    let failure = |error: SyncError| match end.wish {
        Some(wish) => Failure::from(error).with_retry_after(wish),
        None => Failure::from(error),
    };
    Some(match end.how {
        How::Success => permit.success(),
        How::Failure => permit.failure(failure(error(Reported::Network))),
        How::Document => permit.failure(failure(error(Reported::Document))),
        How::Neutral => permit.neutral(),
        How::Drop => {
            drop(permit);
            return None;
        }
    })
}

fn error(reported: Reported) -> SyncError {
    match reported {
        Reported::Network => SyncError::Network("reset".into()),
        Reported::Protocol => SyncError::Protocol("garbage".into()),
        Reported::Document => SyncError::Document("corrupt".into()),
        Reported::Quota => SyncError::BandwidthExhausted("bulk".into()),
    }
}

fn next(next: NextAdmission) -> Next {
    match next {
        NextAdmission::Now => Next::Now,
        NextAdmission::After(wait) => Next::After(nanos(wait)),
        _ => Next::Unknown,
    }
}

fn counts(totals: &peer_health::PeerTotals) -> Counts {
    Counts {
        succeeded: totals.succeeded,
        failed: totals.failed,
        neutral: totals.neutral,
        abandoned: totals.abandoned,
        late: totals.late,
        opened: totals.opened,
        reported_successes: totals.reported_successes,
        reported_errors: totals.reported_errors,
        refused: [totals.refused.open, totals.refused.probes_in_flight, totals.refused.forced_open],
    }
}

fn cases(usually: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { usually };
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..default }
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn a_peer_lives_as_the_rules_say(config in a_config(), ops in vec(an_op(), 1..60)) {
        let mut pair = Pair::new(config);
        for (number, op) in ops.into_iter().enumerate() {
            let shown = format!("{op:?}");
            pair.step(op).map_err(|e| TestCaseError::fail(format!("step {number}, {shown}: {e}")))?;
        }
    }
}

// Jitter (R16), which the reference knows nothing of.

/// The waits of a peer whose every probe fails.
fn waits(config: &HealthConfig, seed: u64, peer: u32, trips: usize) -> Vec<u64> {
    let (clock, hand) = Clock::manual();
    let builder = HealthRegistry::builder().config(config.clone()).clock(clock).seed(seed);
    let registry = builder.build().unwrap();
    let trip = |_| match registry.acquire(&peer).unwrap().failure(error(Reported::Network)) {
        Recorded::Opened { retry_after } => {
            hand.advance(retry_after);
            nanos(retry_after)
        }
        other => panic!("{other:?}"),
    };
    (0..trips).map(trip).collect()
}

fn jittery(jitter: f64) -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_timeout(MS * 100)
        .with_open_multiplier(2.0)
        .with_open_max(MS * 1000)
        .with_open_jitter(jitter)
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn jitter_shortens_a_wait_by_at_most_its_fraction_and_can_be_repeated(
        jitter in prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0],
        seed in any::<u64>(),
        peer in any::<u32>(),
    ) {
        let config = jittery(jitter);
        let got = waits(&config, seed, peer, 8);
        prop_assert_eq!(&got, &waits(&config, seed, peer, 8), "the same seed, other waits");
        for (wait, whole) in got.into_iter().zip(waits(&jittery(0.0), seed, peer, 8)) {
            let least = whole as f64 * (1.0 - jitter) - 1.0;
            prop_assert!(wait <= whole && wait as f64 >= least, "{wait} of {whole}");
        }
    }
}

#[test]
fn jitter_is_alive_at_the_cap_and_differs_by_seed_peer_and_generation() {
    let capped = jittery(0.5).with_open_timeout(MS * 1000);
    let distinct = |mut waits: Vec<u64>| {
        let half = nanos(MS * 500)..=nanos(MS * 1000);
        assert!(waits.iter().all(|wait| half.contains(wait)));
        waits.sort_unstable();
        waits.dedup();
        waits.len()
    };
    let first = |seed: u64, peer: u32| waits(&capped, seed, peer, 1)[0];
    assert!(distinct((0..100).map(|seed| first(seed, PEER)).collect()) > 95, "by seed");
    assert!(distinct((0..100).map(|peer| first(1, peer)).collect()) > 95, "by peer");
    assert!(distinct(waits(&capped, 1, PEER, 100)) > 95, "by generation");
}
