//! Whether there is a runtime to run in, and whether it has timers (D11).

use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::foreign::guarded;

/// Why a driver could not be started: see [`SyncCoordinator::drive`](crate::SyncCoordinator::drive).
///
/// ```
/// use peer_health::{DriveError, HealthRegistry, SyncCoordinator, SyncError};
///
/// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
/// let error = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap_err();
/// assert_eq!(error, DriveError::NoRuntime);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DriveError {
    /// There is no tokio runtime here: call it within one.
    #[error("no tokio runtime to run in")]
    NoRuntime,
    /// The runtime has no timers: build it with `enable_time` or `enable_all`.
    #[error("the tokio runtime has no timers")]
    NoTimers,
}

/// The runtime that this is called in, if it has timers.
pub(super) fn with_timers() -> Result<Handle, DriveError> {
    let runtime = Handle::try_current().map_err(|_| DriveError::NoRuntime)?;
    // Tokio has no other answer: a timer that cannot be made panics.
    guarded(|| drop(sleep(Duration::ZERO))).map(|()| runtime).ok_or(DriveError::NoTimers)
}
