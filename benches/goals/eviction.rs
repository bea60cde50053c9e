//! The goal of eviction: a million idle peers.

use std::hint::spin_loop;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cpu_time::ThreadTime;
use peer_health::{Clock, HealthConfig, HealthRegistry};

use super::calls::Effort;
use super::million::{Bytes, Many, PEERS, filled, key, ours};
use super::report::Measured;
use crate::measure::{Taken, Trouble, each, joined, median, now};

/// How long a shard may be locked, in milliseconds.
const LOCKED: f64 = 1.0;

pub(crate) fn eviction(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let runs = (0..effort.rounds.div_ceil(8)).map(|_| evict());
    let (each, locked): (Vec<_>, Vec<_>) = runs.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let (each, locked) = (median(each.into_iter()), median(locked.into_iter()));
    eprintln!("  {each:.2} us each; the longest wait for a shard {locked:.2} ms");
    let but = (locked > LOCKED)
        .then(|| format!("a shard was locked for {locked:.2} ms, and {LOCKED} ms is the most"));
    Ok(vec![Measured { id: "G15", value: each, but }])
}

/// Microseconds of processor time for each peer that is evicted, and the longest time in
/// milliseconds for which a shard was locked meanwhile.
fn evict() -> Result<(f64, f64), Trouble> {
    let (clock, hand) = Clock::manual();
    let registry = filled(ours(clock)?, PEERS);
    let (begun, done, over) = (Barrier::new(17), Barrier::new(17), AtomicBool::new(false));
    thread::scope(|scope| {
        for n in 0..16 {
            let (registry, begun, done) = (&registry, &begun, &done);
            scope.spawn(move || {
                // A thread that has called, and lives.
                registry.insert(n);
                begun.wait();
                done.wait();
            });
        }
        begun.wait();
        registry.sweep();
        hand.advance(HealthConfig::default().idle_timeout + Duration::from_secs(1));
        let waiting = scope.spawn(|| longest_wait(&registry, &over));
        let began = ThreadTime::now();
        let count = registry.sweep();
        let ran = began.elapsed();
        over.store(true, Ordering::Release);
        done.wait();
        let waited = joined(waiting.join())??;
        if (count as u64) < PEERS / 10 * 9 {
            return Err(format!("only {count} peers were evicted").into());
        }
        Ok((each(ran, count as u64) / 1e3, waited.as_secs_f64() * 1e3))
    })
}

/// The longest that a look for an unknown peer, to remove it, waited for its shard, less what
/// others took of the core. A shard that is locked for milliseconds is met: there is a look every
/// microsecond, at one of a thousand shards.
fn longest_wait(registry: &HealthRegistry<Bytes>, over: &AtomicBool) -> Result<Duration, Trouble> {
    let (mut longest, mut before) = (Duration::ZERO, Taken::so_far()?);
    let mut due = now();
    for n in PEERS.. {
        if over.load(Ordering::Acquire) {
            break;
        }
        // So that it does not take the shards from those who work with them.
        while now() < due {
            spin_loop();
        }
        let began = now();
        registry.remove(&key(n));
        let took = began.elapsed();
        due = began + Duration::from_micros(1);
        if took > longest || n % 1024 == 0 {
            let so_far = Taken::so_far()?;
            let taken = so_far.since(before);
            before = so_far;
            if taken.switches == 0 {
                longest = longest.max(took.saturating_sub(taken.waited));
            }
        }
    }
    Ok(longest)
}
