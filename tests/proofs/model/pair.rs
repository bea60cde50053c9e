//! The library and the reference, side by side: each operation is done to both, and both are compared.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use peer_health::{
    CircuitState, Clock, ErrorHandler, Event, EventKind, HealthConfig, HealthRegistry, ManualClock,
    OwnedPermit, PeerHandle, Status, SyncError,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::PEER;
use super::answers::{admitted, counts, error, finish, next, settled};
use super::operations::Op;
use super::reference::{Control, End, Reference, Reply, Ticket, Told, nanos};

pub(super) struct Pair {
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
    pub(super) fn new(config: HealthConfig) -> Self {
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

    pub(super) fn step(&mut self, op: Op) -> TestCaseResult {
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
