//! Dials that fail, and handshakes.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use iroh::EndpointAddr;
use iroh::endpoint::{
    AlpnError, AuthenticationError, ConnectError, ConnectOptions, ConnectWithOptsError,
    ConnectingError, ConnectionError, EndpointError, QuicConnectError, RemoteEndpointIdError,
    TransportErrorCode as Code,
};
use peer_health::Failure;
use peer_health::Fault::{Link, Local, Peer};
use peer_health::SyncError::{Network, PeerNotFound, Protocol, ResourceExhaustion, State};
use peer_health::iroh::REFUSED_RETRY_AFTER;

use super::closed_by_peer;
use crate::endpoints::{
    ALPN, address, address_of, answering, assert_counts, assert_neutral, bound, dead_port,
    dial_error, in_time, node, somebody, soon_tired, why, why_not,
};

#[tokio::test]
async fn a_peer_without_an_address_is_not_found() {
    let us = bound(node()).await;
    let error = dial_error(&us, EndpointAddr::new(somebody())).await;
    assert!(matches!(why_not(&error), ConnectWithOptsError::NoAddress { .. }));
    assert_counts(PeerNotFound, Link, &error);
    assert_counts(PeerNotFound, Link, error);
}

#[tokio::test]
async fn another_key_at_the_address_means_that_the_peer_was_not_found() {
    let (us, stranger) = (bound(node()).await, bound(node()).await);
    let answer = answering(&stranger);
    let error = dial_error(&us, address(somebody(), stranger.bound_sockets()[0])).await;
    assert!(
        matches!(why(&error), ConnectionError::TransportError(found) if found.code == Code::crypto(48)
        )
    );
    assert_counts(PeerNotFound, Link, error);

    // The stranger is told why, and its side is a broken handshake.
    let error = in_time(answer).await.unwrap().expect_err("nobody for the stranger");
    assert_counts(Protocol, Peer, error);
}

#[tokio::test]
async fn a_wrong_alpn_is_a_protocol_error_of_the_peer() {
    let (us, peer) = (bound(node()).await, bound(node().alpns(vec![b"other".to_vec()])).await);
    let answer = answering(&peer);
    let error = dial_error(&us, address_of(&peer)).await;
    assert!(
        matches!(why(&error), ConnectionError::ConnectionClosed(close) if close.error_code == Code::crypto(120)
        )
    );
    assert_counts(Protocol, Peer, error);

    let error = in_time(answer).await.unwrap().expect_err("no protocol in common");
    assert_counts(Protocol, Peer, error);
}

#[tokio::test]
async fn a_peer_that_names_no_alpn_is_a_protocol_error_of_the_peer() {
    let (us, peer) = (bound(node()).await, bound(node().alpns(vec![])).await);
    let _answering = answering(&peer);
    assert_counts(Protocol, Peer, dial_error(&us, address_of(&peer)).await);
}

#[tokio::test]
async fn a_peer_that_refuses_is_out_of_resources_and_left_alone_for_longer() {
    let (us, peer) = (bound(node()).await, bound(node()).await);
    let accepting = peer.clone();
    tokio::spawn(async move { accepting.accept().await.unwrap().refuse() });
    let error = dial_error(&us, address_of(&peer)).await;
    assert!(
        matches!(why(&error), ConnectionError::ConnectionClosed(close) if close.error_code == Code::CONNECTION_REFUSED
        )
    );
    assert_counts(ResourceExhaustion, Peer, &error);
    assert_eq!(Failure::from(error).retry_after(), Some(REFUSED_RETRY_AFTER));
}

#[tokio::test]
async fn a_dead_port_a_silent_one_and_a_peer_that_ignores_us_time_out() {
    let us = bound(node().transport_config(soon_tired())).await;

    let dead = dead_port();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ignoring = bound(node()).await;
    let accepting = ignoring.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            incoming.ignore();
        }
    });

    let (dead, silence, ignored) = tokio::join!(
        dial_error(&us, address(somebody(), dead.local_addr().unwrap())),
        dial_error(&us, address(somebody(), silent.local_addr().unwrap())),
        dial_error(&us, address_of(&ignoring)),
    );
    for error in [dead, silence, ignored] {
        assert!(matches!(why(&error), ConnectionError::TimedOut));
        assert_counts(Network, Link, error);
    }
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn an_attempt_deadline_counts_as_a_timeout_and_ends_the_dial() {
    let us = bound(node()).await;
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = address(somebody(), silent.local_addr().unwrap());
    let elapsed = tokio::time::timeout(Duration::from_millis(100), us.connect(to, ALPN))
        .await
        .expect_err("nobody answers");
    assert_counts(Network, Link, &elapsed);
    assert_counts(Network, Link, elapsed);
}

#[tokio::test]
async fn a_peer_of_another_quic_version_is_a_protocol_error_of_the_peer() {
    let us = bound(node()).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 2048];
        loop {
            let (_, from) = socket.recv_from(&mut packet).await.unwrap();
            socket.send_to(&version_negotiation(&packet), from).await.unwrap();
        }
    });
    let error = dial_error(&us, address(somebody(), port)).await;
    assert!(matches!(why(&error), ConnectionError::VersionMismatch));
    assert_counts(Protocol, Peer, error);
}

/// RFC 9000, 17.2.1: answers a long header with "I speak only the version 0x0a0a0a0a".
fn version_negotiation(initial: &[u8]) -> Vec<u8> {
    let dcid_len = usize::from(initial[5]);
    let (dcid, rest) = initial[5..].split_at(1 + dcid_len);
    let scid = &rest[..1 + usize::from(rest[0])];
    [&[0xc0, 0, 0, 0, 0][..], scid, dcid, &[0x0a; 4]].concat()
}

#[tokio::test]
async fn mistakes_of_our_own_dial_are_local() {
    let us = bound(node()).await;

    let error = dial_error(&us, address_of(&us)).await;
    assert!(matches!(why_not(&error), ConnectWithOptsError::SelfConnect { .. }));
    assert_neutral(State, Local, error);

    let to = address(somebody(), us.bound_sockets()[0]);
    let error = in_time(us.connect(to.clone(), b"")).await.expect_err("an empty ALPN");
    assert!(matches!(why_not(&error), ConnectWithOptsError::InvalidAlpn { .. }));
    assert_neutral(State, Local, error);

    in_time(us.close()).await;
    let error = dial_error(&us, to).await;
    assert!(matches!(why_not(&error), ConnectWithOptsError::EndpointClosed { .. }));
    assert_neutral(State, Local, error);
}

#[tokio::test]
async fn an_endpoint_that_closes_before_the_connection_is_taken_does_not_blame_the_peer() {
    let (us, peer) = (bound(node()).await, bound(node()).await);
    let accepted = answering(&peer);
    let dial = us.connect_with_opts(address_of(&peer), ALPN, ConnectOptions::new());
    let connecting = in_time(dial).await.unwrap();
    let _theirs = in_time(accepted).await.unwrap().unwrap();
    in_time(us.close()).await;

    let error = in_time(connecting).await.expect_err("closed");
    assert!(matches!(error, ConnectingError::InternalConsistencyError { .. }), "{error:?}");
    assert_neutral(State, Local, error);
}

#[test]
fn a_dial_that_does_not_begin_is_local_unless_the_address_is_bad() {
    use QuicConnectError as E;
    let whole = |error: E| ConnectError::from(ConnectWithOptsError::from(error));
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    assert_counts(PeerNotFound, Link, whole(E::InvalidRemoteAddress(nowhere)));
    assert_neutral(ResourceExhaustion, Local, whole(E::CidsExhausted));
    assert_neutral(State, Local, whole(E::EndpointStopping));
    assert_neutral(State, Local, whole(E::InvalidServerName(String::new())));
    assert_neutral(State, Local, whole(E::NoDefaultClientConfig));
    assert_neutral(State, Local, whole(E::UnsupportedVersion));
    assert_neutral(State, Local, EndpointError::Closed { meta: Default::default() });
}

#[test]
fn a_handshake_without_an_identity_or_a_protocol_is_a_protocol_error_of_the_peer() {
    let nobody = AuthenticationError::from(RemoteEndpointIdError::new());
    assert_counts(Protocol, Peer, RemoteEndpointIdError::new());
    assert_counts(Protocol, Peer, &nobody);
    assert_counts(Protocol, Peer, ConnectError::from(ConnectingError::from(nobody)));
    let no_alpn = AuthenticationError::NoAlpn { meta: Default::default() };
    assert_counts(Protocol, Peer, ConnectingError::from(no_alpn));
    assert_counts(Protocol, Peer, AlpnError::Unavailable { meta: Default::default() });
    assert_counts(Protocol, Peer, AlpnError::UnknownHandshake { meta: Default::default() });
    assert_counts(Network, Peer, AlpnError::from(closed_by_peer()));
    assert_counts(Network, Link, ConnectError::from(ConnectionError::TimedOut));
}
