//! Permits and handles as callers hold them, with their cached reads and quiet paths: P3, P8, P9,
//! P11, and R8.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::answer::{Recorded, Status};
use crate::circuit::{Admission, Control, Core, Ticket, Verdict};
use crate::config::HealthConfig;
use crate::error::SyncError;
use crate::event::EventKind;
use crate::permit::Permit;
use crate::seat::{Grip, Seat, Shared};
use crate::stage::{OPEN, both, config, failure, two};
use crate::sync::{Arc, Swap};
use crate::time::{Clock, ManualClock};
use crate::tracker::{Env, Tracker};

/// A seat outside of any table.
struct Place {
    seat: Arc<Seat<u8>>,
    clock: ManualClock,
    told: std::sync::Arc<Mutex<Vec<(u64, EventKind)>>>,
}

impl Place {
    fn new(config: &HealthConfig) -> Self {
        let (clock, hand) = Clock::manual();
        let rules = Swap::new(Arc::new(config.check().unwrap()));
        let told = std::sync::Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        let sink = move |_: &u8, generation, kind| {
            log.lock().unwrap_or_else(PoisonError::into_inner).push((generation, kind));
        };
        let shared = Arc::new(Shared::new(Env { clock, rules }, Box::new(sink), false));
        let tracker = Tracker::new(Arc::new(Core::new(0)), 0, 0);
        Self { seat: Arc::new(Seat { tracker, shared, key: 7 }), clock: hand, told }
    }

    fn half_open(config: &HealthConfig) -> (Self, Ticket) {
        let place = Self::new(config);
        fail(place.permit());
        place.clock.set(Duration::from_nanos(OPEN));
        let probe = ticket(place.seat.acquire());
        (place, probe)
    }

    fn grip(&self) -> Grip<u8> {
        Grip::new(Arc::clone(&self.seat))
    }

    fn permit(&self) -> Permit<'static, u8> {
        owned(&self.seat, ticket(self.seat.acquire()))
    }

    fn core(&self) -> Arc<Core> {
        self.seat.tracker.core()
    }

    /// R8: each permit has ended in one way; R29: each transition was told once.
    fn finish(self, permits: u64) {
        let core = self.core();
        assert_eq!(self.seat.tracker.totals(&core.health).settled(), permits);
        let mut told: Vec<u64> = self.told.lock().unwrap().iter().map(|(g, _)| *g).collect();
        told.sort_unstable();
        assert_eq!(told, (1..=core.generation).collect::<Vec<_>>());
        // P10: time and successes lead to Closed.
        self.clock.set(Duration::from_secs(1));
        self.permit().success();
        assert_eq!(self.core().status(), Status::Closed);
    }
}

fn ticket(admission: Admission) -> Ticket {
    match admission {
        Admission::Admitted(ticket) => ticket,
        refused => unreachable!("{refused:?}"),
    }
}

fn owned(seat: &Arc<Seat<u8>>, ticket: Ticket) -> Permit<'static, u8> {
    Permit::owned(Arc::clone(seat), ticket)
}

fn fail(permit: Permit<'_, u8>) -> Recorded {
    permit.failure(SyncError::State(String::new()))
}

/// P3 on the quiet path: a success that sees no streak changes nothing, one that sees it clears it.
#[test]
fn p03_a_quiet_success_leaves_a_streak_of_one_at_most() {
    two([1, 1], || {
        let place = Place::new(&config(3, 1));
        fail(place.permit());
        let (mut grip, second) = (place.grip(), ticket(place.seat.acquire()));
        let first = ticket(grip.acquire());
        let (grip, _) = both(
            move || {
                Permit::borrowed(&mut grip, first).success();
                grip
            },
            || place.seat.settle(second, Verdict::Failure, Some(&failure()), None),
        );
        assert!(place.core().health.streak <= 1);
        drop(grip);
        place.finish(3);
    });
}

/// P8 on the quiet path: a success of a phase that a reset has ended is late.
#[test]
fn p08_a_late_success_is_not_taken_for_a_quiet_one() {
    two([1, 1], || {
        let place = Place::new(&config(3, 1));
        let stale = place.permit();
        place.seat.tell(place.seat.tracker.control(&place.seat.shared.env, Control::Reset).1);
        let mut grip = place.grip();
        let (recorded, _) = both(
            move || stale.success(),
            || {
                let ticket = ticket(grip.acquire());
                fail(Permit::borrowed(&mut grip, ticket))
            },
        );
        assert_eq!(recorded, Recorded::Late);
        assert_eq!(place.core().health.streak, 1);
        drop(grip);
        place.finish(2);
    });
}

/// P8: a success by a handle, while the circuit opens: counted or late, never both.
#[test]
fn p08_a_success_beside_a_trip_ends_in_one_way() {
    two([1, 1], || {
        let place = Place::new(&config(1, 1));
        let (mut grip, permit) = (place.grip(), place.permit());
        let first = ticket(grip.acquire());
        let (recorded, _) =
            both(move || Permit::borrowed(&mut grip, first).success(), || fail(permit));
        assert!(matches!(recorded, Recorded::Counted | Recorded::Late));
        assert_eq!(place.core().status(), Status::Open);
        place.finish(2);
    });
}

/// P9: a permit that is dropped, borrowed or owned, frees its slot for whoever asks next.
#[test]
fn p09_dropping_a_permit_frees_its_slot() {
    two([1, 1], || {
        let (place, probe) = Place::half_open(&config(1, 1));
        let permit = owned(&place.seat, probe);
        let mut grip = place.grip();
        let ((), admission) = both(move || drop(permit), || grip.acquire());
        let again = matches!(admission, Admission::Admitted(_));
        assert_eq!(place.core().probes_in_flight(), usize::from(again));
        if let Admission::Admitted(ticket) = admission {
            drop(Permit::borrowed(&mut grip, ticket));
        }
        assert_eq!(place.core().probes_in_flight(), 0);
        drop(grip);
        place.finish(2 + u64::from(again));
    });
}

/// P11 for a handle, which caches what it reads: generations never go back, and it sees what
/// happened before.
#[test]
fn p11_a_cached_read_is_never_older_than_the_last() {
    two([1, 1], || {
        let place = Place::new(&config(1, 1));
        let ticket = ticket(place.seat.acquire());
        let (mut first, mut second) = (place.grip(), place.grip());
        let ((_first, seen), status) = both(
            move || {
                let seen = [first.core().generation, first.core().generation];
                (first, seen)
            },
            || {
                let before = second.core().status();
                place.seat.settle(ticket, Verdict::Failure, Some(&failure()), None);
                [before, second.core().status()]
            },
        );
        assert!(seen.is_sorted(), "{seen:?}");
        assert_eq!(status, [Status::Closed, Status::Open], "a thread sees what it did itself");
        place.finish(1);
    });
}
