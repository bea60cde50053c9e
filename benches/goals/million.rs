//! The goals of a million peers: a snapshot of all, and insertions meanwhile.
//!
//! The keys are 32 arbitrary bytes, on both sides: a million ids would take longer to make than
//! all the rest, and as keys they differ only in a comparison that is slower.

use std::collections::HashMap;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use peer_health::{Clock, HealthConfig, HealthRegistry, PeerHealthTracker, Snapshot};

use super::calls::Effort;
use super::report::Measured;
use crate::baseline::SyncErrors;
use crate::measure::{
    Taken, Times, Trouble, each, joined, note, now, outcome, quantile, rounds, times,
};

pub(crate) type Bytes = [u8; 32];

pub(crate) const PEERS: u64 = 1_000_000;
/// An insertion is due every so often while a snapshot is taken.
const PACE: Duration = Duration::from_micros(50);
/// A thread that does not get on for so long waits for a lock, or was put off its core.
const GAP: Duration = Duration::from_micros(100);

/// The n-th key: different in all of its bytes.
pub(crate) fn key(n: u64) -> Bytes {
    let mut bytes = [0; 32];
    for (part, chunk) in (1..).zip(bytes.chunks_exact_mut(8)) {
        let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(part * 13);
        chunk.copy_from_slice(&mixed.to_le_bytes());
    }
    bytes
}

pub(crate) fn ours(clock: Clock) -> Result<HealthRegistry<Bytes>, Trouble> {
    let room = usize::try_from(2 * PEERS)?;
    let config = HealthConfig::default().with_max_peers(room);
    Ok(HealthRegistry::builder().config(config).clock(clock).build()?)
}

pub(crate) fn theirs() -> SyncErrors<Bytes> {
    SyncErrors::new(Duration::from_secs(5))
}

/// Many peers.
pub(crate) trait Many: Sync {
    /// All of them, as a value of one's own.
    type All;

    /// Inserts a peer as its first call does it.
    fn insert(&self, n: u64);
    fn snapshot(&self) -> Self::All;
}

impl Many for HealthRegistry<Bytes> {
    type All = Vec<(Bytes, Snapshot)>;

    fn insert(&self, n: u64) {
        if let Ok(permit) = self.acquire(&key(n)) {
            permit.success();
        }
    }

    fn snapshot(&self) -> Self::All {
        let mut all = Vec::with_capacity(self.len());
        self.for_each(|key, seen| all.push((*key, seen)));
        all
    }
}

impl Many for SyncErrors<Bytes> {
    type All = HashMap<Bytes, PeerHealthTracker>;

    fn insert(&self, n: u64) {
        self.record_success(&key(n));
    }

    fn snapshot(&self) -> Self::All {
        self.all_peer_health()
    }
}

/// The same, with so many peers.
pub(crate) fn filled<M: Many>(many: M, count: u64) -> M {
    (0..count).for_each(|n| many.insert(n));
    many
}

/// The same, with so many peers of which each has failed once.
pub(crate) fn failed(registry: HealthRegistry<Bytes>, count: u64) -> HealthRegistry<Bytes> {
    for nth in 0..count {
        if let (Ok(permit), Err(error)) = (registry.acquire(&key(nth)), outcome(true)) {
            permit.failure(error);
        }
    }
    registry
}

pub(crate) fn snapshots(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let ours = filled(ours(Clock::monotonic())?, PEERS);
    let theirs = filled(theirs(), PEERS);
    let count = effort.rounds.div_ceil(4);
    let found = rounds(
        count,
        [
            ("ours", Box::new(|| Ok(snapshot(&ours)))),
            ("sync_errors", Box::new(|| Ok(snapshot(&theirs)))),
        ],
    )?;
    let next = AtomicU64::new(PEERS);
    let stalls = rounds(
        count,
        [
            ("ours", Box::new(|| insertions(&ours, &next))),
            ("sync_errors", Box::new(|| insertions(&theirs, &next))),
        ],
    )?;
    Ok(vec![Measured::new("G13", found.ratio(0, 1)), Measured::new("G14", stalls.ratio(1, 0))])
}

/// Nanoseconds of processor time for each peer of a snapshot of a million.
fn snapshot(many: &impl Many) -> f64 {
    let began = ThreadTime::now();
    let all = many.snapshot();
    let ran = began.elapsed();
    drop(black_box(all));
    each(ran, PEERS)
}

/// p99, in nanoseconds, of insertions while a snapshot is taken; each from the moment when it was
/// due: one that waits holds up those after it, and that counts.
fn insertions(many: &impl Many, next: &AtomicU64) -> Result<f64, Trouble> {
    let (start, ended) = (Barrier::new(2), OnceLock::new());
    let took: Result<Times, Trouble> = thread::scope(|scope| {
        let inserting = scope.spawn(|| {
            let insert = || many.insert(next.fetch_add(1, Ordering::Relaxed));
            start.wait();
            paced(insert, |due| ended.get().is_some_and(|end| due > *end))
        });
        start.wait();
        let all = many.snapshot();
        ended.get_or_init(now);
        let times = joined(inserting.join());
        drop(black_box(all));
        times?
    });
    Ok(quantile(&took?, 0.99))
}

/// Acts at a steady pace until it is over; how late each was done. What others took of the core is
/// forgiven.
fn paced(act: impl Fn(), is_over: impl Fn(Instant) -> bool) -> Result<Times, Trouble> {
    let mut times = times()?;
    let mut before = Taken::so_far()?;
    let mut last = now();
    let mut due = last;
    while !is_over(due) {
        let acts = last >= due;
        if acts {
            act();
        } else {
            spin_loop();
        }
        let done = now();
        if done - last > GAP {
            let so_far = Taken::so_far()?;
            due += so_far.since(before).waited;
            before = so_far;
        }
        last = done;
        if acts {
            note(&mut times, done.saturating_duration_since(due));
            due += PACE;
        }
    }
    Ok(times)
}
