//! More threads than there are cores, that call for a while: what it costs them, and how long
//! single calls take.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cpu_time::ThreadTime;

use super::times::{Times, note, times};
use super::{Act, Driver, Trouble, Work, each, joined, now};
use crate::baseline::Contender;

/// Callers that call for so long, all at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) threads: usize,
    /// How many of them make guarded calls, whatever the others do, and do not count.
    pub(crate) writers: usize,
    pub(crate) time: Duration,
}

impl Crowd {
    pub(crate) fn of(threads: usize, time: Duration) -> Self {
        Self { threads, writers: 0, time }
    }

    /// Nanoseconds of processor time for each call.
    pub(crate) fn cost<C: Contender>(self, contender: &C, work: &Work) -> Result<f64, Trouble> {
        let runs = self.meet(contender, work, |mut driver, over| {
            let (began, mut calls) = (ThreadTime::now(), 0);
            while !over.load(Ordering::Relaxed) {
                calls += driver.stretch();
            }
            (began.elapsed(), calls)
        })?;
        let ran = runs.iter().map(|(ran, _)| *ran).sum();
        Ok(each(ran, runs.iter().map(|(_, calls)| calls).sum()))
    }

    /// How long each call took, by the wall.
    pub(crate) fn tail<C: Contender>(self, contender: &C, work: &Work) -> Result<Times, Trouble> {
        let runs = self.meet(contender, work, |mut driver, over| {
            let (mut times, mut calls) = (times()?, 0);
            while !over.load(Ordering::Relaxed) {
                let began = now();
                driver.single(calls);
                note(&mut times, began.elapsed());
                calls += 1;
            }
            Ok::<_, Trouble>(times)
        })?;
        let mut all = times()?;
        for run in runs {
            all.add(run?)?;
        }
        Ok(all)
    }

    /// What each caller that counts found.
    fn meet<C: Contender, R: Send>(
        self,
        contender: &C,
        work: &Work,
        call: impl Fn(Driver<C::Caller>, &AtomicBool) -> R + Sync,
    ) -> Result<Vec<R>, Trouble> {
        let Some(peer) = work.route.peers().first() else { return Err("no peer".into()) };
        let (start, over) = (Barrier::new(self.threads + 1), AtomicBool::new(false));
        thread::scope(|scope| {
            let one = |nth: usize| {
                let (start, over, call) = (&start, &over, &call);
                let act = if nth < self.writers { Act::Guard } else { work.act };
                let work = Work { act, ..work.clone() };
                scope.spawn(move || {
                    let driver = Driver::new(contender.caller(peer), &work, nth);
                    start.wait();
                    call(driver, over)
                })
            };
            let threads: Vec<_> = (0..self.threads).map(one).collect();
            start.wait();
            thread::sleep(self.time);
            over.store(true, Ordering::Relaxed);
            let found = threads.into_iter().map(|thread| joined(thread.join()));
            Ok(found.collect::<Result<Vec<_>, _>>()?.split_off(self.writers))
        })
    }
}
