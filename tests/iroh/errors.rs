//! Every row of the classification in `peer_health::iroh`, against real errors of real endpoints
//! wherever one can be provoked on loopback, and against errors built by hand elsewhere.
//!
//! Each assertion also passes the failure through a permit: what counts opens a circuit that opens
//! on the first failure, what is neutral does not.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use automerge::sync::{Message, ReadMessageError, State as SyncState, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{AutoCommit, AutomergeError, ROOT};
use iroh::EndpointAddr;
use iroh::endpoint::{
    AfterHandshakeOutcome, AlpnError, ApplicationClose, AuthenticationError, BeforeConnectOutcome,
    BindError, ConnectError, ConnectOptions, ConnectWithOptsError, ConnectingError, Connection,
    ConnectionError, EndpointError, EndpointHooks, QuicConnectError, QuicTransportConfig,
    ReadError, ReadExactError, ReadToEndError, RemoteEndpointIdError, ResetError,
    SendDatagramError, StoppedError, TransportError, TransportErrorCode as Code, VarInt,
    WriteError,
};
use peer_health::Failure;
use peer_health::Fault::{Document, Link, Local, Nobody, Peer};
use peer_health::SyncError::{self, Network, PeerNotFound, Protocol, ResourceExhaustion, State};
use peer_health::iroh::{Codes, Ending, REFUSED_RETRY_AFTER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::endpoints::{
    ALPN, Mortal, Pair, Stream, address, address_of, answering, assert_counts, assert_neutral,
    assert_rejected_by_us, bound, dead_port, dial_error, in_time, node, somebody, soon_tired,
    strict_registry, why, why_not,
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

/// Lets a dial go on once the test says so, or never.
#[derive(Debug)]
enum BeforeDial {
    Refuse,
    Wait { arrived: Arc<Notify>, go_on: Arc<Notify> },
}

impl EndpointHooks for BeforeDial {
    async fn before_connect(&self, _: &EndpointAddr, _: &[u8]) -> BeforeConnectOutcome {
        match self {
            Self::Refuse => BeforeConnectOutcome::Reject,
            Self::Wait { arrived, go_on } => {
                arrived.notify_one();
                go_on.notified().await;
                BeforeConnectOutcome::Accept
            }
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_closes_in_the_middle_of_a_dial_does_not_blame_the_peer() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hook = BeforeDial::Wait { arrived: Arc::clone(&arrived), go_on: Arc::clone(&go_on) };
    let us = bound(node().hooks(hook)).await;
    let to = address(somebody(), us.bound_sockets()[0]);
    let dialling = us.clone();
    let dial = tokio::spawn(async move { dial_error(&dialling, to).await });
    in_time(arrived.notified()).await;
    in_time(us.close()).await;
    go_on.notify_one();

    let error = in_time(dial).await.unwrap();
    assert!(matches!(why_not(&error), ConnectWithOptsError::InternalConsistencyError { .. }));
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

#[tokio::test]
async fn a_refusal_by_our_own_hook_is_our_own_open_circuit() {
    let us = bound(node().hooks(BeforeDial::Refuse)).await;
    let error = dial_error(&us, address(somebody(), us.bound_sockets()[0])).await;
    assert!(matches!(why_not(&error), ConnectWithOptsError::LocallyRejected { .. }));
    assert_rejected_by_us(error);
}

#[derive(Debug)]
struct RefuseAfterHandshake;

const NOT_NOW: VarInt = VarInt::from_u32(17);

impl EndpointHooks for RefuseAfterHandshake {
    async fn after_handshake(&self, _: &Connection) -> AfterHandshakeOutcome {
        AfterHandshakeOutcome::Reject { error_code: NOT_NOW, reason: b"not now".to_vec() }
    }
}

#[tokio::test]
async fn a_refusal_by_our_own_hook_after_the_handshake_is_our_own_open_circuit() {
    let (us, peer) = (bound(node().hooks(RefuseAfterHandshake)).await, bound(node()).await);
    let _answering = answering(&peer);
    let error = dial_error(&us, address_of(&peer)).await;
    assert!(
        matches!(
            &error,
            ConnectError::Connecting { source: ConnectingError::LocallyRejected { .. }, .. }
        ),
        "{error:?}"
    );
    assert_rejected_by_us(error);
}

#[tokio::test]
async fn a_refusal_by_the_hook_of_the_peer_counts_though_the_dial_went_well() {
    let (us, peer) = (bound(node()).await, bound(node().hooks(RefuseAfterHandshake)).await);
    let _answering = answering(&peer);
    let connection = in_time(us.connect(address_of(&peer), ALPN)).await.unwrap();
    let first_read = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        let _ = send.write_all(b"hello").await; // the refusal may be here already
        recv.read(&mut [0; 8]).await
    };
    let error = in_time(first_read).await.expect_err("refused");
    assert!(matches!(
        &error,
        ReadError::ConnectionLost(ConnectionError::ApplicationClosed(c)) if c.error_code == NOT_NOW
    ));
    assert_counts(Network, Peer, error);
}

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

#[tokio::test]
async fn a_stream_that_the_peer_resets_is_a_protocol_error_of_the_peer() {
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    theirs.send.reset(VarInt::from_u32(7)).unwrap();
    let error = ours.read_error().await;
    assert_eq!(error, ReadError::Reset(VarInt::from_u32(7)));
    assert_counts(Protocol, Peer, error);
}

#[tokio::test]
async fn a_stream_that_the_peer_stops_is_a_protocol_error_of_the_peer() {
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    theirs.recv.stop(VarInt::from_u32(9)).unwrap();
    let error = ours.write_error().await;
    assert_eq!(error, WriteError::Stopped(VarInt::from_u32(9)));
    assert_counts(Protocol, Peer, error);
}

#[tokio::test]
async fn a_body_that_ends_early_is_a_protocol_error_of_the_peer() {
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    in_time(theirs.send.write_all(b"abc")).await.unwrap();
    theirs.send.finish().unwrap();
    let error = in_time(ours.recv.read_exact(&mut [0; 8])).await.expect_err("three of eight");
    assert_eq!(error, ReadExactError::FinishedEarly(3));
    assert_counts(Protocol, Peer, error);
}

#[tokio::test]
async fn a_body_that_exceeds_the_limit_is_a_protocol_error_of_the_peer() {
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    in_time(theirs.send.write_all(&[0; 64])).await.unwrap();
    theirs.send.finish().unwrap();
    let error = in_time(ours.recv.read_to_end(8)).await.expect_err("64 bytes, 8 allowed");
    assert_eq!(error, ReadToEndError::TooLong);
    assert_counts(Protocol, Peer, error);
}

#[tokio::test]
async fn a_connection_lost_under_a_body_is_judged_by_why_it_was_lost() {
    let pair = Pair::new().await;
    let (mut exact, _theirs) = pair.stream().await;
    let (mut whole, _theirs_too) = pair.stream().await;
    pair.theirs.close(VarInt::from_u32(0), b"");
    let error = in_time(exact.recv.read_exact(&mut [0; 8])).await.expect_err("lost");
    assert_counts(Network, Peer, error);
    assert_counts(Network, Peer, in_time(whole.recv.read_to_end(8)).await.expect_err("lost"));
}

#[tokio::test]
async fn using_a_stream_that_we_have_closed_does_not_blame_the_peer() {
    let pair = Pair::new().await;
    let (mut ours, _theirs) = pair.stream().await;
    ours.send.finish().unwrap();
    assert_neutral(State, Local, ours.send.finish().expect_err("finished twice"));
    let error = in_time(ours.send.write(b"more")).await.expect_err("finished");
    assert_eq!(error, WriteError::ClosedStream);
    assert_neutral(State, Local, error);

    ours.recv.stop(VarInt::from_u32(0)).unwrap();
    assert_neutral(State, Local, ours.recv.stop(VarInt::from_u32(0)).expect_err("stopped twice"));
    // No error tells this one from a peer that ends the stream: do not read on after a stop.
    let error = in_time(ours.recv.read_exact(&mut [0; 8])).await.expect_err("stopped");
    assert_eq!(error, ReadExactError::FinishedEarly(0));
}

#[tokio::test]
async fn reading_on_after_a_cancelled_read_to_end_does_not_blame_the_peer() {
    let pair = Pair::new().await;
    let (mut ours, _theirs) = pair.stream().await;
    tokio::select! {
        biased;
        body = ours.recv.read_to_end(8) => panic!("the peer has not finished: {body:?}"),
        () = std::future::ready(()) => {} // cancels the read
    }
    let error = ours.read_error().await;
    assert_eq!(error, ReadError::ClosedStream);
    assert_neutral(State, Local, error);
}

#[tokio::test]
async fn datagrams_that_we_may_not_send_do_not_blame_the_peer_unless_it_cannot_take_any() {
    let pair = Pair::new().await;
    let error = pair.ours.send_datagram(vec![0; 1 << 17].into()).expect_err("128 KiB");
    assert_eq!(error, SendDatagramError::TooLarge);
    assert_neutral(State, Nobody, error);

    let deaf = || {
        let config = QuicTransportConfig::builder().datagram_receive_buffer_size(None).build();
        node().transport_config(config)
    };
    let pair = Pair::of(node(), deaf()).await;
    let error = pair.ours.send_datagram(b"?".as_slice().into()).expect_err("the peer is deaf");
    assert_eq!(error, SendDatagramError::UnsupportedByPeer);
    assert_counts(Protocol, Peer, error);
    assert_neutral(State, Local, SendDatagramError::Disabled);
}

#[tokio::test]
async fn a_quic_error_inside_an_io_error_is_judged_as_itself() {
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    let (mut short, mut hasty) = pair.stream().await;

    in_time(hasty.send.write_all(b"abc")).await.unwrap();
    hasty.send.finish().unwrap();
    let error = in_time(AsyncReadExt::read_exact(&mut short.recv, &mut [0; 8])).await;
    let error = error.expect_err("three of eight");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_counts(Protocol, Peer, error);

    theirs.recv.stop(VarInt::from_u32(1)).unwrap();
    assert_counts(Protocol, Peer, ours.write_error().await);
    let error = in_time(AsyncWriteExt::write(&mut ours.send, b"?")).await.expect_err("stopped");
    assert_counts(Protocol, Peer, error);

    theirs.send.reset(VarInt::from_u32(1)).unwrap();
    let error = in_time(ours.recv.read_u32()).await.expect_err("reset");
    assert_counts(Protocol, Peer, error);

    short.send.finish().unwrap();
    let error = in_time(short.send.shutdown()).await.expect_err("finished twice");
    assert_neutral(State, Local, error);

    pair.ours.close(VarInt::from_u32(0), b"");
    let error = in_time(AsyncWriteExt::write(&mut short.send, b"?")).await.expect_err("closed");
    assert_neutral(State, Local, error);

    assert_counts(Network, Peer, io::Error::from(closed_by_peer()));
    assert_counts(Network, Peer, io::Error::from(StoppedError::ConnectionLost(closed_by_peer())));
    assert_counts(Network, Peer, io::Error::from(ResetError::ConnectionLost(closed_by_peer())));
}

#[cfg(target_os = "linux")]
#[test]
fn running_out_of_descriptors_memory_or_buffers_is_our_own_lack() {
    let (emfile, enfile, enomem, enobufs) = (24, 23, 12, 105);
    for code in [emfile, enfile, enomem, enobufs] {
        assert_neutral(ResourceExhaustion, Local, io::Error::from_raw_os_error(code));
        let source = io::Error::from_raw_os_error(code);
        let bind = BindError::Sockets { source, meta: Default::default() };
        assert_neutral(ResourceExhaustion, Local, bind);
    }
    assert_neutral(ResourceExhaustion, Local, io::Error::from(io::ErrorKind::OutOfMemory));
}

#[test]
fn other_io_errors_are_of_the_link_and_broken_data_is_of_the_peer() {
    use io::ErrorKind as Kind;
    for kind in [Kind::TimedOut, Kind::ConnectionRefused, Kind::NetworkUnreachable, Kind::Other] {
        assert_counts(Network, Link, io::Error::from(kind));
    }
    assert_counts(Network, Link, io::Error::other("not a QUIC error"));
    assert_counts(Protocol, Peer, io::Error::from(Kind::InvalidData));
}

#[tokio::test]
async fn an_endpoint_that_does_not_bind_blames_no_peer() {
    let taken = bound(node()).await;
    let again = node().clear_ip_transports().bind_addr(taken.bound_sockets()[0]).unwrap();
    let error = in_time(again.bind()).await.expect_err("the port is taken");
    assert!(matches!(&error, BindError::Sockets { .. }), "{error:?}");
    assert_neutral(State, Local, error);
    let error = BindError::InvalidTransportConfig { meta: Default::default() };
    assert_neutral(State, Local, error);
}

const VALUE: &str = "a value that is easy to find";

fn document_of(writer: &str) -> AutoCommit {
    let mut document = AutoCommit::new();
    document.put(ROOT, writer, VALUE).unwrap();
    document.commit();
    document
}

/// A message with the changes of a document, for a peer that lacks them.
fn message_for(document: &mut AutoCommit) -> Vec<u8> {
    let mut lacking = SyncState::new();
    let hello = AutoCommit::new().sync().generate_sync_message(&mut SyncState::new()).unwrap();
    document.sync().receive_sync_message(&mut lacking, hello).unwrap();
    document.sync().generate_sync_message(&mut lacking).unwrap().encode()
}

/// Takes a received message in, as a sync task does.
fn take_in(document: &mut AutoCommit, bytes: &[u8]) -> Result<(), Failure> {
    let message = Message::decode(bytes).map_err(Failure::remote)?;
    let mut state = SyncState::new();
    document.sync().receive_sync_message(&mut state, message).map_err(Failure::remote)
}

/// What arrives when the peer sends this.
async fn sent(message: &[u8]) -> Vec<u8> {
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    in_time(theirs.send.write_all(message)).await.unwrap();
    theirs.send.finish().unwrap();
    in_time(ours.recv.read_to_end(1024)).await.unwrap()
}

#[tokio::test]
async fn garbage_instead_of_a_message_is_a_protocol_error_of_the_peer() {
    let body = sent(b"this is not automerge").await;
    assert!(matches!(Message::decode(&body), Err(ReadMessageError::WrongType { .. })));
    assert_counts(Protocol, Peer, take_in(&mut document_of("ours"), &body).expect_err("garbage"));
}

/// The message, broken in the last byte of the text that its change carries: it decodes, its
/// checksum does not fit.
fn broken(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let text = message.windows(VALUE.len()).rposition(|bytes| bytes == VALUE.as_bytes());
    message[text.expect("the change carries it") + VALUE.len() - 1] ^= 0xff;
    message
}

#[tokio::test]
async fn a_message_with_a_broken_change_is_a_protocol_error_of_the_peer() {
    let good = message_for(&mut document_of("theirs"));
    assert_eq!(take_in(&mut AutoCommit::new(), &sent(&good).await), Ok(()));

    let message = Message::decode(&sent(&broken(&good)).await).unwrap();
    let mut state = SyncState::new();
    let error = AutoCommit::new().sync().receive_sync_message(&mut state, message).unwrap_err();
    assert!(matches!(error, AutomergeError::Load(_)), "{error:?}");
    assert_counts(Protocol, Peer, Failure::remote(error));
}

/// So a peer that only ever sends broken changes is seen by the progress that it does not make, and
/// not by an error.
#[test]
fn automerge_skips_a_broken_change_in_silence_where_the_document_has_a_history() {
    let message = broken(&message_for(&mut document_of("theirs")));
    let mut ours = document_of("ours");
    let heads = ours.get_heads();
    assert_eq!(take_in(&mut ours, &message), Ok(()));
    assert_eq!(ours.get_heads(), heads);
}

#[test]
fn a_broken_document_of_our_own_store_blames_no_peer() {
    let mut stored = document_of("ours").save();
    *stored.last_mut().unwrap() ^= 0xff;
    let error = AutoCommit::load(&stored).expect_err("a broken store");
    assert_neutral(SyncError::Document, Document, Failure::document(error));

    let id = automerge::ActorId::random();
    let error = AutomergeError::DuplicateSeqNumber(1, id.clone());
    assert_neutral(SyncError::Document, Document, Failure::document(error));
    let error = AutomergeError::DuplicateActorId(id);
    assert_neutral(SyncError::Document, Document, Failure::document(error));
}

fn closed_by_peer() -> ConnectionError {
    let close = ApplicationClose { error_code: NOT_NOW, reason: b"".as_slice().into() };
    ConnectionError::ApplicationClosed(close)
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

#[test]
fn refused_early_data_is_sent_again_and_blames_nobody() {
    assert_neutral(Network, Nobody, ReadError::ZeroRttRejected);
    assert_neutral(Network, Nobody, WriteError::ZeroRttRejected);
    assert_neutral(Network, Nobody, StoppedError::ZeroRttRejected);
    assert_neutral(Network, Nobody, ResetError::ZeroRttRejected);
    assert!(Failure::from(ReadError::ZeroRttRejected).error().is_retryable());
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

/// iroh's own enums may grow in any release, and what is new falls to `Network`, `Link`. Whoever
/// moves the lock file reads their definitions again, extends the table, and then these versions.
/// (noq's enums are exhaustive: there the compiler notices.)
#[test]
fn the_variants_were_judged_for_these_versions() {
    let lock = include_str!("../../Cargo.lock");
    for (name, version) in
        [("iroh", "1.4.1"), ("noq", "1.4.0"), ("noq-proto", "1.4.0"), ("automerge", "0.12.0")]
    {
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&entry), "{name} is no longer {version}: see the classification");
    }
}
