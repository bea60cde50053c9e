//! Good news (D6): the circuit heeds it exactly once, and lets no more probes out.

use std::time::Duration;

use crate::circuit::Phase;
use crate::config::HealthConfig;
use crate::event::EventKind;
use crate::stage::{OPEN, Peer, both, config, opened, three, two};
use crate::time::Tick;

/// A wait longer than any model.
fn waits_long() -> HealthConfig {
    config(1, 1).with_open_timeout(Duration::from_nanos(1000 * OPEN))
}

/// News comes twice while a thread asks: one probe goes, in one half-open phase.
#[test]
fn d06_news_that_comes_twice_admits_one_probe() {
    two([4559, 282496], || {
        let peer = Peer::open(waits_long());
        let (a, b) = (peer.hand_at(1), peer.hand_at(2));
        let (x, y) = both(
            move || {
                a.note_reachable();
                a.ticket()
            },
            || {
                b.note_reachable();
                b.ticket()
            },
        );
        assert_eq!(x.iter().chain(&y).count(), 1);
        assert_eq!(peer.count(|turn| turn == EventKind::HalfOpened), 1);
        peer.finish();
    });
}

/// News comes while the probe fails that the first news has caused: it is not lost, whichever comes first,
/// and the circuit heeds it when its time has come, not at once.
#[test]
fn d06_news_beside_a_failing_probe_is_deferred_and_not_lost() {
    two([18, 20], || {
        let peer = Peer::open(waits_long().with_open_multiplier(2.0));
        let (a, b) = (peer.hand_at(1), peer.hand_at(2));
        assert!(a.end_wait());
        a.fail(a.admitted());
        assert!(a.note_reachable());
        let probe = a.admitted();
        let (recorded, now) = both(move || a.fail(probe), || b.note_reachable());
        assert!(opened(&recorded) && !now);
        // The wait of its own would be twice as long: two probes have failed, one of them by news.
        let heeded_at = 1 + 2 * 1000 * OPEN;
        let circuit = peer.circuit();
        assert!(matches!(circuit.phase, Phase::Open(open) if open.ends() == Tick(heeded_at)));
        assert_eq!(peer.hand_at(heeded_at - 1).ticket(), None);
        assert!(peer.hand_at(heeded_at).admitted().probe.is_some());
        peer.finish();
    });
}

/// Two threads bring news, and one of them and a third ask: one probe goes.
#[test]
fn d06_of_three_one_is_admitted() {
    three([10450, 1871], || {
        let peer = Peer::open(waits_long());
        let [a, b, c] = [1, 2, 2].map(|now| peer.hand_at(now));
        let (x, (_, z)) = both(
            move || {
                a.note_reachable();
                a.ticket()
            },
            || both(move || b.note_reachable(), || c.ticket()),
        );
        assert_eq!(x.iter().chain(&z).count(), 1);
        assert_eq!(peer.count(|turn| turn == EventKind::HalfOpened), 1);
        peer.finish();
    });
}
