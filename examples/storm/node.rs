//! The node that has all these peers, and what is counted of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iroh::endpoint::Connection;
use iroh::{Endpoint, EndpointAddr, EndpointId, SecretKey};
use peer_health::{Failure, HealthRegistry, Status, SyncCoordinator, SyncDriver};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::common::{Error, frames, loopback};
use crate::{ALPN, say};

/// How often a round with each peer is asked for.
const EVERY: Duration = Duration::from_millis(250);
/// Of an attempt, so that a minute shows what takes an hour with ten seconds: on loopback a round takes
/// a millisecond or two.
const DEADLINE: Duration = Duration::from_millis(500);
/// Calls at the same time, for the same reason: the dead get half of them at the most.
const PLACES: usize = 512;
/// What was counted is told so many times.
const TOLD: usize = 6;

struct Peer {
    address: EndpointAddr,
    dead: bool,
    /// While it is not being called.
    connection: Mutex<Option<Connection>>,
}

struct Node {
    endpoint: Endpoint,
    peers: HashMap<EndpointId, Peer>,
    /// With the living.
    rounds: AtomicU64,
    /// To the dead.
    dials: AtomicU64,
}

impl Node {
    /// One round with a peer, on the connection there is or on a new one.
    async fn round(&self, id: EndpointId) -> Result<(), Failure> {
        let peer = self.peers.get(&id).ok_or_else(|| Failure::local("nobody knows it"))?;
        let there = peer.connection().take();
        let connection = match there {
            Some(connection) => connection,
            None => {
                // Relaxed, as for `rounds`: counters, read for display and for the criteria.
                self.dials.fetch_add(u64::from(peer.dead), Ordering::Relaxed);
                self.endpoint.connect(peer.address.clone(), ALPN).await?
            }
        };
        let (mut out, mut back) = connection.open_bi().await?;
        frames::send(&mut out, b"round").await?;
        if frames::receive(&mut back).await?.as_deref() != Some(b"round") {
            return Err(Failure::remote("not what was sent"));
        }
        *peer.connection() = Some(connection);
        self.rounds.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Peer {
    // No panic is possible while it is held.
    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Run {
    node: Arc<Node>,
    registry: HealthRegistry<EndpointId>,
    driver: SyncDriver<EndpointId>,
}

/// What was counted.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) rounds: u64,
    pub(crate) seconds: Vec<Second>,
}

pub(crate) struct Second {
    /// To the dead, in this second.
    pub(crate) dials: u64,
    /// In KiB, at its end, where the system tells it.
    pub(crate) memory: Option<u64>,
}

impl Run {
    pub(crate) async fn new(living: &[EndpointAddr], dead: &[EndpointAddr]) -> Result<Self, Error> {
        let all = living.iter().map(|peer| (peer, false)).chain(dead.iter().map(|d| (d, true)));
        let peers = all.map(|(address, dead)| {
            let connection = Mutex::default();
            (address.id, Peer { address: address.clone(), dead, connection })
        });
        let node = Arc::new(Node {
            endpoint: loopback::endpoint(&SecretKey::generate(), ALPN)?.bind().await?,
            peers: peers.collect(),
            rounds: AtomicU64::new(0),
            dials: AtomicU64::new(0),
        });
        let registry = HealthRegistry::new();
        let coordinator = SyncCoordinator::builder(registry.clone())
            .attempt_deadline(DEADLINE)
            .max_concurrent(PLACES)
            .build()?;
        let caller = Arc::clone(&node);
        let driver = coordinator.drive(move |peer| {
            let node = Arc::clone(&caller);
            async move { node.round(peer).await }
        })?;
        Ok(Self { node, registry, driver })
    }

    pub(crate) async fn measure(self, time: Duration) -> Measured {
        let (began, mut ticks) = (Instant::now(), interval(EVERY));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut measured = Measured::default();
        let seconds = usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
        let (mut before, each) = (0, seconds.div_ceil(TOLD));
        while began.elapsed() < time {
            ticks.tick().await;
            for peer in self.node.peers.keys() {
                self.driver.request(peer);
            }
            if began.elapsed().as_secs() > measured.seconds.len() as u64 {
                let dials = self.node.dials.load(Ordering::Relaxed);
                measured.seconds.push(Second { dials: dials - before, memory: resident() });
                before = dials;
                if measured.seconds.len().is_multiple_of(each) {
                    self.tell(&measured.seconds, each);
                }
            }
        }
        measured.rounds = self.node.rounds.load(Ordering::Relaxed);
        self.driver.shutdown().await;
        self.node.endpoint.close().await;
        measured
    }

    /// A line for the last seconds.
    fn tell(&self, seconds: &[Second], last: usize) {
        let dials: u64 = seconds.iter().rev().take(last).map(|second| second.dials).sum();
        let (mut open, mut closed) = (0, 0);
        self.registry.for_each(|_, snapshot| match snapshot.status {
            Status::Closed => closed += 1,
            _ => open += 1,
        });
        let memory = seconds.last().and_then(|second| second.memory);
        let memory = memory.map(|kib| format!(", {:.1} MiB", kib as f64 / 1024.0));
        say(format_args!(
            "{:5} s  {:7} rounds, {closed} circuits closed, {open} not, {} calls out, \
             dials to the dead {} a minute{}",
            seconds.len(),
            self.node.rounds.load(Ordering::Relaxed),
            self.driver.stats().running,
            dials * 60 / last as u64,
            memory.unwrap_or_default(),
        ));
    }
}

/// The memory of this process, in KiB.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
