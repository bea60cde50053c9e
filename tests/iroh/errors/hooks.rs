//! Hooks that refuse a dial or hold it up, ours and those of the peer.

use std::sync::Arc;

use iroh::EndpointAddr;
use iroh::endpoint::{
    AfterHandshakeOutcome, BeforeConnectOutcome, ConnectError, ConnectWithOptsError,
    ConnectingError, Connection, ConnectionError, EndpointHooks, ReadError,
};
use peer_health::Fault::{Local, Peer};
use peer_health::SyncError::{Network, State};
use tokio::sync::Notify;

use super::NOT_NOW;
use crate::endpoints::{
    ALPN, address, address_of, answering, assert_counts, assert_neutral, assert_rejected_by_us,
    bound, dial_error, in_time, node, somebody, why_not,
};

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
async fn a_refusal_by_our_own_hook_is_our_own_open_circuit() {
    let us = bound(node().hooks(BeforeDial::Refuse)).await;
    let error = dial_error(&us, address(somebody(), us.bound_sockets()[0])).await;
    assert!(matches!(why_not(&error), ConnectWithOptsError::LocallyRejected { .. }));
    assert_rejected_by_us(error);
}

#[derive(Debug)]
struct RefuseAfterHandshake;

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
