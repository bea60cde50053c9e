//! The settings as a record: `default_config()` returns it, and a program changes what it wants.

use std::time::Duration;

use peer_health::{HalfOpenMode as Mode, HealthConfig as Core, Window as CoreWindow};

use crate::error::HealthError;
use crate::time::wait;

/// How long a probe holds its place by default here: a quarter of the time that the Rust library gives.
/// A garbage collector drops a lost permit late, and a lost probe holds its place until its lease ends.
const PROBE_LEASE: Duration = Duration::from_secs(15);

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty, $out:expr, $into:expr;)+) => {
        /// What opens a circuit, for how long, and what closes it again. No value is left out: a program takes
        /// [`default_config`] and changes fields. Nothing means off, but for `min_calls`.
        #[derive(Debug, Clone, PartialEq, uniffi::Record)]
        #[non_exhaustive]
        pub struct HealthConfig {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl From<Core> for HealthConfig {
            fn from(core: Core) -> Self {
                Self { $($field: $out(core.$field),)+ }
            }
        }

        impl HealthConfig {
            pub(crate) fn into_core(self) -> Core {
                let mut core = Core::default();
                $(core.$field = $into(self.$field);)+
                core
            }
        }
    };
}

fn same<T>(value: T) -> T {
    value
}

fn some_wait(time: Option<Duration>) -> Option<Duration> {
    time.map(wait)
}

fn shown_window(window: Option<CoreWindow>) -> Option<Window> {
    match window? {
        CoreWindow::Count { size } => Some(Window::Count { size }),
        CoreWindow::Time { length, buckets } => {
            Some(Window::Time { length: wait(length), buckets })
        }
        _ => None,
    }
}

fn core_window(window: Option<Window>) -> Option<CoreWindow> {
    Some(match window? {
        Window::Count { size } => CoreWindow::count(size),
        Window::Time { length, buckets } => CoreWindow::time(length, buckets),
    })
}

fn shown_mode(mode: Mode) -> HalfOpenMode {
    match mode {
        Mode::Rate => HalfOpenMode::Rate,
        _ => HalfOpenMode::All,
    }
}

fn core_mode(mode: HalfOpenMode) -> Mode {
    match mode {
        HalfOpenMode::All => Mode::All,
        HalfOpenMode::Rate => Mode::Rate,
    }
}

fn shown_count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn core_count(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

settings! {
    /// How many failures in a row open a circuit.
    failure_threshold: Option<u32>, same, same;
    /// A pause between two failures after which the row begins anew.
    streak_gap: Option<Duration>, some_wait, same;
    /// The calls over which rates are judged.
    window: Option<Window>, shown_window, core_window;
    /// How many calls a window needs before its rate is judged. Nothing means ten, or the window's size.
    min_calls: Option<u32>, same, same;
    /// The share of failures that opens a circuit, above 0 and up to 1.
    failure_rate: Option<f64>, same, same;
    /// The latency from which a call is slow.
    slow_call: Option<Duration>, some_wait, same;
    /// The share of slow calls that opens a circuit, above 0 and up to 1.
    slow_rate: Option<f64>, same, same;
    /// How long a circuit stays open for the first time.
    open_timeout: Duration, wait, same;
    /// By how much each further wait is longer; at least 1.
    open_multiplier: f64, same, same;
    /// The longest wait.
    open_max: Duration, wait, same;
    /// The share by which a wait may be shorter at random, from 0 to 1.
    open_jitter: f64, same, same;
    /// How many probes are admitted while half-open, and must succeed; from 1 to 64.
    success_threshold: u32, same, same;
    /// What closes a half-open circuit.
    half_open_mode: HalfOpenMode, shown_mode, core_mode;
    /// How long a circuit may be half-open.
    half_open_max: Option<Duration>, some_wait, same;
    /// How long a probe holds its place, 15 seconds by default. It should exceed the deadline of a call.
    probe_lease: Option<Duration>, some_wait, same;
    /// How many peers are tracked; at least 1. `set_config` changes it, too.
    max_peers: u32, shown_count, core_count;
    /// After how long a peer without trouble may be forgotten.
    idle_timeout: Duration, wait, same;
    /// After how long a peer in trouble may be forgotten.
    forget_after: Duration, wait, same;
    /// Whether a part of the peers stays closed while all of them fail.
    outage_guard: bool, same, same;
    /// The share of peers that may be open then, in percent, from 1 to 100.
    outage_max_open_percent: u32, same, same;
    /// From how many peers on the guard works; at least 1.
    outage_min_peers: u32, same, same;
}

/// The calls over which rates are judged.
#[derive(Debug, Clone, Copy, PartialEq, uniffi::Enum)]
#[non_exhaustive]
pub enum Window {
    /// The latest calls.
    Count {
        /// How many; up to 1,048,576.
        size: u32,
    },
    /// The calls of the latest time.
    Time {
        /// How long.
        length: Duration,
        /// In how many steps the window moves; up to 64.
        buckets: u32,
    },
}

/// What closes a half-open circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum HalfOpenMode {
    /// All probes succeed.
    All,
    /// The rates of the probes stay below the limits.
    Rate,
}

/// Returns the settings that a registry has unless told otherwise: those of the Rust library, but for a probe
/// lease of 15 seconds.
///
/// ```
/// let config = peer_health_ffi::default_config();
/// assert_eq!(config.failure_threshold, Some(5));
/// assert_eq!(config.probe_lease, Some(std::time::Duration::from_secs(15)));
/// ```
#[uniffi::export]
pub fn default_config() -> HealthConfig {
    Core::default().with_probe_lease(PROBE_LEASE).into()
}

/// Checks settings without making a registry.
///
/// # Errors
///
/// `Invalid` names the first field that breaks a rule.
///
/// ```
/// use peer_health_ffi::{check_config, default_config};
/// let mut config = default_config();
/// config.open_jitter = 2.0;
/// let error = check_config(config).unwrap_err();
/// assert_eq!(error.to_string(), "open_jitter is 2: must be from 0 to 1");
/// ```
#[uniffi::export]
pub fn check_config(config: HealthConfig) -> Result<(), HealthError> {
    peer_health::HealthRegistry::<u8>::builder().config(config.into_core()).build()?;
    Ok(())
}
