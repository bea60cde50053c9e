//! Ten thousand futures of the coordinator, half of them aborted somewhere: no slot and no permit
//! is lost, and nothing is wedged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use peer_health::{
    Clock, HealthConfig, HealthRegistry, ManualClock, RetryBudget, RetryPolicy, SyncCoordinator,
    SyncError,
};
use tokio::sync::Barrier;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use crate::peers::ours;
use crate::support::{how_they_ended, panics, scramble};

const TASKS: u64 = 10_000;
const PEERS: u64 = 16;
const SLOTS: usize = 64;

/// A registry and a coordinator on it; drivers have another than the rest, since a call of theirs
/// that is aborted before it was polled has a permit that no operation knows of.
struct World {
    registry: HealthRegistry<u64>,
    coordinator: SyncCoordinator<u64>,
    hand: ManualClock,
    begun: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        let (clock, hand) = Clock::manual();
        let config = HealthConfig::default()
            .with_failure_threshold(3)
            .with_open_timeout(Duration::from_millis(1));
        let registry = HealthRegistry::builder().config(config).clock(clock).build().unwrap();
        let retry = RetryPolicy {
            initial_delay: Duration::from_micros(10),
            max_delay: Duration::from_millis(1),
            max_attempts: 3,
            ..RetryPolicy::default()
        };
        let coordinator = SyncCoordinator::builder(registry.clone())
            .retry(retry)
            .max_concurrent(SLOTS)
            .max_per_peer(8)
            .budget(RetryBudget::new(u32::MAX, 1.0).unwrap())
            .budget_per_peer(RetryBudget::new(1000, 1.0).unwrap())
            .build()
            .unwrap();
        Self { registry, coordinator, hand, begun: Arc::default() }
    }

    fn op(&self) -> impl Fn(u64) -> Op + Send + Sync + Clone + 'static {
        let begun = Arc::clone(&self.begun);
        move |peer| {
            let n = begun.fetch_add(1, Ordering::Relaxed);
            Box::pin(call(scramble(n ^ peer << 32)))
        }
    }

    /// Everything that was taken is given back, and is settled.
    async fn all_is_free(&self) {
        let all_there = Arc::new(Barrier::new(SLOTS));
        let mut tasks = JoinSet::new();
        for peer in 0..SLOTS as u64 {
            // No stranger: those leave places free.
            self.registry.acquire(&(PEERS + peer)).unwrap().success();
            let (coordinator, all_there) = (self.coordinator.clone(), Arc::clone(&all_there));
            tasks.spawn(async move {
                let wait = |_| async { Ok::<_, SyncError>(all_there.wait().await) };
                coordinator.sync(&(PEERS + peer), wait).await.is_ok()
            });
        }
        // One that lacks a slot keeps all others waiting.
        let results = timeout(Duration::from_secs(60), tasks.join_all()).await;
        assert!(results.unwrap().into_iter().all(|synced| synced));

        // A driver that was dropped in the midst of a step may be taking one call back.
        let gone = async {
            while !self.registry.is_empty() {
                self.registry.sweep();
                self.hand.advance(Duration::from_secs(24 * 3600));
                yield_now().await;
            }
        };
        assert!(timeout(Duration::from_secs(60), gone).await.is_ok(), "a permit was lost");
    }
}

type Op = std::pin::Pin<Box<dyn Future<Output = Result<(), peer_health::Failure>> + Send>>;

async fn call(draw: u64) -> Result<(), peer_health::Failure> {
    for _ in 0..draw >> 8 & 7 {
        yield_now().await;
    }
    match draw & 31 {
        0 => panics("inside the call"),
        1 | 2 => return Err(ours()),
        3..9 => return Err(SyncError::Network(String::new()).into()),
        9..12 => tokio::time::sleep(Duration::from_micros(draw >> 16 & 1023)).await,
        _ => {}
    }
    Ok(())
}

async fn direct(world: Arc<World>, draw: u64) {
    let (peer, op) = (draw >> 8 & (PEERS - 1), world.op());
    if draw & 1 == 0 {
        drop(world.coordinator.sync(&peer, op).await);
    } else {
        let peers = (0..3).map(|n| (peer + n) % PEERS);
        drop(world.coordinator.sync_all(peers, &op).collect::<Vec<_>>().await);
    }
}

async fn driven(world: Arc<World>, draw: u64) {
    let driver = world.coordinator.drive(world.op()).unwrap();
    let peer = |n: u64| (draw >> 8).wrapping_add(n) % PEERS;
    for n in 0..8 {
        driver.request(&peer(n));
        match draw >> (16 + n) & 7 {
            0 => _ = driver.kick(&peer(n)),
            1 => _ = driver.forget(&peer(n / 2)),
            2 => driver.note_reachable(&peer(n)),
            3 => driver.note_lost(&peer(n), ours()),
            4 => driver.pause(),
            5 => driver.resume(),
            _ => yield_now().await,
        }
    }
    if draw & 1 == 0 {
        driver.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_futures_aborted_anywhere_lose_no_slot_and_no_permit() {
    let (plain, drivers) = (Arc::new(World::new()), Arc::new(World::new()));
    let mut tasks = JoinSet::new();
    for n in 0..TASKS {
        let draw = scramble(n);
        let handle = match draw & 3 {
            0 => tasks.spawn(driven(Arc::clone(&drivers), draw >> 2)),
            _ => tasks.spawn(direct(Arc::clone(&plain), draw >> 2)),
        };
        if scramble(!n) & 1 == 0 {
            for _ in 0..scramble(!n) >> 8 & 7 {
                yield_now().await;
            }
            handle.abort();
        }
        if n % 64 == 0 {
            plain.hand.advance(Duration::from_millis(1));
            drivers.hand.advance(Duration::from_millis(1));
        }
        if n % 512 == 0 {
            yield_now().await;
        }
    }
    let [done, cancelled, panicked] = how_they_ended(tasks).await;
    assert!(done > 0 && cancelled > 0 && panicked > 0, "{done} {cancelled} {panicked}");

    let totals = plain.registry.totals().all;
    assert!(totals.abandoned > 0 && totals.opened > 0 && totals.neutral > 0, "{totals:?}");
    assert_eq!(totals.settled(), plain.begun.load(Ordering::Relaxed), "settled as admitted");
    plain.all_is_free().await;
    drivers.all_is_free().await;
    assert!(drivers.registry.totals().all.settled() >= drivers.begun.load(Ordering::Relaxed));
}
