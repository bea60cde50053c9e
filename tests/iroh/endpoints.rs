//! Real endpoints for tests, loopback only: no relay, no discovery, no packet leaves the machine.
//! Nothing sleeps; whatever is waited for has a deadline.

use std::future::Future;
use std::mem::discriminant;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use iroh::endpoint::{
    Builder, ConnectError, ConnectWithOptsError, ConnectingError, Connection, ConnectionError,
    QuicTransportConfig, ReadError, RecvStream, SendStream, WriteError,
};
use iroh::{Endpoint, EndpointAddr, EndpointId, SecretKey};
use peer_health::Fault::{self, Local};
use peer_health::{Failure, HealthConfig, HealthRegistry, PeerKey, Recorded, SyncError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::loopback;
use crate::support::{self, touchy};

pub(crate) const ALPN: &[u8] = b"peer-health/test";
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const SHORT_IDLE: Duration = Duration::from_secs(2);

pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) type Kind = fn(String) -> SyncError;

#[track_caller]
pub(crate) fn assert_counts(kind: Kind, fault: Fault, failure: impl Into<Failure>) {
    assert_row(kind(String::new()), fault, true, &failure.into());
}

#[track_caller]
pub(crate) fn assert_neutral(kind: Kind, fault: Fault, failure: impl Into<Failure>) {
    assert_row(kind(String::new()), fault, false, &failure.into());
}

#[track_caller]
pub(crate) fn assert_rejected_by_us(failure: impl Into<Failure>) {
    assert_row(SyncError::CircuitBreakerOpen, Local, false, &failure.into());
}

#[track_caller]
pub(crate) fn assert_row(kind: SyncError, fault: Fault, counts: bool, failure: &Failure) {
    assert_eq!(discriminant(failure.error()), discriminant(&kind), "{failure:?}");
    assert_eq!(failure.fault(), fault, "{failure:?}");
    assert_eq!(failure.counts(), counts, "{failure:?}");
    assert_circuit(counts, failure);
}

/// What the failure does to a circuit that the first one opens.
#[track_caller]
fn assert_circuit(counts: bool, failure: &Failure) {
    let registry = strict_registry::<u32>();
    match registry.acquire(&7).unwrap().failure(failure) {
        Recorded::Opened { retry_after } => {
            assert!(counts, "opened by {failure:?}");
            let asked = failure.retry_after().unwrap_or_default().max(OPEN_TIMEOUT);
            assert_eq!(retry_after, asked.min(HealthConfig::default().open_max));
            assert!(registry.acquire(&7).is_err());
        }
        Recorded::Neutral => {
            assert!(!counts, "not opened by {failure:?}");
            assert!(registry.acquire(&7).is_ok());
        }
        recorded => panic!("{recorded:?}"),
    }
}

/// A registry that opens a circuit on the first failure and closes it on the first success. Its
/// time stands still: no wait is over by itself.
pub(crate) fn strict_registry<K: PeerKey>() -> HealthRegistry<K> {
    support::registry(touchy(OPEN_TIMEOUT)).0
}

pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("done before the deadline")
}

pub(crate) fn node() -> Builder {
    loopback::node(ALPN)
}

/// A port where nobody answers, and that nobody else gets while this is held: a socket with another
/// partner.
pub(crate) fn dead_port() -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    socket
}

pub(crate) fn soon_tired() -> QuicTransportConfig {
    QuicTransportConfig::builder().max_idle_timeout(Some(SHORT_IDLE.try_into().unwrap())).build()
}

pub(crate) async fn bound(builder: Builder) -> Endpoint {
    in_time(builder.bind()).await.unwrap()
}

pub(crate) fn address(id: EndpointId, socket: SocketAddr) -> EndpointAddr {
    EndpointAddr::new(id).with_ip_addr(socket)
}

pub(crate) fn address_of(endpoint: &Endpoint) -> EndpointAddr {
    address(endpoint.id(), endpoint.bound_sockets()[0])
}

pub(crate) fn somebody() -> EndpointId {
    SecretKey::generate().public()
}

/// The error of a dial that has to fail.
pub(crate) async fn dial_error(from: &Endpoint, to: EndpointAddr) -> ConnectError {
    in_time(from.connect(to, ALPN)).await.expect_err("the dial fails")
}

/// What ended the connection that a dial had begun.
#[track_caller]
pub(crate) fn why(error: &ConnectError) -> &ConnectionError {
    match error {
        ConnectError::Connecting {
            source: ConnectingError::ConnectionError { source, .. },
            ..
        }
        | ConnectError::Connection { source, .. } => source,
        other => panic!("not for the connection: {other:?}"),
    }
}

/// Why a dial did not begin.
#[track_caller]
pub(crate) fn why_not(error: &ConnectError) -> &ConnectWithOptsError {
    match error {
        ConnectError::Connect { source, .. } => source,
        other => panic!("it began: {other:?}"),
    }
}

/// Accepts one connection, which need not come to anything.
pub(crate) fn answering(peer: &Endpoint) -> JoinHandle<Result<Connection, ConnectingError>> {
    let peer = peer.clone();
    tokio::spawn(async move { peer.accept().await.unwrap().await })
}

/// Two endpoints and one connection between them, seen from both ends.
pub(crate) struct Pair {
    pub(crate) us: Endpoint,
    pub(crate) peer: Endpoint,
    pub(crate) ours: Connection,
    pub(crate) theirs: Connection,
}

impl Pair {
    pub(crate) async fn new() -> Self {
        Self::of(node(), node()).await
    }

    pub(crate) async fn of(us: Builder, peer: Builder) -> Self {
        let (us, peer) = (bound(us).await, bound(peer).await);
        let (ours, theirs) = in_time(async {
            tokio::join!(us.connect(address_of(&peer), ALPN), async {
                peer.accept().await.unwrap().await
            })
        })
        .await;
        Self { ours: ours.unwrap(), theirs: theirs.unwrap(), us, peer }
    }

    /// A stream that both ends have: ours by opening it, theirs by accepting it.
    pub(crate) async fn stream(&self) -> (Stream, Stream) {
        in_time(async {
            let mut ours = self.ours.open_bi().await.unwrap();
            ours.0.write_all(b"?").await.unwrap(); // a stream is seen once it carries data
            let mut theirs = self.theirs.accept_bi().await.unwrap();
            theirs.1.read_exact(&mut [0]).await.unwrap();
            (Stream::of(ours), Stream::of(theirs))
        })
        .await
    }
}

pub(crate) struct Stream {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

impl Stream {
    pub(crate) fn of((send, recv): (SendStream, RecvStream)) -> Self {
        Self { send, recv }
    }

    pub(crate) async fn read_error(&mut self) -> ReadError {
        in_time(self.recv.read(&mut [0; 64])).await.expect_err("the read fails")
    }

    /// Writes until the peer's answer to it arrives.
    pub(crate) async fn write_error(&mut self) -> WriteError {
        in_time(async {
            loop {
                if let Err(error) = self.send.write(&[0; 1024]).await {
                    return error;
                }
            }
        })
        .await
    }
}

/// A peer that can be killed. It lives in a runtime of its own, takes every connection and every
/// stream, and answers none. When it is killed, its runtime and all that runs in it stop where
/// they are: nothing says goodbye.
pub(crate) struct Mortal {
    pub(crate) address: EndpointAddr,
    life: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Mortal {
    pub(crate) async fn new(peer: Builder) -> Self {
        let (tell, told) = oneshot::channel();
        let (life, ended) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let peer = bound(peer).await;
                tell.send(address_of(&peer)).unwrap();
                tokio::spawn(take_everything(peer));
                ended.await.expect_err("ends by being dropped");
            });
        });
        Self { address: in_time(told).await.unwrap(), life, thread }
    }

    pub(crate) fn kill(self) {
        drop(self.life);
        self.thread.join().unwrap();
    }
}

/// Takes connections and streams, and holds them.
pub(crate) async fn take_everything(peer: Endpoint) {
    while let Some(incoming) = peer.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let mut streams = Vec::new();
            while let Ok(stream) = connection.accept_bi().await {
                streams.push(stream);
            }
        });
    }
}
