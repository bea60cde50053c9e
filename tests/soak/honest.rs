//! Peers that keep calling, half of them by handle: what their calls cost, and that nothing of theirs
//! is lost.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cpu_time::ThreadTime;
use hdrhistogram::Histogram;
use peer_health::{PeerHandle, Status};

use super::seen::{Seen, network};
use super::{HONEST, HOUR, Key, Registry, World, random};

/// So many peers are called by each of two threads.
const EACH: u64 = HONEST / 2;
/// One call in so many fails, whoever makes it.
pub(crate) const FAILS: u64 = 128;
/// Nobody needs more calls to recover.
const CALLS: u64 = 100;

/// Whether this honest peer is called by handle.
pub(crate) fn is_held(peer: u64) -> bool {
    peer % EACH < EACH / 2
}

/// A peer that is held from the beginning to the end.
struct Held {
    handle: PeerHandle<Key>,
    first_generation: u64,
    calls: u64,
}

pub(crate) struct Honest<'w> {
    world: &'w World,
    held: Vec<Held>,
    by_key: Vec<Key>,
    times: Times,
    draws: u64,
    pub(crate) seen: Seen,
}

impl<'w> Honest<'w> {
    pub(crate) fn pair(world: &'w World) -> [Self; 2] {
        [0, 1].map(|thread| Self::new(world, thread))
    }

    fn new(world: &'w World, thread: u64) -> Self {
        let peers = |from: u64| (from..from + EACH / 2).map(Key);
        let held = peers(thread * EACH).map(|peer| {
            let handle = world.registry.peer(&peer);
            let first_generation = handle.snapshot().unwrap().generation;
            Held { handle, first_generation, calls: 0 }
        });
        Self {
            world,
            held: held.collect(),
            by_key: peers(thread * EACH + EACH / 2).collect(),
            times: Times::default(),
            draws: thread * 2 + 1,
            seen: Seen::by("honest"),
        }
    }

    /// Calls in turns, until all is over.
    pub(crate) fn run<const N: usize>(mut each: [&mut Self; N]) {
        let clock = cost_of_the_clock();
        while !each.iter().any(|honest| honest.world.is_over()) {
            for honest in &mut each {
                (0..256).for_each(|_| honest.call(clock));
            }
        }
    }

    fn call(&mut self, clock: u64) {
        let draw = random(&mut self.draws);
        let error = draw.is_multiple_of(FAILS).then(network);
        let n = usize::try_from(draw >> 32).unwrap() % self.by_key.len();
        // One thing is timed, and does not begin before the outcome is known.
        let began;
        let permit = if draw & 1 << 20 == 0 {
            let held = &mut self.held[n];
            began = ThreadTime::now();
            let permit = held.handle.acquire();
            held.calls += u64::from(permit.is_ok());
            permit.inspect(|permit| assert!(permit.is_tracked(), "a peer that is held is gone"))
        } else {
            began = ThreadTime::now();
            self.world.registry.acquire(&self.by_key[n])
        };
        let class = match &permit {
            Ok(permit) if !permit.is_tracked() => 2,
            _ => usize::from(draw & 1 << 20 != 0),
        };
        match (permit, error) {
            (Err(_), _) => return self.seen.refused += 1,
            (Ok(permit), None) => self.seen.success(permit),
            (Ok(permit), Some(error)) => self.seen.failure(permit, error),
        }
        let took = nanos(began.elapsed()).saturating_sub(clock);
        self.times.0[class].saturating_record(took.max(1));
    }

    /// Time and successes lead to Closed, and to a place in the table.
    pub(crate) fn recover(&mut self) {
        let Self { world, held, by_key, seen, .. } = self;
        let handles = held.iter_mut().map(|held| (&mut held.handle, Some(&mut held.calls)));
        let mut others: Vec<_> = by_key.iter().map(|peer| world.registry.peer(peer)).collect();
        for (handle, mut calls) in handles.chain(others.iter_mut().map(|handle| (handle, None))) {
            for n in 0.. {
                let done = handle.snapshot().is_some_and(|peer| peer.status == Status::Closed);
                if done && n > 0 {
                    break;
                }
                assert!(
                    n < CALLS,
                    "{handle:?} is wedged: {:?}; {}",
                    handle.snapshot(),
                    table(&world.registry)
                );
                match handle.acquire() {
                    Ok(permit) => {
                        calls.iter_mut().for_each(|calls| **calls += 1);
                        seen.success(permit);
                    }
                    Err(_) => {
                        seen.refused += 1;
                        world.hand.ahead(HOUR);
                    }
                }
            }
        }
    }

    /// R9, R29: each held peer was counted as many calls as were made, and each step was told.
    pub(crate) fn check(&self, driven: impl Fn(u64) -> u64) {
        for held in &self.held {
            let (peer, seen) = (held.handle.peer().0, held.handle.snapshot().unwrap());
            assert_eq!(seen.totals.settled(), held.calls + driven(peer), "calls of peer {peer}");
            self.world.heard.check_held(peer, held.first_generation, seen.generation);
        }
    }
}

/// Who is in the table, for who finds no place there.
fn table(registry: &Registry) -> String {
    let (mut shown, mut by) = (0, BTreeMap::<String, (u64, u64)>::new());
    registry.for_each(|peer, seen| {
        shown += 1;
        let (number, failing) = by.entry(format!("{:?}", seen.status)).or_default();
        *number += 1;
        *failing += u64::from(seen.consecutive_failures > 0);
        if shown < 4 {
            println!("{peer:?}: {seen:?}");
        }
    });
    let (places, swept) = (registry.len(), registry.sweep());
    format!("{places} places, {shown} peers, by status, those with a streak: {by:?}; {swept} swept")
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What is measured where nothing is.
fn cost_of_the_clock() -> u64 {
    (0..10_000).map(|_| nanos(ThreadTime::now().elapsed())).min().unwrap_or_default()
}

/// The processor time of calls, in nanoseconds: by handle, by key, and by key without a place in the
/// table.
pub(crate) struct Times([Histogram<u64>; 3]);

impl Default for Times {
    fn default() -> Self {
        Self([(); 3].map(|()| Histogram::new_with_bounds(1, 1_000_000_000, 2).unwrap()))
    }
}

impl Times {
    pub(crate) fn of(honest: &[Honest<'_>]) -> Self {
        let mut all = Self::default();
        for honest in honest {
            for (sum, times) in all.0.iter_mut().zip(&honest.times.0) {
                sum.add(times).unwrap();
            }
        }
        all
    }

    #[allow(clippy::cast_precision_loss, reason = "a quotient of microseconds")]
    pub(crate) fn tail(&self) -> f64 {
        let mut all = self.0[0].clone();
        self.0[1..].iter().for_each(|times| all.add(times).unwrap());
        all.value_at_quantile(0.999) as f64
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (times, how) in self.0.iter().zip(["by handle", "by key", "untracked"]) {
            let [median, p99, tail] = [0.5, 0.99, 0.999].map(|q| times.value_at_quantile(q));
            let calls = times.len();
            write!(f, "\n  {calls} calls {how}: p50 {median} ns, p99 {p99} ns, p99.9 {tail} ns")?;
        }
        Ok(())
    }
}
