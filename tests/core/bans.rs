//! A peer that is forced open for a time (R17).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use peer_health::{
    CircuitState, Clock, ErrorHandler, EventKind, HealthConfig, HealthRegistry, ManualClock,
    NextAdmission, OwnedPermit, Reason, Recorded, Refused, Status, SyncError, Window,
};

use crate::support::{HOUR, network};

const MOMENT: Duration = Duration::from_nanos(1);

type Told = Arc<Mutex<Vec<(u64, EventKind)>>>;

fn node(config: HealthConfig) -> (HealthRegistry<u32>, ManualClock, Told) {
    let (clock, hand) = Clock::manual();
    let told = Told::default();
    let log = Arc::clone(&told);
    let registry = HealthRegistry::builder()
        .config(config)
        .clock(clock)
        .listener(move |event| log.lock().unwrap().push((event.generation, event.kind)))
        .build()
        .unwrap();
    (registry, hand, told)
}

/// A peer that has failed twice, is banned for an hour, and is called when the ban is over but for a
/// moment.
fn banned() -> (HealthRegistry<u32>, ManualClock, Told) {
    let (registry, hand, told) = node(HealthConfig::default());
    registry.acquire(&7).unwrap().success();
    for _ in 0..2 {
        registry.acquire(&7).unwrap().failure(network());
    }
    registry.force_open_for(&7, HOUR).unwrap();
    hand.advance(HOUR - MOMENT);
    (registry, hand, told)
}

fn refusal(admission: Result<OwnedPermit<u32>, Refused>) -> (Reason, Option<Duration>) {
    let refused = admission.unwrap_err();
    (refused.reason, refused.retry_after)
}

const BAN: EventKind = EventKind::Overridden(Status::ForcedOpen);

#[test]
fn r17_a_ban_refuses_with_the_rest_of_it_and_ends_by_itself() {
    let (registry, hand, told) = banned();
    assert_eq!(refusal(registry.acquire(&7)), (Reason::ForcedOpen, Some(MOMENT)));
    assert_eq!(registry.next_admission(&7), NextAdmission::After(MOMENT));
    assert_eq!((registry.status(&7), registry.is_circuit_open(&7)), (Status::ForcedOpen, true));
    assert_eq!(told.lock().unwrap()[..], [(1, BAN)]);
    hand.advance(MOMENT);

    // As it reads; nothing has moved.
    assert_eq!((registry.status(&7), registry.is_circuit_open(&7)), (Status::Closed, false));
    assert_eq!(registry.next_admission(&7), NextAdmission::Now);
    let seen = registry.snapshot(&7).unwrap();
    assert_eq!((seen.status, seen.next_admission), (Status::Closed, NextAdmission::Now));
    assert_eq!((seen.consecutive_failures, seen.errors, seen.retry_attempt), (0, 0, 0));
    assert!(seen.last_error.is_none() && seen.last_error_at.is_none());
    assert_eq!((seen.consecutive_successes, seen.totals.succeeded, seen.totals.failed), (0, 1, 2));
    let mut handle = registry.peer(&7);
    assert_eq!((handle.status(), handle.is_circuit_open()), (Status::Closed, false));
    assert!(!registry.end_wait(&7) && !registry.note_reachable(&7));
    assert_eq!(told.lock().unwrap().len(), 1);

    // The first step tells.
    assert_eq!(handle.acquire().unwrap().success(), Recorded::Counted);
    assert_eq!(told.lock().unwrap()[1..], [(2, EventKind::Reset)]);
    assert_eq!(registry.acquire(&7).unwrap().success(), Recorded::Counted);
    assert_eq!(registry.snapshot(&7).unwrap().consecutive_successes, 2);
    assert_eq!(told.lock().unwrap().len(), 2, "once");
}

#[test]
fn r17_calls_in_flight_are_late_and_reports_after_the_end_count() {
    let (registry, hand, told) = node(HealthConfig::default().with_failure_threshold(2));
    let handler = ErrorHandler::with_registry(registry.clone());
    let call = registry.acquire(&7).unwrap();
    registry.force_open_for(&7, HOUR).unwrap();
    let refused = Err(SyncError::CircuitBreakerOpen);
    assert_eq!(handler.handle_error(&7, network()), refused);
    assert_eq!(handler.handle_error(&7, SyncError::Document("corrupt".into())), refused);
    handler.record_success(&7);
    assert_eq!(handler.peer_health(&7).unwrap().circuit_state, CircuitState::Open);
    hand.advance(HOUR);
    assert_eq!(handler.peer_health(&7).unwrap().circuit_state, CircuitState::Closed);
    assert_eq!(handler.peer_health(&7).unwrap().consecutive_successes, 0, "it reads as new");
    assert!(handler.handle_error(&7, network()).unwrap().is_some());
    assert_eq!(told.lock().unwrap()[..], [(1, BAN), (2, EventKind::Reset)]);
    assert_eq!(call.success(), Recorded::Late);
    let health = handler.peer_health(&7).unwrap();
    assert_eq!((health.consecutive_failures, health.total_failures), (1, 1));
    assert_eq!(handler.handle_error(&7, network()), refused, "the second in a row");
    assert_eq!(registry.snapshot(&7).unwrap().generation, 3);
}

/// The end of the ban and a trip, by the first report after it, are two transitions of one call.
#[test]
fn r17_the_first_report_after_a_ban_may_open_the_circuit() {
    let by_rate = HealthConfig::default()
        .with_failure_threshold(None)
        .with_window(Window::count(4))
        .with_failure_rate(0.5)
        .with_min_calls(1);
    for config in [HealthConfig::default().with_failure_threshold(1), by_rate] {
        let (registry, hand, told) = node(config);
        registry.force_open_for(&7, HOUR).unwrap();
        hand.advance(HOUR);
        let handler = ErrorHandler::with_registry(registry.clone());
        assert_eq!(handler.handle_error(&7, network()), Err(SyncError::CircuitBreakerOpen));
        let told = told.lock().unwrap();
        assert_eq!(told[..2], [(1, BAN), (2, EventKind::Reset)]);
        assert!(matches!(told[2], (3, EventKind::Opened { reopened: false, .. })), "{told:?}");
        assert_eq!(registry.status(&7), Status::Open);
    }
}

#[test]
fn r17_no_time_at_all_ends_at_once_and_more_than_fits_does_not() {
    let (registry, hand, told) = node(HealthConfig::default());
    let call = registry.acquire(&7).unwrap();
    registry.force_open_for(&7, Duration::ZERO).unwrap();
    assert_eq!((registry.status(&7), call.success()), (Status::Closed, Recorded::Late));
    assert!(registry.acquire(&7).is_ok());
    assert_eq!(told.lock().unwrap()[..], [(1, BAN), (2, EventKind::Reset)]);

    registry.force_open_for(&7, Duration::MAX).unwrap();
    hand.advance(HOUR * 24 * 365 * 500);
    assert_eq!(registry.status(&7), Status::ForcedOpen);
    hand.advance(Duration::MAX);
    assert_eq!(registry.status(&7), Status::Closed, "time has ended");
}

#[test]
fn r17_the_later_word_of_an_operator_counts() {
    let (registry, hand, told) = node(HealthConfig::default());
    registry.force_open_for(&7, HOUR).unwrap();
    registry.force_open(&7).unwrap();
    hand.advance(HOUR);
    assert_eq!(refusal(registry.acquire(&7)), (Reason::ForcedOpen, None));
    registry.force_open_for(&7, HOUR).unwrap();
    registry.force_open_for(&7, HOUR / 2).unwrap();
    hand.advance(HOUR / 2);
    // A control after the end is one step: it is what it says.
    registry.disable(&7).unwrap();
    assert_eq!(registry.status(&7), Status::Disabled);
    registry.force_open_for(&7, HOUR).unwrap();
    assert!(registry.reset(&7) && registry.acquire(&7).is_ok());
    let disabled = EventKind::Overridden(Status::Disabled);
    let kinds: Vec<_> = told.lock().unwrap().iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [BAN, BAN, BAN, BAN, disabled, BAN, EventKind::Reset]);
}

/// R26: a ban that lasts is never forgotten, one that has ended is like any clean peer.
#[test]
fn r26_bans_that_have_ended_shut_no_newcomer_out() {
    let (registry, hand, told) = node(HealthConfig::default().with_max_peers(1000));
    let accepted = (0..5000).filter(|peer| registry.force_open_for(peer, HOUR).is_ok()).count();
    assert_eq!((accepted, registry.len()), (1000, 1000), "none is lost silently");
    assert!(!registry.acquire(&9999).unwrap().is_tracked());
    hand.advance(HOUR);
    for newcomer in 10_000..12_000 {
        assert!(registry.acquire(&newcomer).unwrap().is_tracked());
    }
    let evicted =
        told.lock().unwrap().iter().filter(|(_, kind)| *kind == EventKind::Evicted).count();
    assert_eq!(evicted, 2000);
    // Swept away, too.
    registry.force_open_for(&1, HOUR).unwrap();
    registry.sweep();
    hand.advance(HOUR - MOMENT);
    assert_eq!((registry.sweep(), registry.len()), (999, 1), "all but the one that is banned");
    hand.advance(MOMENT);
    assert_eq!((registry.sweep(), registry.is_empty()), (1, true));
}

/// R13: many that come at the end of a ban make one step of it.
#[test]
fn r13_threads_that_come_when_a_ban_has_ended_tell_once() {
    for _ in 0..200 {
        let (registry, hand, told) = node(HealthConfig::default());
        registry.force_open_for(&7, HOUR).unwrap();
        hand.advance(HOUR);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(registry.acquire(&7).unwrap().success(), Recorded::Counted)
                });
            }
        });
        assert_eq!(told.lock().unwrap()[..], [(1, BAN), (2, EventKind::Reset)]);
        assert_eq!(registry.totals().all.succeeded, 4);
    }
}
