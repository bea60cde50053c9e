//! A mesh of iroh-gossip, as it is released, of thirty nodes of which ten are dead: how long it takes to join,
//! and how many dials leave for the dead, with the hooks and without them, in one run.
//!
//! A round is what a node does that wakes up or changes its network: it begins its gossip anew, with all that
//! it knows to join by. Endpoint and registry stay. `cargo bench -p peer-health-iroh --bench gossip`, with
//! `-- --quick` for a smaller mesh and fewer rounds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on has failed")]

#[path = "../tests/gossip/node.rs"]
mod node;

use std::time::Duration;

use iroh::address_lookup::memory::MemoryLookup;
use iroh::protocol::{AcceptError, ProtocolHandler, Router};
use iroh::{Endpoint, EndpointId, SecretKey};
use iroh_gossip::net::{GOSSIP_ALPN, Gossip};
use iroh_gossip::proto::TopicId;
use peer_health::iroh::HealthHooks;
use peer_health::{HealthConfig, HealthRegistry, Status};
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;
use tokio::time::Instant;

use node::{Dead, Dials, bound, builder, in_time};

const TOPIC: TopicId = TopicId::from_bytes([7; 32]);
/// The time after which a dial has failed for the hooks.
const WITHIN: Duration = Duration::from_secs(1);

struct Mesh {
    alive: usize,
    dead: usize,
    rounds: u32,
    /// How long a round lasts.
    round: Duration,
}

/// Hands connections to the gossip of this round.
#[derive(Debug, Clone, Default)]
struct Latest(Arc<Mutex<Option<Gossip>>>);

impl ProtocolHandler for Latest {
    async fn accept(&self, connection: iroh::endpoint::Connection) -> Result<(), AcceptError> {
        let gossip = self.0.lock().unwrap().clone();
        match gossip {
            Some(gossip) => gossip.accept(connection).await,
            None => Ok(()),
        }
    }
}

struct Node {
    endpoint: Endpoint,
    registry: Option<HealthRegistry<EndpointId>>,
    left: Dials,
    latest: Latest,
    router: Router,
}

impl Node {
    async fn new(known: &MemoryLookup, with_us: bool) -> Self {
        // What the guide says for gossip.
        let config = HealthConfig::default()
            .with_failure_threshold(2)
            .with_open_timeout(Duration::from_secs(30));
        let registry = HealthRegistry::builder().config(config).build().unwrap();
        let (left, latest) = (Dials::default(), Latest::default());
        let mut builder = builder(SecretKey::generate(), known);
        if with_us {
            let hooks = HealthHooks::new(registry.clone()).with_alpns([GOSSIP_ALPN]);
            builder = builder.hooks(hooks.with_inferred_failures(WITHIN).unwrap());
        }
        let endpoint = bound(builder.hooks(left.clone()), known).await;
        let router = Router::builder(endpoint.clone()).accept(GOSSIP_ALPN, latest.clone()).spawn();
        Self { endpoint, registry: with_us.then_some(registry), left, latest, router }
    }

    fn dials(&self, dead: &[Dead]) -> u64 {
        dead.iter().map(|dead| self.left.of(&dead.id())).sum()
    }
}

/// What was measured: each round's median and longest time to join, and its dials to the dead.
#[derive(Default)]
struct Seen {
    joined: Vec<[Duration; 2]>,
    dials: Vec<u64>,
    open: usize,
}

async fn run(mesh: &Mesh, with_us: bool) -> Seen {
    let known = MemoryLookup::new();
    let mut dead = Vec::new();
    for _ in 0..mesh.dead {
        dead.push(Dead::new(&known).await);
    }
    let mut nodes = Vec::new();
    for _ in 0..mesh.alive {
        nodes.push(Node::new(&known, with_us).await);
    }
    let everybody: Vec<_> =
        nodes.iter().map(|n| n.endpoint.id()).chain(dead.iter().map(Dead::id)).collect();

    let mut seen = Seen::default();
    for _ in 0..mesh.rounds {
        let before: u64 = nodes.iter().map(|node| node.dials(&dead)).sum();
        let begun = Instant::now();
        let mut joining = JoinSet::new();
        for node in &nodes {
            let gossip = Gossip::builder().spawn(node.endpoint.clone());
            *node.latest.0.lock().unwrap() = Some(gossip.clone());
        }
        for node in &nodes {
            let gossip = node.latest.0.lock().unwrap().clone().unwrap();
            let me = node.endpoint.id();
            let others = everybody.iter().copied().filter(|id| *id != me).collect();
            joining.spawn(async move {
                let topic = gossip.subscribe_and_join(TOPIC, others).await.unwrap();
                (begun.elapsed(), topic)
            });
        }
        let mut joined = Vec::new();
        let mut topics = Vec::new();
        while let Some(node) = in_time(joining.join_next()).await {
            let (after, topic) = node.unwrap();
            joined.push(after);
            topics.push(topic);
        }
        joined.sort_unstable();
        seen.joined.push([joined[joined.len() / 2], *joined.last().unwrap()]);
        tokio::time::sleep_until(begun + mesh.round).await;
        let after: u64 = nodes.iter().map(|node| node.dials(&dead)).sum();
        seen.dials.push(after - before);
    }
    let registries = nodes.iter().filter_map(|node| node.registry.as_ref());
    let open = |registry: &HealthRegistry<_>| {
        dead.iter().filter(|dead| registry.status(&dead.id()) != Status::Closed).count()
    };
    seen.open = registries.map(open).sum();
    for node in nodes {
        *node.latest.0.lock().unwrap() = None;
        let _ = in_time(node.router.shutdown()).await;
    }
    seen
}

fn main() {
    // `cargo test --benches` runs this too, without `--bench`: there the small mesh is enough.
    let args: Vec<_> = std::env::args().collect();
    let quick = args.iter().any(|arg| arg == "--quick") || !args.iter().any(|arg| arg == "--bench");
    let mesh = if quick {
        Mesh { alive: 6, dead: 3, rounds: 4, round: Duration::from_secs(3) }
    } else {
        Mesh { alive: 20, dead: 10, rounds: 10, round: Duration::from_secs(6) }
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [without, with] = [false, true].map(|us| runtime.block_on(run(&mesh, us)));

    println!(
        "{} nodes, {} of them dead, a round each {:?}",
        mesh.alive + mesh.dead,
        mesh.dead,
        mesh.round
    );
    println!("round | dials to the dead: without, with, ratio | all joined: without, with, ratio");
    for n in 0..mesh.rounds as usize {
        let (a, b) = (without.dials[n], with.dials[n]);
        let (c, d) = (without.joined[n][1], with.joined[n][1]);
        let ratio = |a: f64, b: f64| b / a.max(f64::EPSILON);
        println!(
            "{:5} | {a:7} {b:7} {:6.2} | {c:9.3?} {d:9.3?} {:6.2}",
            n + 1,
            ratio(a as f64, b as f64),
            ratio(c.as_secs_f64(), d.as_secs_f64()),
        );
    }
    let rounds = mesh.rounds as usize;
    // The first two find the dead out.
    let later = |seen: &Seen| seen.dials[2.min(rounds - 1)..].iter().sum::<u64>();
    let minutes = mesh.round.as_secs_f64() * (rounds.saturating_sub(2)).max(1) as f64 / 60.0;
    println!(
        "dials a minute to the dead from the third round on: {:.0} without, {:.0} with: {:.3} of them",
        later(&without) as f64 / minutes,
        later(&with) as f64 / minutes,
        later(&with) as f64 / later(&without).max(1) as f64,
    );
    let median = |seen: &Seen| {
        let mut all: Vec<_> = seen.joined.iter().map(|[median, _]| *median).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    println!(
        "median time to join: {:.3?} without, {:.3?} with; circuits not closed at the end: {} of {}",
        median(&without),
        median(&with),
        with.open,
        mesh.alive * mesh.dead,
    );
    assert!(later(&with) < later(&without), "the hooks hold dials back");
}
