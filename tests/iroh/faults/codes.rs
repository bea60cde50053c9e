//! The codes of an application: what its protocol means by them.

use std::io;

use iroh::endpoint::{
    AlpnError, ConnectError, ConnectingError, ConnectionError, ReadError, TransportError,
    TransportErrorCode,
};
use peer_health::Failure;
use peer_health::Fault::{Link, Local, Nobody, Peer};
use peer_health::SyncError::{Network, Protocol, ResourceExhaustion, State};
use peer_health::iroh::{Codes, Ending};
use tokio::io::AsyncReadExt;

use super::{BUSY, BYE, UNKNOWN, busy, codes};
use crate::endpoints::{Pair, assert_counts, assert_neutral, in_time};

#[tokio::test]
async fn a_code_means_what_the_protocol_says() {
    let codes = codes();
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    let (mut again, mut them) = pair.stream().await;

    theirs.send.reset(BUSY).unwrap();
    assert_eq!(codes.judge(&ours.read_error().await), busy());
    theirs.recv.stop(BYE).unwrap();
    assert_neutral(Network, Nobody, codes.judge(&ours.write_error().await));

    them.send.reset(BUSY).unwrap();
    let error = in_time(again.recv.read_u32()).await.expect_err("reset");
    assert_eq!(codes.judge(&error), busy());
    them.recv.stop(UNKNOWN).unwrap();
    assert_counts(Protocol, Peer, codes.judge(&again.write_error().await));

    let (mut exact, _exact) = pair.stream().await;
    let (mut whole, _whole) = pair.stream().await;
    pair.theirs.close(BUSY, b"");
    let reason = in_time(pair.ours.closed()).await;
    assert_counts(ResourceExhaustion, Peer, codes.judge(&reason));
    assert_eq!(codes.ending(&reason), Ending::Failed(busy()));
    let error = in_time(exact.recv.read_exact(&mut [0; 8])).await.expect_err("closed");
    assert_eq!(codes.judge(&error), busy());
    let error = in_time(whole.recv.read_to_end(8)).await.expect_err("closed");
    assert_eq!(codes.judge(&error), busy());
    let error = in_time(exact.send.stopped()).await.expect_err("closed");
    assert_eq!(codes.judge(&error), busy());
    let error = in_time(exact.recv.received_reset()).await.expect_err("closed");
    assert_eq!(codes.judge(&error), busy());
    assert_eq!(codes.judge(&exact.write_error().await), busy());
    let error = pair.ours.send_datagram(b"?".as_slice().into()).expect_err("closed");
    assert_eq!(codes.judge(&error), busy());

    // A dial can meet a code only by a race: its handshake is done, it is closed, then looked at.
    assert_eq!(codes.judge(&AlpnError::from(reason.clone())), busy());
    assert_eq!(codes.judge(&ConnectError::from(reason.clone())), busy());
    let connecting = ConnectingError::from(reason.clone());
    assert_eq!(codes.judge(&connecting), busy());
    assert_eq!(codes.judge(&ConnectError::from(connecting)), busy());
    assert_eq!(codes.judge(&io::Error::from(reason)), busy());
}

#[tokio::test]
async fn what_has_no_code_or_one_without_meaning_is_judged_as_ever() {
    let codes = Codes::new(|_| panic!("asked without a code"));
    assert_counts(Network, Link, codes.judge(&ConnectionError::TimedOut));
    assert_neutral(State, Local, codes.judge(&ReadError::ClosedStream));
    assert_neutral(State, Local, codes.judge(&ConnectionError::LocallyClosed));
    assert_eq!(codes.ending(&ConnectionError::LocallyClosed), Ending::Planned);
    let gone = TransportError::new(TransportErrorCode::INTERNAL_ERROR, "gone".into());
    assert_eq!(codes.ending(&gone.into()), Ending::Planned);
    let reset = ConnectionError::Reset;
    assert_eq!(codes.ending(&reset), Ending::Failed(Failure::from(&reset)));
    let unmapped = ReadError::Reset(BUSY);
    assert_eq!(Codes::default().judge(&unmapped), Failure::from(&unmapped));
}
