//! Tokio's time (feature `tokio`): a clock that `tokio::time::pause` stops, and the failure that a passed
//! deadline means.
//!
//! iroh has no fast failure: a dial to a dead port takes 30 s, and a call of an application that never
//! answers never fails. So the driver runs every attempt under a deadline, and an attempt that passes it has
//! failed like any other.

use crate::error::{Failure, Fault, SyncError};
use crate::runtime::{Elapsed, Instant};
use crate::time::Clock;

impl Clock {
    /// Returns tokio's clock: it stands still under `tokio::time::pause` and moves with
    /// `tokio::time::advance`, so one test moves its timers and its circuits together.
    ///
    /// Outside a runtime, and in a runtime whose time is not paused, it is the system's monotonic clock.
    /// Only code within a runtime sees that runtime's paused time: make the clock and use the registry
    /// there.
    ///
    /// ```
    /// use peer_health::{Clock, HealthConfig, HealthRegistry, SyncError};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
    /// #     .block_on(async {
    /// let config = HealthConfig::default()
    ///     .with_failure_threshold(1)
    ///     .with_open_timeout(Duration::from_secs(5));
    /// let registry = HealthRegistry::<u32>::builder().clock(Clock::tokio()).config(config).build()?;
    /// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
    ///
    /// tokio::time::advance(Duration::from_secs(4)).await;
    /// assert!(registry.acquire(&7).is_err());
    /// tokio::time::advance(Duration::from_secs(1)).await;
    /// assert!(registry.acquire(&7).is_ok());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tokio() -> Self {
        let start = Instant::now();
        Self::from_fn(move || start.elapsed())
    }
}

/// Converts a passed deadline to [`SyncError::Network`] with [`Fault::Link`], which counts. This side cannot
/// tell whether the peer is slow, or the way to it.
///
/// ```
/// use peer_health::{Failure, Fault};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
/// #     .block_on(async {
/// let silent = std::future::pending::<()>();
/// let elapsed = tokio::time::timeout(Duration::from_secs(2), silent).await.unwrap_err();
/// assert_eq!(Failure::from(elapsed).fault(), Fault::Link);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
impl From<&Elapsed> for Failure {
    fn from(elapsed: &Elapsed) -> Self {
        Self::from(SyncError::Network(elapsed.to_string())).with_fault(Fault::Link)
    }
}

impl From<Elapsed> for Failure {
    fn from(elapsed: Elapsed) -> Self {
        Self::from(&elapsed)
    }
}
