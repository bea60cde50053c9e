//! Calls over the pool, between real endpoints.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod loopback;

use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::{ConnectError, Connection, ConnectionError};
use iroh::{Endpoint, EndpointId, SecretKey};
use iroh_util::connection_pool::{ConnectionPool, Options, PoolConnectError};
use loopback::{
    ALPN, Process, address, answer, ask, bound, counts, dead, finding, in_time, lenient, node,
    strict,
};
use n0_error::e;
use peer_health::iroh::{Codes, Ending};
use peer_health::{Clock, Failure, Fault, HealthConfig, HealthRegistry, Reason, SyncError};
use peer_health_iroh::{HealthPool, PoolError, connect_failure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Accepts connections and hands them over, which keeps them open.
fn accepting(endpoint: &Endpoint) -> mpsc::UnboundedReceiver<Connection> {
    let (accepted, accepting) = mpsc::unbounded_channel();
    let endpoint = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else { continue };
            if accepted.send(connection).is_err() {
                break;
            }
        }
    });
    accepting
}

fn heard_nothing(socket: &UdpSocket) -> bool {
    socket.recv(&mut [0; 2048]).is_err()
}

async fn never<T>(_: Connection) -> Result<T, Failure> {
    std::future::pending().await
}

#[test]
fn each_error_of_the_pool_is_judged() {
    let wrapped = |error: ConnectError| PoolConnectError::from(error);
    let callback = |kind: std::io::ErrorKind| {
        e!(PoolConnectError::OnConnectError, Arc::new(std::io::Error::from(kind)))
    };
    let rows = [
        (e!(PoolConnectError::Shutdown), "State", Fault::Local),
        (e!(PoolConnectError::Closed), "State", Fault::Local),
        (e!(PoolConnectError::Timeout), "Network", Fault::Link),
        (e!(PoolConnectError::TooManyConnections), "ResourceExhaustion", Fault::Local),
        (e!(PoolConnectError::TooManyPendingConnections), "ResourceExhaustion", Fault::Local),
        (wrapped(ConnectionError::Reset.into()), "Network", Fault::Peer),
        (wrapped(ConnectionError::VersionMismatch.into()), "Protocol", Fault::Peer),
        (wrapped(ConnectionError::LocallyClosed.into()), "State", Fault::Local),
        (callback(std::io::ErrorKind::InvalidData), "Protocol", Fault::Peer),
        (callback(std::io::ErrorKind::TimedOut), "Network", Fault::Link),
    ];
    for (error, kind, fault) in rows {
        let failure = connect_failure(&error);
        assert!(format!("{:?}", failure.error()).starts_with(kind), "{error:?}: {failure:?}");
        assert_eq!(failure.fault(), fault, "{error:?}");
        let call = PoolError::<SyncError>::Connect(error);
        assert_eq!(Failure::from(&call), failure);
    }
}

/// The variants of an enum in the source of a package, as cargo found it.
fn variants(package: &str, file: &str, name: &str) -> Vec<String> {
    let cargo = |args: &[&str]| {
        let output = Command::new(env!("CARGO")).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Of other platforms cargo may have fetched nothing.
    let of_host = ["metadata", "--format-version", "1", "--offline", "--filter-platform", host];
    let metadata = cargo(&of_host);
    let (before, _) = metadata.split_once(&format!("/{package}/Cargo.toml\"")).expect("it is used");
    let root = before.rsplit_once('"').unwrap().1;
    let source = std::fs::read_to_string(format!("{root}/{package}/{file}")).unwrap();
    let (_, body) = source.split_once(&format!("pub enum {name} {{")).unwrap();
    let indent = body.trim_start_matches('\n').len() - body.trim_start().len();
    let end = format!("\n{}}}", " ".repeat(indent - 4));
    body.split_once(end.as_str())
        .unwrap()
        .0
        .lines()
        .filter(|line| line.len() > indent && line[indent..].starts_with(char::is_uppercase))
        .map(|line| line.trim_matches(|c: char| !c.is_alphanumeric()).to_owned())
        .map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned())
        .collect()
}

#[test]
fn no_error_was_added_of_which_nobody_has_thought() {
    let pool = variants("iroh-util-0.7.0", "src/connection_pool.rs", "PoolConnectError");
    let known = "Shutdown Closed Timeout TooManyConnections TooManyPendingConnections ConnectError \
                 OnConnectError";
    assert_eq!(pool.join(" "), known);
    let get = variants("iroh-blobs-0.104.0", "src/get/error.rs", "GetError");
    let known = "InitialNext ConnectedNext AtBlobHeaderNext Decode IrpcSend AtClosingNext \
                 LocalFailure BadRequest";
    assert_eq!(get.join(" "), known);
    let decode = variants("iroh-blobs-0.104.0", "src/get.rs", "DecodeError");
    let known = "ChunkNotFound ParentNotFound LeafNotFound ParentHashMismatch LeafHashMismatch \
                 Read Write";
    assert_eq!(decode.join(" "), known);
}

#[tokio::test]
async fn calls_share_a_connection_and_a_success_counts() {
    let (peer, (us, list)) = (bound(ALPN).await, finding(ALPN).await);
    list.set_endpoint_info(address(&peer));
    let mut accepted = accepting(&peer);
    tokio::spawn(async move { answer(accepted.recv().await.unwrap()).await });
    let pool = HealthPool::new(lenient(), us, ALPN, Options::default());
    let first = in_time(pool.call(&peer.id(), ask)).await.unwrap();
    assert_eq!(in_time(pool.call(&peer.id(), ask)).await.unwrap(), first);
    assert_eq!(counts(pool.registry(), peer.id()), [2, 0, 0, 0]);
    assert!(pool.registry().snapshot(&peer.id()).unwrap().latency.is_some());
}

#[tokio::test]
async fn a_call_that_is_refused_sends_no_packet() {
    let (us, list) = finding(ALPN).await;
    let (nobody, socket) = dead(&list);
    let pool = HealthPool::new(strict(), us, ALPN, Options::default());
    pool.registry().force_open(&nobody).unwrap();
    let refused = in_time(pool.call(&nobody, ask)).await.unwrap_err();
    let PoolError::Refused(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.reason, Reason::ForcedOpen);
    assert!(heard_nothing(&socket));
    pool.registry().reset(&nobody);
    let late = in_time(pool.call(&nobody, ask)).await.unwrap_err();
    assert!(matches!(late, PoolError::Connect(PoolConnectError::Timeout { .. })), "{late:?}");
    assert!(!heard_nothing(&socket));
    assert!(matches!(in_time(pool.call(&nobody, ask)).await, Err(PoolError::Refused(_))));
    assert_eq!(counts(pool.registry(), nobody), [0, 1, 0, 0]);
}

#[tokio::test]
async fn calls_that_wait_for_one_dial_blame_the_peer_once() {
    let (us, list) = finding(ALPN).await;
    let (nobody, _socket) = dead(&list);
    let pool = HealthPool::new(lenient(), us, ALPN, Options::default());
    let mut calls = JoinSet::new();
    for _ in 0..24 {
        let pool = pool.clone();
        calls.spawn(async move { pool.call(&nobody, ask).await.unwrap_err() });
    }
    in_time(calls.join_all()).await;
    assert_eq!(counts(pool.registry(), nobody), [0, 1, 23, 0]);
    in_time(pool.call(&nobody, ask)).await.unwrap_err();
    assert_eq!(counts(pool.registry(), nobody), [0, 2, 23, 0], "another dial, another event");
}

#[tokio::test]
async fn calls_on_one_connection_that_the_peer_closes_blame_it_once() {
    let (peer, (us, list)) = (bound(ALPN).await, finding(ALPN).await);
    list.set_endpoint_info(address(&peer));
    let mut accepted = accepting(&peer);
    let pool = HealthPool::new(lenient(), us, ALPN, Options::default());
    let mut calls = JoinSet::new();
    for _ in 0..24 {
        let (pool, id) = (pool.clone(), peer.id());
        calls.spawn(async move { pool.call(&id, ask).await.unwrap_err() });
    }
    let connection = in_time(accepted.recv()).await.unwrap();
    let mut asked = Vec::new();
    for _ in 0..24 {
        asked.push(in_time(connection.accept_bi()).await.unwrap());
    }
    connection.close(7_u32.into(), b"restart");
    for error in in_time(calls.join_all()).await {
        assert!(matches!(error, PoolError::Failed(_)), "{error:?}");
    }
    assert_eq!(counts(pool.registry(), peer.id()), [0, 1, 23, 0]);
}

/// Closes the connection as the pool does, whose task may learn of the peer's close before a call does.
async fn close_again(connection: Connection) -> Result<(), Failure> {
    connection.closed().await;
    close_first(connection).await
}

async fn close_first(connection: Connection) -> Result<(), Failure> {
    connection.close(0_u32.into(), b"drop");
    let error = connection.open_bi().await.unwrap_err();
    assert_eq!(error, ConnectionError::LocallyClosed);
    Err(error.into())
}

#[tokio::test]
async fn a_close_of_the_peer_is_the_peers_though_this_side_closes_after_it() {
    let (us, list) = finding(ALPN).await;
    let pool = HealthPool::new(lenient(), us, ALPN, Options::default());
    let planned = Codes::new(|code| (code.into_inner() == 7).then_some(Ending::Planned));
    let fault = |id| pool.registry().snapshot(&id).unwrap().last_error.unwrap().fault();

    let leave = |connection: Connection| async move { connection.close(7_u32.into(), b"bye") };
    let left = Process::start(SecretKey::generate(), ALPN, leave);
    let id = left.address.id;
    list.set_endpoint_info(left.address.clone());
    in_time(pool.call(&id, close_again)).await.unwrap_err();
    assert_eq!((counts(pool.registry(), id), fault(id)), ([0, 1, 0, 0], Fault::Peer));
    in_time(pool.clone().with_codes(planned).call(&id, close_again)).await.unwrap_err();
    assert_eq!(counts(pool.registry(), id), [0, 1, 1, 0], "the code says that it was planned");

    let stays = Process::start(SecretKey::generate(), ALPN, answer);
    let id = stays.address.id;
    list.set_endpoint_info(stays.address.clone());
    in_time(pool.call(&id, close_first)).await.unwrap_err();
    assert_eq!((counts(pool.registry(), id), fault(id)), ([0, 0, 1, 0], Fault::Local));
}

#[tokio::test]
async fn failures_on_a_connection_that_goes_on_each_count() {
    let (peer, (us, list)) = (bound(ALPN).await, finding(ALPN).await);
    list.set_endpoint_info(address(&peer));
    let _accepted = accepting(&peer);
    let pool = HealthPool::new(lenient(), us, ALPN, Options::default());
    let garbage = |_| async { Err::<(), _>(Failure::remote("garbage")) };
    let id = peer.id();
    let (one, two) = tokio::join!(pool.call(&id, garbage), pool.call(&id, garbage));
    assert!(one.is_err() && two.is_err());
    assert_eq!(counts(pool.registry(), peer.id()), [0, 2, 0, 0]);
    let ours = |_| async { Err::<(), _>(Failure::local("disk full")) };
    in_time(pool.call(&peer.id(), ours)).await.unwrap_err();
    assert_eq!(counts(pool.registry(), peer.id()), [0, 2, 1, 0]);
}

#[tokio::test]
async fn a_call_that_times_out_takes_its_connection_with_it() {
    let (peer, (us, list)) = (bound(ALPN).await, finding(ALPN).await);
    list.set_endpoint_info(address(&peer));
    let mut accepted = accepting(&peer);
    let pool = HealthPool::new(lenient(), us, ALPN, Options::default());
    let hasty = pool.clone().with_deadline(Duration::from_millis(300));
    let first = in_time(hasty.call(&peer.id(), never::<()>)).await.unwrap_err();
    assert!(matches!(first, PoolError::TimedOut(_)), "{first:?}");
    assert_eq!(Failure::from(&first).fault(), Fault::Link);
    let old = in_time(accepted.recv()).await.unwrap();
    let ended = in_time(old.closed()).await;
    let ConnectionError::ApplicationClosed(close) = ended else { panic!("{ended:?}") };
    assert_eq!(&close.reason[..], b"timed out");
    let fresh = async { answer(accepted.recv().await.unwrap()).await };
    let id = peer.id();
    tokio::select! {
        () = fresh => panic!("the peer goes on"),
        answered = in_time(pool.call(&id, ask)) => { answered.unwrap(); }
    }
    assert_eq!(counts(pool.registry(), peer.id()), [1, 1, 0, 0]);
}

#[tokio::test]
async fn a_peer_that_is_killed_and_comes_back_elsewhere_has_failed_once() {
    let (us, list) = finding(ALPN).await;
    let key = SecretKey::generate();
    let id = key.public();
    let mut process = Process::start(key.clone(), ALPN, answer);
    list.set_endpoint_info(process.address.clone());
    let mut options = Options::default();
    options.connect_timeout = loopback::DEADLINE;
    let pool = HealthPool::new(lenient(), us, ALPN, options);
    let hasty = pool.clone().with_deadline(Duration::from_millis(500));
    in_time(pool.call(&id, ask)).await.unwrap();
    process.kill();
    let _process = {
        let fresh = Process::start(key, ALPN, answer);
        list.set_endpoint_info(fresh.address.clone());
        fresh
    };
    // The old connection looks alive.
    let late = in_time(hasty.call(&id, ask)).await.unwrap_err();
    assert!(matches!(late, PoolError::TimedOut(_)), "{late:?}");
    in_time(pool.call(&id, ask)).await.unwrap();
    assert_eq!(counts(pool.registry(), id), [2, 1, 0, 0]);
}

#[tokio::test]
async fn a_connection_that_the_pool_closes_unused_is_nobodys_failure() {
    let (peer, (us, list)) = (bound(ALPN).await, finding(ALPN).await);
    list.set_endpoint_info(address(&peer));
    let mut accepted = accepting(&peer);
    let mut options = Options::default();
    options.idle_timeout = Duration::from_millis(10);
    let pool = HealthPool::new(lenient(), us, ALPN, options);
    for round in 1..=2 {
        let serve = async {
            let connection = accepted.recv().await.unwrap();
            answer(connection.clone()).await;
            connection.closed().await
        };
        let id = peer.id();
        let (ended, answered) = tokio::join!(in_time(serve), in_time(pool.call(&id, ask)));
        let ConnectionError::ApplicationClosed(close) = ended else { panic!("{ended:?}") };
        assert_eq!(&close.reason[..], b"unused");
        answered.unwrap();
        assert_eq!(counts(pool.registry(), peer.id()), [round, 0, 0, 0]);
    }
}

#[tokio::test]
async fn a_pool_that_is_full_blames_nobody() {
    let (peer, (us, list)) = (bound(ALPN).await, finding(ALPN).await);
    list.set_endpoint_info(address(&peer));
    let mut accepted = accepting(&peer);
    let mut options = Options::default();
    options.max_connections = 1;
    let pool = HealthPool::new(strict(), us, ALPN, options);
    let holder = {
        let (pool, id) = (pool.clone(), peer.id());
        tokio::spawn(async move { pool.call(&id, never::<()>).await })
    };
    let _connection = in_time(accepted.recv()).await.unwrap();
    let other = SecretKey::generate().public();
    let full = in_time(pool.call(&other, ask)).await.unwrap_err();
    assert!(matches!(full, PoolError::Connect(PoolConnectError::TooManyConnections { .. })));
    assert_eq!(counts(pool.registry(), other), [0, 0, 1, 0]);
    holder.abort();
    let _ = holder.await;
    assert_eq!(counts(pool.registry(), peer.id()), [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_probe_that_is_cancelled_is_abandoned_and_frees_its_slot() {
    let (us, list) = finding(ALPN).await;
    let (nobody, _socket) = dead(&list);
    let (clock, hand) = Clock::manual();
    let config = HealthConfig::default().with_failure_threshold(1).with_success_threshold(1);
    let registry: HealthRegistry<EndpointId> =
        HealthRegistry::builder().config(config).clock(clock).build().unwrap();
    registry.acquire(&nobody).unwrap().failure(SyncError::Network("reset".into()));
    hand.advance(Duration::from_secs(3600));
    let pool = HealthPool::new(registry, us, ALPN, Options::default());
    let mut probe = Box::pin(pool.call(&nobody, ask));
    assert!(futures_poll(&mut probe), "it waits for the dial");
    assert!(matches!(in_time(pool.call(&nobody, ask)).await, Err(PoolError::Refused(_))));
    drop(probe);
    assert_eq!(counts(pool.registry(), nobody), [0, 1, 0, 1]);
    let dialled = in_time(pool.call(&nobody, ask)).await;
    assert!(matches!(dialled, Err(PoolError::Connect(_))), "{dialled:?}");
}

/// Polls once; whether the future is pending.
fn futures_poll<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    future.as_mut().poll(&mut context).is_pending()
}

#[tokio::test]
async fn the_real_errors_of_the_pool_reach_their_rows() {
    let (us, list) = finding(ALPN).await;
    let mut options = Options::default();
    options.max_pending_connections = 1;
    options.connect_timeout = loopback::DEADLINE;
    let pool = ConnectionPool::new(us.clone(), ALPN, options);
    let (nobody, _socket) = dead(&list);
    let mut dial = Box::pin(pool.get_or_connect(nobody));
    assert!(futures_poll(&mut dial));
    let full = in_time(pool.get_or_connect(SecretKey::generate().public())).await.unwrap_err();
    assert!(matches!(full, PoolConnectError::TooManyPendingConnections { .. }), "{full:?}");
    in_time(pool.close(nobody)).await.unwrap();
    let closed = in_time(dial).await.unwrap_err();
    assert!(matches!(closed, PoolConnectError::Closed { .. }), "{closed:?}");

    let unknown = in_time(pool.get_or_connect(SecretKey::generate().public())).await.unwrap_err();
    let failure = connect_failure(&unknown);
    assert!(matches!(failure.error(), SyncError::PeerNotFound(_)), "{failure:?}");
    let ourselves = in_time(pool.get_or_connect(us.id())).await.unwrap_err();
    assert_eq!(connect_failure(&ourselves).fault(), Fault::Local, "{ourselves:?}");

    let peer = in_time(node(SecretKey::generate(), ALPN).bind()).await.unwrap();
    list.set_endpoint_info(address(&peer));
    let _accepted = accepting(&peer);
    let refuse = Options::default().with_on_connected(|_, _| async {
        Err(std::io::Error::from(std::io::ErrorKind::InvalidData))
    });
    let refusing = ConnectionPool::new(us, ALPN, refuse);
    let refused = in_time(refusing.get_or_connect(peer.id())).await.unwrap_err();
    assert!(matches!(refused, PoolConnectError::OnConnectError { .. }), "{refused:?}");
    assert_eq!(connect_failure(&refused).fault(), Fault::Peer);
}
