//! A checked configuration, in the form in which a step reads it: [`Rules`].
//!
//! Pure arithmetic; every time is in nanoseconds, and saturates.

use std::time::Duration;

use crate::config::{ConfigError, HalfOpenMode, HealthConfig, MAX_PROBES, Window};
use crate::outcome::WindowCounts;
use crate::time::nanos;

/// The largest window by count: its counters have 21 bits each, with room for calls in flight.
const MAX_CALLS: u32 = 1 << 20;
/// The most buckets of a window by time: a call looks at each.
const MAX_BUCKETS: u32 = 64;

/// The kinds of [`HealthConfig::doubts`].
pub(crate) const DOUBTS: usize = 3;

impl HealthConfig {
    /// Checks every field and brings it into the form that a step reads.
    pub(crate) fn check(&self) -> Result<Rules, ConfigError> {
        let at_least_one = "must be at least 1";
        let above_zero = "must be above zero";
        if self.failure_threshold == Some(0) {
            return Err(ConfigError::number("failure_threshold", 0u32, at_least_one));
        }
        self.window.map_or(Ok(()), check_window)?;
        self.check_rates()?;
        if !(1..=MAX_PROBES).contains(&self.success_threshold) {
            let n = self.success_threshold;
            return Err(ConfigError::number("success_threshold", n, "must be from 1 to 64"));
        }
        if !(self.open_multiplier >= 1.0 && self.open_multiplier.is_finite()) {
            let rule = "must be finite and at least 1";
            return Err(ConfigError::fraction("open_multiplier", self.open_multiplier, rule));
        }
        if !(0.0..=1.0).contains(&self.open_jitter) {
            return Err(ConfigError::fraction(
                "open_jitter",
                self.open_jitter,
                "must be from 0 to 1",
            ));
        }
        for (field, value) in [
            ("streak_gap", self.streak_gap),
            ("half_open_max", self.half_open_max),
            ("probe_lease", self.probe_lease),
            ("slow_call", self.slow_call),
        ] {
            if value == Some(Duration::ZERO) {
                return Err(ConfigError::time(field, Duration::ZERO, above_zero));
            }
        }
        if self.max_peers == 0 {
            return Err(ConfigError::number("max_peers", 0u32, at_least_one));
        }
        if !(1..=100).contains(&self.outage_max_open_percent) {
            let n = self.outage_max_open_percent;
            return Err(ConfigError::number("outage_max_open_percent", n, "must be from 1 to 100"));
        }
        if self.outage_min_peers == 0 {
            return Err(ConfigError::number("outage_min_peers", 0u32, at_least_one));
        }
        Ok(self.rules())
    }

    /// The form in which a step reads it; every field is known to be sound.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            given: self.clone(),
            streak: self.failure_threshold,
            streak_gap: self.streak_gap.map_or(0, nanos),
            window: self.window,
            bucket: match self.window {
                Some(Window::Time { length, buckets }) => bucket_width(length, buckets),
                _ => 1,
            },
            min_calls: self.min_calls.unwrap_or(match self.window {
                Some(Window::Count { size }) => size.min(10),
                _ => 10,
            }),
            failure_rate: self.failure_rate,
            slow_call: self.slow_call.map(nanos),
            slow_rate: self.slow_rate,
            open: nanos(self.open_timeout),
            multiplier: self.open_multiplier,
            open_max: nanos(self.open_max),
            jitter: self.open_jitter,
            probes: self.success_threshold,
            mode: self.half_open_mode,
            half_open_max: self.half_open_max.map(nanos),
            lease: self.probe_lease.map(nanos),
            max_peers: self.max_peers,
            idle: nanos(self.idle_timeout),
            forget: nanos(self.forget_after),
            outage_limit: self.outage_guard.then_some(Limit {
                percent: self.outage_max_open_percent,
                min_peers: self.outage_min_peers,
            }),
        }
    }

    /// What is sound and can hardly be meant.
    pub(crate) fn doubts(&self) -> [Option<ConfigError>; DOUBTS] {
        let idle = self.window.is_some() && self.failure_rate.or(self.slow_rate).is_none();
        let rule = "the window decides nothing without it or slow_rate";
        let idle = idle.then(|| ConfigError::missing("failure_rate", rule));
        let timeout = |rule| ConfigError::time("open_timeout", self.open_timeout, rule);
        let none = self.open_timeout.is_zero();
        let none = none.then(|| timeout("an open circuit is probed at once"));
        let over = self.open_timeout > self.open_max;
        let over = over.then(|| timeout("acts as open_max").beside(self.open_max));
        [idle, none, over]
    }

    fn check_rates(&self) -> Result<(), ConfigError> {
        for (field, rate) in [("failure_rate", self.failure_rate), ("slow_rate", self.slow_rate)] {
            if let Some(rate) = rate.filter(|r| !(*r > 0.0 && *r <= 1.0)) {
                return Err(ConfigError::fraction(field, rate, "must be above 0 and up to 1"));
            }
        }
        let missing = |field, rule| Err(ConfigError::missing(field, rule));
        if self.slow_rate.is_some() && self.slow_call.is_none() {
            return missing("slow_call", "slow_rate needs it");
        }
        let rate = self.failure_rate.or(self.slow_rate);
        if self.half_open_mode == HalfOpenMode::Rate && rate.is_none() {
            return missing(
                "failure_rate",
                "half_open_mode Rate needs a failure_rate or slow_rate",
            );
        }
        if self.half_open_mode == HalfOpenMode::All && self.window.is_none() {
            let set = [("failure_rate", self.failure_rate), ("slow_rate", self.slow_rate)];
            if let Some((field, rate)) = set.iter().find_map(|(f, rate)| Some((*f, (*rate)?))) {
                let rule = "needs a window, or half_open_mode Rate";
                return Err(ConfigError::fraction(field, rate, rule));
            }
        }
        match (self.min_calls, self.window) {
            (Some(0), _) => Err(ConfigError::number("min_calls", 0u32, "must be at least 1")),
            (Some(calls), Some(Window::Count { size })) if calls > size => {
                Err(ConfigError::number("min_calls", calls, "must not exceed the window's size"))
            }
            _ => Ok(()),
        }
    }
}

fn check_window(window: Window) -> Result<(), ConfigError> {
    match window {
        Window::Count { size } if !(1..=MAX_CALLS).contains(&size) => {
            Err(ConfigError::number("window.size", size, "must be from 1 to 1048576"))
        }
        Window::Time { buckets, .. } if !(1..=MAX_BUCKETS).contains(&buckets) => {
            Err(ConfigError::number("window.buckets", buckets, "must be from 1 to 64"))
        }
        Window::Time { length, buckets } if nanos(length) < u64::from(buckets) => {
            let rule = "must be at least a nanosecond for each bucket";
            Err(ConfigError::time("window.length", length, rule))
        }
        _ => Ok(()),
    }
}

fn bucket_width(length: Duration, buckets: u32) -> u64 {
    (nanos(length) / u64::from(buckets.max(1))).max(1)
}

/// A checked configuration, as a step reads it. Times in nanoseconds.
#[derive(Debug)]
pub(crate) struct Rules {
    /// As it was given.
    pub(crate) given: HealthConfig,
    pub(crate) streak: Option<u32>,
    /// Zero: off.
    pub(crate) streak_gap: u64,
    pub(crate) window: Option<Window>,
    /// The width of a bucket of a window by time.
    pub(crate) bucket: u64,
    pub(crate) min_calls: u32,
    pub(crate) failure_rate: Option<f64>,
    pub(crate) slow_call: Option<u64>,
    pub(crate) slow_rate: Option<f64>,
    pub(crate) open: u64,
    pub(crate) multiplier: f64,
    pub(crate) open_max: u64,
    pub(crate) jitter: f64,
    pub(crate) probes: u32,
    pub(crate) mode: HalfOpenMode,
    pub(crate) half_open_max: Option<u64>,
    pub(crate) lease: Option<u64>,
    pub(crate) max_peers: usize,
    pub(crate) idle: u64,
    pub(crate) forget: u64,
    /// `None`: the guard is off.
    pub(crate) outage_limit: Option<Limit>,
}

/// How many of the peers in use may be open (R30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    percent: u32,
    min_peers: u32,
}

impl Limit {
    /// The least number of peers in use for which there is a limit.
    pub(crate) fn least(self) -> u64 {
        self.min_peers.into()
    }

    /// Whether so many of the peers in use may be open: up to the percentage, or any number of few.
    pub(crate) fn allows(self, used: u64, open: u64) -> bool {
        used < self.min_peers.into()
            || open.saturating_mul(100) <= used.saturating_mul(self.percent.into())
    }
}

impl Rules {
    /// Whether anything is read off a call that succeeds, or off its latency.
    pub(crate) fn looks_at_successes(&self) -> bool {
        self.window.is_some() || self.slow_call.is_some()
    }

    /// Whether it matters when a call to a peer in a streak began (R14, R15).
    pub(crate) fn asks_for_starts(&self) -> bool {
        self.streak_gap > 0 || self.slow_call.is_some()
    }

    /// The streak that opens a circuit, or the largest number if none does; 0 if another rule may look at a
    /// failure.
    pub(crate) fn streak_alone(&self) -> u32 {
        let others = self.looks_at_successes() || self.asks_for_starts();
        match others || self.outage_limit.is_some() {
            true => 0,
            false => self.streak.unwrap_or(u32::MAX),
        }
    }

    /// Whether a call that took this long is slow (R15: at the threshold it is).
    pub(crate) fn is_slow(&self, latency: Option<u64>) -> bool {
        matches!((self.slow_call, latency), (Some(slow), Some(took)) if took >= slow)
    }

    /// min(open_timeout * multiplier^n, open_max) (R16, D5, D6).
    pub(crate) fn open_wait_after(&self, n: u32) -> u64 {
        let exponent = i32::try_from(n).unwrap_or(i32::MAX);
        let grown = match self.multiplier {
            1.0 => self.open,
            multiplier => whole(self.open as f64 * multiplier.powi(exponent)),
        };
        grown.min(self.open_max)
    }

    /// Whether these counts of a window open a circuit (R15).
    pub(crate) fn trips(&self, counts: WindowCounts) -> bool {
        counts.total >= self.min_calls.into() && self.rate_reached(counts)
    }

    /// Whether these counts reach a configured rate (R15; `min_calls` is the caller's business).
    pub(crate) fn rate_reached(&self, counts: WindowCounts) -> bool {
        let reaches = |part: u64, rate: Option<f64>| {
            rate.is_some_and(|r| counts.total > 0 && part as f64 / counts.total as f64 >= r)
        };
        reaches(counts.failures, self.failure_rate) || reaches(counts.slow, self.slow_rate)
    }
}

/// The whole part; what is too large becomes the largest, what is no number zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub(crate) fn whole(x: f64) -> u64 {
    x as u64
}
