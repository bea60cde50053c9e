//! Bans that have an end (R17): time ends one, and only the first step after that tells of it.

use crate::circuit::{Admission, Control, Outcome};
use crate::event::EventKind;
use crate::outcome::{Reason, Recorded, Refused, Status};
use crate::stage::{OPEN, Peer, both, config, opened, three, two};
use crate::time::Tick;

/// Returns a peer that is banned until `OPEN`.
fn banned(failures: u32) -> Peer {
    let peer = Peer::new(config(failures, 1));
    assert!(peer.hand().control(Control::ForceOpenUntil(Tick(OPEN))));
    peer
}

fn resets(peer: &Peer) -> usize {
    peer.count(|turn| turn == EventKind::Reset)
}

/// Two threads ask when the ban has ended: both are admitted by the phase that follows, which began once.
#[test]
fn r17_two_that_come_after_a_ban_lift_it_once() {
    two([152, 2059], || {
        let peer = banned(2);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let (x, y) = both(move || a.admitted(), || b.admitted());
        assert_eq!((x.generation, y.generation, resets(&peer)), (2, 2, 1));
        let late = peer.hand_at(OPEN);
        assert_eq!(late.fail(x), Recorded::Counted);
        assert!(opened(&late.fail(y)));
        peer.finish();
    });
}

/// One thread comes a moment before the end, another at the end: the first is refused with the rest, or
/// admitted since the other was.
#[test]
fn r17_an_earlier_time_is_refused_or_comes_after_the_end() {
    two([66, 297], || {
        let peer = banned(1);
        let (a, b) = (peer.hand_at(OPEN - 1), peer.hand_at(OPEN));
        let (x, y) = both(move || a.acquire(), || b.admitted());
        let rest = Some(std::time::Duration::from_nanos(1));
        let refused = Admission::Refused(Refused::new(Reason::ForcedOpen, rest));
        match x {
            Admission::Admitted(ticket) => assert_eq!(ticket.generation, 2),
            other => assert_eq!(other, refused),
        }
        assert_eq!((y.generation, resets(&peer)), (2, 1));
        peer.finish();
    });
}

/// A report ends the ban, and opens the circuit, beside an admission: whichever thread is first, both act on
/// phases after the ban, and the admission's permit is late once the circuit is open.
#[test]
fn r17_a_report_that_opens_beside_an_admission() {
    two([88, 134], || {
        let peer = banned(1);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        let (_, ticket) = both(move || a.report(Outcome::Failure), || b.ticket());
        let circuit = peer.circuit();
        assert_eq!(
            (circuit.status(), circuit.generation, circuit.health.run.streak),
            (Status::Open, 3, 1)
        );
        assert_eq!((resets(&peer), peer.totals().opened), (1, 1));
        if let Some(ticket) = ticket {
            assert_eq!(peer.hand_at(OPEN).succeed(ticket), Recorded::Late);
        }
        peer.finish();
    });
}

/// An operator bans the peer for longer while a thread finds the ban to have ended: the later control lasts.
#[test]
fn r17_a_longer_ban_is_not_lifted_by_who_saw_the_end_of_another() {
    three([5297, 908], || {
        let peer = banned(1);
        let [a, b, c] = [OPEN, OPEN, 0].map(|now| peer.hand_at(now));
        let longer = Control::ForceOpenUntil(Tick(2 * OPEN));
        let (_, (_, done)) =
            both(move || a.ticket(), || both(move || b.ticket(), || c.control(longer)));
        assert!(done);
        let lifted = u64::try_from(resets(&peer)).unwrap();
        let circuit = peer.circuit();
        assert_eq!((circuit.status(), circuit.generation), (Status::ForcedOpen, 2 + lifted));
        assert_eq!(peer.hand_at(2 * OPEN - 1).ticket(), None);
        assert!(peer.hand_at(2 * OPEN).ticket().is_some());
        peer.finish();
    });
}
