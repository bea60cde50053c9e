//! Dials with a deadline: those that fail, those that are dropped, and one in an operation.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use iroh::EndpointAddr;
use iroh::endpoint::{AfterHandshakeOutcome, Connection, ConnectionError, EndpointHooks};
use peer_health::Fault::{Link, Local, Peer};
use peer_health::SyncError::{Network, PeerNotFound, Protocol, ResourceExhaustion, State};
use peer_health::iroh::{REFUSED_RETRY_AFTER, connect};
use peer_health::{CallError, Failure, Status};
use tokio::sync::Notify;

use super::OTHER;
use crate::endpoints::{
    ALPN, DEADLINE, Stream, address, address_of, answering, assert_counts, assert_neutral, bound,
    dead_port, in_time, node, somebody, strict_registry,
};

/// Shorter than anything that iroh does by itself.
const SOON: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_dial_that_nobody_answers_ends_by_its_deadline() {
    let registry = strict_registry();
    let us = bound(node()).await;
    let dead = dead_port();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    for port in [&dead, &silent].map(|socket| socket.local_addr().unwrap()) {
        let peer = somebody();
        let dial = connect(&us, address(peer, port), ALPN, SOON);
        let Err(CallError::Failed(failure)) = in_time(registry.call_async(&peer, dial)).await
        else {
            panic!("nobody answers")
        };
        assert_eq!(failure.error(), &Network("not connected within 100ms".into()));
        assert_counts(Network, Link, failure);
        assert_eq!(registry.status(&peer), Status::Open);
    }
}

#[tokio::test]
async fn a_deadline_of_zero_is_our_own_mistake_and_nothing_is_sent() {
    let us = bound(node()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let to = address(somebody(), socket.local_addr().unwrap());
    let failure = connect(&us, to, ALPN, Duration::ZERO).await.expect_err("zero");
    assert_eq!(failure.error(), &State("deadline is 0s, must be more".into()));
    assert_neutral(State, Local, failure);
    let nothing = socket.recv(&mut [0; 2048]).expect_err("no packet");
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_dial_with_a_deadline_fails_as_one_without() {
    let us = bound(node()).await;
    let dial = async |to: EndpointAddr, alpn: &'static [u8]| {
        in_time(connect(&us, to, alpn, Duration::MAX)).await.expect_err("it fails")
    };
    assert_counts(PeerNotFound, Link, dial(EndpointAddr::new(somebody()), ALPN).await);

    let peer = bound(node()).await;
    let _answering = answering(&peer);
    assert_counts(Protocol, Peer, dial(address_of(&peer), OTHER).await);

    let accepting = peer.clone();
    tokio::spawn(async move { accepting.accept().await.unwrap().refuse() });
    let refused = dial(address_of(&peer), ALPN).await;
    assert_eq!(refused.retry_after(), Some(REFUSED_RETRY_AFTER));
    assert_counts(ResourceExhaustion, Peer, refused);

    in_time(us.close()).await;
    assert_neutral(State, Local, dial(address_of(&peer), ALPN).await);
}

/// Keeps every dial in its last step.
#[derive(Debug)]
struct Never {
    arrived: Arc<Notify>,
}

impl EndpointHooks for Never {
    async fn after_handshake(&self, _: &Connection) -> AfterHandshakeOutcome {
        self.arrived.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_dial_that_is_dropped_at_its_end_is_abandoned_and_the_peer_sees_it_close() {
    let registry = strict_registry();
    let arrived = Arc::new(Notify::new());
    let us = bound(node().hooks(Never { arrived: Arc::clone(&arrived) })).await;
    let peer = bound(node()).await;
    let theirs = answering(&peer);

    let id = peer.id();
    let dial = registry.call_async(&id, connect(&us, address_of(&peer), ALPN, DEADLINE));
    in_time(async {
        tokio::select! {
            _ = dial => panic!("the hook lets nobody through"),
            () = arrived.notified() => {} // cancels the dial
        }
    })
    .await;
    let reason = in_time(in_time(theirs).await.unwrap().unwrap().closed()).await;
    assert!(matches!(&reason, ConnectionError::ApplicationClosed(_)), "{reason:?}");
    let snapshot = registry.snapshot(&id).unwrap();
    assert_eq!((snapshot.totals.abandoned, snapshot.consecutive_failures), (1, 0));
}

#[tokio::test]
async fn a_dial_that_is_dropped_at_its_beginning_leaves_the_endpoint_as_it_was() {
    let registry = strict_registry();
    let (us, peer) = (bound(node()).await, bound(node()).await);
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let id = peer.id();
    let nowhere = address(id, silent.local_addr().unwrap());
    let dial = registry.call_async(&id, connect(&us, nowhere, ALPN, DEADLINE));
    in_time(async {
        tokio::select! {
            _ = dial => panic!("nobody answers"),
            arrived = silent.readable() => arrived.unwrap(), // cancels the dial
        }
    })
    .await;
    assert_eq!(registry.snapshot(&id).unwrap().totals.abandoned, 1);

    // The same peer can be called at once, where it really is.
    let theirs = answering(&peer);
    let dial = connect(&us, address_of(&peer), ALPN, DEADLINE);
    let _ours = registry.call_async(&id, dial).await.unwrap();
    in_time(theirs).await.unwrap().unwrap();
    assert_eq!(registry.snapshot(&id).unwrap().totals.succeeded, 1);
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_dial_is_part_of_the_operation_of_a_coordinator() {
    let registry = strict_registry();
    let (us, peer) = (bound(node()).await, bound(node()).await);
    let accepting = peer.clone();
    tokio::spawn(async move {
        let connection = accepting.accept().await.unwrap().await.unwrap();
        let (mut send, _recv) = connection.accept_bi().await.unwrap();
        send.write_all(b"hi").await.unwrap();
        connection.closed().await
    });
    let coordinator = peer_health::SyncCoordinator::new(registry.clone());
    let id = peer.id();
    let answer = coordinator.sync(&id, async |_| {
        let connection = connect(&us, address_of(&peer), ALPN, DEADLINE).await?;
        let mut stream = Stream::of(connection.open_bi().await?);
        stream.send.write_all(b"?").await?;
        let mut answer = [0; 2];
        stream.recv.read_exact(&mut answer).await?;
        Ok::<_, Failure>(answer)
    });
    assert_eq!(&in_time(answer).await.unwrap(), b"hi");
    assert_eq!(registry.totals().all.succeeded, 1);
}
