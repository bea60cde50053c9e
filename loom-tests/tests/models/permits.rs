//! Permits and handles as callers hold them, with their cached reads and quiet paths: P3, P8, P9,
//! P11, P16.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::circuit::{Admission, Circuit, Control, Outcome, Ticket};
use crate::config::{HealthConfig, Window};
use crate::error::SyncError;
use crate::event::EventKind;
use crate::outcome::{Recorded, Status};
use crate::peer::{Announcement, PeerEntry, RegistryShared};
use crate::permit::Permit;
use crate::stage::{OPEN, acquire, both, config, failure, is_told_rightly, two, two_bounded};
use crate::sync::{Arc, settings_change};
use crate::time::{Clock, ManualClock, Tick};
use crate::tracker::{Context, Tracker, View};

const LATER: Duration = Duration::from_nanos(2 * OPEN);

/// Returns an entry outside of any table.
struct Place {
    entry: Arc<PeerEntry<u8>>,
    clock: ManualClock,
    told: std::sync::Arc<Mutex<Vec<(u64, EventKind)>>>,
}

impl Place {
    fn new(config: &HealthConfig) -> Self {
        let (clock, hand) = Clock::manual();
        let context = Context::new(clock, Arc::new(config.check().unwrap()));
        let told = std::sync::Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        let sink = move |_: &PeerEntry<u8>, said| {
            if let Announcement::Event(generation, kind) = said {
                log.lock().unwrap_or_else(PoisonError::into_inner).push((generation, kind));
            }
        };
        let shared = Arc::new(RegistryShared::new(context, Box::new(sink), false));
        let tracker = Tracker::new(Arc::new(Circuit::new(0)), 0, 0);
        Self { entry: Arc::new(PeerEntry::new(tracker, shared, 7)), clock: hand, told }
    }

    fn half_open(config: &HealthConfig) -> (Self, Ticket) {
        let place = Self::new(config);
        fail(place.permit());
        place.clock.set(Duration::from_nanos(OPEN));
        let probe = ticket(acquire(&place.entry));
        (place, probe)
    }

    fn permit(&self) -> Permit<'static, u8> {
        owned(&self.entry, ticket(acquire(&self.entry)))
    }

    fn circuit(&self) -> View {
        self.entry.tracker.circuit()
    }

    /// Checks that each permit has ended in one way (R8), and that each transition was told once (R29).
    fn finish(self, permits: u64) {
        let circuit = self.circuit();
        is_told_rightly(&self.entry.tracker);
        assert_eq!(self.entry.tracker.totals().settled(), permits);
        let mut told: Vec<u64> = self.told.lock().unwrap().iter().map(|(g, _)| *g).collect();
        told.sort_unstable();
        assert_eq!(told, (1..=circuit.generation).collect::<Vec<_>>());
        // P10: time and successes lead to Closed.
        self.clock.set(Duration::from_secs(1));
        self.permit().success();
        assert_eq!(self.circuit().status(), Status::Closed);
        self.permit().success();
        let rests =
            (!self.entry.shared.context.looks_at_successes()).then_some(self.circuit().generation);
        assert_eq!(self.entry.tracker.rests(), rests, "at rest, and said so");
    }
}

fn ticket(admission: Admission) -> Ticket {
    match admission {
        Admission::Admitted(ticket) => ticket,
        refused => unreachable!("{refused:?}"),
    }
}

fn owned(entry: &Arc<PeerEntry<u8>>, ticket: Ticket) -> Permit<'static, u8> {
    Permit::owned(Arc::clone(entry), ticket)
}

fn fail(permit: Permit<'_, u8>) -> Recorded {
    permit.failure(SyncError::State(String::new()))
}

/// P3 on the quiet path: a success that sees no streak changes nothing, one that sees it clears it.
#[test]
fn p03_a_quiet_success_leaves_a_streak_of_one_at_most() {
    two([18, 198], || {
        let place = Place::new(&config(3, 1));
        fail(place.permit());
        let (entry, second) = (Arc::clone(&place.entry), ticket(acquire(&place.entry)));
        let first = ticket(acquire(&entry));
        both(
            move || Permit::borrowed(&entry, first).success(),
            || place.entry.settle(&second, Outcome::Failure, &mut Some(failure()), None),
        );
        assert!(place.circuit().health.run.streak <= 1);
        place.finish(3);
    });
}

/// P16: a success that has ended a streak says that the circuit is at rest, though another thread looks at
/// it meanwhile: the calls after it need not read the circuit.
#[test]
fn p16_a_success_that_ends_a_streak_says_so() {
    two([6, 6], || {
        let place = Place::new(&config(3, 1));
        fail(place.permit());
        let permit = place.permit();
        let (_, streak) = both(move || permit.success(), || place.circuit().health.run.streak);
        assert!(streak <= 1);
        assert_eq!(place.entry.tracker.rests(), Some(0), "at rest, and said so");
        place.finish(2);
    });
}

/// P8 on the quiet path: a success of a phase that a reset has ended is late.
#[test]
fn p08_a_late_success_is_not_taken_for_a_quiet_one() {
    two([30, 10537], || {
        let place = Place::new(&config(3, 1));
        let stale = place.permit();
        place
            .entry
            .tell(&place.entry.tracker.control(&place.entry.shared.context, Control::Reset).1);
        let (recorded, _) = both(
            move || stale.success(),
            || {
                let ticket = ticket(acquire(&place.entry));
                fail(Permit::borrowed(&place.entry, ticket))
            },
        );
        assert_eq!(recorded, Recorded::Late);
        assert_eq!(place.circuit().health.run.streak, 1);
        place.finish(2);
    });
}

/// P8: a success by a handle, while the circuit opens: counted or late, never both.
#[test]
fn p08_a_success_beside_a_trip_ends_in_one_way() {
    two([30, 128], || {
        let place = Place::new(&config(1, 1));
        let (entry, permit) = (Arc::clone(&place.entry), place.permit());
        let first = ticket(acquire(&entry));
        let (recorded, _) =
            both(move || Permit::borrowed(&entry, first).success(), || fail(permit));
        assert!(matches!(recorded, Recorded::Counted | Recorded::Late));
        assert_eq!(place.circuit().status(), Status::Open);
        place.finish(2);
    });
}

/// P9: a permit that is dropped, borrowed or owned, frees its slot for the next caller.
#[test]
fn p09_dropping_a_permit_frees_its_slot() {
    two([8, 1539], || {
        let (place, probe) = Place::half_open(&config(1, 1));
        let permit = owned(&place.entry, probe);
        let ((), admission) = both(move || drop(permit), || acquire(&place.entry));
        let again = matches!(admission, Admission::Admitted(_));
        assert_eq!(place.circuit().probes_in_flight(), usize::from(again));
        if let Admission::Admitted(ticket) = admission {
            drop(Permit::borrowed(&place.entry, ticket));
        }
        assert_eq!(place.circuit().probes_in_flight(), 0);
        place.finish(2 + u64::from(again));
    });
}

/// P11 on the quiet path: a call that is admitted by the word alone finds that phase, or a later one: its
/// failure is not taken for a late one.
#[test]
fn p11_who_is_told_of_a_phase_finds_it() {
    two([3274, 2124], || {
        let place = Place::new(&config(1, 1));
        let entry = Arc::clone(&place.entry);
        // The order matters: loom runs the second thread first, and then looks at what the first can see.
        let ((ticket, recorded), ()) = both(
            move || {
                let ticket = ticket(acquire(&entry));
                (ticket, fail(Permit::borrowed(&entry, ticket)))
            },
            || {
                place.entry.tell(
                    &place.entry.tracker.control(&place.entry.shared.context, Control::Reset).1,
                )
            },
        );
        let late = recorded == Recorded::Late;
        assert!(!late || ticket.generation == 0, "{ticket:?} belongs to the last phase");
        place.finish(1);
    });
}

/// P3 on the quiet path: a thread that has seen a streak ends it by a success, whatever the word says
/// meanwhile.
#[test]
fn p03_a_streak_that_was_seen_is_cleared() {
    two([10, 3194], || {
        let place = Place::new(&config(3, 1));
        let (permit, other) = (place.permit(), place.permit());
        let (_, (before, after)) = both(
            move || fail(permit),
            || {
                let before = place.circuit().health.run.streak;
                other.success();
                (before, place.circuit().health.run.streak)
            },
        );
        assert!(before == 0 || after == 0, "a success has left a streak that was seen");
        place.finish(2);
    });
}

/// The word takes two steps at once, from a circuit at rest and back to it: see `word`.
#[test]
fn p03_of_two_who_put_a_circuit_at_rest_none_is_wrong() {
    two_bounded([44, 4492], || {
        let place = Place::new(&config(3, 1));
        fail(place.permit());
        let (a, b, c) = (place.permit(), place.permit(), place.permit());
        both(
            move || {
                a.success();
                fail(b)
            },
            || c.success(),
        );
        place.finish(4);
    });
}

/// P13 on the quiet path: a thread that has seen a configuration with a window feeds it.
#[test]
fn p13_a_window_that_was_seen_is_fed() {
    two_bounded([613, 47], || {
        settings_change(true);
        let place = Place::new(&config(1, 1));
        let windowed = config(1, 1).with_window(Window::count(4)).with_open_timeout(LATER);
        let entry = Arc::clone(&place.entry);
        let (recorded, ()) = both(
            move || {
                let recorded = fail(owned(&entry, ticket(acquire(&entry))));
                entry.tell(&entry.tracker.control(&entry.shared.context, Control::Reset).1);
                owned(&entry, ticket(acquire(&entry))).success();
                recorded
            },
            || place.entry.shared.context.configure(Arc::new(windowed.check().unwrap())),
        );
        if recorded == (Recorded::Opened { retry_after: LATER }) {
            assert_eq!(place.circuit().window_counts(Tick(0)).total, 1);
        }
        place.finish(2);
    });
}

/// P13 on the quiet path: whoever is admitted to a phase that began under a configuration which looks at
/// calls, is admitted by that: the call's start is noted.
#[test]
fn p13_who_is_admitted_to_a_later_phase_is_admitted_by_its_configuration() {
    two([1481, 2227], || {
        settings_change(true);
        let place = Place::new(&config(3, 1));
        let entry = Arc::clone(&place.entry);
        let slow = config(3, 1).with_slow_call(LATER).with_window(Window::count(4));
        let slow = slow.with_slow_rate(1.0);
        let (ticket, ()) = both(
            move || ticket(acquire(&entry)),
            || {
                let context = &place.entry.shared.context;
                context.configure(Arc::new(slow.check().unwrap()));
                place.entry.tell(&place.entry.tracker.control(context, Control::Reset).1);
            },
        );
        assert!(ticket.generation == 0 || ticket.start.asked().is_some(), "{ticket:?}");
        owned(&place.entry, ticket).success();
        place.finish(1);
    });
}

/// P13 on the quiet path: a success whose time was asked for answers the question beside a configuration that
/// looks at successes, and whoever comes after both is in its window. So it is if the question comes meanwhile.
#[test]
fn p13_a_time_that_is_asked_for_hides_no_configuration() {
    for (asks_before, floors) in [(true, [29, 6]), (false, [17, 5])] {
        two(floors, move || {
            settings_change(true);
            let place = Place::new(&config(3, 1));
            let entry = Arc::clone(&place.entry);
            let ask = |entry: &PeerEntry<u8>| entry.shared.context.date_next(Tick(0));
            if asks_before {
                ask(&entry);
            }
            let windowed = config(3, 1).with_window(Window::count(4));
            both(
                move || if asks_before { entry.shared.context.date() } else { ask(&entry) },
                || place.entry.shared.context.configure(Arc::new(windowed.check().unwrap())),
            );
            place.permit().success();
            place.permit().success();
            assert!(place.circuit().window_counts(Tick(0)).total > 0);
            place.finish(2);
        });
    }
}
