//! Why a coordinated operation gave no result.

use thiserror::Error;

use super::runtime::DriveError;
use crate::error::Failure;
use crate::outcome::Refused;
use crate::sync::Arc;

/// Why [`SyncCoordinator::sync`](crate::SyncCoordinator::sync) gave no result.
///
/// ```
/// use peer_health::{HealthRegistry, SyncCoordinator, SyncError, OperationError};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let registry = HealthRegistry::<u32>::new();
/// registry.force_open(&7).unwrap();
/// let coordinator = SyncCoordinator::new(registry);
/// let failed = coordinator.sync(&7, async |_| Ok::<_, SyncError>(())).await.unwrap_err();
/// assert!(matches!(failed, OperationError::Refused(_)) && failed.attempts() == 0);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The first attempt was not made: the peer may not be called now. Ask again after
    /// `retry_after`, if that is known.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Attempts were made and failed, and another is not worth it or not allowed by the policy.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// How many were made.
        attempts: u32,
        /// Why the last one failed.
        #[source]
        failure: Arc<Failure>,
    },
    /// Another attempt would be worth it, but too many fail at the moment: the budget for retries
    /// is used up. Ask again when calls succeed.
    #[error("no budget for a retry after {attempts} attempts")]
    BudgetSpent {
        /// How many were made.
        attempts: u32,
        /// Why the last one failed.
        #[source]
        failure: Arc<Failure>,
    },
    /// The future was polled outside of a tokio runtime: nothing was done.
    #[error("no tokio runtime to run in")]
    NoRuntime,
    /// The runtime has no timers, and an attempt no deadline therefore: nothing was done. Build the
    /// runtime with `enable_time` or `enable_all`.
    #[error("the tokio runtime has no timers")]
    NoTimers,
}

impl From<DriveError> for OperationError {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::NoRuntime => Self::NoRuntime,
            DriveError::NoTimers => Self::NoTimers,
        }
    }
}

impl OperationError {
    /// How many attempts were made.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, RetryPolicy, SyncCoordinator, SyncError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
    /// #     .block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let reset = async |_| Err::<(), _>(SyncError::Network("reset".into()));
    /// let failed = coordinator.sync(&7, reset).await.unwrap_err();
    /// assert_eq!(failed.attempts(), RetryPolicy::default().max_attempts);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn attempts(&self) -> u32 {
        match self {
            Self::Refused(_) | Self::NoRuntime | Self::NoTimers => 0,
            Self::GaveUp { attempts, .. } | Self::BudgetSpent { attempts, .. } => *attempts,
        }
    }

    /// Why the last attempt failed, if one was made.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let wrong = async |_| Err::<(), _>(SyncError::Protocol("not a sync message".into()));
    /// let failed = coordinator.sync(&7, wrong).await.unwrap_err();
    /// assert!(failed.failure().is_some_and(|failure| failure.counts()));
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused(_) | Self::NoRuntime | Self::NoTimers => None,
            Self::GaveUp { failure, .. } | Self::BudgetSpent { failure, .. } => Some(failure),
        }
    }
}
