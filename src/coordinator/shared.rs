//! What operations and drivers of one coordinator share: its limits, what it remembers of peers, and
//! what the registry tells it.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::limits::Limits;
use super::slots::PeerClass;
use super::state::DriverState;
use crate::budget::RetryBudget;
use crate::foreign::guarded;
use crate::registry::hook::{HookNotice, Hooked, Standing};
use crate::registry::{HealthRegistry, Name, Names, PeerKey};
use crate::retry_policy::RetryPolicy;
use crate::sync::{Arc, Weak};
use crate::time::{Tick, nanos};

pub(super) struct CoordinatorShared<K: PeerKey> {
    pub(super) registry: HealthRegistry<K>,
    pub(super) retry: RetryPolicy,
    pub(super) deadline: Duration,
    /// Set when the log has said that probes get a shorter deadline.
    pub(super) shortened: OnceLock<()>,
    pub(super) stable_after: Duration,
    pub(super) budget: RetryBudget,
    pub(super) limits: Arc<Limits<Name<K>>>,
    /// The names by which the limits and the drivers know peers.
    pub(super) names: Names<K>,
    pub(super) seed: Option<u64>,
    /// The drivers that hear what the registry tells.
    pub(super) drivers: Mutex<Arc<Vec<Weak<DriverState<K>>>>>,
    /// The subscription to the registry's notices ends with the last handle.
    pub(super) hooked: OnceLock<Hooked>,
}

impl<K: PeerKey> CoordinatorShared<K> {
    /// The longest wait between two attempts: a peer may ask for no longer one than its circuit would
    /// keep (R16).
    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_nanos(self.registry.rules().open_max).max(self.retry.max_delay)
    }

    /// Records that the peer answered: gives both budgets their part of a token back.
    pub(super) fn record_answer(&self, peer: &Name<K>) {
        self.remember_answer(peer);
        self.budget.succeeded();
        self.limits.budget(peer, RetryBudget::succeeded);
    }

    fn remember_answer(&self, peer: &Name<K>) {
        let most = self.registry.rules().max_peers;
        self.limits.record_answer(peer, self.registry.now(), most);
    }

    /// Reads how the peer stands. A peer whose key does not let the registry find it stands as a new
    /// one, so that what has to be done is done whatever the key does.
    pub(super) fn standing(&self, peer: &Name<K>) -> Standing {
        guarded(|| self.registry.standing(peer)).unwrap_or_default()
    }

    pub(super) fn class(&self, peer: &Name<K>) -> PeerClass {
        self.limits.class(peer, &self.standing(peer))
    }

    /// Returns when the delay of the peer's short sessions ends (D5).
    pub(super) fn not_before(&self, peer: &Name<K>) -> Option<Tick> {
        self.limits.answered(|answered| answered.not_before(peer))
    }

    pub(super) fn session_began(&self, peer: &Name<K>) {
        let now = self.registry.now();
        self.limits.answered(|answered| answered.session_began(peer, now));
    }

    pub(super) fn session_lost(&self, peer: &Name<K>) {
        let (now, rules) = (self.registry.now(), self.registry.rules());
        let stable = nanos(self.stable_after);
        let wait = |short| rules.open_wait_after(short);
        self.limits.answered(|answered| answered.session_lost(peer, now, stable, wait));
    }

    /// Hands what the registry tells to the drivers.
    pub(super) fn on_notice(&self, notice: HookNotice<'_, K>) {
        match notice {
            HookNotice::Peer(peer) => match guarded(|| self.names.known(peer)) {
                Some(Some(name)) => self.each_driver(|driver| driver.recheck(&name)),
                // No driver waits for a peer without a name.
                Some(None) => {}
                // The key does not say which peer it is.
                None => self.each_driver(DriverState::recheck_all),
            },
            // A peer that answered stays no stranger when its tracker is gone.
            HookNotice::Gone { peer, answered } => {
                if let (true, Some(name)) = (answered, guarded(|| self.names.name(peer))) {
                    self.remember_answer(&name);
                }
                self.on_notice(HookNotice::Peer(peer));
            }
            HookNotice::LinkIsBack => self.each_driver(DriverState::link_is_back),
            #[cfg(feature = "iroh")]
            HookNotice::NewNetwork => self.each_driver(DriverState::kick_all),
            // A driver looks each second at a circuit that other calls probe, and another notice
            // tells of the step.
            HookNotice::Configured | HookNotice::Unheard(_) => {}
            #[cfg(feature = "metrics")]
            HookNotice::Count(counts) => self.each_driver(|driver| {
                let (stats, mut sum) = (driver.stats(), counts.get());
                sum.waiting += stats.waiting;
                sum.running += stats.running;
                sum.in_trouble += usize::from(stats.local_trouble);
                counts.set(sum);
            }),
        }
    }

    fn each_driver(&self, tell: impl Fn(&DriverState<K>)) {
        let drivers = Arc::clone(&self.drivers.lock().unwrap_or_else(PoisonError::into_inner));
        drivers.iter().filter_map(Weak::upgrade).for_each(|driver| tell(&driver));
    }

    /// Adds a driver, and forgets those that are gone.
    pub(super) fn add_driver(&self, driver: &Arc<DriverState<K>>) {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = drivers.iter().filter(|driver| driver.strong_count() > 0).cloned();
        *drivers = Arc::new(alive.chain([Arc::downgrade(driver)]).collect());
    }
}

#[cfg(test)]
mod tests {
    use crate::coordinator::SyncCoordinator;
    use crate::error::SyncError;
    use crate::registry::HealthRegistry;

    /// W5: the drivers that exist bound what is remembered of drivers.
    #[tokio::test(start_paused = true)]
    async fn drivers_that_are_gone_are_not_remembered() {
        let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
        for _ in 0..10 {
            let driver = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap();
            driver.shutdown().await;
            drop(driver);
            tokio::task::yield_now().await;
        }
        let remembered = coordinator.shared.drivers.lock().unwrap().len();
        assert!(remembered <= 2, "{remembered}");
    }
}
