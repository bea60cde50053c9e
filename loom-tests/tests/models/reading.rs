//! A reader's view while other threads change the circuit: P11.

use crate::circuit::{Circuit, Phase};
use crate::outcome::Status;
use crate::stage::{OPEN, Peer, both, config, three, two, two_bounded};
use crate::sync::totals_count;
use crate::time::Tick;

/// Checks what holds of every single state of a circuit that opens at two and closes after two.
fn is_one_state(circuit: &Circuit) {
    let streak = circuit.health.run.streak;
    match &circuit.phase {
        Phase::Closed(_) => assert!(streak < 2),
        Phase::Open(open) => {
            assert_eq!((streak, open.failed_half_opens), (2, 0));
        }
        Phase::HalfOpen(half_open) => {
            assert_eq!(streak, 2);
            assert!(half_open.decided() as usize + half_open.out.len() <= 2);
            assert!(half_open.passed < 2 && half_open.failed == 0, "a decided phase has ended");
        }
        _ => unreachable!(),
    }
}

/// P11: a snapshot is one state, and for one reader generations never go back.
#[test]
fn p11_a_snapshot_is_one_state() {
    two([11847, 57217], || {
        let peer = Peer::new(config(2, 2));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let x = a.admitted();
        let (_, seen) = both(
            move || {
                a.fail(x);
                a.at(OPEN);
                let (y, z) = (a.admitted(), a.admitted());
                a.succeed(y);
                a.succeed(z);
            },
            || [b.circuit(), b.circuit(), b.circuit()],
        );
        seen.iter().for_each(|circuit| is_one_state(circuit));
        assert!(seen.is_sorted_by_key(|circuit| circuit.generation));
        assert_eq!(peer.circuit().status(), Status::Closed);
        peer.finish();
    });
}

/// P11: a thread that has heard of it sees what another thread has seen.
#[test]
fn p11_what_was_seen_is_not_unseen_by_others() {
    three([467, 812], || {
        let peer = Peer::new(config(1, 1));
        let [a, b, c] = [peer.hand(), peer.hand(), peer.hand()];
        let x = a.admitted();
        let word = crate::sync::Arc::new(crate::sync::AtomicU64::new(0));
        let heard = crate::sync::Arc::clone(&word);
        let (_, ((), (heard, seen))) = both(
            move || a.fail(x),
            || {
                both(
                    move || word.store(b.circuit().generation, crate::sync::Ordering::Release),
                    || (heard.load(crate::sync::Ordering::Acquire), c.circuit().generation),
                )
            },
        );
        assert!(seen >= heard);
        peer.finish();
    });
}

/// R26: of two uses of a peer in trouble the later one counts, whichever thread notes it first.
#[test]
fn r26_a_later_use_is_not_undone_by_an_earlier_one() {
    two([14, 462], || {
        let peer = Peer::new(config(3, 1));
        let hand = peer.hand();
        hand.fail(hand.admitted());
        let (early, late) = (peer.hand_at(1), peer.hand_at(2));
        both(move || early.is_open(), || late.is_open());
        assert_eq!(hand.unused_since(), Some(Tick(2)));
    });
}

/// R26: so it is of two failures.
#[test]
fn r26_a_later_failure_is_not_undone_by_an_earlier_one() {
    two_bounded([382, 1214], || {
        totals_count(true);
        let peer = Peer::new(config(9, 1));
        let hand = peer.hand();
        hand.fail(hand.admitted());
        let (early, late) = (peer.hand_at(1), peer.hand_at(2));
        let (x, y) = (early.admitted(), late.admitted());
        both(move || early.fail(x), || late.fail(y));
        assert_eq!(hand.unused_since(), Some(Tick(2)));
    });
}
