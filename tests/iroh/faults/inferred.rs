//! Dials that no handshake follows, seen by the hooks alone: nobody here takes a permit.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use iroh::endpoint::{BeforeConnectOutcome, EndpointHooks};
use iroh::{Endpoint, EndpointAddr, EndpointId};
use peer_health::iroh::HealthHooks;
use peer_health::{
    EventKind, Fault, HealthConfig, HealthRegistry, ManualClock, PeerTotals, Status, SyncError,
};
use tokio::net::UdpSocket;
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::OTHER;
use crate::endpoints::{
    ALPN, OPEN_TIMEOUT, address, address_of, answering, assert_rejected_by_us, bound, dial_error,
    in_time, node, somebody, take_everything,
};
use crate::support::{self, HOUR, touchy};

/// A time that is over soon, and one that is not over in a test.
const SOON: Duration = Duration::from_secs(1);
const NEVER: Duration = HOUR;

/// An endpoint whose hooks infer, its registry, and what the registry tells.
struct Node {
    us: Endpoint,
    registry: HealthRegistry<EndpointId>,
    hand: ManualClock,
    turns: mpsc::UnboundedReceiver<EventKind>,
    _listening: peer_health::Listening,
}

impl Node {
    async fn new(config: HealthConfig, within: Duration) -> Self {
        let (registry, hand) = support::registry(config);
        let (tell, turns) = mpsc::unbounded_channel();
        let _listening = registry.listen(move |event| {
            let _ = tell.send(event.kind);
        });
        let hooks = HealthHooks::new(registry.clone()).with_alpns([ALPN]);
        let hooks = hooks.with_inferred_failures(within).unwrap();
        let us = bound(node().alpns(vec![ALPN.to_vec(), OTHER.to_vec()]).hooks(hooks)).await;
        Self { us, registry, hand, turns, _listening }
    }

    /// Dials, and gives up with the returned task.
    fn dial(&self, to: &EndpointAddr, alpn: &'static [u8]) -> JoinHandle<()> {
        let (us, to) = (self.us.clone(), to.clone());
        tokio::spawn(async move {
            if let Ok(connection) = us.connect(to, alpn).await {
                connection.closed().await;
            }
        })
    }

    async fn turn(&mut self) -> EventKind {
        in_time(self.turns.recv()).await.unwrap()
    }

    /// Waits until the totals are as asked for.
    async fn totals(&self, are: impl Fn(&PeerTotals) -> bool) {
        until(|| are(&self.registry.totals().all)).await;
    }
}

/// Looks again and again until it is so.
async fn until(mut so: impl FnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    in_time(async {
        while !so() {
            look.tick().await;
        }
    })
    .await;
}

/// A peer that takes packets and answers none.
async fn silent() -> (UdpSocket, EndpointAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = address(somebody(), socket.local_addr().unwrap());
    (socket, to)
}

#[tokio::test]
async fn many_dials_that_no_handshake_follows_are_one_failure_of_the_link() {
    let mut node = Node::new(touchy(OPEN_TIMEOUT).with_failure_threshold(2), SOON).await;
    let (_socket, to) = silent().await;
    let dials: Vec<_> = (0..5).map(|_| node.dial(&to, ALPN)).collect();
    node.totals(|totals| totals.failed == 1).await;
    let last = node.registry.snapshot(&to.id).unwrap().last_error.unwrap();
    assert_eq!((last.fault(), last.counts()), (Fault::Link, true));
    assert!(matches!(last.error(), SyncError::Network(_)), "{last:?}");

    let again = node.dial(&to, ALPN);
    assert!(matches!(node.turn().await, EventKind::Opened { .. }));
    assert_rejected_by_us(dial_error(&node.us, to).await);
    dials.iter().chain([&again]).for_each(JoinHandle::abort);
}

#[tokio::test]
async fn a_handshake_that_follows_is_a_success() {
    let node = Node::new(touchy(OPEN_TIMEOUT), NEVER).await;
    let peer = bound(crate::endpoints::node()).await;
    tokio::spawn(take_everything(peer.clone()));
    let first = in_time(node.us.connect(address_of(&peer), ALPN)).await.unwrap();
    let second = in_time(node.us.connect(address_of(&peer), ALPN)).await.unwrap();
    let totals = node.registry.snapshot(&peer.id()).unwrap().totals;
    assert_eq!((totals.succeeded, totals.reported_errors, totals.failed), (2, 0, 0));
    drop((first, second));
}

#[tokio::test]
async fn a_dial_beside_a_connection_is_no_failure_on_any_alpn_and_from_either_side() {
    // It accepts one connection, and leaves the others without an answer.
    let node = Node::new(touchy(OPEN_TIMEOUT), SOON).await;
    let peer = bound(crate::endpoints::node().alpns(vec![ALPN.to_vec(), OTHER.to_vec()])).await;
    let first = answering(&peer);
    let open = in_time(node.us.connect(address_of(&peer), OTHER)).await.unwrap();
    let theirs = in_time(first).await.unwrap().unwrap();
    let dial = node.dial(&address_of(&peer), ALPN);
    node.totals(|totals| totals.neutral == 1).await;
    dial.abort();
    drop((open, theirs));

    // Here the peer calls us while we dial it.
    let node = Node::new(touchy(OPEN_TIMEOUT), NEVER).await;
    let peer = bound(crate::endpoints::node()).await;
    let dial = node.dial(&address_of(&peer), ALPN);
    until(|| node.registry.contains(&peer.id())).await;
    tokio::spawn(take_everything(node.us.clone()));
    let _theirs = in_time(peer.connect(address_of(&node.us), ALPN)).await.unwrap();
    node.totals(|totals| totals.neutral == 1).await;
    let totals = node.registry.totals().all;
    assert_eq!((totals.failed, totals.succeeded, totals.reported_successes), (0, 0, 0));
    dial.abort();
}

#[tokio::test]
async fn a_half_open_circuit_lets_one_dial_pass_at_a_time_and_is_decided_by_dials() {
    let mut node = Node::new(touchy(OPEN_TIMEOUT).with_success_threshold(2), SOON).await;
    let peer = bound(crate::endpoints::node()).await;
    let to = address_of(&peer);
    // Nobody accepts: the peer is silent.
    let dials = [node.dial(&to, ALPN), node.dial(&to, ALPN)];
    assert!(matches!(node.turn().await, EventKind::Opened { reopened: false, .. }));
    node.hand.advance(OPEN_TIMEOUT);
    let probe = node.dial(&to, ALPN);
    assert_eq!(node.turn().await, EventKind::HalfOpened);
    assert_rejected_by_us(dial_error(&node.us, to.clone()).await);
    assert!(matches!(node.turn().await, EventKind::Opened { reopened: true, .. }));
    dials.iter().chain([&probe]).for_each(JoinHandle::abort);

    // It accepts again: its handshake is one success, a connection that lasts the other.
    tokio::spawn(take_everything(peer.clone()));
    node.hand.advance(OPEN_TIMEOUT);
    let lasting = in_time(node.us.connect(to, ALPN)).await.unwrap();
    assert_eq!(node.turn().await, EventKind::HalfOpened);
    assert_eq!(node.turn().await, EventKind::Closed);
    assert_eq!(node.registry.status(&peer.id()), Status::Closed);
    drop(lasting);
}

#[tokio::test]
async fn a_probe_is_waited_for_half_as_long_as_its_lease() {
    let config = touchy(OPEN_TIMEOUT).with_probe_lease(2 * SOON);
    let mut node = Node::new(config, NEVER).await;
    let (_socket, to) = silent().await;
    super::open(&node.registry, &to.id);
    assert!(matches!(node.turn().await, EventKind::Opened { .. }));
    node.hand.advance(OPEN_TIMEOUT);
    let probe = node.dial(&to, ALPN);
    assert_eq!(node.turn().await, EventKind::HalfOpened);
    assert!(matches!(node.turn().await, EventKind::Opened { reopened: true, .. }));
    probe.abort();
}

#[tokio::test]
async fn an_alpn_that_is_not_watched_an_endpoint_that_is_dropped_and_a_full_table_infer_nothing() {
    let node = Node::new(touchy(OPEN_TIMEOUT).with_max_peers(2), NEVER).await;
    let mut sockets = Vec::new();
    let mut dials = Vec::new();
    for alpn in [OTHER, ALPN, ALPN, ALPN] {
        let (socket, to) = silent().await;
        dials.push(node.dial(&to, alpn));
        in_time(socket.readable()).await.unwrap(); // it has passed the hooks
        sockets.push(socket);
    }
    assert_eq!(node.registry.len(), 2);
    for dial in dials {
        dial.abort();
        let _ = dial.await; // and with it goes what it had of the endpoint
    }
    let Node { us, registry, .. } = node;
    in_time(us.close()).await;
    drop(us);
    until(|| registry.totals().all.abandoned == 2).await;
    assert_eq!(registry.totals().all.failed, 0);
}

#[test]
fn outside_of_a_runtime_a_dial_is_judged_and_not_waited_for() {
    let (registry, _) = support::registry(touchy(OPEN_TIMEOUT));
    let hooks = HealthHooks::new(registry.clone()).with_inferred_failures(SOON).unwrap();
    let (stranger, banned) = (somebody(), somebody());
    registry.force_open(&banned).unwrap();
    for (peer, passes) in [(stranger, true), (banned, false)] {
        let to = EndpointAddr::new(peer);
        let outcome = pin!(hooks.before_connect(&to, ALPN));
        let Poll::Ready(outcome) = outcome.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("the hook waits")
        };
        assert_eq!(matches!(outcome, BeforeConnectOutcome::Accept), passes);
    }
    assert!(!registry.contains(&stranger));
    for nonsense in [Duration::ZERO, HOUR + SOON, Duration::MAX] {
        let hooks = HealthHooks::new(registry.clone());
        let error = hooks.with_inferred_failures(nonsense).unwrap_err();
        assert_eq!(error.field(), "within");
        assert!(error.to_string().contains(&format!("{nonsense:?}")), "{error}");
    }
}

#[tokio::test]
async fn connections_take_no_place_of_the_dials_that_are_waited_for() {
    let node = Node::new(touchy(OPEN_TIMEOUT).with_max_peers(2), SOON).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let caller = bound(crate::endpoints::node()).await;
        let ours = answering(&node.us);
        let theirs = in_time(caller.connect(address_of(&node.us), OTHER)).await.unwrap();
        open.push((caller, theirs, in_time(ours).await.unwrap().unwrap()));
    }
    let (_socket, to) = silent().await;
    let dial = node.dial(&to, ALPN);
    node.totals(|totals| totals.failed == 1).await;
    dial.abort();
}

#[tokio::test]
async fn a_connection_that_lasts_tells_of_a_circuit_that_opens_later() {
    let mut node = Node::new(touchy(OPEN_TIMEOUT), SOON).await;
    let peer = bound(crate::endpoints::node()).await;
    tokio::spawn(take_everything(peer.clone()));
    let _lasting = in_time(node.us.connect(address_of(&peer), ALPN)).await.unwrap();
    super::open(&node.registry, &peer.id());
    assert!(matches!(node.turn().await, EventKind::Opened { .. }));
    node.hand.advance(OPEN_TIMEOUT);
    assert_eq!(node.turn().await, EventKind::HalfOpened);
    assert_eq!(node.turn().await, EventKind::Closed);
}

fn runtime() -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_runtime_that_ends_takes_its_connections_with_it() {
    let (first, second) = (runtime(), runtime());
    // It accepts one connection, and leaves the others without an answer.
    let (node, peer, accepted) = second.block_on(async {
        let node = Node::new(touchy(OPEN_TIMEOUT), SOON).await;
        let peer = bound(crate::endpoints::node()).await;
        let accepted = answering(&peer);
        (node, peer, accepted)
    });
    let to = address_of(&peer);
    let connection = first.block_on(async { in_time(node.us.connect(to.clone(), ALPN)).await });
    drop(first);
    connection.unwrap().close(0_u32.into(), b"");
    second.block_on(async {
        in_time(accepted).await.unwrap().unwrap();
        let dial = node.dial(&to, ALPN);
        node.totals(|totals| totals.failed == 1).await;
        dial.abort();
    });
}

#[test]
fn a_runtime_that_ends_takes_its_dials_with_it() {
    let (first, second) = (runtime(), runtime());
    let node = second.block_on(Node::new(touchy(OPEN_TIMEOUT), NEVER));
    let (_socket, to) = second.block_on(silent());
    first.block_on(async {
        let _dial = node.dial(&to, ALPN);
        until(|| node.registry.contains(&to.id)).await;
    });
    drop(first);
    second.block_on(node.totals(|totals| totals.abandoned == 1));
    assert_eq!(node.registry.totals().all.failed, 0);
}
