//! What can be configured, with its defaults, and the error for what cannot.
//!
//! Pure: nothing here reads the environment or logs. `rules.rs` checks a configuration as a whole
//! before anything changes.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

#[cfg(feature = "serde")]
use crate::serde::{or_default, or_off, plain, table_or_off};

pub(crate) mod rules;
#[cfg(feature = "serde")]
mod window_form;

/// The most probes that one half-open phase may have (R3).
pub(crate) const MAX_PROBES: u32 = 64;

/// A value that makes no sense: names the field, the value, and what would be accepted.
///
/// Nothing was changed when this is returned.
///
/// ```
/// use peer_health::{HealthConfig, HealthRegistry};
///
/// let config = HealthConfig::default().with_success_threshold(0);
/// let error = HealthRegistry::<u32>::builder().config(config).build().unwrap_err();
/// assert_eq!(error.field(), "success_threshold");
/// assert_eq!(error.to_string(), "success_threshold is 0: must be from 1 to 64");
/// ```
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{field} is {value}: {rule}{}", beside(*.other))]
#[non_exhaustive]
pub struct ConfigError {
    field: &'static str,
    value: Value,
    rule: &'static str,
    /// The value of another field that the rule names last.
    other: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Number(u64),
    Fraction(f64),
    Time(Duration),
    Text(Box<str>),
    None,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Fraction(x) => x.fmt(f),
            Self::Time(t) => fmt::Debug::fmt(t, f),
            Self::Text(s) => fmt::Debug::fmt(s, f),
            Self::None => f.write_str("not set"),
        }
    }
}

impl ConfigError {
    /// The field, or the environment variable, that holds the value.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// let config = HealthConfig::default().with_max_peers(0);
    /// let error = HealthRegistry::<u32>::builder().config(config).build().unwrap_err();
    /// assert_eq!(error.field(), "max_peers");
    /// ```
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the value that was found there, as the message shows it: `0`, `1.5`, `60s`, `"x"`, or `not set`.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// let config = HealthConfig::default().with_open_jitter(1.5);
    /// let error = HealthRegistry::<u32>::builder().config(config).build().unwrap_err();
    /// assert_eq!(error.value(), "1.5");
    /// ```
    pub fn value(&self) -> String {
        self.value.to_string()
    }

    /// Returns the rule that the value breaks, without a dot; a program may show it beside the field.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// let config = HealthConfig::default().with_max_peers(0);
    /// let error = HealthRegistry::<u32>::builder().config(config).build().unwrap_err();
    /// assert_eq!(error.rule(), "must be at least 1");
    /// ```
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    pub(crate) fn number(field: &'static str, value: impl Into<u64>, rule: &'static str) -> Self {
        Self { field, value: Value::Number(value.into()), rule, other: None }
    }

    pub(crate) fn fraction(field: &'static str, value: f64, rule: &'static str) -> Self {
        Self { field, value: Value::Fraction(value), rule, other: None }
    }

    pub(crate) fn text(field: &'static str, value: &str, rule: &'static str) -> Self {
        Self { field, value: Value::Text(value.into()), rule, other: None }
    }

    pub(crate) fn time(field: &'static str, value: Duration, rule: &'static str) -> Self {
        Self { field, value: Value::Time(value), rule, other: None }
    }

    pub(crate) fn missing(field: &'static str, rule: &'static str) -> Self {
        Self { field, value: Value::None, rule, other: None }
    }

    /// Names the field as it is called in a table of its own: by the name, of these, that ends in it.
    #[allow(dead_code, reason = "for integrations")]
    pub(crate) fn within(self, names: &[&'static str]) -> Self {
        let ends_in_it = |name: &&&str| name.rsplit_once('.').is_some_and(|n| n.1 == self.field);
        Self { field: names.iter().find(ends_in_it).unwrap_or(&self.field), ..self }
    }

    /// Says what the value is of the other field that the rule names last.
    #[allow(dead_code, reason = "for integrations")]
    pub(crate) fn beside(self, other: Duration) -> Self {
        Self { other: Some(other), ..self }
    }
}

fn beside(other: Option<Duration>) -> String {
    other.map(|other| format!(", which is {other:?}")).unwrap_or_default()
}

/// The calls over which rates are computed (R15).
///
/// ```
/// use peer_health::{HealthConfig, Window};
/// use std::time::Duration;
///
/// let last_hundred = HealthConfig::default().with_window(Window::count(100));
/// let last_minute =
///     HealthConfig::default().with_window(Window::time(Duration::from_secs(60), 12));
/// assert_ne!(last_hundred.window, last_minute.window);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "window_form::WindowForm", into = "window_form::WindowForm")
)]
#[non_exhaustive]
pub enum Window {
    /// The last `size` calls.
    Count {
        /// How many, 1 to 1,048,576. Costs one byte each, for each peer that was called.
        size: u32,
    },
    /// The calls of the last `length`, dropped bucket by bucket.
    Time {
        /// How far back.
        length: Duration,
        /// In how many equal buckets, 1 to 64. A call looks at each: with 64 it takes a microsecond, or
        /// two and a half where it is the first in its bucket.
        buckets: u32,
    },
}

impl Window {
    /// The last `size` calls.
    ///
    /// ```
    /// assert_eq!(peer_health::Window::count(9), peer_health::Window::count(9));
    /// ```
    pub fn count(size: u32) -> Self {
        Self::Count { size }
    }

    /// The calls of the last `length`, in `buckets` equal buckets.
    ///
    /// ```
    /// use peer_health::Window;
    /// use std::time::Duration;
    /// let minute = Duration::from_secs(60);
    /// assert_ne!(Window::time(minute, 6), Window::time(minute, 12));
    /// ```
    pub fn time(length: Duration, buckets: u32) -> Self {
        Self::Time { length, buckets }
    }
}

/// How the probes of a half-open phase decide (R11).
///
/// ```
/// assert_eq!(peer_health::HalfOpenMode::default(), peer_health::HalfOpenMode::All);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum HalfOpenMode {
    /// The first failure reopens, `success_threshold` successes close.
    #[default]
    All,
    /// When `success_threshold` outcomes are in, the configured rates decide.
    Rate,
}

macro_rules! config {
    ($($(#[doc = $doc:literal])+ $with:ident($field:ident: $type:ty = $default:expr; $given:ty) $($form:literal)?, $try:literal => $wanted:literal;)+) => {
        /// Everything that can be configured. Starts from [`Default`], changed by `with_*`;
        /// checked when a registry is built or [`set_config`](crate::HealthRegistry::set_config)
        /// is called.
        ///
        /// Any trip rule that is set may open a circuit: consecutive failures, a failure rate, a
        /// slow-call rate. With none the circuit never opens.
        ///
        /// With the feature `serde` a file may hold it:
        /// [the guide](crate::_guide#settings-from-a-file) has the words.
        ///
        /// ```
        /// use peer_health::{HealthConfig, Window};
        /// use std::time::Duration;
        ///
        /// let config = HealthConfig::default()
        ///     .with_failure_threshold(3)
        ///     .with_window(Window::count(100))
        ///     .with_failure_rate(0.5)
        ///     .with_open_timeout(Duration::from_secs(2))
        ///     .with_open_multiplier(1.5)
        ///     .with_open_jitter(0.2);
        /// assert_eq!(config.failure_threshold, Some(3));
        /// ```
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(
            feature = "serde",
            derive(serde::Serialize, serde::Deserialize),
            serde(default, deny_unknown_fields)
        )]
        #[non_exhaustive]
        pub struct HealthConfig {
            $($(#[doc = $doc])+ $(#[cfg_attr(feature = "serde", serde(with = $form))])? pub $field: $type,)+
        }

        impl Default for HealthConfig {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl HealthConfig {
            $($(#[doc = $doc])+
            ///
            /// ```
            /// # use peer_health::*;
            /// # use std::time::Duration;
            #[doc = concat!("let config = HealthConfig::default().", stringify!($with), "(", $try, ");")]
            #[doc = concat!("assert_eq!(config.", stringify!($field), ", ", $wanted, ");")]
            /// ```
            #[must_use]
            pub fn $with(mut self, $field: $given) -> Self {
                self.$field = $field.into();
                self
            })+
        }
    };
}

config! {
    /// Consecutive failures that open the circuit, at least 1; `None` switches the rule off.
    /// Default 5.
    with_failure_threshold(failure_threshold: Option<u32> = Some(5); impl Into<Option<u32>>) "or_off", "3" => "Some(3)";
    /// The longest time, above zero, between one failure and the start of the next failing call of
    /// a streak: after a longer one the streak begins again at 1. With `None` a run of failures is a
    /// run however slowly it comes, until a success ends it. Default none.
    with_streak_gap(streak_gap: Option<Duration> = None; impl Into<Option<Duration>>) "or_off", "Duration::from_secs(60)" => "Some(Duration::from_secs(60))";
    /// The calls over which rates are computed. Default none. One without a rate decides nothing: a
    /// warning is logged, once for each registry.
    with_window(window: Option<Window> = None; impl Into<Option<Window>>) "table_or_off", "Window::count(100)" => "Some(Window::count(100))";
    /// How many calls the window must hold before a rate is judged, at least 1 and at most the
    /// size of a window by count. Default (`None`): 10, or the window's size if that is smaller.
    with_min_calls(min_calls: Option<u32> = None; impl Into<Option<u32>>) "or_default", "20" => "Some(20)";
    /// The failure rate, above 0 and up to 1, that opens the circuit. Default none. Needs a window, or
    /// [`HalfOpenMode::Rate`], where it judges the probes.
    with_failure_rate(failure_rate: Option<f64> = None; impl Into<Option<f64>>) "or_off", "0.5" => "Some(0.5)";
    /// A call that takes this long or longer is slow. Default none.
    with_slow_call(slow_call: Option<Duration> = None; impl Into<Option<Duration>>) "or_off", "Duration::from_secs(2)" => "Some(Duration::from_secs(2))";
    /// The rate of slow calls, above 0 and up to 1, that opens the circuit; needs `slow_call`,
    /// and a window or [`HalfOpenMode::Rate`]. Default none.
    with_slow_rate(slow_rate: Option<f64> = None; impl Into<Option<f64>>) "or_off", "0.8" => "Some(0.8)";
    /// Whether [`call`](crate::HealthRegistry::call) and `call_async` time what they call, for the
    /// [average](crate::Snapshot::latency) by which peers are ranked. They do so anyway while there is a
    /// `HealthMonitor`, and where `slow_call` is set; otherwise a healthy peer's call reads no clock.
    /// Default off.
    with_timing(timing: bool = false; bool) "plain", "true" => "true";
    /// How long the circuit stays open the first time. Default 5 s. Zero lets it be probed at once, and
    /// more than `open_max` acts as that: a warning is logged, once for each registry.
    with_open_timeout(open_timeout: Duration = Duration::from_secs(5); Duration) "plain", "Duration::from_secs(1)" => "Duration::from_secs(1)";
    /// By how much the wait grows with each half-open phase that failed, at least 1. Default 2.
    with_open_multiplier(open_multiplier: f64 = 2.0; f64) "plain", "1.5" => "1.5";
    /// The longest wait, whatever the multiplier and the peer say. Default 5 min.
    with_open_max(open_max: Duration = Duration::from_secs(300); Duration) "plain", "Duration::from_secs(60)" => "Duration::from_secs(60)";
    /// The part of the wait, 0 to 1, that may be cut off at random, so that peers which failed
    /// together are not probed together. Default 0.1.
    with_open_jitter(open_jitter: f64 = 0.1; f64) "plain", "0.5" => "0.5";
    /// Successes that close a half-open circuit, and the number of its probes: 1 to 64.
    /// Default 2.
    with_success_threshold(success_threshold: u32 = 2; u32) "plain", "1" => "1";
    /// How probes decide. Default [`HalfOpenMode::All`].
    with_half_open_mode(half_open_mode: HalfOpenMode = HalfOpenMode::All; HalfOpenMode), "HalfOpenMode::All" => "HalfOpenMode::All";
    /// The age, above zero, from which on the next call that asks ends a half-open phase that has
    /// not decided: as failed if a probe hangs or, by rate, the outcomes are bad; as good if there
    /// are other outcomes; and by a new phase if there are none. Default none.
    with_half_open_max(half_open_max: Option<Duration> = None; impl Into<Option<Duration>>) "or_off", "Duration::from_secs(90)" => "Some(Duration::from_secs(90))";
    /// How long a probe may take before its slot is given again and its outcome is late, above
    /// zero; `None` lets a probe that never returns hold its slot for ever. Default 60 s.
    with_probe_lease(probe_lease: Option<Duration> = Some(Duration::from_secs(60)); impl Into<Option<Duration>>) "or_off", "Duration::from_secs(10)" => "Some(Duration::from_secs(10))";
    /// How many peers are tracked at most, at least 1. Default 65,536. When it is lowered, insertions
    /// get there step by step, [`sweep`](crate::HealthRegistry::sweep) at once.
    with_max_peers(max_peers: usize = 65_536; usize) "plain", "1024" => "1024";
    /// A clean peer that was not used for this long may be forgotten. Default 10 min.
    with_idle_timeout(idle_timeout: Duration = Duration::from_secs(600); Duration) "plain", "Duration::from_secs(60)" => "Duration::from_secs(60)";
    /// A peer in trouble that was not used for this long, after its wait was over, may be
    /// forgotten too. Default 1 h.
    with_forget_after(forget_after: Duration = Duration::from_secs(3600); Duration) "plain", "Duration::from_secs(600)" => "Duration::from_secs(600)";
    /// Whether trips are held back when so many peers would be open that it is probably this node
    /// that is cut off: see [`local_outage`](crate::HealthRegistry::local_outage). Default off.
    /// Peers that never answered are not held back, nor are any while others answer. Where few peers
    /// are new, call [`sweep`](crate::HealthRegistry::sweep) once in each `idle_timeout`, or peers that
    /// nobody has used for long count as in use.
    with_outage_guard(outage_guard: bool = false; bool) "plain", "true" => "true";
    /// The part of the peers in use that may be open while the outage guard is on: 1 to 100 per
    /// cent. Default 50.
    with_outage_max_open_percent(outage_max_open_percent: u32 = 50; u32) "plain", "30" => "30";
    /// The outage guard holds nothing back while fewer peers than this are in use, at least 1.
    /// Default 3.
    with_outage_min_peers(outage_min_peers: u32 = 3; u32) "plain", "10" => "10";
}
