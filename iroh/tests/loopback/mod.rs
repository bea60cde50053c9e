//! Real endpoints on loopback alone, that find each other in a list. No packet leaves the machine, and
//! whatever is waited for has a deadline.
#![allow(dead_code, reason = "each binary uses a part")]

#[path = "../../../tests/support/loopback.rs"]
mod endpoint;

use std::future::Future;
use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{Builder, Connection};
use iroh::{Endpoint, EndpointAddr, EndpointId, SecretKey};
use peer_health::{Clock, Failure, HealthConfig, HealthRegistry, PeerTotals};
use tokio::sync::oneshot;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const ALPN: &[u8] = b"peer-health-iroh/test";

/// Answers each stream with a byte.
pub(crate) async fn answer(connection: Connection) {
    while let Ok((mut send, _)) = connection.accept_bi().await {
        let _ = send.write_all(b"!").await;
        let _ = send.finish();
    }
}

/// Asks for the byte; returns which connection it came by.
pub(crate) async fn ask(connection: Connection) -> Result<usize, Failure> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(b"?").await?;
    receive.read_exact(&mut [0]).await?;
    Ok(connection.stable_id())
}

pub(crate) fn node(key: SecretKey, alpn: &[u8]) -> Builder {
    endpoint::node(alpn).secret_key(key)
}

pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("done before the deadline")
}

pub(crate) async fn bound(alpn: &[u8]) -> Endpoint {
    in_time(node(SecretKey::generate(), alpn).bind()).await.unwrap()
}

/// An endpoint that knows whom it finds in the list.
pub(crate) async fn finding(alpn: &[u8]) -> (Endpoint, MemoryLookup) {
    let list = MemoryLookup::new();
    let builder = node(SecretKey::generate(), alpn).address_lookup(list.clone());
    (in_time(builder.bind()).await.unwrap(), list)
}

pub(crate) fn address(endpoint: &Endpoint) -> EndpointAddr {
    EndpointAddr::new(endpoint.id()).with_ip_addr(endpoint.bound_sockets()[0])
}

/// A peer of which nothing is there but a port that never answers; nobody else gets it while this is held.
pub(crate) fn dead(list: &MemoryLookup) -> (EndpointId, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let id = SecretKey::generate().public();
    list.set_endpoint_info(EndpointAddr::new(id).with_ip_addr(socket.local_addr().unwrap()));
    (id, socket)
}

/// A registry of which a failure opens a circuit, and a success closes it. Its time stands still.
pub(crate) fn strict() -> HealthRegistry<EndpointId> {
    let config = HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_jitter(0.0);
    HealthRegistry::builder().config(config).clock(Clock::manual().0).build().unwrap()
}

/// A registry that opens no circuit in a test.
pub(crate) fn lenient() -> HealthRegistry<EndpointId> {
    let config = HealthConfig::default().with_failure_threshold(1000);
    HealthRegistry::builder().config(config).build().unwrap()
}

/// How many of the calls to a peer succeeded, failed, were neutral, were abandoned.
pub(crate) fn counts(registry: &HealthRegistry<EndpointId>, peer: EndpointId) -> [u64; 4] {
    let of = registry.snapshot(&peer).map_or_else(PeerTotals::default, |known| known.totals);
    [of.succeeded, of.failed, of.neutral, of.abandoned]
}

/// An endpoint in a thread and a runtime of its own, that vanishes without a word when it is killed.
pub(crate) struct Process {
    pub(crate) address: EndpointAddr,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Process {
    /// Serves each connection by `serve`.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(
        key: SecretKey,
        alpn: &'static [u8],
        serve: fn(Connection) -> F,
    ) -> Self {
        let (kill, killed) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let endpoint = node(key, alpn).bind().await.unwrap();
                tell.send(address(&endpoint)).unwrap();
                let accepting = async {
                    while let Some(incoming) = endpoint.accept().await {
                        if let Ok(connection) = incoming.await {
                            tokio::spawn(serve(connection));
                        }
                    }
                };
                tokio::select! { () = accepting => {}, _ = killed => {} }
                std::mem::forget(endpoint); // its end would tell the others
            });
            runtime.shutdown_background();
        });
        let address = told.recv_timeout(DEADLINE).unwrap();
        Self { address, kill: Some(kill), thread: Some(thread) }
    }

    pub(crate) fn kill(&mut self) {
        drop(self.kill.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
