//! Why an operation gave no result, and why a driver could not be started.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::error::Failure;
use crate::outcome::Refused;
use crate::runtime::{Runtime, timer};
use crate::sync::Arc;

/// The error of [`SyncCoordinator::sync`](crate::SyncCoordinator::sync): it says why there is no result,
/// and carries the error that the operation itself returned last.
///
/// Its [`source`](Error::source) is that error, or the [`Failure`] if the last attempt ran past its
/// deadline.
///
/// ```
/// use peer_health::{HealthRegistry, OperationError, SyncCoordinator, SyncError};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let registry = HealthRegistry::<u32>::new();
/// let coordinator = SyncCoordinator::new(registry.clone());
/// let wrong = async |_| Err::<(), _>(SyncError::Protocol("not a sync message".into()));
/// match coordinator.sync(&7, wrong).await {
///     Err(OperationError::GaveUp { attempts: 1, error: Some(SyncError::Protocol(text)), .. }) => {
///         assert_eq!(text, "not a sync message");
///     }
///     other => panic!("{other:?}"),
/// }
/// registry.force_open(&7).unwrap();
/// let refused = coordinator.sync(&7, wrong).await.unwrap_err();
/// assert!(matches!(refused, OperationError::Refused(_)) && refused.attempts() == 0);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum OperationError<E> {
    /// The peer's circuit refused the first attempt, so no call was made. Ask again after the
    /// refusal's `retry_after`, if it has one.
    Refused(Refused),
    /// The last attempt failed, and the policy allows no other or its error is not worth one.
    GaveUp {
        /// How many attempts were made.
        attempts: u32,
        /// The error that the last attempt returned; `None` if its deadline passed first.
        error: Option<E>,
        /// What the registry was told of the last attempt: the same error with its
        /// [`Fault`](crate::Fault), or that the deadline passed.
        failure: Arc<Failure>,
    },
    /// The last attempt failed and is worth another, but the budget for retries is used up: too many
    /// operations fail at the moment. Ask again when calls succeed.
    BudgetSpent {
        /// How many attempts were made.
        attempts: u32,
        /// The error that the last attempt returned; `None` if its deadline passed first.
        error: Option<E>,
        /// What the registry was told of the last attempt: the same error with its
        /// [`Fault`](crate::Fault), or that the deadline passed.
        failure: Arc<Failure>,
    },
    /// The future was polled outside of a tokio runtime; no call was made.
    NoRuntime,
    /// The runtime has no timers, so an attempt would have no deadline; no call was made. Build the
    /// runtime with `enable_time` or `enable_all`.
    NoTimers,
}

impl<E> OperationError<E> {
    /// Returns how many attempts were made: zero if the peer's circuit refused the first, or if the
    /// runtime was missing.
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

    /// Returns the error that the operation returned last; `None` if no attempt was made, or if the
    /// last ran past its deadline.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let wrong = async |_| Err::<(), _>(SyncError::Document("bad checksum".into()));
    /// let failed = coordinator.sync(&7, wrong).await.unwrap_err();
    /// assert_eq!(failed.error(), Some(&SyncError::Document("bad checksum".into())));
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn error(&self) -> Option<&E> {
        match self {
            Self::Refused(_) | Self::NoRuntime | Self::NoTimers => None,
            Self::GaveUp { error, .. } | Self::BudgetSpent { error, .. } => error.as_ref(),
        }
    }

    /// Returns the error that the operation returned last, by value: see [`error`](Self::error).
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// use std::io;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
    /// #     .block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let gone = async |_| Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionReset));
    /// let failed = coordinator.sync(&7, gone).await.unwrap_err();
    /// assert_eq!(failed.into_error().map(|error| error.kind()), Some(io::ErrorKind::ConnectionReset));
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_error(self) -> Option<E> {
        match self {
            Self::Refused(_) | Self::NoRuntime | Self::NoTimers => None,
            Self::GaveUp { error, .. } | Self::BudgetSpent { error, .. } => error,
        }
    }

    /// Returns what the registry was told of the last attempt; `None` if no attempt was made.
    ///
    /// ```
    /// use peer_health::{Fault, HealthRegistry, SyncCoordinator, SyncError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
    /// #     .block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let silent = async |_| std::future::pending::<Result<(), SyncError>>().await;
    /// let failed = coordinator.sync(&7, silent).await.unwrap_err();
    /// assert_eq!(failed.error(), None, "the deadline passed");
    /// assert_eq!(failed.failure().unwrap().fault(), Fault::Link);
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

impl<E> From<Refused> for OperationError<E> {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl<E> From<DriveError> for OperationError<E> {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::NoRuntime => Self::NoRuntime,
            DriveError::NoTimers => Self::NoTimers,
        }
    }
}

impl<E> fmt::Display for OperationError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::GaveUp { attempts, .. } => write!(f, "gave up after {attempts} attempts"),
            Self::BudgetSpent { attempts, .. } => {
                write!(f, "no budget for a retry after {attempts} attempts")
            }
            Self::NoRuntime => DriveError::NoRuntime.fmt(f),
            Self::NoTimers => DriveError::NoTimers.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for OperationError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(refused) => refused.source(),
            Self::GaveUp { error, failure, .. } | Self::BudgetSpent { error, failure, .. } => {
                match error {
                    Some(error) => Some(error),
                    None => Some(&**failure),
                }
            }
            Self::NoRuntime | Self::NoTimers => None,
        }
    }
}

/// The error of [`SyncCoordinator::drive`](crate::SyncCoordinator::drive): the calling thread has no
/// runtime that a driver could run in.
///
/// ```
/// use peer_health::{DriveError, HealthRegistry, SyncCoordinator, SyncError};
///
/// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
/// let error = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap_err();
/// assert_eq!(error, DriveError::NoRuntime);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The calling thread is in no tokio runtime. Call it within one.
    #[error("no tokio runtime to run in")]
    NoRuntime,
    /// The tokio runtime has no timers. Build it with `enable_time` or `enable_all`. In
    /// `wasm32-unknown-unknown`: there is no `setTimeout`.
    #[error("the tokio runtime has no timers")]
    NoTimers,
}

/// Returns the calling thread's runtime, if it has timers (D11).
pub(super) fn runtime_with_timers() -> Result<Runtime, DriveError> {
    let runtime = Runtime::current().ok_or(DriveError::NoRuntime)?;
    timer(Duration::ZERO).map(|_| runtime).ok_or(DriveError::NoTimers)
}
