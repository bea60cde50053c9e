//! Half-open: P4, P5, P6, P7, P9, P14.

use crate::circuit::{Admission, Control, Outcome, Phase};
use crate::event::EventKind;
use crate::outcome::{Reason, Recorded, Status};
use crate::stage::{Hand, OPEN, Peer, both, config, opened, three, two};

/// Returns how many of these were admitted; all others learned that probes are in flight.
fn admitted(admissions: &[Admission]) -> usize {
    admissions
        .iter()
        .filter(|a| match a {
            Admission::Admitted(ticket) => ticket.probe.is_some(),
            Admission::Refused(refused) => {
                let why = (refused.reason, refused.retry_after);
                assert_eq!(why, (Reason::ProbesInFlight, None));
                false
            }
            Admission::Gone => panic!("the tracker is there"),
        })
        .count()
}

/// P4, P5: two callers at the deadline; exactly min(2, n) are admitted, and half-open begins once.
fn two_callers(n: u32, wanted: usize, floors: [usize; 2]) {
    two(floors, move || {
        let peer = Peer::open(config(1, n));
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN + 1));
        let (x, y) = both(move || a.acquire(), || b.acquire());
        assert_eq!(admitted(&[x, y]), wanted);
        assert_eq!(peer.circuit().probes_in_flight(), wanted);
        assert_eq!(peer.count(|turn| turn == EventKind::HalfOpened), 1);
        peer.finish();
    });
}

/// P4, where one probe may go: the race for the transition.
#[test]
fn p04_never_more_than_n_probes() {
    two_callers(1, 1, [57, 140]);
}

/// P5, where both may go: no thread is refused because it lost a race.
#[test]
fn p05_exactly_min_of_callers_and_n_are_admitted() {
    two_callers(2, 2, [57, 140]);
}

/// P4, P5: three callers at the deadline, two slots.
#[test]
fn p05_of_three_callers_two_are_admitted() {
    three([13528, 3109], || {
        let peer = Peer::open(config(1, 2));
        let [a, b, c] = [OPEN, OPEN + 1, OPEN].map(|now| peer.hand_at(now));
        let (x, (y, z)) = both(move || a.acquire(), || both(move || b.acquire(), || c.acquire()));
        assert_eq!(admitted(&[x, y, z]), 2);
        assert_eq!(peer.circuit().probes_in_flight(), 2);
        peer.finish();
    });
}

/// P4, P5: good news ends the wait while another thread asks: one of the two goes, as after the wait.
#[test]
fn p05_a_wait_that_is_ended_admits_no_more() {
    two([34, 1007], || {
        let peer = Peer::open(config(1, 1));
        let (a, b) = (peer.hand_at(1), peer.hand_at(2));
        let (x, y) = both(
            move || {
                assert!(a.end_wait() || a.circuit().status() == Status::HalfOpen);
                a.ticket()
            },
            || b.ticket(),
        );
        assert_eq!(x.iter().chain(&y).count(), 1);
        assert_eq!(peer.count(|turn| turn == EventKind::HalfOpened), 1);
        peer.finish();
    });
}

/// P12: good news lifts no ban.
#[test]
fn p12_the_end_of_a_wait_lifts_no_ban() {
    two([14, 14], || {
        let peer = Peer::open(config(1, 1));
        let (a, b) = (peer.hand_at(1), peer.hand_at(2));
        both(move || a.end_wait(), || b.control(Control::ForceOpen));
        assert_eq!(peer.circuit().status(), Status::ForcedOpen);
        peer.finish();
    });
}

/// P4: the race for the last slot of a phase that lasts already.
#[test]
fn p04_the_last_slot_is_given_once() {
    two([20, 469], || {
        let (peer, _) = Peer::in_half_open(config(1, 3), 2);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let (x, y) = both(move || a.acquire(), || b.acquire());
        assert_eq!(admitted(&[x, y]), 1);
        assert_eq!(peer.circuit().probes_in_flight(), 3);
        peer.finish();
    });
}

/// P4: with an outcome in, a slot less is left, whatever races.
#[test]
fn p04_verdicts_and_probes_out_never_exceed_n() {
    two([63, 15320], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 2), 1);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let probe = tickets[0];
        let (_, admissions) = both(move || a.succeed(probe), || [b.acquire(), b.acquire()]);
        assert_eq!(admitted(&admissions), 1);
        let half_open = peer.half_open().unwrap();
        assert_eq!((half_open.passed, half_open.out.len()), (1, 1));
        peer.finish();
    });
}

/// P6: any number of failing probes: one reopens, the others are late.
#[test]
fn p06_of_failing_probes_one_reopens() {
    two([20, 50], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 2), 2);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let (x, y) = (tickets[0], tickets[1]);
        let (x, y) = both(move || a.fail(x), || b.fail(y));
        assert_eq!([x, y].iter().filter(|r| opened(r)).count(), 1);
        assert_eq!([x, y].iter().filter(|r| **r == Recorded::Late).count(), 1);
        reopened_once(&peer);
        assert_eq!((peer.totals().failed, peer.totals().late), (2, 1));
        peer.finish();
    });
}

fn reopened_once(peer: &Peer) {
    let circuit = peer.circuit();
    assert_eq!((circuit.generation, peer.totals().opened), (3, 2));
    assert!(matches!(circuit.phase, Phase::Open(open) if open.failed_half_opens == 1));
}

/// P6 with three threads.
#[test]
fn p06_of_three_failing_probes_one_reopens() {
    three([695, 642], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 3), 3);
        let [a, b, c] = [OPEN, OPEN, OPEN].map(|now| peer.hand_at(now));
        let (x, y, z) = (tickets[0], tickets[1], tickets[2]);
        let (x, (y, z)) = both(move || a.fail(x), || both(move || b.fail(y), || c.fail(z)));
        assert_eq!([x, y, z].iter().filter(|r| opened(r)).count(), 1);
        assert_eq!([x, y, z].iter().filter(|r| **r == Recorded::Late).count(), 2);
        reopened_once(&peer);
        peer.finish();
    });
}

/// P6, P7: a failure among the probes reopens, before a success or after it.
#[test]
fn p06_a_failing_probe_reopens_beside_a_success() {
    two([31, 112], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 2), 2);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let (x, y) = (tickets[0], tickets[1]);
        let (x, y) = both(move || a.succeed(x), || b.fail(y));
        assert!(opened(&y));
        assert!(matches!(x, Recorded::Counted | Recorded::Late));
        reopened_once(&peer);
        peer.finish();
    });
}

/// P7: n successes close once.
#[test]
fn p07_n_successes_close_once() {
    two([200, 61044], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 2), 2);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let (x, y) = (tickets[0], tickets[1]);
        let (x, y) = both(move || a.succeed(x), || b.succeed(y));
        assert_eq!([x, y], [Recorded::Counted; 2]);
        closed_once(&peer);
        assert_eq!(peer.totals().succeeded, 2);
        peer.finish();
    });
}

fn closed_once(peer: &Peer) {
    assert_eq!(peer.count(|turn| turn == EventKind::Closed), 1);
    let circuit = peer.circuit();
    assert_eq!(
        (circuit.status(), circuit.generation, circuit.health.run.streak),
        (Status::Closed, 3, 0)
    );
}

/// P7: a success too many is late. Here a report is one of the outcomes (R24).
#[test]
fn p07_surplus_successes_are_late() {
    three([32535, 8702], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 2), 2);
        let [a, b, c] = [OPEN, OPEN, OPEN].map(|now| peer.hand_at(now));
        let (x, y) = (tickets[0], tickets[1]);
        let (x, (y, _)) = both(
            move || a.succeed(x),
            || both(move || b.succeed(y), || c.report(Outcome::Success)),
        );
        closed_once(&peer);
        let late = [x, y].iter().filter(|r| **r == Recorded::Late).count() as u64;
        assert!(late <= 1);
        let totals = peer.totals();
        assert_eq!((totals.late, totals.succeeded + totals.late), (late, 2));
        assert_eq!(totals.reported_successes, 1);
        peer.finish();
    });
}

/// P7, R24: two reported successes after the wait: the first begins half-open and is its first
/// outcome, the second closes.
#[test]
fn p07_reported_successes_close_once() {
    two([237, 22688], || {
        let peer = Peer::open(config(1, 2));
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        both(move || a.report(Outcome::Success), || b.report(Outcome::Success));
        closed_once(&peer);
        peer.finish();
    });
}

/// P9: a dropped permit frees its slot, once; the next caller has the slot.
#[test]
fn p09_a_dropped_permit_frees_its_slot_once() {
    two([12, 478], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 1), 1);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let probe = tickets[0];
        let (_, admissions) =
            both(move || a.settle(probe, Outcome::Dropped), || [b.acquire(), b.acquire()]);
        let admitted = admitted(&admissions);
        assert!(admitted <= 1, "one slot was freed");
        assert_eq!(peer.circuit().probes_in_flight(), admitted);
        assert_eq!((peer.totals().abandoned, peer.totals().late), (1, 0));
        peer.finish();
    });
}

/// P9: two dropped permits free two slots.
#[test]
fn p09_two_dropped_permits_free_two_slots() {
    two([20, 155], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 2), 2);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let (x, y) = (tickets[0], tickets[1]);
        both(move || a.settle(x, Outcome::Dropped), || b.settle(y, Outcome::Neutral));
        assert_eq!(peer.circuit().probes_in_flight(), 0);
        assert_eq!((peer.totals().abandoned, peer.totals().neutral), (1, 1));
        peer.finish();
    });
}

/// P9: a permit of an earlier half-open phase frees nothing in a later one, though a probe there
/// has the same number.
#[test]
fn p09_a_dropped_permit_frees_nothing_in_a_later_phase() {
    two([131, 1754], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 2), 2);
        let (stale, failing) = (tickets[0], tickets[1]);
        let a = peer.hand_at(OPEN);
        a.fail(failing);
        let later = 3 * OPEN;
        let b = peer.hand_at(later);
        a.at(later);
        let (recorded, admissions) = both(
            move || a.settle(stale, Outcome::Dropped),
            || [b.acquire(), b.acquire(), b.acquire()],
        );
        assert_eq!(recorded, Recorded::Late);
        assert_eq!(admitted(&admissions), 2);
        assert_eq!(peer.circuit().probes_in_flight(), 2);
        peer.finish();
    });
}

/// P14: a probe's success and the release of its slot are one step: no other probe gets a slot that a
/// success leaves.
#[test]
fn p14_a_success_and_the_release_of_its_slot_are_one_step() {
    two([8, 485], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 2), 2);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let probe = tickets[0];
        let (_, admission) = both(move || a.succeed(probe), || b.acquire());
        assert_eq!(admitted(&[admission]), 0);
        peer.finish();
    });
}

/// P14: the last success closes; a caller that comes meanwhile is refused, or finds the circuit closed.
#[test]
fn p14_after_the_last_success_there_are_no_probes() {
    three([676, 2372], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 1), 1);
        let [a, b, c] = [OPEN, OPEN, OPEN].map(|now| peer.hand_at(now));
        let probe = tickets[0];
        let ask = |hand: &Hand| match hand.acquire() {
            Admission::Admitted(ticket) => assert_eq!(ticket.probe, None),
            refused => assert_eq!(admitted(&[refused]), 0),
        };
        both(move || a.succeed(probe), || both(move || ask(&b), || ask(&c)));
        closed_once(&peer);
        peer.finish();
    });
}
