//! One attempt of an operation: it takes its slots, then its permit, calls the peer under a deadline,
//! and reports the outcome. `sync` and the driver make their attempts here.
//!
//! 1. The slots come first and the permit last. A permit that waits in a queue would be a probe that
//!    probes nothing, and its latency would be that of the queue.
//! 2. The deadline is inside the permit: an attempt that runs past it is a failure of the peer, or of
//!    the way to it.

use std::time::Duration;

use tokio::sync::oneshot;

use super::error::OperationError;
use super::limits::{HeldSlots, Limits, SlotRequest};
use super::retry::RetryTerms;
use super::shared::CoordinatorShared;
use crate::error::{AsFailure, Failure, Fault, SyncError};
use crate::foreign::Own;
#[cfg(feature = "tracing")]
use crate::foreign::quietly;
use crate::outcome::Refused;
use crate::permit::OwnedPermit;
use crate::registry::{Name, PeerKey};
use crate::runtime::{Elapsed, Instant, timeout};
use crate::sync::Arc;

pub(super) struct FailedAttempt<E> {
    /// The error that the operation returned; `None` if the deadline passed.
    error: Option<Own<E>>,
    failure: Arc<Failure>,
    pub(super) terms: RetryTerms,
    /// Our own link is down, or was while the call was made (R33).
    pub(super) cut: bool,
}

impl<E> FailedAttempt<E> {
    /// Whether a call was made. Our own circuit and our own quotas refuse calls.
    pub(super) fn was_made(&self) -> bool {
        use SyncError::{BandwidthExhausted, CircuitBreakerOpen};
        !matches!(self.failure.error(), CircuitBreakerOpen | BandwidthExhausted(_))
    }

    /// Whether the failure is this node's. If no call was made, other peers may still be called.
    pub(super) fn is_local(&self) -> bool {
        self.failure.fault() == Fault::Local && self.was_made()
    }

    pub(super) fn gave_up(self, attempts: u32) -> OperationError<E> {
        let error = self.error.and_then(Own::take);
        OperationError::GaveUp { attempts, error, failure: self.failure }
    }

    pub(super) fn budget_spent(self, attempts: u32) -> OperationError<E> {
        let error = self.error.and_then(Own::take);
        OperationError::BudgetSpent { attempts, error, failure: self.failure }
    }
}

/// Withdraws a request for slots when its caller goes.
struct WithdrawOnDrop<'a, K: PeerKey> {
    limits: &'a Arc<Limits<Name<K>>>,
    peer: &'a Name<K>,
    request: SlotRequest,
}

impl<K: PeerKey> Drop for WithdrawOnDrop<'_, K> {
    fn drop(&mut self) {
        self.limits.withdraw(self.peer, self.request);
    }
}

impl<K: PeerKey> CoordinatorShared<K> {
    /// Makes an attempt of `sync`: waits for the slots, and holds them no longer than the attempt
    /// takes. The circuit may refuse it.
    pub(super) async fn attempt_when_free<Call, T, E>(
        &self,
        name: &Name<K>,
        is_retry: bool,
        op: impl Fn(K) -> Call,
    ) -> Result<Result<T, FailedAttempt<E>>, Refused>
    where
        Call: Future<Output = Result<T, E>>,
        E: AsFailure,
    {
        let mut slots = self.slots(name).await?;
        let permit = self.registry.acquire(name)?;
        let attempted = self.attempt(&mut slots, permit, is_retry, op).await;
        Ok(attempted.map(|(value, _)| value))
    }

    /// Waits for the slots of an attempt. A circuit that refuses the peer now refuses at once.
    async fn slots(&self, peer: &Name<K>) -> Result<HeldSlots<Name<K>>, Refused> {
        if let Some(refused) = self.registry.refusal(peer) {
            return Err(refused);
        }
        let class = self.class(peer);
        loop {
            let (given, slots) = oneshot::channel();
            let give = move |slots| drop(given.send(slots));
            let request = self.limits.request(peer, class, self.registry.now(), give);
            let _withdraw = WithdrawOnDrop { limits: &self.limits, peer, request };
            // A request is granted once, unless it is withdrawn.
            if let Ok(slots) = slots.await {
                return Ok(slots);
            }
        }
    }

    /// Makes one attempt with the slots and the permit that it was given. A success comes with
    /// whether it was a probe.
    pub(super) async fn attempt<Call, T, E>(
        &self,
        slots: &mut HeldSlots<Name<K>>,
        permit: OwnedPermit<K>,
        is_retry: bool,
        op: impl Fn(K) -> Call,
    ) -> Result<(T, bool), FailedAttempt<E>>
    where
        Call: Future<Output = Result<T, E>>,
        E: AsFailure,
    {
        let (peer, is_probe) = (slots.peer().clone(), permit.is_probe());
        if is_retry {
            self.registry.count_retry();
        }
        let began = Instant::now();
        let ended = timeout(self.deadline(is_probe), op((*peer).clone())).await;
        let took = began.elapsed();
        let permit = permit.with_latency(took);
        let (error, failure) = match ended {
            Ok(Ok(value)) => {
                permit.success();
                self.record_answer(&peer);
                slots.class_now = Some(self.class(&peer));
                return Ok((value, is_probe));
            }
            Ok(Err(error)) => {
                // The error's conversion and its destructor are foreign: either may panic.
                let error = Own::new(error);
                let failure = error.as_failure();
                (Some(error), failure)
            }
            Err(elapsed) => (None, <Failure as From<Elapsed>>::from(elapsed)),
        };
        let cut = self.registry.excuses(&failure, took, is_probe);
        let failure = if cut { failure.with_fault(Fault::Nobody) } else { failure };
        let recorded = permit.failed(|| failure.clone());
        let standing = self.standing(&peer);
        let class = self.limits.class(&peer, &standing);
        slots.class_now = Some(class);
        let takes_token = is_retry && !is_probe && failure.counts();
        let allowed = self.charge(&peer, class, &standing, takes_token);
        let terms = RetryTerms::new(&failure, recorded, allowed, self.longest_wait());
        Err(FailedAttempt { error, failure: Arc::new(failure), terms, cut })
    }

    /// Returns how long an attempt may take. A probe gets half of its lease if the deadline is not
    /// below that, since its outcome counts no more after the lease (D12).
    fn deadline(&self, is_probe: bool) -> Duration {
        let lease = self.registry.rules().lease.filter(|_| is_probe).map(Duration::from_nanos);
        let Some(lease) = lease.filter(|lease| *lease <= self.deadline) else {
            return self.deadline;
        };
        if self.shortened.set(()).is_ok() {
            warn_of_short_lease(self.deadline, lease);
        }
        lease / 2
    }
}

#[cfg(feature = "tracing")]
fn warn_of_short_lease(deadline: Duration, lease: Duration) {
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
fn warn_of_short_lease(_: Duration, _: Duration) {}
