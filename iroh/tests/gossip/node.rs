//! A node with hooks, peers that are dead, and the dials that pass the hooks.
#![allow(dead_code, reason = "the bench takes a part of it")]

use std::collections::HashMap;
use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{
    BeforeConnectOutcome, Builder, EndpointHooks, NetReportConfig, PortmapperConfig,
    QuicTransportConfig, presets::Minimal,
};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey};
use peer_health::iroh::HealthHooks;
use peer_health::{Clock, EventKind, HealthConfig, HealthRegistry, Listening, ManualClock};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(30);
/// A connection that is silent for as long is lost, and so is a dial: iroh's own 30 s are long for a test.
const IDLE: Duration = Duration::from_secs(3);
/// The time after which a dial has failed for the hooks.
pub(crate) const WITHIN: Duration = Duration::from_secs(1);
/// The wait of an open circuit; the test moves the time.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// Says where it was waited for, if it is not done before the deadline.
#[track_caller]
pub(crate) fn in_time<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let here = Location::caller();
    async move {
        let done = tokio::time::timeout(DEADLINE, future).await;
        done.unwrap_or_else(|_| panic!("not done before the deadline: {here}"))
    }
}

/// Looks again and again until it is so.
#[track_caller]
pub(crate) fn until(mut so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    in_time(async move {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while !so() {
            look.tick().await;
        }
    })
}

/// Counts the dials that come as far as here, and lets them pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dials(Arc<Mutex<HashMap<EndpointId, u64>>>);

impl Dials {
    pub(crate) fn of(&self, peer: &EndpointId) -> u64 {
        self.0.lock().unwrap().get(peer).copied().unwrap_or_default()
    }
}

impl EndpointHooks for Dials {
    async fn before_connect(&self, peer: &EndpointAddr, _: &[u8]) -> BeforeConnectOutcome {
        *self.0.lock().unwrap().entry(peer.id).or_default() += 1;
        BeforeConnectOutcome::Accept
    }
}

/// An endpoint on loopback alone, which finds its peers in `known`.
pub(crate) fn builder(key: SecretKey, known: &MemoryLookup) -> Builder {
    let transport = QuicTransportConfig::builder()
        .max_idle_timeout(Some(IDLE.try_into().unwrap()))
        .keep_alive_interval(IDLE / 3)
        .build();
    Endpoint::builder(Minimal)
        .secret_key(key)
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .address_lookup(known.clone())
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
}

/// Binds the endpoint and lets the others know where it is.
pub(crate) async fn bound(builder: Builder, known: &MemoryLookup) -> Endpoint {
    let endpoint = in_time(builder.bind()).await.unwrap();
    known.set_endpoint_info(
        EndpointAddr::new(endpoint.id()).with_ip_addr(endpoint.bound_sockets()[0]),
    );
    endpoint
}

/// A peer that is dead: its port is there and silent.
pub(crate) struct Dead {
    pub(crate) key: SecretKey,
    _socket: UdpSocket,
}

impl Dead {
    pub(crate) async fn new(known: &MemoryLookup) -> Self {
        let (key, socket) = (SecretKey::generate(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        known.set_endpoint_info(EndpointAddr::new(key.public()).with_ip_addr(address));
        Self { key, _socket: socket }
    }

    pub(crate) fn id(&self) -> EndpointId {
        self.key.public()
    }
}

/// An endpoint with hooks that infer failures, and what they do.
pub(crate) struct Watched {
    pub(crate) endpoint: Endpoint,
    pub(crate) registry: HealthRegistry<EndpointId>,
    pub(crate) hand: ManualClock,
    /// The dials that the hooks were asked for, and those that left.
    pub(crate) asked: Dials,
    pub(crate) left: Dials,
    turns: mpsc::UnboundedReceiver<(EndpointId, EventKind)>,
    _listening: Listening,
}

impl Watched {
    /// One success closes a circuit here; the time of its wait stands still until the test moves it.
    pub(crate) async fn new(failure_threshold: u32, known: &MemoryLookup) -> Self {
        let config = HealthConfig::default()
            .with_failure_threshold(failure_threshold)
            .with_open_timeout(WAIT)
            .with_open_jitter(0.0)
            .with_success_threshold(1);
        let (clock, hand) = Clock::manual();
        let registry = HealthRegistry::builder().config(config).clock(clock).build().unwrap();
        let (tell, turns) = mpsc::unbounded_channel();
        let _listening = registry.listen(move |event| {
            let _ = tell.send((event.peer, event.kind));
        });
        let (asked, left) = (Dials::default(), Dials::default());
        let hooks = HealthHooks::new(registry.clone()).with_inferred_failures(WITHIN).unwrap();
        let builder = builder(SecretKey::generate(), known)
            .hooks(asked.clone())
            .hooks(hooks)
            .hooks(left.clone());
        let endpoint = bound(builder, known).await;
        Self { endpoint, registry, hand, asked, left, turns, _listening }
    }

    /// The next change of a circuit.
    pub(crate) async fn turn(&mut self) -> (EndpointId, EventKind) {
        in_time(self.turns.recv()).await.unwrap()
    }

    pub(crate) fn no_turn(&mut self) -> bool {
        self.turns.try_recv().is_err()
    }
}
