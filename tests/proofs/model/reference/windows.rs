//! Calls as a window keeps them, and the rates that they reach.

use peer_health::{HealthConfig, Window};

use super::{Call, Peer, nanos};

impl Peer {
    pub(super) fn window(&self, now: u64) -> (u64, u64, u64) {
        match self.shape {
            None => (0, 0, 0),
            Some(Window::Time { length, buckets }) => {
                let width = nanos(length) / u64::from(buckets);
                let is_in = |call: &&Call| now / width - call.at / width < u64::from(buckets);
                counted(&self.calls.iter().filter(is_in).copied().collect::<Vec<_>>())
            }
            Some(Window::Count { size }) => {
                counted(&self.calls[self.calls.len().saturating_sub(size as usize)..])
            }
            Some(_) => (0, 0, 0),
        }
    }
}

pub(super) fn counted(calls: &[Call]) -> (u64, u64, u64) {
    let count = |which: fn(&Call) -> bool| calls.iter().filter(|call| which(call)).count() as u64;
    (count(|_| true), count(|call| call.failed), count(|call| call.slow))
}

/// The default is ten, or the size of a smaller window by count.
pub(super) fn min_calls(config: &HealthConfig) -> u64 {
    let size = match config.window {
        Some(Window::Count { size }) => size,
        _ => u32::MAX,
    };
    config.min_calls.unwrap_or(size.min(10)).into()
}

pub(super) fn reaches_a_rate(
    config: &HealthConfig,
    (total, failures, slow): (u64, u64, u64),
) -> bool {
    let reaches = |part: u64, rate: Option<f64>| {
        rate.is_some_and(|rate| total > 0 && part as f64 / total as f64 >= rate)
    };
    reaches(failures, config.failure_rate) || reaches(slow, config.slow_rate)
}
