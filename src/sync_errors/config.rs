//! The circuit settings of `sync_errors`: read from the environment, and brought into the form of a
//! [`HealthConfig`].

use std::ffi::OsString;
use std::time::Duration;

use crate::config::{ConfigError, HealthConfig, MAX_PROBES};

/// The `failure_window` of `sync_errors`, which it never looks at: exactly this means off (R14).
const DEFAULT_FAILURE_WINDOW: Duration = Duration::from_secs(5);

/// The circuit settings of peat-mesh's `sync_errors`, field by field. Everything else that can be
/// set is in [`HealthConfig`].
///
/// `Default` reads the environment (see `from_env`). A threshold of zero acts as one.
///
/// ```
/// use peer_health::CircuitBreakerConfig;
/// let config = CircuitBreakerConfig { failure_threshold: 3, ..Default::default() };
/// assert_eq!(config.failure_threshold, 3);
/// ```
#[derive(Debug, Clone)]
pub struct CircuitBreakerConfig {
    /// Consecutive failures that open the circuit. Default 5.
    pub failure_threshold: u32,
    /// A streak is broken when more than this passed between a failure and the start of the next
    /// failing call. Default 5 s, which acts as off, as zero does: `sync_errors` has the field and
    /// never looks at it, and with five seconds a peer that is called every half minute would never
    /// open. Any other value is honoured.
    pub failure_window: Duration,
    /// How long the circuit stays open before a probe may go out. Default 5 s.
    pub open_timeout: Duration,
    /// Successes that close a half-open circuit; also the number of its probes. At most 64.
    /// Default 2.
    pub success_threshold: u32,
}

impl CircuitBreakerConfig {
    /// Reads the environment: `CIRCUIT_FAILURE_THRESHOLD` (default 5),
    /// `CIRCUIT_FAILURE_WINDOW_SECS` (5, which acts as off), `CIRCUIT_OPEN_TIMEOUT_SECS` (5) and
    /// `CIRCUIT_SUCCESS_THRESHOLD` (2). A value that does not parse is warned about (with the
    /// feature `tracing`) and takes its default.
    ///
    /// ```
    /// let config = peer_health::CircuitBreakerConfig::from_env();
    /// assert!(config.success_threshold > 0);
    /// ```
    pub fn from_env() -> Self {
        let (config, problems) = Self::parse(std::env::var_os);
        problems.iter().for_each(warn);
        config
    }

    /// Reads the environment as [`from_env`](Self::from_env) does, and insists.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first variable that does not parse, and its value.
    ///
    /// ```
    /// assert!(peer_health::CircuitBreakerConfig::try_from_env().is_ok());
    /// ```
    pub fn try_from_env() -> Result<Self, ConfigError> {
        let (config, problems) = Self::parse(std::env::var_os);
        problems.into_iter().next().map_or(Ok(config), Err)
    }

    /// Reads the four variables through `read`; what does not parse is reported and takes its
    /// default.
    fn parse(read: impl Fn(&'static str) -> Option<OsString>) -> (Self, Vec<ConfigError>) {
        let mut problems = Vec::new();
        let mut number = |name: &'static str, most: u64, default: u64| {
            let Some(raw) = read(name) else { return default };
            let text = raw.to_string_lossy();
            text.parse().ok().filter(|n| *n <= most).unwrap_or_else(|| {
                problems.push(ConfigError::text(name, &text, "must be a whole number"));
                default
            })
        };
        let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let most = u64::from(u32::MAX);
        let config = Self {
            failure_threshold: count(number("CIRCUIT_FAILURE_THRESHOLD", most, 5)),
            failure_window: Duration::from_secs(number(
                "CIRCUIT_FAILURE_WINDOW_SECS",
                u64::MAX,
                DEFAULT_FAILURE_WINDOW.as_secs(),
            )),
            open_timeout: Duration::from_secs(number("CIRCUIT_OPEN_TIMEOUT_SECS", u64::MAX, 5)),
            success_threshold: count(number("CIRCUIT_SUCCESS_THRESHOLD", most, 2)),
        };
        (config, problems)
    }

    /// The same as a [`HealthConfig`] that is sure to be accepted, and what had to be changed. Waits
    /// neither grow nor are jittered, as in `sync_errors`.
    pub(super) fn clamped(&self) -> (HealthConfig, Vec<ConfigError>) {
        let mut problems = Vec::new();
        let mut within = |field, value: u32, most, rule| {
            if !(1..=most).contains(&value) {
                problems.push(ConfigError::number(field, value, rule));
            }
            value.clamp(1, most)
        };
        let failures = "acts as 1: a threshold is at least that";
        let successes = "acts as the nearest of 1 to 64";
        let base = HealthConfig::default();
        let config = HealthConfig {
            failure_threshold: Some(within(
                "failure_threshold",
                self.failure_threshold,
                u32::MAX,
                failures,
            )),
            success_threshold: within(
                "success_threshold",
                self.success_threshold,
                MAX_PROBES,
                successes,
            ),
            streak_gap: match self.failure_window {
                DEFAULT_FAILURE_WINDOW | Duration::ZERO => None,
                other => Some(other),
            },
            open_timeout: self.open_timeout,
            open_multiplier: 1.0,
            open_max: base.open_max.max(self.open_timeout),
            open_jitter: 0.0,
            ..base
        };
        (config, problems)
    }
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self::from_env()
    }
}

#[cfg(feature = "tracing")]
pub(super) fn warn(problem: &ConfigError) {
    crate::foreign::quietly(|| {
        tracing::warn!(target: "peer_health", %problem, "configuration value not usable");
    });
}

#[cfg(not(feature = "tracing"))]
pub(super) fn warn(_: &ConfigError) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_window_of_sync_errors_is_off_any_other_is_honoured_and_waits_do_not_grow() {
        let (seeds, _) = CircuitBreakerConfig::parse(|_| None);
        let gap = |failure_window| {
            let config = CircuitBreakerConfig { failure_window, ..seeds.clone() };
            config.clamped().0.streak_gap
        };
        let nearly = DEFAULT_FAILURE_WINDOW + Duration::from_nanos(1);
        assert_eq!(seeds.failure_window, Duration::from_secs(5));
        assert_eq!(gap(seeds.failure_window), None);
        assert_eq!((gap(nearly), gap(Duration::ZERO)), (Some(nearly), None));
        let (config, problems) = seeds.clamped();
        assert_eq!((config.open_multiplier, config.open_jitter, problems.len()), (1.0, 0.0, 0));
    }
}
