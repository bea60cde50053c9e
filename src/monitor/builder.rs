//! The choices of how a monitor works.

use std::fmt;

use super::{HealthMonitor, MonitorShared};
use crate::config::ConfigError;
use crate::registry::{HealthRegistry, PeerKey};

/// Makes a [`HealthMonitor`]: see [`HealthMonitor::builder`] for the defaults.
///
/// ```
/// use peer_health::{HealthMonitor, HealthRegistry};
///
/// let monitor = HealthMonitor::builder(HealthRegistry::<u32>::new())
///     .capacity(256)
///     .worst(3)
///     .seed(1)
///     .build()?;
/// assert!(monitor.summary().worst.is_empty());
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[must_use]
pub struct MonitorBuilder<K> {
    registry: HealthRegistry<K>,
    capacity: usize,
    worst: usize,
    seed: Option<u64>,
}

impl<K: PeerKey> MonitorBuilder<K> {
    pub(super) fn new(registry: HealthRegistry<K>) -> Self {
        Self { registry, capacity: 1024, worst: 10, seed: None }
    }

    /// Sets how many events each [stream](HealthMonitor::subscribe) keeps for a reader that lags, at least
    /// 1. Only events that wait take memory. Default: 1024.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// let builder = HealthMonitor::builder(HealthRegistry::<u32>::new());
    /// assert_eq!(builder.capacity(0).build().unwrap_err().field(), "capacity");
    /// ```
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// Sets how many peers a [summary](HealthMonitor::summary) names. Default: 10.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthMonitor, HealthRegistry, SyncError};
    /// let config = HealthConfig::default().with_failure_threshold(1);
    /// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
    /// let monitor = HealthMonitor::builder(registry.clone()).worst(2).build()?;
    /// for peer in 0..3 {
    ///     registry.acquire(&peer).unwrap().failure(SyncError::Network("reset".into()));
    /// }
    /// let summary = monitor.summary();
    /// assert_eq!((summary.open, summary.worst.len()), (3, 2));
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn worst(mut self, peers: usize) -> Self {
        self.worst = peers;
        self
    }

    /// Makes the [choices](HealthMonitor::pick) repeatable, as long as one thread makes them.
    /// Default: a random seed.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// let choose = || {
    ///     let registry = HealthRegistry::<u32>::new();
    ///     let monitor = HealthMonitor::builder(registry).seed(1).build().unwrap();
    ///     [(); 9].map(|()| monitor.pick(&[4, 5, 6, 7]).copied())
    /// };
    /// assert_eq!(choose(), choose());
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the monitor, which reads every known peer once.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] names `capacity` if it is 0.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// assert!(HealthMonitor::builder(HealthRegistry::<u32>::new()).build().is_ok());
    /// ```
    pub fn build(self) -> Result<HealthMonitor<K>, ConfigError> {
        if self.capacity == 0 {
            return Err(ConfigError::number("capacity", 0u32, "must be at least 1"));
        }
        Ok(self.with_defaults())
    }

    /// Makes the monitor without a check, which the defaults pass.
    pub(super) fn with_defaults(self) -> HealthMonitor<K> {
        let seed = self.seed.unwrap_or_else(rand::random);
        HealthMonitor {
            shared: MonitorShared::begin(self.registry, self.capacity, self.worst, seed),
        }
    }
}

impl<K: PeerKey> fmt::Debug for MonitorBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorBuilder")
            .field("capacity", &self.capacity)
            .field("worst", &self.worst)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
