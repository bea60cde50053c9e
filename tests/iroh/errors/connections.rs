//! How a connection ends: by whom, and with which code.

use iroh::endpoint::{
    ConnectionError, ReadError, TransportError, TransportErrorCode as Code, VarInt,
};
use peer_health::Failure;
use peer_health::Fault::{Link, Local, Peer};
use peer_health::SyncError::{Network, Protocol, ResourceExhaustion, State};
use peer_health::iroh::{Codes, Ending, REFUSED_RETRY_AFTER};

use super::closed_by_peer;
use crate::endpoints::{
    ALPN, Mortal, Pair, Stream, address_of, assert_counts, assert_neutral, bound, dial_error,
    in_time, node, soon_tired, strict_registry,
};

#[tokio::test]
async fn a_peer_that_closes_with_a_code_counts_and_is_quoted() {
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    pair.theirs.close(VarInt::from_u32(3), b"tired");

    let error = ours.read_error().await;
    assert_counts(Network, Peer, &error);
    assert_eq!(Failure::from(error).error(), &Network("closed by peer: tired (code 3)".into()));
    assert_counts(Network, Peer, ours.write_error().await);
    assert_counts(Network, Peer, in_time(ours.send.stopped()).await.expect_err("lost"));
    assert_counts(Network, Peer, in_time(ours.recv.received_reset()).await.expect_err("lost"));
    assert_counts(Network, Peer, in_time(pair.ours.open_uni()).await.expect_err("lost"));
    assert_counts(Network, Peer, in_time(pair.ours.closed()).await);
    let datagram = pair.ours.send_datagram(b"?".as_slice().into()).expect_err("lost");
    assert_counts(Network, Peer, datagram);

    // The side that closed sees its own doing.
    assert_neutral(State, Local, theirs.read_error().await);
}

#[tokio::test]
async fn a_peer_that_drops_the_connection_counts() {
    let Pair { us: _us, peer: _peer, ours, theirs } = Pair::new().await;
    drop(theirs);
    let error = in_time(ours.closed()).await;
    assert!(matches!(
        &error,
        ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from_u32(0)
    ));
    assert_counts(Network, Peer, error);
}

#[tokio::test]
async fn a_peer_that_vanishes_in_the_middle_of_a_read_times_out() {
    let peer = Mortal::new(node()).await;
    let us = bound(node().transport_config(soon_tired())).await;
    let connection = in_time(us.connect(peer.address.clone(), ALPN)).await.unwrap();
    let mut stream = Stream::of(in_time(connection.open_bi()).await.unwrap());
    stream.send.write_all(b"hello").await.unwrap();
    peer.kill();
    let error = stream.read_error().await;
    assert_eq!(error, ReadError::ConnectionLost(ConnectionError::TimedOut));
    assert_counts(Network, Link, error);
}

#[tokio::test]
async fn closing_our_own_endpoint_under_a_connection_does_not_blame_the_peer() {
    let pair = Pair::new().await;
    let (mut ours, _theirs) = pair.stream().await;
    in_time(pair.us.close()).await;

    // LocallyClosed, or the INTERNAL_ERROR of an endpoint that has gone: a race, both are ours.
    assert_neutral(State, Local, ours.read_error().await);
    assert_neutral(State, Local, ours.write_error().await);
    assert_neutral(State, Local, in_time(pair.ours.closed()).await);
    assert_neutral(State, Local, in_time(pair.ours.open_bi()).await.expect_err("closed"));
}

#[tokio::test]
async fn closing_our_own_connection_does_not_blame_the_peer() {
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    pair.ours.close(VarInt::from_u32(0), b"done");
    let error = ours.read_error().await;
    assert_eq!(error, ReadError::ConnectionLost(ConnectionError::LocallyClosed));
    assert_neutral(State, Local, error);
    assert_counts(Network, Peer, theirs.read_error().await);
}

fn told(code: Code) -> ConnectionError {
    ConnectionError::ConnectionClosed(TransportError::new(code, String::new()).into())
}

fn found(code: Code) -> ConnectionError {
    ConnectionError::TransportError(TransportError::new(code, String::new()))
}

#[test]
fn transport_codes_are_judged_by_who_says_them() {
    assert_counts(Network, Peer, ConnectionError::Reset);
    assert_counts(Network, Peer, told(Code::NO_ERROR));
    assert_counts(Network, Peer, told(Code::INTERNAL_ERROR));
    assert_counts(Network, Peer, told(Code::APPLICATION_ERROR));
    assert_counts(Network, Link, told(Code::NO_VIABLE_PATH));
    assert_counts(Network, Link, found(Code::NO_VIABLE_PATH));
    assert_neutral(State, Local, found(Code::INTERNAL_ERROR));
    // What a peer can make our stack say is about the peer.
    for gaps in ["too many gaps in stream buffer", "too many gaps in crypto stream buffer"] {
        let error = TransportError::new(Code::INTERNAL_ERROR, gaps.into());
        let error = ConnectionError::TransportError(error);
        assert_counts(Protocol, Peer, error.clone());
        assert!(
            matches!(Codes::default().ending(&error), Ending::Failed(failure) if failure.counts())
        );
    }
    assert_counts(Protocol, Peer, told(Code::crypto(120)));
    assert_counts(Protocol, Peer, found(Code::crypto(120)));
    for code in [Code::PROTOCOL_VIOLATION, Code::FLOW_CONTROL_ERROR, Code::crypto(40)] {
        assert_counts(Protocol, Peer, told(code));
        assert_counts(Protocol, Peer, found(code));
    }
    assert_neutral(ResourceExhaustion, Local, ConnectionError::CidsExhausted);
}

#[test]
fn only_a_refusal_asks_for_a_longer_delay() {
    assert_eq!(Failure::from(told(Code::NO_ERROR)).retry_after(), None);
    assert_eq!(Failure::from(closed_by_peer()).retry_after(), None);
    let refused = Failure::from(told(Code::CONNECTION_REFUSED));
    assert_eq!(refused.retry_after(), Some(REFUSED_RETRY_AFTER));
}

#[tokio::test]
async fn our_own_shutdown_opens_no_circuit_and_a_peer_that_is_gone_opens_its_own() {
    let registry = strict_registry();
    let pair = Pair::new().await;
    let peer = pair.peer.id();

    pair.theirs.close(VarInt::from_u32(0), b"");
    let gone = in_time(pair.ours.closed()).await;
    in_time(pair.us.close()).await;
    let ours = dial_error(&pair.us, address_of(&pair.peer)).await;

    registry.acquire(&peer).unwrap().failure(&ours);
    assert!(registry.acquire(&peer).is_ok());
    registry.acquire(&peer).unwrap().failure(&gone);
    assert!(registry.acquire(&peer).is_err());
}
