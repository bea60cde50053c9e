//! How a program pauses, watches and ends a driver.

use super::SyncDriver;
use crate::coordinator::stats::{DriverStats, Waiting};
use crate::registry::PeerKey;
use crate::wakers::shielded;

impl<K: PeerKey> SyncDriver<K> {
    /// Begins no call until [`resume`](Self::resume). Calls that are being made go on, the driver takes
    /// requests, and waits go by.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.pause();
    /// assert!(driver.stats().paused);
    /// driver.resume();
    /// assert!(!driver.stats().paused);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pause(&self) {
        self.driver.pause();
    }

    /// Ends a [`pause`](Self::pause), and makes every peer that waits due as
    /// [`kick_all`](Self::kick_all) does. Without a pause, it only ends a local outage.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.resume();
    /// assert!(!driver.stats().local_trouble);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn resume(&self) {
        self.driver.resume();
    }

    /// Returns what the driver has done, and what there is to do.
    ///
    /// ```
    /// use peer_health::{DriverStats, HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// assert_eq!(driver.stats(), DriverStats::default());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stats(&self) -> DriverStats {
        self.driver.stats()
    }

    /// Returns the peers that wait, until when and why, in no order. Its work is proportional to their
    /// number. A peer whose key panics in `Clone` is left out.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError, WaitReason};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.request(&7);
    /// assert_eq!(driver.waiting()[0].reason, WaitReason::Slot);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn waiting(&self) -> Vec<Waiting<K>> {
        self.driver.waiting()
    }

    /// Returns whether the driver has ended, so that it calls no peer any more: it was shut down and its
    /// calls have ended, or its runtime is gone.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// assert!(!driver.is_finished());
    /// driver.shutdown().await;
    /// assert!(driver.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.driver.stats().finished
    }

    /// Begins no further call, and waits until the calls that are being made have ended, each at its
    /// deadline at the latest. Peers that wait are not called, and are forgotten, also if the driver is
    /// paused or in a local outage. Drop the last handle to abort the calls instead. Do not await this
    /// inside an operation of the same driver: it waits for that operation.
    ///
    /// # Cancel safety
    ///
    /// The driver shuts down from this call on, whether the future is polled or dropped. Another call
    /// waits for the same end.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.shutdown().await;
    /// assert!(!driver.request(&7), "it has ended");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + use<K> {
        self.driver.close();
        let mut end = self.driver.end();
        // The channel carries no value: it is closed when the driver ends.
        shielded(async move { while end.changed().await.is_ok() {} })
    }
}
