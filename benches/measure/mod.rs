//! How things are measured on few and noisy cores.
//!
//! What is compared runs in interleaved rounds of one process, and the figure is the median of the
//! ratios of each round: whatever disturbs the machine for longer than a round disturbs both
//! sides. Time is the thread's own processor time where that makes sense ([`alone`], [`Crowd::cost`]);
//! contention of two cores is measured in bursts that count only if both threads really ran at the
//! same time ([`burst`]); tails are wall-clock time, as that is what a caller waits ([`Crowd::tail`]).

mod alone;
mod crowd;
mod gone;
mod pair;
mod rounds;
mod taken;
mod times;
mod work;

pub(crate) mod machine;

pub(crate) use alone::alone;
pub(crate) use crowd::Crowd;
pub(crate) use gone::burst_of_threads;
pub(crate) use pair::burst;
pub(crate) use rounds::{Rounds, Side, median, rounds, rounds_of};
pub(crate) use taken::Taken;
pub(crate) use times::{Times, note, quantile, task_times, times};
pub(crate) use work::{Act, Driver, Mix, Route, Work, outcome};

use std::time::{Duration, Instant};

/// Why something could not be measured.
pub(crate) type Trouble = Box<dyn std::error::Error + Send + Sync>;

#[inline]
#[allow(clippy::disallowed_methods, reason = "this is what measures")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds, of a total, for each of so many.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn each(total: Duration, count: u64) -> f64 {
    total.as_secs_f64() * 1e9 / count.max(1) as f64
}

/// What a thread that is joined returned. None of ours panics.
pub(crate) fn joined<T>(result: std::thread::Result<T>) -> Result<T, Trouble> {
    result.map_err(|_| "a thread panicked".into())
}
