//! Tasks that are aborted anywhere, panic, or leak their permit: the counts add up and the
//! circuits recover (R5, R8).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peer_health::{
    CallError, HealthConfig, HealthRegistry, ManualClock, Reason, Status, SyncError,
};
use tokio::task::{JoinSet, yield_now};

use crate::support::{self, how_they_ended, panics, scramble};

const TASKS: u64 = 10_000;
const PEERS: u64 = 16;
const LEASE: Duration = Duration::from_secs(30);

fn registry() -> (HealthRegistry<u64>, ManualClock) {
    let config = HealthConfig::default()
        .with_failure_threshold(3)
        .with_open_timeout(Duration::from_millis(1))
        .with_success_threshold(2)
        .with_probe_lease(LEASE);
    support::registry(config)
}

/// What became of the permits that this test knows of.
#[derive(Default)]
struct Seen {
    admitted: AtomicU64,
    leaked: AtomicU64,
}

/// A task: waits a little, calls, waits inside the call, ends it in one way or another.
async fn task(registry: HealthRegistry<u64>, seen: Arc<Seen>, n: u64) {
    let draw = scramble(n);
    for _ in 0..draw % 4 {
        yield_now().await;
    }
    let Ok(permit) = registry.acquire(&(draw >> 8 & (PEERS - 1))) else { return };
    seen.admitted.fetch_add(1, Ordering::Relaxed);
    for _ in 0..draw >> 16 & 7 {
        yield_now().await;
    }
    match draw >> 24 & 15 {
        0 => panics("inside the call"),
        1 => {
            seen.leaked.fetch_add(1, Ordering::Relaxed);
            std::mem::forget(permit);
        }
        2 => drop(permit),
        3 => drop(permit.neutral()),
        4..8 => drop(permit.failure(SyncError::Network(String::new()))),
        _ => drop(permit.success()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_tasks_aborted_anywhere_lose_no_permit_and_wedge_nothing() {
    let (registry, hand) = registry();
    let seen = Arc::new(Seen::default());
    let mut tasks = JoinSet::new();
    let mut aborts = 0;
    for n in 0..TASKS {
        let handle = tasks.spawn(task(registry.clone(), Arc::clone(&seen), n));
        if scramble(!n) & 1 == 0 {
            for _ in 0..scramble(!n) >> 8 & 3 {
                yield_now().await;
            }
            handle.abort();
            aborts += 1;
        }
        if n % 64 == 0 {
            hand.advance(Duration::from_millis(1));
        }
    }
    let [done, cancelled, panicked] = how_they_ended(tasks).await;
    assert_eq!(done + cancelled + panicked, TASKS);
    assert!(aborts > 0 && cancelled > 0 && panicked > 0, "{done} {cancelled} {panicked}");

    let totals = registry.totals().all;
    let leaked = seen.leaked.load(Ordering::Relaxed);
    assert!(leaked > 0 && totals.abandoned > 0 && totals.opened > 0);
    assert_eq!(totals.settled() + leaked, seen.admitted.load(Ordering::Relaxed));

    // Whatever was leaked: when its lease is over, time and successes lead to closed.
    for peer in 0..PEERS {
        hand.advance(LEASE);
        while registry.status(&peer) != Status::Closed {
            let answer = registry.call_async(&peer, async { Ok::<_, SyncError>(()) }).await;
            if let Err(CallError::Refused(refused)) = answer {
                assert_eq!(refused.reason, Reason::Open, "a slot is free");
                hand.advance(refused.retry_after.unwrap());
            }
        }
    }
}
