//! The last error, which lies outside the circuit and is read without a lock: R24.

use crate::stage::{Peer, both, config, three, two};
use crate::sync::cells_count;

/// Returns a peer that has failed once, and whose last error is a step of the model.
fn failed() -> Peer {
    cells_count(true);
    let peer = Peer::new(config(9, 1));
    let hand = peer.hand();
    hand.fail(hand.admitted());
    peer
}

/// R24: of two errors at once the one that was counted last is shown.
#[test]
fn r24_of_two_errors_the_later_one_is_shown() {
    two([44, 1418], || {
        let peer = failed();
        let (a, b) = (peer.hand(), peer.hand());
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.fail(x), || b.fail(y));
        assert_eq!((peer.errors(), peer.last_error()), (3, Some(3)));
        peer.finish();
    });
}

/// R24: a thread that reads the last error puts back none that is older than another's.
#[test]
fn r24_who_reads_the_last_error_hides_no_later_one() {
    two([32, 116], || {
        let peer = failed();
        let (a, b) = (peer.hand(), peer.hand());
        let x = a.admitted();
        let (_, seen) = both(move || a.fail(x), || b.last_error());
        assert!(matches!(seen, Some(1 | 2)), "one of the two: {seen:?}");
        assert_eq!(peer.last_error(), Some(2));
        peer.finish();
    });
}

/// R24: nor do two threads that read it at once, beside an error that comes.
#[test]
fn r24_of_two_readers_none_keeps_the_last_error() {
    three([3940, 3288], || {
        let peer = failed();
        let [a, b, c] = [peer.hand(), peer.hand(), peer.hand()];
        let x = a.admitted();
        both(move || a.fail(x), || both(move || b.last_error(), || c.last_error()));
        assert_eq!((peer.errors(), peer.last_error()), (2, Some(2)));
        peer.finish();
    });
}
