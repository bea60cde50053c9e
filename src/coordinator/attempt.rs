//! What operations and drivers share: how a slot is had, how an attempt is made, what is remembered of
//! its end, and what the registry tells.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::limits::{HeldSlots, Limits, SlotRequest};
use super::slots::PeerClass;
use super::state::DriverState;
use super::{CoordinatorShared, FailedAttempt};
use crate::budget::RetryBudget;
use crate::error::{ErrorSeverity, Failure, Fault, SyncError};
#[cfg(feature = "tracing")]
use crate::foreign::quietly;
use crate::foreign::{Own, guarded};
use crate::outcome::Refused;
use crate::permit::OwnedPermit;
use crate::registry::hook::{HookNotice, Standing};
use crate::registry::{Name, PeerKey};
use crate::sync::{Arc, Weak};
use crate::time::{Tick, nanos};

/// Takes back what was asked for, if nobody waits for it any more.
struct WithdrawOnDrop<'a, K: PeerKey> {
    limits: &'a Arc<Limits<Name<K>>>,
    peer: &'a Name<K>,
    asked: SlotRequest,
}

impl<K: PeerKey> Drop for WithdrawOnDrop<'_, K> {
    fn drop(&mut self) {
        self.limits.withdraw(self.peer, self.asked);
    }
}

impl<E> FailedAttempt<E> {
    /// Whether another attempt makes sense: the error may pass by itself, or the peer has said when
    /// to come back.
    pub(super) fn is_worth_another(&self) -> bool {
        let error = self.failure.error();
        let asked = self.failure.retry_after().is_some();
        error.is_retryable() || asked && error.severity() == ErrorSeverity::Severe
    }

    /// Whether a call was made, and not refused by our own circuit or a quota of ours.
    pub(super) fn was_made(&self) -> bool {
        use SyncError::{BandwidthExhausted, CircuitBreakerOpen};
        !matches!(self.failure.error(), CircuitBreakerOpen | BandwidthExhausted(_))
    }

    /// Whether this node is in trouble: not if no call was made, others may still be called.
    pub(super) fn is_local(&self) -> bool {
        self.failure.fault() == Fault::Local && self.was_made()
    }
}

impl<K: PeerKey> CoordinatorShared<K> {
    /// No attempt is made before that: as long as the peer asked for. How long its circuit is open is
    /// found when it is looked at, since a step may end that wait (D1).
    pub(super) fn least_wait<E>(&self, failed: &FailedAttempt<E>) -> Duration {
        failed.failure.retry_after().unwrap_or_default().min(self.longest_wait())
    }

    /// A peer may ask for no longer a wait than its circuit would keep (R16).
    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_nanos(self.registry.rules().open_max).max(self.retry.max_delay)
    }

    /// A slot with the peer, when there is one: at once the refusal, if the circuit refuses it.
    pub(super) async fn slot(&self, peer: &Name<K>) -> Result<HeldSlots<Name<K>>, Refused> {
        if let Some(refused) = self.registry.refusal(peer) {
            return Err(refused);
        }
        let class = self.class(peer);
        loop {
            let (given, slot) = oneshot::channel();
            let give = move |slot| drop(given.send(slot));
            let asked = self.limits.ask(peer, class, self.registry.now(), give);
            let _asking = WithdrawOnDrop { limits: &self.limits, peer, asked };
            // What was asked for is given once, unless it was taken back.
            if let Ok(slot) = slot.await {
                return Ok(slot);
            }
        }
    }

    /// One attempt, inside its permit and its slot; whether it was a probe.
    pub(super) async fn attempt<Call, T, E>(
        &self,
        slot: &mut HeldSlots<Name<K>>,
        permit: OwnedPermit<K>,
        retry: bool,
        op: impl Fn(K) -> Call,
    ) -> Result<(T, bool), FailedAttempt<E>>
    where
        Call: Future<Output = Result<T, E>>,
        Failure: for<'e> From<&'e E>,
    {
        let (peer, probe) = (slot.peer().clone(), permit.is_probe());
        let began = Instant::now();
        let ended = timeout(self.deadline(probe), op((*peer).clone())).await;
        let permit = permit.with_latency(began.elapsed());
        let (error, failure) = match ended {
            Ok(Ok(value)) => {
                permit.success();
                self.served(&peer);
                slot.now = Some(self.class(&peer));
                return Ok((value, probe));
            }
            Ok(Err(error)) => {
                // Its destructor is foreign, and so is its conversion.
                let error = Own::new(error);
                let failure = Failure::from(&*error);
                (Some(error), failure)
            }
            Err(elapsed) => (None, <Failure as From<Elapsed>>::from(elapsed)),
        };
        let recorded = permit.failure(&failure);
        let standing = self.standing(&peer);
        let class = self.limits.class(&peer, standing.answered, standing.troubled);
        slot.now = Some(class);
        // Probes and strangers take no token, and need none (D7).
        let limited = class != PeerClass::Stranger;
        if limited && retry && !probe && failure.counts() {
            self.budget.failed();
            self.limits.budget(&peer, RetryBudget::failed);
        }
        let closed = standing.opened_at.is_none();
        let allowed = !(limited && closed) || self.allows_retry(&peer);
        Err(FailedAttempt { error, failure: Arc::new(failure), recorded, allowed })
    }

    /// How long an attempt may take: what a probe says after its lease counts no more (D12).
    pub(super) fn deadline(&self, probe: bool) -> Duration {
        let lease = self.registry.rules().lease.filter(|_| probe).map(Duration::from_nanos);
        let Some(lease) = lease.filter(|lease| *lease <= self.deadline) else {
            return self.deadline;
        };
        if self.shortened.set(()).is_ok() {
            warn(self.deadline, lease);
        }
        lease / 2
    }

    pub(super) fn served(&self, peer: &Name<K>) {
        let most = self.registry.rules().max_peers;
        self.limits.served(peer, self.registry.now(), most);
        self.budget.succeeded();
        self.limits.budget(peer, RetryBudget::succeeded);
    }

    /// How the peer stands, as a new one if its key does not let the registry find it: for what is to be
    /// done whatever the key does.
    pub(super) fn standing(&self, peer: &Name<K>) -> Standing {
        guarded(|| self.registry.standing(peer)).unwrap_or_default()
    }

    /// What the peer is now.
    pub(super) fn class(&self, peer: &Name<K>) -> PeerClass {
        let standing = self.standing(peer);
        self.limits.class(peer, standing.answered, standing.troubled)
    }

    /// From when on the peer may be called, as far as its sessions go (D5).
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
        let wait = |short| rules.grown(short);
        self.limits.answered(|answered| answered.session_lost(peer, now, stable, wait));
    }

    /// Whether another attempt may be made, by both budgets.
    pub(super) fn allows_retry(&self, peer: &Name<K>) -> bool {
        self.budget.allows_retry()
            && self.limits.budget(peer, RetryBudget::allows_retry).unwrap_or(true)
    }

    /// Takes what the registry tells, for the drivers.
    pub(super) fn hear(&self, told: HookNotice<'_, K>) {
        match told {
            HookNotice::Peer(peer) => match guarded(|| self.names.known(peer)) {
                Some(Some(name)) => self.each_driver(|driver| driver.recheck(&name)),
                // Nobody waits for it.
                Some(None) => {}
                // Its key does not say who it is.
                None => self.each_driver(DriverState::recheck_all),
            },
            // Who answered is no stranger when its tracker is gone.
            HookNotice::Gone { peer, answered } => {
                if let (true, Some(name)) = (answered, guarded(|| self.names.name(peer))) {
                    let most = self.registry.rules().max_peers;
                    self.limits.served(&name, self.registry.now(), most);
                }
                self.hear(HookNotice::Peer(peer));
            }
            // A circuit that others probe is looked at each second; a step is told besides.
            HookNotice::Configured | HookNotice::Unheard(_) => {}
        }
    }

    fn each_driver(&self, tell: impl Fn(&DriverState<K>)) {
        let drivers = Arc::clone(&self.drivers.lock().unwrap_or_else(PoisonError::into_inner));
        drivers.iter().filter_map(Weak::upgrade).for_each(|driver| tell(&driver));
    }

    /// Adds a driver, and forgets those that are gone.
    pub(super) fn add(&self, driver: &Arc<DriverState<K>>) {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = drivers.iter().filter(|driver| driver.strong_count() > 0).cloned();
        *drivers = Arc::new(alive.chain([Arc::downgrade(driver)]).collect());
    }
}

#[cfg(feature = "tracing")]
fn warn(deadline: Duration, lease: Duration) {
    quietly(|| {
        tracing::warn!(
            target: "peer_health",
            ?deadline,
            ?lease,
            "attempt_deadline is not below probe_lease: probes get half of the lease"
        );
    });
}

#[cfg(not(feature = "tracing"))]
fn warn(_: Duration, _: Duration) {}

#[cfg(test)]
mod tests {
    use crate::coordinator::SyncCoordinator;
    use crate::error::SyncError;
    use crate::registry::HealthRegistry;

    /// W5: what is remembered of drivers is bounded by those that there are.
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
