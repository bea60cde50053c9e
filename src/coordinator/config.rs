//! The settings of a coordinator as plain values, which a file can hold: the builder takes live budgets,
//! which belong to one coordinator.

use std::time::Duration;

use crate::budget::RetryBudget;
use crate::config::ConfigError;
use crate::retry_policy::RetryPolicy;
#[cfg(feature = "serde")]
use crate::serde::{or_default, plain, table_or_off};

/// The settings of a [`SyncCoordinator`](crate::SyncCoordinator) as plain values: what a program can
/// compare, keep, and with the feature `serde` read from a file. The fields say what the methods of
/// [`CoordinatorBuilder`](crate::CoordinatorBuilder) of the same names say, and have the same defaults.
/// [`CoordinatorBuilder::config`](crate::CoordinatorBuilder::config) takes all of them.
///
/// ```
/// use peer_health::{CoordinatorConfig, HealthRegistry, SyncCoordinator};
///
/// let mut config = CoordinatorConfig::default();
/// config.budget.max_tokens = 10;
/// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
/// let coordinator = builder.config(config).build()?;
/// assert_eq!(coordinator.budget().milli_tokens(), 10_000);
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct CoordinatorConfig {
    /// When the attempts of an operation are made, and how many. Default [`RetryPolicy::default`].
    pub retry: RetryPolicy,
    /// How long one attempt may take. Default (`None`): 10 s, or half of the registry's `probe_lease` if
    /// that is shorter.
    #[cfg_attr(feature = "serde", serde(with = "or_default"))]
    pub attempt_deadline: Option<Duration>,
    /// How long a session must last to be good; zero switches the rule off. Default 10 s.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub stable_after: Duration,
    /// How many attempts may be made at the same time, over all peers, at least 1. Default 64.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub max_concurrent: usize,
    /// How many attempts may be made at the same time with one peer, at least 1. Default 1.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub max_per_peer: usize,
    /// What retries may cost, over all peers. Default [`BudgetConfig::default`].
    pub budget: BudgetConfig,
    /// What retries with one peer may cost. Default none.
    #[cfg_attr(feature = "serde", serde(with = "table_or_off"))]
    pub budget_per_peer: Option<BudgetConfig>,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            attempt_deadline: None,
            stable_after: Duration::from_secs(10),
            max_concurrent: 64,
            max_per_peer: 1,
            budget: BudgetConfig::default(),
            budget_per_peer: None,
        }
    }
}

/// The settings of a [`RetryBudget`] as plain values; the default is that of [`RetryBudget::default`].
///
/// ```
/// use peer_health::{BudgetConfig, CoordinatorConfig, HealthRegistry, SyncCoordinator};
///
/// let mut config = CoordinatorConfig::default();
/// let mut budget = BudgetConfig::default();
/// budget.token_ratio = 2.0;
/// config.budget_per_peer = Some(budget);
/// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
/// let error = builder.config(config).build().unwrap_err();
/// assert_eq!(error.to_string(), "budget_per_peer.token_ratio is 2: must be from 0.001 to 1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct BudgetConfig {
    /// How many tokens a full budget has, at least 1. Default 1000.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub max_tokens: u32,
    /// How much of a token each success gives back, 0.001 to 1. Default 0.1.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub token_ratio: f64,
    /// How many tokens come back each second by the registry's clock, 0 to a million. Default 1.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub per_second: f64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { max_tokens: 1000, token_ratio: 0.1, per_second: 1.0 }
    }
}

/// The fields of the tables, as a file spells them below the coordinator's settings.
pub(super) const RETRY: &[&str] =
    &["retry.initial_delay", "retry.backoff_multiplier", "retry.jitter_factor"];
const BUDGET: &[&str] = &["budget.max_tokens", "budget.token_ratio", "budget.per_second"];
const PER_PEER: &[&str] =
    &["budget_per_peer.max_tokens", "budget_per_peer.token_ratio", "budget_per_peer.per_second"];

/// The budgets for all peers together and for each, or what is wrong with their settings.
type Budgets = (Result<RetryBudget, ConfigError>, Result<Option<RetryBudget>, ConfigError>);

impl CoordinatorConfig {
    pub(super) fn budgets(&self) -> Budgets {
        let per_peer = self.budget_per_peer.map(|budget| budget.build(PER_PEER)).transpose();
        (self.budget.build(BUDGET), per_peer)
    }
}

impl BudgetConfig {
    fn build(self, names: &[&'static str]) -> Result<RetryBudget, ConfigError> {
        RetryBudget::new(self.max_tokens, self.token_ratio)
            .and_then(|budget| budget.with_refill(self.per_second))
            .map_err(|error| error.within(names))
    }
}
