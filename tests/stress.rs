//! Real threads: nothing is lost, nothing is counted twice, nobody waits for anybody (R8, R13).
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use peer_health::{EventKind, HealthConfig, HealthRegistry, Reason, Recorded, Status, SyncError};

const THREADS: u64 = 64;
const OPERATIONS: u64 = 10_000_000;

/// What the threads saw, added up.
#[derive(Default)]
struct Seen {
    admitted: AtomicU64,
    late: AtomicU64,
    opened: AtomicU64,
    failed: AtomicU64,
    neutral: AtomicU64,
    succeeded: AtomicU64,
    dropped: AtomicU64,
}

/// A number from a thread's own sequence (Marsaglia's xorshift).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn stress(peers: u64, by_handle: bool) {
    let registry: Arc<OnceLock<HealthRegistry<u64>>> = Arc::default();
    let events = Arc::new(AtomicU64::new(0));
    let called_back = Arc::new(AtomicU64::new(0));
    let (back, opened, admitted) =
        (Arc::clone(&registry), Arc::clone(&events), Arc::clone(&called_back));
    let config = HealthConfig::default()
        .with_failure_threshold(3)
        .with_failure_window(Duration::ZERO)
        .with_open_timeout(Duration::from_micros(50))
        .with_success_threshold(2);
    let built = HealthRegistry::<u64>::builder()
        .config(config)
        .listener(move |event| {
            if let EventKind::Opened { .. } = event.kind {
                opened.fetch_add(1, Ordering::Relaxed);
            }
            // Calls back: a permit of the very peer, and a look at it.
            if let Some(registry) = back.get() {
                let permit = registry.acquire(&event.peer);
                admitted.fetch_add(permit.is_ok().into(), Ordering::Relaxed);
                assert!(registry.snapshot(&event.peer).is_some());
            }
        })
        .build()
        .unwrap();
    registry.set(built.clone()).unwrap();
    let seen = Seen::default();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (registry, seen) = (&built, &seen);
            scope.spawn(move || run(registry, seen, thread, peers, by_handle));
        }
    });
    let totals = built.totals().permits;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(totals.settled(), read(&seen.admitted) + read(&called_back));
    assert_eq!(totals.succeeded, read(&seen.succeeded));
    assert_eq!(totals.failed, read(&seen.failed));
    assert_eq!(totals.neutral, read(&seen.neutral));
    // A permit that is dropped is not told whether it was late.
    let dropped = read(&seen.dropped) + read(&called_back);
    assert_eq!(totals.abandoned + totals.late, read(&seen.late) + dropped);
    assert_eq!(totals.opened, read(&events), "each trip is told once");
    assert!(read(&seen.opened) >= 1_000, "{} trips", read(&seen.opened));
    assert_eq!(totals.opened, read(&seen.opened), "and by the caller that made it");
    // Nothing wedges: time and successes lead to Closed.
    for peer in 0..peers {
        while built.status(&peer) != Status::Closed {
            match built.acquire(&peer) {
                Ok(permit) => drop(permit.success()),
                Err(refused) => assert_eq!(refused.reason, Reason::Open),
            }
        }
    }
}

fn run(registry: &HealthRegistry<u64>, seen: &Seen, thread: u64, peers: u64, by_handle: bool) {
    let mut state = thread * 2 + 1;
    let mut handle = registry.peer(&(thread % peers));
    let mut mine = [0u64; 7];
    for n in 0..OPERATIONS / THREADS {
        let draw = random(&mut state);
        let peer = if by_handle { thread % peers } else { draw % peers };
        // Bursts of failures: in every eighth stretch of a thousand operations, half fail.
        let failing = (n / 1000) % 8 == 0 && draw & 0x10_0000 != 0;
        let kind = if failing { 1 } else { draw >> 32 & 0x3F };
        let recorded = if by_handle {
            handle.acquire().ok().map(|permit| settle(permit, kind))
        } else {
            registry.acquire(&peer).ok().map(|permit| settle(permit, kind))
        };
        let Some(recorded) = recorded else { continue };
        mine[0] += 1;
        match (recorded, kind) {
            (Some(Recorded::Late), _) => mine[1] += 1,
            (Some(Recorded::Opened { .. }), _) => {
                mine[2] += 1;
                mine[3] += 1;
            }
            (Some(_), 1) => mine[3] += 1,
            (Some(_), 2) => mine[4] += 1,
            (Some(_), _) => mine[5] += 1,
            (None, _) => mine[6] += 1,
        }
    }
    let counters = [
        &seen.admitted,
        &seen.late,
        &seen.opened,
        &seen.failed,
        &seen.neutral,
        &seen.succeeded,
        &seen.dropped,
    ];
    for (counter, mine) in counters.into_iter().zip(mine) {
        counter.fetch_add(mine, Ordering::Relaxed);
    }
}

/// Ends the permit; `None` if it was dropped, which tells nothing.
fn settle(permit: peer_health::Permit<'_, u64>, kind: u64) -> Option<Recorded> {
    match kind {
        1 => Some(permit.failure(SyncError::Network(String::new()))),
        2 => Some(permit.neutral()),
        3 => {
            drop(permit);
            None
        }
        _ => Some(permit.success()),
    }
}

#[test]
fn one_peer_by_handle_loses_nothing() {
    stress(1, true);
}

#[test]
fn one_peer_by_id_loses_nothing() {
    stress(1, false);
}

#[test]
fn ten_thousand_peers_by_id_lose_nothing() {
    stress(10_000, false);
}

#[test]
fn eviction_and_removal_lose_nothing_either() {
    let config = HealthConfig::default().with_max_peers(64).with_failure_threshold(2);
    let registry = HealthRegistry::<u64>::builder().config(config).build().unwrap();
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (registry, admitted) = (&registry, &admitted);
            scope.spawn(move || {
                let mut state = thread * 2 + 1;
                let mut kept = Vec::new();
                let mut handles: Vec<_> = (0..4).map(|peer| registry.peer(&peer)).collect();
                let mut mine = 0;
                for n in 0..100_000 {
                    let draw = random(&mut state);
                    let peer = draw % 128;
                    if let Ok(permit) = registry.acquire(&peer) {
                        mine += 1;
                        match draw >> 32 & 0x3F {
                            0 => kept.push(permit),
                            1 => drop(permit.failure(SyncError::Network(String::new()))),
                            2 => drop(registry.remove(&peer)),
                            _ => drop(permit.success()),
                        }
                    }
                    if kept.len() > 4 {
                        kept.remove(0).success();
                    }
                    if let Ok(permit) = handles[(draw >> 40) as usize % 4].acquire() {
                        mine += 1;
                        permit.success();
                    }
                    if n % 1024 == 0 {
                        registry.sweep();
                    }
                    assert!(registry.len() <= 64);
                }
                admitted.fetch_add(mine, Ordering::Relaxed);
            });
        }
    });
    let totals = registry.totals();
    assert_eq!(totals.permits.settled(), admitted.load(Ordering::Relaxed));
    assert!(totals.removed > 0 && totals.evicted > 0);
    let mut shown = std::collections::HashSet::new();
    registry.for_each(|peer, _| assert!(shown.insert(*peer), "two trackers for {peer}"));
    assert_eq!(shown.len(), registry.len());
}
