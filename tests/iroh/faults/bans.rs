//! A banned peer that calls us: what we hear of it, and what it hears.

use iroh::Endpoint;
use iroh::endpoint::{ApplicationClose, ConnectingError, Connection, ConnectionError};
use peer_health::Fault::{Nobody, Peer};
use peer_health::SyncError::{Network, ResourceExhaustion};
use peer_health::iroh::{BANNED, BANNED_RETRY_AFTER, Codes, Ending, HealthHooks};
use peer_health::{EventKind, Failure, Reason, Status};
use tokio::sync::mpsc;

use super::OTHER;
use crate::endpoints::{
    ALPN, OPEN_TIMEOUT, Pair, address_of, answering, assert_counts, assert_neutral,
    assert_rejected_by_us, bound, in_time, node, strict_registry, take_everything,
};
use crate::support::{self, SECOND, touchy};

/// The connection of a caller that is refused, and how it ended for it.
async fn refused(caller: &Endpoint, us: &Endpoint) -> ConnectionError {
    let ours = answering(us);
    let theirs = in_time(caller.connect(address_of(us), ALPN)).await.unwrap();
    let error = in_time(ours).await.unwrap().expect_err("refused");
    assert!(matches!(error, ConnectingError::LocallyRejected { .. }), "{error:?}");
    assert_rejected_by_us(error);
    in_time(theirs.closed()).await
}

#[tokio::test]
async fn a_banned_peer_is_refused_inbound_and_told_so_and_is_no_news() {
    let (registry, hand) = support::registry(touchy(OPEN_TIMEOUT));
    let (tell, mut callers) = mpsc::unbounded_channel();
    let hooks = HealthHooks::new(registry.clone()).with_alpns([ALPN]).on_inbound(move |peer| {
        let _ = tell.send(peer);
    });
    let us = bound(node().alpns(vec![ALPN.to_vec(), OTHER.to_vec()]).hooks(hooks)).await;
    let caller = bound(node()).await;

    registry.force_open(&caller.id()).unwrap();
    let end = refused(&caller, &us).await;
    let ConnectionError::ApplicationClosed(close) = &end else { panic!("{end:?}") };
    assert_eq!((close.error_code, &*close.reason), (BANNED, &b"banned"[..]));
    let failure = Failure::from(&end);
    assert_eq!(failure.retry_after(), Some(BANNED_RETRY_AFTER));
    assert_counts(ResourceExhaustion, Peer, failure);
    assert_eq!(registry.acquire(&caller.id()).unwrap_err().reason, Reason::ForcedOpen);

    // Another protocol goes on.
    let ours = answering(&us);
    let theirs = in_time(caller.connect(address_of(&us), OTHER)).await.unwrap();
    in_time(ours).await.unwrap().unwrap();
    drop(theirs);

    // A ban with an end, and after it.
    registry.reset(&caller.id());
    registry.force_open_for(&caller.id(), SECOND).unwrap();
    refused(&caller, &us).await;
    assert!(callers.try_recv().is_err());
    hand.advance(SECOND);
    let ours = answering(&us);
    let _theirs = in_time(caller.connect(address_of(&us), ALPN)).await.unwrap();
    in_time(ours).await.unwrap().unwrap();
    assert_eq!(in_time(callers.recv()).await, Some(caller.id()));
}

#[tokio::test]
async fn a_banned_node_blames_what_bans_it_though_its_handshakes_succeed() {
    let (theirs, hand) = support::registry(touchy(OPEN_TIMEOUT));
    let (tell, mut turns) = mpsc::unbounded_channel();
    let _listening = theirs.listen(move |event| {
        let _ = tell.send(event.kind);
    });
    let hooks = HealthHooks::new(theirs.clone()).with_inferred_failures(30 * SECOND).unwrap();
    let registry = strict_registry();
    let us = bound(node().hooks(HealthHooks::new(registry.clone()))).await;
    let caller = bound(node().hooks(hooks)).await;
    registry.force_open(&caller.id()).unwrap();

    let _end = refused(&caller, &us).await;
    let opened = in_time(turns.recv()).await.unwrap();
    assert!(matches!(opened, EventKind::Opened { retry_after, .. } if retry_after > OPEN_TIMEOUT));
    let error = caller.connect(address_of(&us), ALPN).await.expect_err("it stays away");
    assert_rejected_by_us(error);

    // The probe's handshake is no success any more: the peer that bans us is not well for it.
    hand.advance(peer_health::HealthConfig::default().open_max);
    let _end = refused(&caller, &us).await;
    assert_eq!(in_time(turns.recv()).await, Some(EventKind::HalfOpened));
    let opened = in_time(turns.recv()).await.unwrap();
    assert!(matches!(opened, EventKind::Opened { reopened: true, .. }), "{opened:?}");

    // The ban is lifted.
    registry.reset(&caller.id());
    tokio::spawn(take_everything(us.clone()));
    hand.advance(peer_health::HealthConfig::default().open_max);
    let _lasting = in_time(caller.connect(address_of(&us), ALPN)).await.unwrap();
    assert_eq!(in_time(turns.recv()).await, Some(EventKind::HalfOpened));
    assert_eq!(theirs.status(&us.id()), Status::HalfOpen);
}

#[tokio::test]
async fn a_connection_that_is_older_than_a_ban_does_not_lift_it() {
    let (registry, hand) = support::registry(touchy(OPEN_TIMEOUT));
    let (tell, mut turns) = mpsc::unbounded_channel();
    let _listening = registry.listen(move |event| {
        let _ = tell.send((event.peer, event.kind));
    });
    let hooks = HealthHooks::new(registry.clone()).with_inferred_failures(SECOND).unwrap();
    let bans = strict_registry();
    let us = bound(node().hooks(HealthHooks::new(bans.clone()))).await;
    let (other, caller) = (bound(node()).await, bound(node().hooks(hooks)).await);
    let mut older = Vec::new();
    for peer in [&us, &other] {
        let theirs = answering(peer);
        older.push(in_time(caller.connect(address_of(peer), ALPN)).await.unwrap());
        older.push(in_time(theirs).await.unwrap().unwrap());
    }

    bans.force_open(&caller.id()).unwrap();
    let _end = refused(&caller, &us).await;
    let (peer, opened) = in_time(turns.recv()).await.unwrap();
    assert!(peer == us.id() && matches!(opened, EventKind::Opened { .. }), "{opened:?}");
    hand.advance(peer_health::HealthConfig::default().open_max);

    // Each connection tells that it lasts once in a second. Between two that the other peer's tells there is
    // one of the older connection to the peer that bans.
    for _ in 0..2 {
        registry.acquire(&other.id()).unwrap().failure(support::network());
        hand.advance(OPEN_TIMEOUT);
        loop {
            let (peer, turn) = in_time(turns.recv()).await.unwrap();
            assert_eq!(peer, other.id(), "{turn:?}");
            if turn == EventKind::Closed {
                break;
            }
        }
    }
    assert_eq!(registry.status(&us.id()), Status::Open);
}

/// How a connection ended that the peer closed like this.
async fn closed(code: u32, reason: &[u8]) -> (Connection, ConnectionError) {
    let pair = Pair::new().await;
    pair.theirs.close(code.into(), reason);
    let end = in_time(pair.ours.closed()).await;
    (pair.ours, end)
}

#[tokio::test]
async fn a_reason_of_irohs_crates_decides_where_the_code_is_that_of_a_drop() {
    for reason in ["close from disconnect", "unused", "drop", "discarded"] {
        let (_ours, end) = closed(0, reason.as_bytes()).await;
        assert_neutral(Network, Nobody, &end);
        assert_eq!(Codes::default().ending(&end), Ending::Planned, "{reason}");
        // The protocol's own meaning of the code wins.
        let own = Codes::new(|_| Some(Ending::Failed(Failure::remote("gone"))));
        assert_ne!(own.ending(&end), Ending::Planned);
        assert_eq!(own.judge(&end).fault(), Peer);
    }
    for (code, reason) in [(0, ""), (0, "on_connected failed"), (1, "unused")] {
        let (_ours, end) = closed(code, reason.as_bytes()).await;
        assert_counts(Network, Peer, &end);
        assert_eq!(Codes::default().ending(&end), Ending::Failed(Failure::from(&end)));
    }
    let (_ours, end) = closed(0, b"not allowed").await;
    assert_eq!(Failure::from(&end).retry_after(), Some(BANNED_RETRY_AFTER));
    assert_counts(ResourceExhaustion, Peer, &end);
    let banned = Ending::Failed(Failure::from(&end));
    for codes in [Codes::docs(), Codes::new(|_| Some(Ending::Planned))] {
        assert_eq!(codes.ending(&end), banned, "a ban is none of the protocol's own ends");
        assert_eq!(codes.judge(&end), Failure::from(&end));
    }

    let dropped = ApplicationClose { error_code: 0u32.into(), reason: Default::default() };
    let dropped = ConnectionError::ApplicationClosed(dropped);
    assert_eq!(Codes::docs().ending(&dropped), Ending::Planned);
    assert_counts(
        ResourceExhaustion,
        Peer,
        Codes::blobs().judge(&closed(1, b"permission").await.1),
    );
}
