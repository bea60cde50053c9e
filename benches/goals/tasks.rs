//! The goal of many tasks: how long their calls spend in the registry, at the worst.

use super::calls::Effort;
use super::report::Measured;
use crate::baseline::{ById, Contender, Setup};
use crate::measure::{Route, Trouble, now, outcome, quantile, task_times};

const TASKS: usize = 10_000;
const PEERS: u32 = 1_000;

/// Milliseconds at p99.99. Each task calls its peer again and again, by id: asks, lets the others
/// run while its call is out, and reports. One call of a hundred fails.
pub(crate) fn tasks(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let route = Route::uniform(PEERS)?;
    let ours = ById::new(&Setup::of(route.peers()));
    let calls = 10 * effort.rounds;
    let took = task_times(TASKS, |nth| {
        let registry = ours.registry().clone();
        let peer = route.peers()[nth % route.peers().len()];
        async move {
            let mut took = Vec::with_capacity(calls);
            for call in 0..calls {
                let began = now();
                let permit = registry.acquire(&peer);
                let asking = began.elapsed();
                tokio::task::yield_now().await;
                let outcome = outcome((nth + call) % 100 == 0);
                let began = now();
                if let Ok(permit) = permit {
                    match outcome {
                        Ok(()) => permit.success(),
                        Err(error) => permit.failure(error),
                    };
                }
                took.push(asking + began.elapsed());
            }
            took
        }
    })?;
    let [p9999, most] = [0.9999, 1.0].map(|at| quantile(&took, at) / 1e6);
    eprintln!("  of {} calls: p99.99 {p9999:.3} ms, at most {most:.3} ms", took.len());
    Ok(vec![Measured::new("G18", p9999)])
}
