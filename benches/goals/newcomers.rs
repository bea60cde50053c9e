//! The goals of newcomers to a table that is full: what one costs, and what the others feel of it.
//!
//! How many trackers one newcomer looks at is counted by a test of the table, and not here: a
//! counter would cost every caller something. Time is the thread's own processor time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cpu_time::ThreadTime;
use peer_health::{Clock, ErrorHandler, HealthConfig, HealthRegistry, ManualClock, SyncError};

use super::calls::Effort;
use super::million::{Bytes, PEERS, key};
use super::report::Measured;
use crate::measure::{Rounds, Side, Trouble, each, joined, outcome, rounds, rounds_of};

/// As many as a registry tracks by default.
const SMALL: u64 = 65_536;
/// Newcomers at a stretch: they look at every tracker of the smaller table once.
const STRETCH: u64 = 1_024;
/// Insertions of which the worst is looked for.
const INSERTIONS: u64 = 1_000_000;
const THREADS: usize = 32;

/// Peers that are called by key, beside strangers, and how often they are called between two looks
/// at the clock.
const HONEST: u64 = 100;
const CALLS: u64 = 4 * HONEST;
/// A stranger comes every so often.
const PACE: Duration = Duration::from_millis(1);

/// A table that holds as many peers as it may.
struct Full {
    registry: HealthRegistry<Bytes>,
    hand: ManualClock,
    next: AtomicU64,
    /// Whether the newcomers fail, as everybody in the table did.
    fail: bool,
}

impl Full {
    fn empty(room: u64, fail: bool) -> Result<Self, Trouble> {
        let (clock, hand) = Clock::manual();
        let config = HealthConfig::default().with_max_peers(usize::try_from(room)?);
        let registry = HealthRegistry::builder().config(config).clock(clock).build()?;
        Ok(Self { registry, hand, next: AtomicU64::new(0), fail })
    }

    /// Of strangers that failed once. From now on every newcomer looks for idle peers, too.
    fn troubled(room: u64) -> Result<Self, Trouble> {
        let full = Self::empty(room, true)?;
        (0..room).for_each(|_| full.newcomer());
        for _ in 0..2 {
            full.hand.advance(HealthConfig::default().idle_timeout);
            full.newcomer();
        }
        Ok(full)
    }

    /// Of peers that had a success. The clock stands still, so that none of them is idle.
    fn clean(room: u64) -> Result<Self, Trouble> {
        let full = Self::empty(room, false)?;
        (0..room).for_each(|_| full.newcomer());
        Ok(full)
    }

    fn newcomer(&self) {
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        self.call(nth, self.fail);
    }

    fn call(&self, nth: u64, fails: bool) {
        if let Ok(permit) = self.registry.acquire(&key(nth)) {
            match outcome(fails) {
                Ok(()) => permit.success(),
                Err(error) => permit.failure(error),
            };
        }
    }

    /// Nanoseconds for each newcomer, with what is done before it.
    fn newcomers(&self, mut before: impl FnMut()) -> f64 {
        let began = ThreadTime::now();
        for _ in 0..STRETCH {
            before();
            self.newcomer();
        }
        each(began.elapsed(), STRETCH)
    }
}

/// Microseconds for a newcomer, whatever comes between two of them, at the worst.
fn cost(effort: Effort, room: u64) -> Result<f64, Trouble> {
    let (troubled, clean) = (Full::troubled(room)?, Full::clean(room)?);
    let registry = &troubled.registry;
    let (failed, open, banned) = (key(0), key(1), key(2));
    let handler = ErrorHandler::with_registry(registry.clone());
    let reset = || SyncError::Network("connection reset by peer".into());
    while handler.handle_error(&open, reset()).is_ok() {}
    registry.force_open(&banned)?;
    let neutral = || {
        if let Ok(permit) = registry.acquire(&failed) {
            permit.neutral();
        }
    };
    let mut sides: Vec<(&str, Side<'_>)> = vec![
        ("nothing between", Box::new(|| Ok(troubled.newcomers(|| ())))),
        ("a neutral outcome", Box::new(|| Ok(troubled.newcomers(neutral)))),
        ("a handle that is dropped", {
            Box::new(|| Ok(troubled.newcomers(|| drop(registry.peer(&banned)))))
        }),
        ("an error of an open peer", {
            Box::new(|| Ok(troubled.newcomers(|| _ = handler.handle_error(&open, reset()))))
        }),
        ("a clean table", Box::new(|| Ok(clean.newcomers(|| ())))),
    ];
    let names: Vec<_> = sides.iter().map(|(name, _)| *name).collect();
    let found: Rounds = rounds_of(effort.rounds, std::mem::take(&mut sides))?;
    let mut worst = 0.0_f64;
    for (n, name) in names.iter().enumerate() {
        let each = found.of(n) / 1e3;
        eprintln!("  {room} peers, {name}: {each:.2} us");
        worst = worst.max(each);
    }
    Ok(worst)
}

pub(crate) fn newcomers(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let mut found = vec![Measured::new("G19", cost(effort, SMALL)?)];
    if !effort.quick {
        found.push(Measured::new("G20", cost(effort, PEERS)?));
    }
    Ok(found)
}

/// A table of honest peers and strangers that failed once. An honest peer is the only one in it that
/// is clean: a stranger would take its place if it were not called again and again.
fn mixed() -> Result<Full, Trouble> {
    let full = Full::empty(SMALL, true)?;
    (0..2 * HONEST).for_each(|nth| full.call(nth % HONEST, false));
    full.next.store(HONEST, Ordering::Relaxed);
    (HONEST..SMALL).for_each(|_| full.newcomer());
    Ok(full)
}

/// Nanoseconds for each honest call in so much time, with a stranger now and then if any come.
fn honest(full: &Full, time: Duration, strangers: bool) -> f64 {
    let (began, mut due, mut calls) = (ThreadTime::now(), PACE, 0);
    loop {
        (0..CALLS).for_each(|nth| full.call(nth % HONEST, false));
        calls += CALLS;
        let ran = began.elapsed();
        if ran > time {
            return each(ran, calls);
        }
        if ran > due && strangers {
            full.newcomer();
            due += PACE;
        }
    }
}

/// The same beside a thread from which the strangers come.
fn beside(full: &Full, time: Duration) -> Result<f64, Trouble> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let strangers = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                full.newcomer();
                thread::sleep(PACE);
            }
        });
        let each = honest(full, time, false);
        over.store(true, Ordering::Relaxed);
        joined(strangers.join())?;
        Ok(each)
    })
}

pub(crate) fn honest_calls(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let (time, count) = (effort.time, effort.rounds.div_ceil(3));
    let [quiet, served, crowded, served_alone, crowded_alone] =
        [mixed()?, mixed()?, mixed()?, mixed()?, mixed()?];
    let held = |full: &Full| (0..HONEST).map(|nth| full.registry.peer(&key(nth))).collect();
    let handles: [Vec<_>; 2] = [held(&served), held(&crowded)];
    let found = rounds(
        count,
        [
            ("no strangers", Box::new(|| Ok(honest(&quiet, time, false)))),
            ("strangers by the same thread", Box::new(|| Ok(honest(&served, time, true)))),
            ("strangers by another thread", Box::new(|| beside(&crowded, time))),
            ("no handle, the same thread", Box::new(|| Ok(honest(&served_alone, time, true)))),
            ("no handle, another thread", Box::new(|| beside(&crowded_alone, time))),
        ],
    )?;
    drop(handles);
    let tracked =
        |full: &Full| (0..HONEST).filter(|nth| full.registry.contains(&key(*nth))).count();
    let [held, alone] =
        [[&served, &crowded], [&served_alone, &crowded_alone]].map(|tables| tables.map(tracked));
    eprintln!(
        "  still tracked of {HONEST}: {held:?} of those with a handle, {alone:?} of the others"
    );
    let least = |one, other| found.ratio(0, one).min(found.ratio(0, other));
    Ok(vec![Measured::new("G21h", least(1, 2)), Measured::new("G21i", least(3, 4))])
}

/// Milliseconds that the third worst of a million insertions took. The two before it may be the
/// machine's, or the allocator's: glibc puts what was freed in small pieces together at times, and
/// one call waits for ten milliseconds (`GLIBC_TUNABLES=glibc.malloc.mxfast=0` shows the library
/// without that). The table becomes full first, and idle peers are forgotten later.
fn third_worst(room: u64) -> Result<f64, Trouble> {
    let full = Full::empty(room, false)?;
    let mut took = Vec::with_capacity(usize::try_from(INSERTIONS)?);
    for nth in 0..INSERTIONS {
        full.hand.advance(Duration::from_millis(if nth < INSERTIONS / 2 { 1 } else { 20 }));
        let began = ThreadTime::now();
        full.call(nth, nth % 4 == 0);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let worst: Vec<_> = took.iter().rev().take(3).map(|took| took.as_secs_f64() * 1e3).collect();
    let totals = full.registry.totals();
    eprintln!(
        "  {room} peers at most: {} stay, {} were evicted, {} untracked; the worst took {worst:.3?} ms",
        full.registry.len(),
        totals.evicted,
        totals.untracked
    );
    worst.last().copied().ok_or_else(|| "nothing was inserted".into())
}

pub(crate) fn worst(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let mut worst = third_worst(SMALL)?;
    if !effort.quick {
        worst = worst.max(third_worst(PEERS)?);
    }
    Ok(vec![Measured::new("G22", worst)])
}

/// Nanoseconds of processor time for each newcomer, if they come from so many threads at once.
fn crowd(full: &Full, threads: usize) -> Result<f64, Trouble> {
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let one = || {
            start.wait();
            full.newcomers(|| ())
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let count = threads.len() as u64;
        let found = threads.into_iter().map(|thread| joined(thread.join()));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        Ok(found.into_iter().sum::<f64>() / f64::from(u32::try_from(count)?))
    })
}

pub(crate) fn crowds(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let (troubled, clean) = (Full::troubled(SMALL)?, Full::clean(SMALL)?);
    let found = rounds(
        effort.rounds,
        [
            ("one thread", Box::new(|| crowd(&troubled, 1))),
            ("32 threads", Box::new(|| crowd(&troubled, THREADS))),
            ("one thread, clean table", Box::new(|| crowd(&clean, 1))),
            ("32 threads, clean table", Box::new(|| crowd(&clean, THREADS))),
        ],
    )?;
    Ok(vec![Measured::new("G23", found.ratio(1, 0).max(found.ratio(3, 2)))])
}
