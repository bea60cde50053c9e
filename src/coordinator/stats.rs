//! What a driver shows of itself: what it has done, and which peers it waits for.

use std::time::Duration;

/// The counters of a [`SyncDriver`](crate::SyncDriver): what it has done, and what there is to do.
///
/// ```
/// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
/// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
/// driver.pause();
/// driver.request(&7);
/// let stats = driver.stats();
/// assert_eq!((stats.waiting, stats.started, stats.paused), (1, 0, true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DriverStats {
    /// How many peers wait to be called.
    pub waiting: usize,
    /// How many peers are being called.
    pub running: usize,
    /// How many calls were begun.
    pub started: u64,
    /// How many calls succeeded.
    pub succeeded: u64,
    /// How many calls failed, ran past their deadline, or panicked.
    pub failed: u64,
    /// How many operations were given up: their error was not worth another attempt, no attempt or no
    /// budget was left, or the peer is forced open until a reset.
    pub given_up: u64,
    /// How many of those would have been tried again if there had been budget for it.
    pub retries_refused: u64,
    /// How many requests of peers that never answered were refused since `max_peers` of them waited.
    pub strangers_refused: u64,
    /// Whether the driver is [paused](crate::SyncDriver::pause).
    pub paused: bool,
    /// Whether calls fail for a reason of this node, so that the driver makes only one now and then.
    pub local_trouble: bool,
    /// Whether the driver has ended, so that it calls no peer any more.
    pub finished: bool,
}

/// A peer that a [`SyncDriver`](crate::SyncDriver) waits for.
///
/// ```
/// use peer_health::{HealthRegistry, SyncCoordinator, SyncError, WaitReason, Waiting};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
/// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
/// driver.pause();
/// driver.request(&7);
/// let waiting: Vec<Waiting<u32>> = driver.waiting();
/// assert_eq!((waiting[0].peer, waiting[0].reason), (7, WaitReason::Slot));
/// assert!(waiting[0].until.is_zero());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Waiting<K> {
    /// The peer.
    pub peer: K,
    /// How long the peer still waits, by the registry's clock; zero if it is due.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serde::seconds"))]
    pub until: Duration,
    /// Why the peer waits.
    pub reason: WaitReason,
}

/// The reason for which a [`SyncDriver`](crate::SyncDriver) does not call a peer yet.
///
/// ```
/// assert_eq!(peer_health::WaitReason::Circuit.to_string(), "its circuit is open");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WaitReason {
    /// The peer is due: it waits for its turn, for a concurrency slot, or for the driver to be resumed.
    #[error("it waits for a concurrency slot")]
    Slot,
    /// The last attempt failed, and the policy or the peer says when the next is due.
    #[error("its last attempt failed")]
    Retry,
    /// The last attempt failed for a reason of this node.
    #[error("its last attempt failed for a reason of this node")]
    Local,
    /// The circuit is open.
    #[error("its circuit is open")]
    Circuit,
    /// The circuit is half-open, and other calls probe it.
    #[error("its circuit is being probed")]
    Probes,
    /// The peer's sessions end as soon as they begin: see
    /// [`stable_after`](crate::CoordinatorBuilder::stable_after).
    #[error("its sessions end too soon")]
    Session,
}

impl WaitReason {
    /// Whether a step of the circuit may end the wait.
    pub(super) fn is_for_the_circuit(self) -> bool {
        matches!(self, Self::Circuit | Self::Probes)
    }
}
