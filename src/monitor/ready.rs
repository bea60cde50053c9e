//! How a monitor waits until a peer may be called.

use std::future::pending;
use std::time::Duration;

use super::HealthMonitor;
use crate::outcome::{NextAdmission, Status};
use crate::registry::PeerKey;
use crate::runtime::{Instant, sleep};
use crate::wakers::shielded;

/// What gives no event is found by reading the peer again: after as long again as was waited before, but
/// no sooner than the first of these and no later than the second.
const PROBES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
const OPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::MAX);

impl<K: PeerKey> HealthMonitor<K> {
    /// Waits until it is worth asking for a permit for the peer: its circuit is closed or its wait is
    /// over, a probe slot is free, a ban is lifted, or the registry forgot the peer.
    ///
    /// This takes no permit. Every task that waits for the peer is woken, and a half-open circuit admits
    /// a few of them. A task that is refused waits again:
    ///
    /// ```
    /// use peer_health::{Clock, HealthConfig, HealthMonitor, HealthRegistry, SyncError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
    /// #     .block_on(async {
    /// let config = HealthConfig::default().with_failure_threshold(1);
    /// let registry =
    ///     HealthRegistry::<u32>::builder().config(config).clock(Clock::tokio()).build().unwrap();
    /// let monitor = HealthMonitor::new(registry.clone());
    /// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
    /// let permit = loop {
    ///     monitor.ready(&7).await;
    ///     if let Ok(permit) = registry.acquire(&7) {
    ///         break permit;
    ///     }
    /// };
    /// assert!(permit.is_probe());
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// A transition wakes the task at once, and tokio's timer does at the end of a wait. What is no
    /// transition is found by reading the peer again, each time after as long as was waited before. A
    /// probe slot that is free again, since its call was dropped or its lease is over, is found within
    /// 10 ms to 1 s. A wait that [`end_wait`] cut short, or a clock that runs ahead of tokio's, is found
    /// after a second at the earliest.
    ///
    /// A circuit whose probes hang for longer than `half_open_max` opens again when a permit is asked
    /// for, so this returns.
    ///
    /// [`end_wait`]: crate::HealthRegistry::end_wait
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind, and takes nothing from other tasks that wait.
    pub async fn ready(&self, peer: &K) {
        shielded(self.wait_for(peer)).await;
    }

    async fn wait_for(&self, peer: &K) {
        // The watch begins before the first read, so no transition is lost between.
        let mut watch = self.watch(peer);
        let began = Instant::now();
        while let Some(look_again) = self.wait(peer, began) {
            let nap = async {
                match look_again {
                    Some(nap) => sleep(nap).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                _ = watch.changed() => {}
                () = nap => {}
            }
        }
    }

    /// Returns `None` if it is worth asking now; otherwise how long until the peer is to be read again, if
    /// no event will tell.
    fn wait(&self, peer: &K, began: Instant) -> Option<Option<Duration>> {
        // One snapshot has both from the same state.
        let seen = self.registry().snapshot(peer)?;
        let nap = |(least, most): (Duration, Duration)| began.elapsed().clamp(least, most);
        match (seen.next_admission, seen.status) {
            (NextAdmission::Now, _) => None,
            // The circuit opens again when a permit is asked for.
            (NextAdmission::After(_), Status::HalfOpen) => None,
            (NextAdmission::After(wait), _) => Some(Some(wait.min(nap(OPEN)))),
            (_, Status::ForcedOpen) => Some(None),
            _ => Some(Some(nap(PROBES))),
        }
    }
}
