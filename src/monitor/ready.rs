//! QueuedEvents until a peer may be called.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::HealthMonitor;
use crate::outcome::{NextAdmission, Status};
use crate::registry::PeerKey;
use crate::wakers::shielded;

/// What gives no event is looked for when as long again was waited as before, but not sooner than
/// this, nor later than that.
const PROBES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
const OPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::MAX);

impl<K: PeerKey> HealthMonitor<K> {
    /// Waits until it is worth asking to call the peer: its circuit is closed or its wait is over, a
    /// probe's slot is free, a ban is lifted, or the peer was forgotten.
    ///
    /// Takes no permit: of all who wait for a peer, each is told, and a half-open circuit admits a
    /// few. Whoever is refused waits again:
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
    /// Transitions wake it at once, and tokio's timer at the end of a wait. What is no transition
    /// is found by looking again, each time after as long as was waited before: a probe's slot that
    /// is free again, since its call was dropped or its lease is over, within 10 ms to 1 s; a wait
    /// cut short by [`end_wait`], or a clock that runs ahead of tokio's,
    /// not before a second.
    ///
    /// A circuit whose probes hang for longer than `half_open_max` opens again when somebody asks: this
    /// returns, so that somebody does.
    ///
    /// [`end_wait`]: crate::HealthRegistry::end_wait
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind, and takes nothing from others who wait.
    pub async fn ready(&self, peer: &K) {
        shielded(self.wait_for(peer)).await;
    }

    async fn wait_for(&self, peer: &K) {
        // WatchEntries before it is looked at: no transition is lost between.
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

    /// `None` if it is worth asking now; otherwise how long until it is to be looked at again, if
    /// that is not for an event to say.
    fn wait(&self, peer: &K, began: Instant) -> Option<Option<Duration>> {
        // Both of one state.
        let seen = self.registry().snapshot(peer)?;
        let nap = |(least, most): (Duration, Duration)| began.elapsed().clamp(least, most);
        match (seen.next_admission, seen.status) {
            (NextAdmission::Now, _) => None,
            // It would open again, if somebody asked.
            (NextAdmission::After(_), Status::HalfOpen) => None,
            (NextAdmission::After(wait), _) => Some(Some(wait.min(nap(OPEN)))),
            (_, Status::ForcedOpen) => Some(None),
            _ => Some(Some(nap(PROBES))),
        }
    }
}
