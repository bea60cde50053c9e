//! Outcomes of a phase that is over, and controls, which end phases: P8, P12.

use crate::circuit::{Control, Outcome};
use crate::event::EventKind;
use crate::outcome::{Recorded, Status};
use crate::stage::{OPEN, Peer, both, config, opened, two};

const VERDICTS: [Outcome; 4] =
    [Outcome::Success, Outcome::Failure, Outcome::Neutral, Outcome::Dropped];

/// P8: a permit of the phase before last ends while the circuit opens, is probed and closes: it
/// changes nothing, whatever its outcome.
#[test]
fn p08_a_late_outcome_changes_nothing() {
    for outcome in VERDICTS {
        two([218, 1251], move || {
            let peer = Peer::new(config(1, 1));
            let (a, b) = (peer.hand_at(OPEN), peer.hand());
            let (stale, failing) = (b.admitted(), b.admitted());
            b.fail(failing);
            b.at(OPEN);
            let (recorded, _) = both(
                move || a.settle(stale, outcome),
                || {
                    let probe = b.admitted();
                    b.succeed(probe)
                },
            );
            assert_eq!(recorded, Recorded::Late);
            let (circuit, totals) = (peer.circuit(), peer.totals());
            assert_eq!((circuit.status(), circuit.generation), (Status::Closed, 3));
            assert_eq!((circuit.health.run.streak, peer.errors()), (0, 1));
            assert_eq!((totals.late, totals.settled(), totals.opened), (1, 3, 1));
            peer.finish();
        });
    }
}

/// P8: the outcome of a probe whose phase ends at this moment: it acts before, or not at all.
#[test]
fn p08_a_late_probe_changes_nothing() {
    for outcome in VERDICTS {
        two([176, 611], move || {
            let (peer, tickets) = Peer::in_half_open(config(1, 3), 2);
            let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
            let (x, failing) = (tickets[0], tickets[1]);
            let (recorded, by_b) = both(
                move || a.settle(x, outcome),
                || {
                    let failed = b.fail(failing);
                    b.at(2 * OPEN);
                    (failed, b.admitted())
                },
            );
            assert!(opened(&by_b.0) != opened(&recorded));
            let (circuit, totals) = (peer.circuit(), peer.totals());
            assert_eq!((circuit.status(), circuit.generation), (Status::HalfOpen, 4));
            let half_open = peer.half_open().unwrap();
            assert_eq!((half_open.out.len(), half_open.decided()), (1, 0));
            let late = [recorded, by_b.0].iter().filter(|r| **r == Recorded::Late).count() as u64;
            assert_eq!((totals.late, totals.settled()), (late, 3));
            peer.finish();
        });
    }
}

/// P12: a control is one transition, and no outcome from before acts after it.
#[test]
fn p12_a_control_is_one_transition() {
    let controls = [
        (Control::ForceOpen, Status::ForcedOpen),
        (Control::Disable, Status::Disabled),
        (Control::MetricsOnly, Status::MetricsOnly),
        (Control::Reset, Status::Closed),
    ];
    for (control, status) in controls {
        two([150, 438], move || {
            let peer = Peer::new(config(1, 1));
            let (a, b) = (peer.hand(), peer.hand());
            let x = a.admitted();
            let (recorded, done) = both(move || a.fail(x), || b.control(control));
            assert!(done);
            let circuit = peer.circuit();
            assert_eq!((circuit.status(), circuit.health.run.streak), (status, 0));
            let transitions = if opened(&recorded) { 2 } else { 1 };
            assert_eq!(circuit.generation, transitions);
            assert_eq!(peer.totals().late, 2 - transitions);
            peer.finish();
        });
    }
}

/// P12: of two controls the later one lasts, and both were made.
#[test]
fn p12_of_two_controls_the_last_lasts() {
    two([528, 520], || {
        let peer = Peer::new(config(1, 1));
        let (a, b) = (peer.hand(), peer.hand());
        both(move || a.control(Control::ForceOpen), || b.control(Control::Reset));
        let last = peer.told()[1];
        let status = match last.1 {
            EventKind::Reset => Status::Closed,
            _ => Status::ForcedOpen,
        };
        assert_eq!((peer.circuit().generation, peer.circuit().status()), (2, status));
        peer.finish();
    });
}

/// P12: a control while probes are out: their outcomes and their slots belong to the past.
#[test]
fn p12_a_reset_outlasts_probes() {
    for outcome in VERDICTS {
        two([76, 53], move || {
            let (peer, tickets) = Peer::in_half_open(config(2, 2), 1);
            let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
            let probe = tickets[0];
            both(move || a.settle(probe, outcome), || b.control(Control::Reset));
            let circuit = peer.circuit();
            assert_eq!((circuit.status(), circuit.health.run.streak), (Status::Closed, 0));
            assert_eq!(peer.errors(), 0, "a reset clears what was known");
            peer.finish();
        });
    }
}

/// P12, R27: a removal is the last transition; the totals that it takes, or those left behind, have each
/// outcome once.
#[test]
fn p12_a_removal_is_the_last_transition() {
    for outcome in VERDICTS {
        two([121, 203], move || {
            let peer = Peer::new(config(1, 1));
            let (a, b) = (peer.hand(), peer.hand());
            let (x, y) = (a.admitted(), a.admitted());
            let (_, taken) =
                both(move || (a.settle(x, outcome), a.settle(y, outcome)), || b.remove());
            assert!(peer.circuit().is_removed());
            let left = peer.totals();
            assert_eq!(taken.unwrap().settled() + left.settled(), 2);
            assert_eq!(b.remove(), None, "what has ended does not end again");
            peer.finish();
        });
    }
}
