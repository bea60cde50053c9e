//! A probe's lease: P17.

use crate::circuit::Outcome;
use crate::outcome::{Recorded, Status};
use crate::stage::{LEASE, OPEN, Peer, both, config, three, two};

/// The end of the lease of a probe that was admitted at `OPEN`.
const OVER: u64 = OPEN + LEASE;

/// P17: the slot of a lease that ran out is given once.
#[test]
fn p17_a_lease_that_runs_out_gives_its_slot_once() {
    two([82, 1591], || {
        let (peer, _) = Peer::in_half_open(config(1, 1), 1);
        let (a, b) = (peer.hand_at(OVER), peer.hand_at(OVER + 1));
        let (x, y) = both(move || a.ticket(), || b.ticket());
        assert_eq!([x, y].iter().flatten().count(), 1);
        assert_eq!(peer.circuit().probes_in_flight(), 1);
        peer.finish();
    });
}

/// P17: of two leases only the one that ran out gives its slot.
#[test]
fn p17_a_lease_that_runs_keeps_its_slot() {
    two([82, 1591], || {
        let (peer, _) = Peer::in_half_open(config(1, 2), 1);
        peer.hand_at(OPEN + 5).admitted();
        let (a, b) = (peer.hand_at(OVER), peer.hand_at(OVER));
        let (x, y) = both(move || a.ticket(), || b.ticket());
        assert_eq!([x, y].iter().flatten().count(), 1);
        assert_eq!(peer.circuit().probes_in_flight(), 2);
        peer.finish();
    });
}

/// P17, R5: the outcome of a probe whose lease is over is late, whether or not another probe has its slot,
/// and frees no second slot.
#[test]
fn p17_an_outcome_after_the_lease_is_late() {
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Dropped] {
        two([42, 548], move || {
            let (peer, tickets) = Peer::in_half_open(config(1, 1), 1);
            let (a, b) = (peer.hand_at(OVER), peer.hand_at(OVER));
            let hung = tickets[0];
            let (recorded, next) =
                both(move || a.settle(hung, outcome), || [b.ticket(), b.ticket()]);
            assert_eq!(recorded, Recorded::Late);
            assert_eq!(next.iter().flatten().count(), 1);
            assert_eq!(peer.circuit().status(), Status::HalfOpen);
            assert_eq!((peer.circuit().probes_in_flight(), peer.totals().late), (1, 1));
            peer.finish();
        });
    }
}

/// P17: at the edge, with times out of order: either the probe's outcome acts, or another probe has its
/// slot; never both.
#[test]
fn p17_a_slot_belongs_to_one_probe_at_the_edge_of_its_lease() {
    two([227, 8496], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 1), 1);
        let (a, b) = (peer.hand_at(OVER - 1), peer.hand_at(OVER));
        let probe = tickets[0];
        let (recorded, next) = both(move || a.succeed(probe), || b.admitted());
        match next.probe {
            Some(_) => assert_eq!(recorded, Recorded::Late),
            None => assert_eq!(recorded, Recorded::Counted),
        }
        assert_eq!(peer.circuit().probes_in_flight(), usize::from(next.probe.is_some()));
        peer.finish();
    });
}

/// P17 with three threads: two ask for the slot of a probe that ends too late.
#[test]
fn p17_two_ask_while_the_hung_probe_ends() {
    three([3006, 1927], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 1), 1);
        let [a, b, c] = [OVER, OVER, OVER + 1].map(|now| peer.hand_at(now));
        let hung = tickets[0];
        let (recorded, (x, y)) = both(
            move || a.settle(hung, Outcome::Dropped),
            || both(move || b.ticket(), || c.ticket()),
        );
        assert_eq!(recorded, Recorded::Late);
        assert_eq!([x, y].iter().flatten().count(), 1);
        assert_eq!(peer.circuit().probes_in_flight(), 1);
        peer.finish();
    });
}
