//! The configuration, as a struct of plain numbers.

use std::time::Duration;

use peer_health::{ConfigError, HalfOpenMode, HealthConfig, Window};

use crate::codes::*;
use crate::memory;
use crate::outcome::{Answer, Problem, guard};
use crate::query::millis;

/// How long a probe holds its slot by default: half as long as in Rust, where a lost permit is dropped.
const PROBE_LEASE: Duration = Duration::from_secs(30);
const EVENT_CAPACITY: u32 = 1024;

/// What opens a circuit, for how long, and what closes it again. `ph_config_default` fills it in; times are in
/// milliseconds, and 0 switches off what may be off.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ph_config {
    /// `sizeof(ph_config)`, set by the caller.
    pub struct_size: u32,
    /// Consecutive failures that open the circuit; 0 is off. Default 5.
    pub failure_threshold: u32,
    /// The longest time between a failure and the next failing call of a streak; 0 is off. Default off.
    pub streak_gap_ms: u64,
    /// The window over which rates are computed: the last so many calls; 0 is none. Default none.
    pub window_calls: u32,
    /// The number of buckets of a window by time, 1 to 64.
    pub window_buckets: u32,
    /// The window by time: its length; 0 is none. Default none. One of the two windows at most.
    pub window_ms: u64,
    /// The calls that the window must hold before a rate is judged; 0 is the default of 10, or of the size of
    /// the window if that is smaller.
    pub min_calls: u32,
    /// `PH_MODE_ALL` (default) or `PH_MODE_RATE`.
    pub half_open_mode: u32,
    /// The failure rate that opens the circuit, above 0 and up to 1; 0 is off. Default off.
    pub failure_rate: f64,
    /// A call that takes so long is slow; 0 is off. Default off.
    pub slow_call_ms: u64,
    /// The rate of slow calls that opens the circuit; 0 is off. Default off.
    pub slow_rate: f64,
    /// How long the circuit stays open the first time. Default 5,000.
    pub open_timeout_ms: u64,
    /// By how much the wait grows with each half-open phase that failed, at least 1. Default 2.
    pub open_multiplier: f64,
    /// The longest wait. Default 300,000.
    pub open_max_ms: u64,
    /// The part of the wait, 0 to 1, that may be cut off at random. Default 0.1.
    pub open_jitter: f64,
    /// The number of probes, and of successes that close a half-open circuit: 1 to 64. Default 2.
    pub success_threshold: u32,
    /// 1 holds trips back when so many peers would be open that this node is probably cut off. Default 0.
    pub outage_guard: u32,
    /// The age from which on a half-open phase is ended by the next call; 0 is off. Default off.
    pub half_open_max_ms: u64,
    /// How long a probe may take before its slot is given again; 0 lets a lost token hold it for ever.
    /// Default 30,000, half of what Rust has: a token that is lost is not dropped by anyone.
    pub probe_lease_ms: u64,
    /// How many peers are tracked at most. Default 65,536.
    pub max_peers: u64,
    /// A clean peer that was not used for so long may be forgotten. Default 600,000.
    pub idle_timeout_ms: u64,
    /// A peer in trouble that was not used for so long may be forgotten too. Default 3,600,000.
    pub forget_after_ms: u64,
    /// The part of the peers that may be open while the guard is on, 1 to 100 per cent. Default 50.
    pub outage_max_open_percent: u32,
    /// The guard holds nothing back while fewer peers than this are in use. Default 3.
    pub outage_min_peers: u32,
    /// How many events wait for `ph_next_events`; 0 keeps none. Default 1,024. `ph_configure` does not change
    /// it.
    pub event_capacity: u32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: the struct is `repr(C)`, its first field is a `u32`, and it holds integers and floats.
#[allow(unsafe_code, reason = "any bytes are such a struct")]
unsafe impl memory::Sized32 for ph_config {}

fn off<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

/// Returns the time; the largest number is the longest time there is.
pub(crate) fn time(millis: u64) -> Duration {
    if millis == u64::MAX { Duration::MAX } else { Duration::from_millis(millis) }
}

impl ph_config {
    fn of(config: &HealthConfig) -> Self {
        let (window_calls, window_ms, window_buckets) = match config.window {
            Some(Window::Count { size }) => (size, 0, 0),
            Some(Window::Time { length, buckets }) => (0, millis(length), buckets),
            _ => (0, 0, 0),
        };
        let some = |time: Option<Duration>| time.map_or(0, millis);
        Self {
            struct_size: u32::try_from(size_of::<Self>()).unwrap_or_default(),
            failure_threshold: config.failure_threshold.unwrap_or_default(),
            streak_gap_ms: some(config.streak_gap),
            window_calls,
            window_buckets,
            window_ms,
            min_calls: config.min_calls.unwrap_or_default(),
            half_open_mode: match config.half_open_mode {
                HalfOpenMode::Rate => PH_MODE_RATE,
                _ => PH_MODE_ALL,
            },
            failure_rate: config.failure_rate.unwrap_or_default(),
            slow_call_ms: some(config.slow_call),
            slow_rate: config.slow_rate.unwrap_or_default(),
            open_timeout_ms: millis(config.open_timeout),
            open_multiplier: config.open_multiplier,
            open_max_ms: millis(config.open_max),
            open_jitter: config.open_jitter,
            success_threshold: config.success_threshold,
            outage_guard: config.outage_guard.into(),
            half_open_max_ms: some(config.half_open_max),
            probe_lease_ms: some(config.probe_lease),
            max_peers: config.max_peers as u64,
            idle_timeout_ms: millis(config.idle_timeout),
            forget_after_ms: millis(config.forget_after),
            outage_max_open_percent: config.outage_max_open_percent,
            outage_min_peers: config.outage_min_peers,
            event_capacity: EVENT_CAPACITY,
            reserved: 0,
        }
    }

    /// Returns the configuration, not yet checked by the registry.
    pub(crate) fn health(&self) -> Answer<HealthConfig> {
        let known = "PH_MODE_ALL (0), PH_MODE_RATE (1)";
        let mode = match self.half_open_mode {
            PH_MODE_ALL => HalfOpenMode::All,
            PH_MODE_RATE => HalfOpenMode::Rate,
            other => return Err(Problem::number("half_open_mode", other, known)),
        };
        let guard = match self.outage_guard {
            0 => false,
            1 => true,
            other => return Err(Problem::number("outage_guard", other, "0, 1")),
        };
        if self.reserved != 0 {
            return Err(Problem::number("reserved", self.reserved, "0"));
        }
        let window = match (off(self.window_calls), off(self.window_ms)) {
            (Some(_), Some(ms)) => {
                return Err(Problem::number("window_ms", ms, "0 while window_calls is set"));
            }
            (Some(size), None) => Some(Window::count(size)),
            (None, Some(ms)) => Some(Window::time(time(ms), self.window_buckets)),
            (None, None) => None,
        };
        let some = |ms| off(ms).map(time);
        Ok(HealthConfig::default()
            .with_failure_threshold(off(self.failure_threshold))
            .with_streak_gap(some(self.streak_gap_ms))
            .with_window(window)
            .with_min_calls(off(self.min_calls))
            .with_failure_rate(off(self.failure_rate))
            .with_slow_call(some(self.slow_call_ms))
            .with_slow_rate(off(self.slow_rate))
            .with_open_timeout(time(self.open_timeout_ms))
            .with_open_multiplier(self.open_multiplier)
            .with_open_max(time(self.open_max_ms))
            .with_open_jitter(self.open_jitter)
            .with_success_threshold(self.success_threshold)
            .with_half_open_mode(mode)
            .with_half_open_max(some(self.half_open_max_ms))
            .with_probe_lease(some(self.probe_lease_ms))
            .with_max_peers(usize::try_from(self.max_peers).unwrap_or(usize::MAX))
            .with_idle_timeout(time(self.idle_timeout_ms))
            .with_forget_after(time(self.forget_after_ms))
            .with_outage_guard(guard)
            .with_outage_max_open_percent(self.outage_max_open_percent)
            .with_outage_min_peers(self.outage_min_peers))
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        Self::new(PH_E_VALUE, error.to_string())
    }
}

/// Fills in the defaults. The caller sets `struct_size` to `sizeof(ph_config)` first.
///
/// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`.
///
/// # Safety
///
/// `config` leads to a struct that may be read and written.
#[allow(unsafe_code, reason = "writes to the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_config_default(config: *mut ph_config) -> i32 {
    guard(|| {
        // SAFETY: as the caller promises.
        unsafe { memory::size("config", config) }?;
        let default = HealthConfig::default().with_probe_lease(PROBE_LEASE);
        // SAFETY: the struct is as large as ours.
        unsafe { memory::write(config, ph_config::of(&default)) };
        Ok(PH_OK)
    })
}
