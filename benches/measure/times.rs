//! How long single calls take: histograms of them, and those of many tasks.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Trouble;

/// Nanoseconds, to three digits.
pub(crate) type Times = Histogram<u64>;

pub(crate) fn times() -> Result<Times, Trouble> {
    // Up to a minute.
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

pub(crate) fn note(times: &mut Times, took: Duration) {
    times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}

/// In nanoseconds.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn quantile(times: &Times, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64
}

/// What so many tasks on all cores say that their calls took.
pub(crate) fn task_times<T>(tasks: usize, task: impl FnMut(usize) -> T) -> Result<Times, Trouble>
where
    T: Future<Output = Vec<Duration>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let spawned: Vec<_> = (0..tasks).map(task).map(|task| runtime.spawn(task)).collect();
    let mut all = times()?;
    for task in spawned {
        runtime.block_on(task)?.into_iter().for_each(|took| note(&mut all, took));
    }
    Ok(all)
}
