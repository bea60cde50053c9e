//! Real threads: nothing is lost, nothing is counted twice, nobody waits for anybody (R8, R9, R13,
//! R25 to R29).

mod history;
mod storm;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use peer_health::{
    Clock, EventKind, HealthConfig, HealthRegistry, PeerTotals, Permit, Reason, Recorded, Refusals,
    Status,
};

use crate::support::{network, random};

const THREADS: u64 = 64;
const OPERATIONS: u64 = 10_000_000;

/// What a thread saw.
#[derive(Default)]
struct Seen {
    ended: u64,
    late: u64,
    opened: u64,
    failed: u64,
    neutral: u64,
    succeeded: u64,
    dropped: u64,
    reported_errors: u64,
    reported_successes: u64,
    refused: u64,
}

impl Seen {
    /// Ends the permit in the way that has this number, most of them in success; `None` if it was
    /// dropped, which tells nothing.
    fn settle<K>(&mut self, permit: Permit<'_, K>, way: u64) -> Option<Recorded> {
        self.ended += 1;
        let recorded = match way {
            1 => permit.failure(network()),
            2 => permit.neutral(),
            3 | 4 => {
                self.dropped += 1;
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    let _dropped = permit;
                    if way == 4 {
                        resume_unwind(Box::new("the call panicked"));
                    }
                }));
                return None;
            }
            _ => permit.success(),
        };
        let counter = match (recorded, way) {
            (Recorded::Late, _) => &mut self.late,
            (_, 1) => &mut self.failed,
            (_, 2) => &mut self.neutral,
            _ => &mut self.succeeded,
        };
        *counter += 1;
        self.opened += u64::from(matches!(recorded, Recorded::Opened { .. }));
        Some(recorded)
    }

    /// What was counted is what the threads saw.
    fn check(all: &[Self], totals: PeerTotals) {
        let sum = |part: fn(&Self) -> u64| all.iter().map(part).sum::<u64>();
        assert_eq!(totals.settled(), sum(|seen| seen.ended));
        assert_eq!(totals.succeeded, sum(|seen| seen.succeeded));
        assert_eq!(totals.failed, sum(|seen| seen.failed));
        assert_eq!(totals.neutral, sum(|seen| seen.neutral));
        // A permit that is dropped is not told whether it was late.
        assert!(totals.late >= sum(|seen| seen.late));
        assert_eq!(totals.abandoned + totals.late, sum(|seen| seen.late + seen.dropped));
        assert_eq!(totals.reported_errors, sum(|seen| seen.reported_errors));
        assert_eq!(totals.reported_successes, sum(|seen| seen.reported_successes));
        let Refusals { open, probes_in_flight, forced_open, .. } = totals.refused;
        assert_eq!(open + probes_in_flight + forced_open, sum(|seen| seen.refused));
    }
}

/// One test at a time: each has enough threads of its own.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stress(peers: u64, by_handle: bool) {
    let _alone = alone();
    let registry: Arc<OnceLock<HealthRegistry<u64>>> = Arc::default();
    let events = Arc::new(AtomicU64::new(0));
    let called_back = Arc::new(AtomicU64::new(0));
    let refused_back = Arc::new(AtomicU64::new(0));
    let turned_away = Arc::clone(&refused_back);
    let (back, opened, admitted) =
        (Arc::clone(&registry), Arc::clone(&events), Arc::clone(&called_back));
    // Time passes by being asked for, on a slow machine as on a fast one.
    let ticks = AtomicU64::new(0);
    let config = HealthConfig::default()
        .with_failure_threshold(3)
        .with_streak_gap(None)
        .with_open_timeout(Duration::from_micros(50))
        .with_open_multiplier(1.0)
        .with_open_jitter(0.0)
        .with_success_threshold(2);
    let built = HealthRegistry::<u64>::builder()
        .config(config)
        .clock(Clock::from_fn(move || Duration::from_micros(ticks.fetch_add(1, Ordering::Relaxed))))
        .listener(move |event| {
            if let EventKind::Opened { .. } = event.kind {
                opened.fetch_add(1, Ordering::Relaxed);
            }
            // Calls back: a permit of the very peer, and a look at it.
            if let Some(registry) = back.get() {
                let permit = registry.acquire(&event.peer);
                admitted.fetch_add(permit.is_ok().into(), Ordering::Relaxed);
                turned_away.fetch_add(permit.is_err().into(), Ordering::Relaxed);
                assert!(registry.snapshot(&event.peer).is_some());
            }
        })
        .build()
        .unwrap();
    registry.set(built.clone()).unwrap();
    let registry = &built;
    let mut seen: Vec<Seen> = std::thread::scope(|scope| {
        let run = |thread| scope.spawn(move || run(registry, thread, peers, by_handle));
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let totals = built.totals().all;
    let dropped = called_back.load(Ordering::Relaxed);
    let refused = refused_back.load(Ordering::Relaxed);
    seen.push(Seen { ended: dropped, dropped, refused, ..Seen::default() });
    Seen::check(&seen, totals);
    assert_eq!(totals.opened, events.load(Ordering::Relaxed), "each trip is told once");
    assert!(totals.opened >= 100, "{} trips", totals.opened);
    let opened: u64 = seen.iter().map(|seen| seen.opened).sum();
    assert_eq!(totals.opened, opened, "and by the caller that made it");
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

fn run(registry: &HealthRegistry<u64>, thread: u64, peers: u64, by_handle: bool) -> Seen {
    let mut state = thread * 2 + 1;
    let mut handle = registry.peer(&(thread % peers));
    let mut seen = Seen::default();
    for n in 0..OPERATIONS / THREADS {
        let draw = random(&mut state);
        // Bursts of failures: in every eighth stretch of a thousand operations, half fail.
        let failing = (n / 1000) % 8 == 0 && draw & 0x10_0000 != 0;
        let way = if failing { 1 } else { draw >> 32 & 0x3F };
        if by_handle {
            match handle.acquire() {
                Ok(permit) => drop(seen.settle(permit, way)),
                Err(_) => seen.refused += 1,
            }
        } else {
            match registry.acquire(&(draw % peers)) {
                Ok(permit) => drop(seen.settle(permit, way)),
                Err(_) => seen.refused += 1,
            }
        }
    }
    seen
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

/// Storms, one after the other, for so long, in each size of table as many; nothing but their
/// number hangs on the time.
#[allow(clippy::disallowed_methods, reason = "no clock of a registry")]
fn storms(length: Duration) {
    let _alone = alone();
    let began = Instant::now();
    for seed in 0.. {
        storm::storm(seed);
        if seed % 3 == 2 && began.elapsed() >= length {
            return;
        }
    }
}

#[test]
fn storms_in_a_table_that_is_too_small_lose_nothing_either() {
    storms(Duration::from_secs(20));
}

#[test]
#[ignore = "one hour: cargo test --release --test proofs -- --ignored"]
fn an_hour_of_storms_loses_nothing() {
    storms(Duration::from_secs(3600));
}
