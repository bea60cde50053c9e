//! Streams and datagrams, and the errors of QUIC inside of those of `std::io`.

use std::io;

use iroh::endpoint::{
    QuicTransportConfig, ReadError, ReadExactError, ReadToEndError, ResetError, SendDatagramError,
    StoppedError, VarInt, WriteError,
};
use peer_health::Failure;
use peer_health::Fault::{Local, Nobody, Peer};
use peer_health::SyncError::{Network, Protocol, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::closed_by_peer;
use crate::endpoints::{Pair, assert_counts, assert_neutral, in_time, node};

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

#[test]
fn refused_early_data_is_sent_again_and_blames_nobody() {
    assert_neutral(Network, Nobody, ReadError::ZeroRttRejected);
    assert_neutral(Network, Nobody, WriteError::ZeroRttRejected);
    assert_neutral(Network, Nobody, StoppedError::ZeroRttRejected);
    assert_neutral(Network, Nobody, ResetError::ZeroRttRejected);
    assert!(Failure::from(ReadError::ZeroRttRejected).error().is_retryable());
}
