//! A storm: threads that do anything at any time, to a table too small for the peers they call.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peer_health::{Clock, HalfOpenMode, HealthConfig, HealthRegistry, Reason, Status, Window};

use super::Seen;
use super::history::History;
use super::worker::Worker;
use crate::support::random;

const THREADS: u64 = 16;
/// The most probes that a half-open phase may have.
pub(crate) const PROBES: u64 = 3;
/// Time in a storm passes by draws alone, so that a slow machine sees the same storm.
pub(crate) const MICROSECOND: u64 = 1_000;
/// The longest wait.
pub(crate) const OPEN_MAX: u64 = 1_000 * MICROSECOND;
const HOUR: u64 = 3_600_000_000 * MICROSECOND;

/// Who is called. Now and then the scheduler has its chance while the table hashes or copies one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) u64);

impl Peer {
    /// Whether threads may remove it.
    pub(crate) fn is_removable(&self) -> bool {
        !self.0.is_multiple_of(2)
    }
}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        stumble();
        self.0.hash(state);
    }
}

impl Clone for Peer {
    fn clone(&self) -> Self {
        stumble();
        Self(self.0)
    }
}

fn stumble() {
    thread_local!(static DRAWS: Cell<u64> = const { Cell::new(1) });
    let mut state = DRAWS.get();
    if random(&mut state).is_multiple_of(32) {
        std::thread::yield_now();
    }
    DRAWS.set(state);
}

/// The rules that take turns, with waits of microseconds.
pub(crate) fn config(draw: u64, max_peers: u64) -> HealthConfig {
    let upto = |n: u64, bits: u64| u32::try_from(1 + bits % n).unwrap();
    let micros = Duration::from_micros;
    let base = HealthConfig::default()
        .with_max_peers(usize::try_from(max_peers).unwrap())
        .with_failure_threshold(1 + upto(3, draw >> 8))
        .with_streak_gap(None)
        .with_open_timeout(micros(50))
        .with_open_multiplier(1.0)
        .with_open_jitter(0.0)
        .with_open_max(Duration::from_nanos(OPEN_MAX))
        .with_success_threshold(upto(PROBES, draw >> 16))
        .with_probe_lease(micros(500))
        .with_idle_timeout(micros(2_000))
        .with_forget_after(micros(5_000))
        .with_outage_guard(draw >> 24 & 1 == 1)
        .with_outage_max_open_percent(20);
    match draw % 4 {
        0 => base,
        1 => base
            .with_window(Window::count(8))
            .with_min_calls(4)
            .with_failure_rate(0.5)
            .with_half_open_mode(HalfOpenMode::Rate),
        2 => base
            .with_window(Window::time(micros(400), 4))
            .with_min_calls(4)
            .with_slow_call(micros(100))
            .with_slow_rate(0.5),
        _ => base.with_half_open_max(micros(300)).with_open_multiplier(2.0).with_open_jitter(0.5),
    }
}

/// One storm from its first call to an empty table; everything is checked on the way.
pub(crate) fn storm(seed: u64) {
    println!("storm {seed}"); // shown if it fails
    // In a table of more than 256 the order of uses is not kept use by use.
    let max_peers = match seed % 3 {
        0 => 16,
        1 => 64,
        _ => 320,
    };
    let shared = 2 * max_peers;
    let time = Arc::new(AtomicU64::new(0));
    let history = Arc::new(History::of(shared + THREADS));
    let (hand, log) = (Arc::clone(&time), Arc::clone(&history));
    let registry = HealthRegistry::builder()
        .config(config(seed, max_peers))
        .clock(Clock::from_fn(move || {
            stumble();
            Duration::from_nanos(hand.load(Ordering::Relaxed))
        }))
        .listener(move |event| log.note(event))
        .build()
        .unwrap();
    let mut seen: Vec<Seen> = std::thread::scope(|scope| {
        let run = |thread| {
            let own = Peer(shared + thread);
            let draws = (seed * THREADS + thread) * 2 + 1;
            let worker = Worker::new(&registry, &time, max_peers, own, draws);
            scope.spawn(move || worker.run())
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    seen.push(calm(&registry, &time, shared + THREADS));
    history.check(&registry);
    let before = registry.totals();
    assert!(before.evicted > 0 && before.removed > 0 && before.all.opened > 0);
    Seen::check(&seen, before.all);
    // Nobody holds anything: all may go, and take nothing with them.
    let left = registry.len() as u64;
    let early = registry.sweep() as u64;
    time.fetch_add(HOUR, Ordering::Relaxed);
    assert_eq!(early + registry.sweep() as u64, left);
    assert!(registry.is_empty());
    let after = registry.totals();
    assert_eq!((after.all, after.evicted), (before.all, before.evicted + left));
    history.check(&registry);
}

/// Nothing wedges: overrides last until they are lifted, time and successes lead to Closed, also
/// when probes are never heard of again.
fn calm(registry: &HealthRegistry<Peer>, time: &AtomicU64, peers: u64) -> Seen {
    registry.set_config(config(0, peers)).unwrap();
    let mut seen = Seen::default();
    for peer in (0..peers).map(Peer) {
        let mut calls = 0;
        while registry.status(&peer) != Status::Closed {
            calls += 1;
            assert!(calls < 100, "{peer:?} is wedged: {:?}", registry.snapshot(&peer));
            let (status, mut handle) = (registry.status(&peer), registry.peer(&peer));
            let answer = handle.acquire();
            let reason = answer.as_ref().err().map(|refused| refused.reason);
            seen.refused += u64::from(answer.is_err());
            match answer {
                Ok(permit) if calls <= PROBES => std::mem::forget(permit),
                Ok(permit) => drop(seen.settle(permit.with_latency(Duration::ZERO), 0)),
                Err(_) => drop(time.fetch_add(HOUR, Ordering::Relaxed)),
            }
            if matches!(status, Status::ForcedOpen | Status::Disabled | Status::MetricsOnly) {
                assert_eq!(registry.status(&peer), status, "an override lasts");
                let forced = (status == Status::ForcedOpen).then_some(Reason::ForcedOpen);
                assert_eq!(reason, forced);
                registry.reset(&peer);
            }
        }
    }
    seen
}
