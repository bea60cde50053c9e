//! Two threads, pinned to two cores, that call at the same time: short bursts.
//!
//! A burst counts if nobody else took either core. Processor time would not tell: a thread that
//! waits for a lock sleeps, and that belongs to what is measured.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;

use super::taken::Taken;
use super::{Driver, Trouble, Work, each, joined, now};
use crate::baseline::Contender;

/// Shorter than a time slice, and many times longer than what starting and stopping differ by.
const BURST: Duration = Duration::from_millis(1);
/// How long to try on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nanoseconds for each call of each of two threads, in a burst that nothing disturbed.
pub(crate) fn burst<C: Contender>(contender: &C, work: &Work) -> Result<f64, Trouble> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let [first, second, ..] = cores[..] else { return Err("two cores are needed".into()) };
    let began = now();
    while began.elapsed() < PATIENCE {
        let runs = both(contender, work, [first, second])?;
        if overlap(runs) {
            return Ok(
                runs.iter().map(|run| each(run.ended - run.began, run.calls)).sum::<f64>() / 2.0
            );
        }
    }
    Err("two threads never had both cores for a millisecond: the machine is too busy".into())
}

/// What one thread did.
#[derive(Clone, Copy)]
struct Run {
    began: Instant,
    ended: Instant,
    /// What others took of its core.
    taken: Taken,
    calls: u64,
}

/// Where the two threads meet.
#[derive(Default)]
struct Gate {
    ready: AtomicUsize,
    over: AtomicBool,
}

impl Gate {
    /// Waits until so many have come, counting those of earlier meetings.
    fn meet(&self, count: usize) {
        self.ready.fetch_add(1, Ordering::AcqRel);
        while self.ready.load(Ordering::Acquire) < count {
            spin_loop();
        }
    }
}

fn both<C: Contender>(contender: &C, work: &Work, cores: [CoreId; 2]) -> Result<[Run; 2], Trouble> {
    let gate = Gate::default();
    thread::scope(|scope| {
        let threads = [0, 1].map(|n| {
            let gate = &gate;
            scope.spawn(move || one(contender, work, n, cores[n], gate))
        });
        let [first, second] = threads.map(|thread| joined(thread.join()));
        Ok([first??, second??])
    })
}

fn one<C: Contender>(
    contender: &C,
    work: &Work,
    nth: usize,
    core: CoreId,
    gate: &Gate,
) -> Result<Run, Trouble> {
    let pinned = core_affinity::set_for_current(core);
    let Some(peer) = work.route.peers().first() else { return Err("no peer".into()) };
    let mut driver = Driver::new(contender.caller(peer), work, nth);
    // Warm up, with the other.
    gate.meet(2);
    for _ in 0..10 {
        driver.stretch();
    }
    gate.meet(4);
    let before = Taken::so_far();
    gate.meet(6);
    let (began, mut calls) = (now(), 0);
    // Whoever is done first ends the burst.
    let ended = loop {
        calls += driver.stretch();
        let now = now();
        if gate.over.load(Ordering::Relaxed) || now - began > BURST {
            break now;
        }
    };
    gate.over.store(true, Ordering::Relaxed);
    let taken = Taken::so_far()?.since(before?);
    if pinned {
        Ok(Run { began, ended, taken, calls })
    } else {
        Err("a thread was not pinned".into())
    }
}

/// Whether both ran, undisturbed, for nearly all of the time from the first call to the last.
fn overlap([a, b]: [Run; 2]) -> bool {
    // A thread that is woken waits a little for its core: that is no disturbance.
    let alone = |run: Run| {
        run.taken.switches == 0 && run.taken.waited < (run.ended - run.began).mul_f64(0.2)
    };
    let all = a.ended.max(b.ended) - a.began.min(b.began);
    let common = a.ended.min(b.ended).saturating_duration_since(a.began.max(b.began));
    alone(a) && alone(b) && common > all.mul_f64(0.9)
}
