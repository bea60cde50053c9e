//! What real endpoints do when something breaks, and what that does to a circuit: the hooks, dials
//! with a deadline, the codes of an application, and our own shutdown.
//!
//! Where each fault is provoked (here, or in `errors.rs`, whose assertions also pass each
//! failure through a permit):
//!
//! | injected | test |
//! |---|---|
//! | wrong ALPN | `errors::a_wrong_alpn_is_a_protocol_error_of_the_peer` |
//! | refused | `errors::a_peer_that_refuses_is_out_of_resources_and_left_alone_for_longer` |
//! | ignored, dead, silent port | `errors::a_dead_port_a_silent_one_and_a_peer_that_ignores_us_time_out`, `a_dial_that_nobody_answers_ends_by_its_deadline` |
//! | killed in the middle of a read | `errors::a_peer_that_vanishes_in_the_middle_of_a_read_times_out`, `a_peer_that_is_killed_and_comes_back_is_probed_as_soon_as_it_calls` |
//! | another key at that address | `errors::another_key_at_the_address_means_that_the_peer_was_not_found` |
//! | no address | `errors::a_peer_without_an_address_is_not_found` |
//! | own hook refuses | `a_dial_that_our_hook_refuses_is_neutral_and_no_packet_leaves` |
//! | the peer's hook refuses | `errors::a_refusal_by_the_hook_of_the_peer_counts_though_the_dial_went_well` |
//! | peer closes or drops the connection | `errors::a_peer_that_closes_with_a_code_counts_and_is_quoted`, `errors::a_peer_that_drops_the_connection_counts`, `it_is_told_how_a_connection_ended` |
//! | stream reset or stopped | `errors::a_stream_that_the_peer_resets_is_a_protocol_error_of_the_peer`, `errors::a_stream_that_the_peer_stops_is_a_protocol_error_of_the_peer`, `a_code_means_what_the_protocol_says` |
//! | own endpoint closed | `errors::closing_our_own_endpoint_under_a_connection_does_not_blame_the_peer`, `our_own_shutdown_with_many_calls_in_flight_opens_no_circuit` |
//! | garbage, too long, truncated | `errors::garbage_instead_of_a_message_is_a_protocol_error_of_the_peer`, `errors::a_body_that_exceeds_the_limit_is_a_protocol_error_of_the_peer`, `errors::a_body_that_ends_early_is_a_protocol_error_of_the_peer` |
//! | corrupt automerge message | `errors::a_message_with_a_broken_change_is_a_protocol_error_of_the_peer` |

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::{
    AfterHandshakeOutcome, AlpnError, BeforeConnectOutcome, ConnectError, ConnectWithOptsError,
    ConnectingError, Connection, ConnectionError, EndpointHooks, ReadError, TransportError,
    TransportErrorCode, VarInt,
};
use iroh::{EndpointAddr, EndpointId, SecretKey};
use peer_health::Fault::{Link, Local, Nobody, Peer};
use peer_health::SyncError::{Network, PeerNotFound, Protocol, ResourceExhaustion, State};
use peer_health::iroh::{Codes, Ending, HealthHooks, REFUSED_RETRY_AFTER, connect};
use peer_health::{
    CallError, ErrorHandler, Failure, HealthConfig, HealthRegistry, Reason, Recorded, Status,
    SyncError,
};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};

use crate::endpoints::{
    ALPN, DEADLINE, Mortal, Pair, Stream, address, address_of, answering, assert_counts,
    assert_neutral, assert_rejected_by_us, bound, dead_port, dial_error, in_time, node, somebody,
    soon_tired, strict_registry, take_everything, why_not,
};
use crate::support;

const OTHER: &[u8] = b"peer-health/other";
/// Shorter than anything that iroh does by itself.
const SOON: Duration = Duration::from_millis(100);

const BYE: VarInt = VarInt::from_u32(1);
const BUSY: VarInt = VarInt::from_u32(17);
const UNKNOWN: VarInt = VarInt::from_u32(99);

fn busy() -> Failure {
    let error = ResourceExhaustion("busy".into());
    Failure::from(error).with_retry_after(Duration::from_secs(60))
}

fn codes() -> Codes {
    Codes::new(|code| match code {
        BYE => Some(Ending::Planned),
        BUSY => Some(Ending::Failed(busy())),
        _ => None,
    })
}

fn open(registry: &HealthRegistry<EndpointId>, peer: &EndpointId) {
    let recorded = registry.acquire(peer).unwrap().failure(Network("lost".into()));
    assert!(matches!(recorded, Recorded::Opened { .. }));
}

/// Hooks that send what they are told.
type Endings = mpsc::UnboundedReceiver<(EndpointId, Ending)>;

fn telling_endings(registry: HealthRegistry<EndpointId>) -> (HealthHooks, Endings) {
    let (tell, told) = mpsc::unbounded_channel();
    let hooks = HealthHooks::new(registry).on_closed(codes(), move |peer, ending| {
        let _ = tell.send((peer, ending));
    });
    (hooks, told)
}

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
async fn an_inbound_connection_lifts_no_ban_and_makes_nobody_known() {
    let registry = strict_registry();
    let (hooks, mut callers) = telling_callers(registry.clone());
    let us = bound(node().hooks(hooks)).await;
    tokio::spawn(take_everything(us.clone()));
    let (banned, stranger) = (bound(node()).await, bound(node()).await);
    registry.force_open(&banned.id()).unwrap();

    for caller in [&banned, &stranger] {
        let _theirs = in_time(caller.connect(address_of(&us), ALPN)).await.unwrap();
        assert_eq!(in_time(callers.recv()).await, Some(caller.id()));
    }
    assert_eq!(registry.acquire(&banned.id()).unwrap_err().reason, Reason::ForcedOpen);
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

#[tokio::test]
async fn our_own_shutdown_with_many_calls_in_flight_opens_no_circuit() {
    const READS: u64 = 24;
    const DIALS: u64 = 8;
    let registry = strict_registry();
    let (hooks, mut endings) = telling_endings(registry.clone());
    let (us, peer) = (bound(node().hooks(hooks)).await, bound(node()).await);
    tokio::spawn(take_everything(peer.clone()));
    let (arrived, mut arriving) = mpsc::unbounded_channel();

    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..READS {
        let (us, registry, arrived) = (us.clone(), registry.clone(), arrived.clone());
        let (id, to) = (peer.id(), address_of(&peer));
        calls.spawn(async move {
            let read = registry.call_async(&id, async {
                let connection = connect(&us, to, ALPN, DEADLINE).await?;
                let mut stream = Stream::of(connection.open_bi().await?);
                stream.send.write_all(b"?").await?;
                arrived.send(()).unwrap();
                stream.recv.read(&mut [0; 8]).await?;
                Ok::<_, Failure>(())
            });
            read.await.expect_err("it was shut down")
        });
    }
    for _ in 0..DIALS {
        let (us, registry, arrived) = (us.clone(), registry.clone(), arrived.clone());
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let id = somebody();
        let to = address(id, silent.local_addr().unwrap());
        calls.spawn(async move {
            let dial = async {
                let dial = registry.call_async(&id, connect(&us, to, ALPN, DEADLINE));
                dial.await.expect_err("it was shut down")
            };
            let packet = async {
                silent.readable().await.unwrap();
                arrived.send(()).unwrap();
            };
            tokio::join!(dial, packet).0
        });
    }
    for _ in 0..READS + DIALS {
        in_time(arriving.recv()).await.unwrap();
    }
    in_time(us.close()).await;

    while let Some(call) = in_time(calls.join_next()).await {
        let CallError::Failed(failure) = call.unwrap() else { panic!("no circuit opened") };
        assert_neutral(State, Local, failure);
    }
    let permits = registry.totals().all;
    assert_eq!((permits.neutral, permits.failed), (READS + DIALS, 0));
    registry.for_each(|peer, snapshot| assert_eq!(snapshot.status, Status::Closed, "{peer}"));
    for _ in 0..READS {
        assert_eq!(in_time(endings.recv()).await, Some((peer.id(), Ending::Planned)));
    }
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
