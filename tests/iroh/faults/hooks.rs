//! What the hooks refuse, and what they tell of callers and of how connections end.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use iroh::endpoint::{
    BeforeConnectOutcome, ConnectWithOptsError, Connection, ConnectionError, EndpointHooks,
};
use iroh::{EndpointAddr, EndpointId, SecretKey};
use peer_health::Fault::{Link, Peer};
use peer_health::SyncError::Network;
use peer_health::iroh::{Ending, HealthHooks, connect};
use peer_health::{
    CallError, ErrorHandler, Failure, HealthConfig, HealthRegistry, Reason, Recorded, Status,
    SyncError,
};
use tokio::sync::mpsc;

use super::{BUSY, BYE, OTHER, UNKNOWN, busy, open, telling_endings};
use crate::endpoints::{
    ALPN, DEADLINE, Mortal, Pair, Stream, address, address_of, answering, assert_counts,
    assert_rejected_by_us, bound, dial_error, in_time, node, somebody, soon_tired, strict_registry,
    take_everything, why_not,
};
use crate::support;

fn telling_callers(
    registry: HealthRegistry<EndpointId>,
) -> (HealthHooks, mpsc::UnboundedReceiver<EndpointId>) {
    let (tell, told) = mpsc::unbounded_channel();
    let hooks = HealthHooks::new(registry).on_inbound(move |peer| {
        let _ = tell.send(peer);
    });
    (hooks, told)
}

#[tokio::test]
async fn a_dial_that_our_hook_refuses_is_neutral_and_no_packet_leaves() {
    let registry = strict_registry();
    let us = bound(node().hooks(HealthHooks::new(registry.clone()))).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let peer = somebody();
    let to = address(peer, socket.local_addr().unwrap());

    // Somebody else's call opens the circuit under the permit that ours has.
    let permit = registry.acquire(&peer).unwrap();
    open(&registry, &peer);
    let error = dial_error(&us, to.clone()).await;
    assert!(matches!(why_not(&error), ConnectWithOptsError::LocallyRejected { .. }), "{error:?}");
    assert_rejected_by_us(&error);
    assert_eq!(permit.failure(error), Recorded::Late);
    let nothing = socket.recv(&mut [0; 2048]).expect_err("no packet");
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

    // With the permit of a probe the dial goes out.
    assert!(registry.end_wait(&peer));
    let probe = registry.acquire(&peer).unwrap();
    assert!(probe.is_probe());
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    let arrived = in_time(async {
        tokio::select! {
            _ = us.connect(to, ALPN) => panic!("nobody answers"),
            arrived = socket.readable() => arrived,
        }
    });
    arrived.await.unwrap();
}

#[tokio::test]
async fn a_peer_with_an_open_circuit_sees_no_incoming_and_other_protocols_go_on() {
    let registry = strict_registry();
    let hooks = HealthHooks::new(registry.clone()).with_alpns([ALPN]);
    let us = bound(node().hooks(hooks)).await;
    let peer = bound(node().alpns(vec![ALPN.to_vec(), OTHER.to_vec()])).await;
    registry.force_open(&peer.id()).unwrap();

    let first = answering(&peer);
    assert_rejected_by_us(dial_error(&us, address_of(&peer)).await);
    let ours = in_time(us.connect(address_of(&peer), OTHER)).await.unwrap();
    let theirs = in_time(first).await.unwrap().unwrap();
    assert_eq!((ours.alpn(), theirs.alpn()), (OTHER, OTHER));
}

#[tokio::test]
async fn a_peer_that_is_killed_and_comes_back_is_probed_as_soon_as_it_calls() {
    let registry = strict_registry();
    let (hooks, mut callers) = telling_callers(registry.clone());
    let us = bound(node().transport_config(soon_tired()).hooks(hooks)).await;
    tokio::spawn(take_everything(us.clone()));
    let key = SecretKey::generate();
    let id = key.public();

    let peer = Mortal::new(node().secret_key(key.clone())).await;
    let old_address = peer.address.clone();
    let read = registry.call_async(&id, async {
        let connection = connect(&us, old_address.clone(), ALPN, DEADLINE).await?;
        let mut stream = Stream::of(connection.open_bi().await?);
        stream.send.write_all(b"hello").await?;
        peer.kill();
        stream.recv.read(&mut [0; 8]).await?;
        Ok::<_, Failure>(())
    });
    let Err(CallError::Failed(failure)) = in_time(read).await else { panic!("it was killed") };
    assert_eq!(failure.error(), &Network("timed out".into()));
    assert_counts(Network, Link, failure);
    assert_eq!(registry.acquire(&id).unwrap_err().reason, Reason::Open);

    // It comes back on another port and calls us.
    let peer = bound(node().secret_key(key)).await;
    let _theirs = in_time(peer.connect(address_of(&us), ALPN)).await.unwrap();
    assert_eq!(in_time(callers.recv()).await, Some(id));
    assert_eq!(registry.status(&id), Status::Open);
    let probe = registry.acquire(&id).unwrap();
    assert!(probe.is_probe());
    assert_eq!(registry.acquire(&id).unwrap_err().reason, Reason::ProbesInFlight);

    tokio::spawn(take_everything(peer.clone()));
    let _ours = connect(&us, address_of(&peer), ALPN, DEADLINE).await.unwrap();
    probe.success();
    assert_eq!(registry.status(&id), Status::Closed);
    // Our own dials are no news of whether they reach us.
    assert!(callers.try_recv().is_err());
}

#[tokio::test]
async fn an_inbound_connection_makes_nobody_known() {
    let registry = strict_registry();
    let (hooks, mut callers) = telling_callers(registry.clone());
    let us = bound(node().hooks(hooks)).await;
    tokio::spawn(take_everything(us.clone()));
    let stranger = bound(node()).await;
    let _theirs = in_time(stranger.connect(address_of(&us), ALPN)).await.unwrap();
    assert_eq!(in_time(callers.recv()).await, Some(stranger.id()));
    assert!(!registry.contains(&stranger.id()));
}

#[tokio::test]
async fn a_connection_on_an_alpn_that_is_not_watched_is_no_news() {
    let registry = strict_registry();
    let (ending, mut endings) = telling_endings(registry.clone());
    let (tell, mut callers) = mpsc::unbounded_channel();
    let hooks = ending.with_alpns([ALPN]).on_inbound(move |peer| {
        let _ = tell.send(peer);
    });
    let us = bound(node().alpns(vec![ALPN.to_vec(), OTHER.to_vec()]).hooks(hooks)).await;
    let (unwatched, watched) = (bound(node()).await, bound(node()).await);
    for (peer, alpn) in [(&unwatched, OTHER), (&watched, ALPN)] {
        open(&registry, &peer.id());
        let ours = answering(&us);
        let theirs = in_time(peer.connect(address_of(&us), alpn)).await.unwrap();
        let ours = in_time(ours).await.unwrap().unwrap();
        theirs.close(BYE, b"");
        in_time(ours.closed()).await;
    }
    assert_eq!(in_time(callers.recv()).await, Some(watched.id()));
    assert_eq!(in_time(endings.recv()).await, Some((watched.id(), Ending::Planned)));
    assert_eq!(registry.acquire(&unwatched.id()).unwrap_err().reason, Reason::Open);
    assert!(registry.acquire(&watched.id()).unwrap().is_probe());
}

#[tokio::test]
async fn it_is_told_how_a_connection_ended() {
    let (tired, lost) = (ConnectionError::TimedOut, "closed by peer: tired (code 99)");
    let by_peer = |failure: SyncError| Ending::Failed(Failure::from(failure).with_fault(Peer));
    type End = fn(Pair) -> Option<Connection>;
    let cases: [(Ending, End); 6] = [
        (Ending::Planned, |pair| {
            pair.theirs.close(BYE, b"");
            Some(pair.ours)
        }),
        (Ending::Failed(busy()), |pair| {
            pair.theirs.close(BUSY, b"");
            Some(pair.ours)
        }),
        (by_peer(Network(lost.into())), |pair| {
            pair.theirs.close(UNKNOWN, b"tired");
            Some(pair.ours)
        }),
        (by_peer(Network("closed by peer: 0".into())), |pair| {
            drop(pair.theirs);
            Some(pair.ours)
        }),
        (Ending::Planned, |pair| {
            pair.ours.close(UNKNOWN, b"");
            Some(pair.ours)
        }),
        // The hooks do not hold it: to drop it ends it.
        (Ending::Planned, |pair| {
            drop(pair.ours);
            None
        }),
    ];
    for (n, (expected, end)) in cases.into_iter().enumerate() {
        let (hooks, mut endings) = telling_endings(strict_registry());
        let pair = Pair::of(node().hooks(hooks), node()).await;
        let (us, peer, id) = (pair.us.clone(), pair.peer.clone(), pair.peer.id());
        let _held = end(pair);
        assert_eq!(in_time(endings.recv()).await, Some((id, expected)), "case {n}");
        in_time(async { tokio::join!(us.close(), peer.close()) }).await;
    }

    let (hooks, mut endings) = telling_endings(strict_registry());
    let us = bound(node().transport_config(soon_tired()).hooks(hooks)).await;
    let peer = Mortal::new(node()).await;
    let id = peer.address.id;
    let _ours = in_time(us.connect(peer.address.clone(), ALPN)).await.unwrap();
    peer.kill();
    let expected = Ending::Failed(tired.into());
    assert_eq!(in_time(endings.recv()).await, Some((id, expected)));
}

#[tokio::test]
async fn hooks_are_dropped_with_their_endpoint_and_their_connections() {
    let (hooks, mut endings) = telling_endings(strict_registry());
    let Pair { us, peer, ours, theirs } = Pair::of(node().hooks(hooks), node()).await;
    in_time(us.close()).await;
    assert_eq!(in_time(endings.recv()).await, Some((peer.id(), Ending::Planned)));
    drop((us, ours, theirs));
    assert_eq!(in_time(endings.recv()).await, None);
}

#[tokio::test]
async fn a_dial_that_the_hook_looks_at_is_no_question_of_the_caller() {
    let second = Duration::from_secs(1);
    for (asks, streak) in [(false, 1), (true, 2)] {
        let config = HealthConfig::default().with_streak_gap(10 * second);
        let (registry, hand) = support::registry(config);
        let (handler, peer) = (ErrorHandler::with_registry(registry.clone()), somebody());
        let hooks = HealthHooks::new(registry.clone());
        let lost = || SyncError::Network("lost".into());
        drop(handler.handle_error(&peer, lost()));
        hand.advance(8 * second);
        // Only who asks by `is_circuit_open` has begun a call then, which belongs to the streak.
        if asks {
            assert!(!handler.is_circuit_open(&peer));
        }
        let passed = hooks.before_connect(&EndpointAddr::new(peer), ALPN).await;
        assert!(matches!(passed, BeforeConnectOutcome::Accept));
        hand.advance(7 * second);
        drop(handler.handle_error(&peer, lost()));
        assert_eq!(registry.snapshot(&peer).unwrap().consecutive_failures, streak);
    }
}
