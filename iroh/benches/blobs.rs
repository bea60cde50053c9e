//! Ten providers of which five are dead, flaky or slow: what a blob costs with and without the registry.
//!
//! `cargo bench -p peer-health-iroh --bench blobs`, `-- --quick` for fewer blobs, `-- "dead mixed"` for a row. Real
//! endpoints, loopback only; stores on disk. Both sides get the same lists and fetch new blobs, one after the
//! other. A second run has a new downloader and a new store, and what the registry remembers. The times without
//! the registry are taken of few blobs, since each of them costs the same, and a hundred are the first and 99
//! times the mean of the others; all times are of one run on one machine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on has failed")]

#[path = "../tests/loopback/mod.rs"]
mod loopback;

use std::net::UdpSocket;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::Incoming;
use iroh::{Endpoint, EndpointId};
use iroh_blobs::api::Store;
use iroh_blobs::api::downloader::Downloader;
use iroh_blobs::provider::events::EventSender;
use iroh_blobs::provider::{StreamPair, handle_stream};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{ALPN, Hash};
use loopback::{address, bound, dead, finding};
use peer_health::HealthRegistry;
use peer_health_iroh::HealthyProviders;
use tempfile::TempDir;
use tokio::time::Instant;

const BAD: usize = 5;
const GOOD: usize = 5;
/// In bytes.
const BLOB: usize = 64 * 1024;
/// How long a slow provider thinks before it answers.
const SLOW: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq)]
enum Bad {
    /// Its port is silent.
    Dead,
    /// It ignores every second dial, and closes each connection after one blob.
    Flaky,
    Slow,
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    BadFirst,
    Shuffled,
}

/// A provider that behaves as it is told.
async fn serve(endpoint: Endpoint, store: Store, bad: Option<Bad>) {
    let dials = Arc::new(AtomicUsize::new(0));
    while let Some(incoming) = endpoint.accept().await {
        let number = dials.fetch_add(1, Ordering::Relaxed);
        if bad == Some(Bad::Flaky) && number.is_multiple_of(2) {
            incoming.ignore();
            continue;
        }
        tokio::spawn(answer(incoming, store.clone(), bad));
    }
}

async fn answer(incoming: Incoming, store: Store, bad: Option<Bad>) {
    let Ok(connection) = incoming.await else { return };
    while let Ok(pair) = StreamPair::accept(&connection, EventSender::DEFAULT).await {
        if bad == Some(Bad::Slow) {
            tokio::time::sleep(SLOW).await;
        }
        let _ = handle_stream(pair, store.clone()).await;
        if bad == Some(Bad::Flaky) {
            break;
        }
    }
    if bad == Some(Bad::Flaky) {
        // The data arrives before the end does: it waits for the other side.
        let _ = tokio::time::timeout(SLOW, connection.closed()).await;
    }
}

/// Ten providers and the blobs that the good half has; flaky and slow ones have them too.
struct Swarm {
    ids: Vec<EndpointId>,
    us: Endpoint,
    hashes: Vec<Hash>,
    _silence: Vec<UdpSocket>,
    list: MemoryLookup,
    _directory: TempDir,
}

impl Swarm {
    async fn new(bad: Bad, blobs: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store: Store = FsStore::load(directory.path()).await.unwrap().into();
        let mut hashes = Vec::new();
        for n in 0..blobs {
            let mut blob = vec![0; BLOB];
            blob[..8].copy_from_slice(&n.to_le_bytes());
            hashes.push(store.add_bytes(blob).await.unwrap().hash);
        }
        let (us, list) = finding(ALPN).await;
        let (mut ids, mut silence) = (Vec::new(), Vec::new());
        for n in 0..BAD + GOOD {
            let bad = (n < BAD).then_some(bad);
            if bad == Some(Bad::Dead) {
                let (id, socket) = dead(&list);
                ids.push(id);
                silence.push(socket);
                continue;
            }
            let endpoint = bound(ALPN).await;
            list.set_endpoint_info(address(&endpoint));
            ids.push(endpoint.id());
            tokio::spawn(serve(endpoint, store.clone(), bad));
        }
        Self { ids, us, hashes, _silence: silence, list, _directory: directory }
    }

    /// The list of providers for the `n`th blob.
    fn order(&self, order: Order, n: usize) -> Vec<EndpointId> {
        let mut ids = self.ids.clone();
        if order == Order::Shuffled {
            let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(n as u64 + 1);
            for last in (1..ids.len()).rev() {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ids.swap(last, usize::try_from(state % (last as u64 + 1)).unwrap());
            }
        }
        ids
    }

    /// A new endpoint that finds the same providers: nothing is connected yet.
    async fn afresh(&self) -> Endpoint {
        let builder = loopback::node(iroh::SecretKey::generate(), ALPN);
        builder.address_lookup(self.list.clone()).bind().await.unwrap()
    }

    /// The seconds that each blob takes, one after the other, from a new downloader into a new store.
    async fn run(&self, order: Order, blobs: usize, with: Option<&HealthyProviders>) -> Vec<f64> {
        let directory = tempfile::tempdir().unwrap();
        let store: Store = FsStore::load(directory.path()).await.unwrap().into();
        let us = self.afresh().await;
        let downloader = match with {
            Some(providers) => providers.downloader(&store, &us),
            None => Downloader::new(&store, &us),
        };
        let mut seconds = Vec::new();
        for (n, hash) in self.hashes[..blobs].iter().enumerate() {
            let ids = self.order(order, n);
            let began = Instant::now();
            match with {
                Some(providers) => providers.of(ids).download(&downloader, *hash).await,
                None => downloader.download(*hash, ids).await,
            }
            .unwrap();
            seconds.push(began.elapsed().as_secs_f64());
        }
        us.close().await;
        seconds
    }

    /// The seconds of a first blob without and with the registry: the medians of a few, taken in turns, each
    /// with a downloader and a registry of its own.
    async fn first(&self, order: Order, times: usize) -> (f64, f64) {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for n in 0..times {
            let fresh = HealthyProviders::new(HealthRegistry::new(), []);
            if n.is_multiple_of(2) {
                without.extend(self.run(order, 1, None).await);
            }
            with.extend(self.run(order, 1, Some(&fresh)).await);
            if !n.is_multiple_of(2) {
                without.extend(self.run(order, 1, None).await);
            }
        }
        (median(without), median(with))
    }
}

/// Returns the middle one.
fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn mean(seconds: &[f64]) -> f64 {
    seconds.iter().sum::<f64>() / seconds.len() as f64
}

#[tokio::main]
async fn main() -> ExitCode {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{GOOD} good providers and {BAD} bad, blobs of {} KiB, {cores} cores", BLOB / 1024);
    println!("seconds without / with the registry, and how many times faster");
    println!(
        "bad         | first blob         | each blob after    | 100 blobs            | second run, 100"
    );
    let mut rows = vec![
        ("dead first", Bad::Dead, Order::BadFirst),
        ("dead mixed", Bad::Dead, Order::Shuffled),
        ("flaky first", Bad::Flaky, Order::BadFirst),
        ("slow first", Bad::Slow, Order::BadFirst),
    ];
    let (few, many) = if quick { (2, 20) } else { (6, 100) };
    if quick {
        rows.truncate(1);
    }
    let named = |name: &str| std::env::args().any(|arg| arg == name);
    if rows.iter().any(|(name, ..)| named(name)) {
        rows.retain(|(name, ..)| named(name));
    }
    let mut missed = false;
    for (name, bad, order) in rows {
        let swarm = Swarm::new(bad, many).await;
        let registry = HealthRegistry::new();
        let providers = HealthyProviders::new(registry, []);
        let few =
            if order == Order::Shuffled || bad != Bad::Dead { few.max(many / 2) } else { few };
        let without = swarm.run(order, few, None).await;
        let with = swarm.run(order, many, Some(&providers)).await;
        let again = swarm.run(order, many, Some(&providers)).await;
        let waits = order == Order::BadFirst && bad != Bad::Slow;
        let first = swarm.first(order, if waits { 3 } else { 200 }).await;
        swarm.us.close().await;
        let cell = |a: f64, b: f64| format!("{a:>7.3} /{b:>6.3} {:>5.2}", a / b);
        let hundred = |seconds: &[f64]| seconds[0] + 99.0 * mean(&seconds[1..]);
        println!(
            "{name:<11} | {} | {} | {} | {}",
            cell(first.0, first.1),
            cell(mean(&without[1..]), mean(&with[1..])),
            cell(hundred(&without), hundred(&with)),
            cell(hundred(&without), hundred(&again)),
        );
        if bad == Bad::Dead && mean(&without[1..]) < 3.0 * mean(&with[1..]) {
            println!("MISSED: from the second blob on at least 3 times faster");
            missed = true;
        }
        if bad == Bad::Dead && first.1 > 1.05 * first.0 {
            println!("MISSED: the first blob never slower by more than 5 %");
            missed = true;
        }
    }
    ExitCode::from(u8::from(missed))
}
