//! The task of a driver, which checks the peers that are due and begins calls, and the task of each
//! call.

use std::mem;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::limits::HeldSlots;
use super::retry::RetryTerms;
use super::schedule::{Attempt, Push};
use super::slots::PeerClass;
use super::state::{AttemptEnd, DriverGuard, DriverState, Plan};
use super::stats::WaitReason;
use crate::error::AsFailure;
use crate::foreign::{dispose_of, quietly};
use crate::permit::OwnedPermit;
use crate::registry::{Name, PeerKey};
use crate::runtime::{Instant, JoinSet, sleep};
use crate::sync::Arc;
use crate::time::{Tick, nanos};

/// The task checks at most this many peers before it yields to other tasks.
const BATCH: usize = 64;
/// The driver looks at the registry's clock at least this often, and warns if that clock and tokio's
/// are further apart than this (D9).
const MINUTE: Duration = Duration::from_secs(60);
/// The driver rests for this long when foreign code has panicked; the peer that it was checking waits
/// for fifty times as long.
const AFTER_A_PANIC: Duration = Duration::from_millis(20);

/// Runs the driver until it is shut down. Dropping the future aborts the calls that are being made.
pub(super) async fn drive<K, Op, Call, T, E>(
    driver: Arc<DriverState<K>>,
    op: Arc<Op>,
    guard: DriverGuard<K>,
) where
    K: PeerKey,
    Op: Fn(K) -> Call + Send + Sync + 'static,
    Call: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    E: AsFailure,
{
    let mut calls = JoinSet::new();
    let mut clocks = Clocks::new(driver.now());
    loop {
        // Keys, operations and log subscribers are foreign: a panic of theirs ends no driver (D11).
        let step = AssertUnwindSafe(step(&driver, &op, &mut calls, &mut clocks)).catch_unwind();
        match step.await {
            Ok(true) => break,
            Ok(false) => {}
            Err(panic) => {
                dispose_of(panic);
                sleep(AFTER_A_PANIC).await;
            }
        }
    }
    // What the operation held is gone before anything that waits for the driver's end learns of it.
    quietly(move || drop(op));
    drop(guard);
}

/// Does what is to be done now, and waits until there is more; returns `true` if the driver has ended.
async fn step<K, Op, Call, T, E>(
    driver: &Arc<DriverState<K>>,
    op: &Arc<Op>,
    calls: &mut JoinSet<()>,
    clocks: &mut Clocks,
) -> bool
where
    K: PeerKey,
    Op: Fn(K) -> Call + Send + Sync + 'static,
    Call: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    E: AsFailure,
{
    clocks.compare(driver.now());
    for _ in 0..BATCH {
        match driver.take() {
            Some((peer, attempt)) => check(driver, &peer, attempt),
            None => break,
        }
    }
    while let Some((attempt, slots)) = driver.next_granted() {
        begin(driver, attempt, slots, op, calls);
    }
    let sleep_until = match driver.plan() {
        Plan::End if calls.is_empty() => return true,
        Plan::Act => {
            tokio::task::yield_now().await;
            while calls.try_join_next().is_some() {}
            return false;
        }
        Plan::End | Plan::Wait(None) => None,
        Plan::Wait(Some(at)) => Some(at),
    };
    let rest = sleep_until.map_or(MINUTE, |at| Duration::from_nanos(at.since(driver.now())));
    tokio::select! {
        // The call has told the driver how it ended.
        Some(_) = calls.join_next() => {}
        () = driver.changed() => {}
        () = sleep(rest.min(MINUTE)), if sleep_until.is_some() => {}
    }
    false
}

/// Puts a peer back if a panic cuts short what was begun with it.
struct PutBackOnDrop<'a, K: PeerKey> {
    driver: &'a Arc<DriverState<K>>,
    peer: &'a Name<K>,
    attempt: Attempt,
    ended: bool,
}

impl<K: PeerKey> Drop for PutBackOnDrop<'_, K> {
    fn drop(&mut self) {
        if !self.ended {
            let at = self.driver.now().plus(nanos(50 * AFTER_A_PANIC));
            self.driver.put_back(self.peer, self.attempt, at, WaitReason::Retry);
        }
    }
}

/// Checks a peer that is due: it requests slots if it may be called, and waits otherwise.
fn check<K: PeerKey>(driver: &Arc<DriverState<K>>, peer: &Name<K>, attempt: Attempt) {
    let mut taken = PutBackOnDrop { driver, peer, attempt, ended: false };
    if let Some(class) = class_if_callable(driver, peer, attempt) {
        driver.request_slots(peer, attempt, class);
    }
    taken.ended = true;
}

/// Returns the class of a peer that may be called now; any other peer waits.
fn class_if_callable<K: PeerKey>(
    driver: &Arc<DriverState<K>>,
    peer: &Name<K>,
    attempt: Attempt,
) -> Option<PeerClass> {
    let shared = &driver.shared;
    let not_before = shared.not_before(peer);
    if let Some(at) = not_before.filter(|at| *at > driver.now()) {
        driver.put_back(peer, attempt, at, WaitReason::Session);
        return None;
    }
    let push = attempt.operation.push;
    match push {
        Push::None => false,
        // The circuit may have opened since the registry heard the news.
        Push::News => shared.registry.note_reachable(peer),
        Push::Kick => shared.registry.end_wait(peer),
    };
    let mut standing = shared.registry.standing(peer);
    let opened = standing.opened_at.filter(|_| standing.refused.is_some());
    if opened.is_some_and(|opened| driver.was_kicked_since(opened)) {
        shared.registry.end_wait(peer);
        standing = shared.registry.standing(peer);
    }
    if let Some(mut refused) = standing.refused {
        if standing.look_again.is_some_and(|rest| rest.is_zero()) {
            // The phase is as old as it may get, and the next request for a permit ends it (R6).
            match shared.registry.acquire(peer) {
                Ok(permit) => drop(permit.neutral()),
                Err(latest) => refused = latest,
            }
        }
        driver.refused(peer, attempt, refused, standing.look_again);
        return None;
    }
    let class = shared.limits.class(peer, &standing);
    let has_news = push == Push::News && class == PeerClass::Troubled;
    Some(if has_news { PeerClass::News } else { class })
}

/// Begins a call that was given its slots, if the registry admits it.
fn begin<K, Op, Call, T, E>(
    driver: &Arc<DriverState<K>>,
    attempt: Attempt,
    slots: HeldSlots<Name<K>>,
    op: &Arc<Op>,
    calls: &mut JoinSet<()>,
) where
    K: PeerKey,
    Op: Fn(K) -> Call + Send + Sync + 'static,
    Call: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    E: AsFailure,
{
    let peer = slots.peer().clone();
    let mut taken = PutBackOnDrop { driver, peer: &peer, attempt, ended: false };
    let permit = permit(driver, &peer, attempt, &slots);
    if let Some(permit) = permit {
        driver.count_started();
        let call = Calling { driver: Arc::clone(driver), attempt, slots, ended: false };
        let call = calls.spawn(run_call(call, Arc::clone(op), permit));
        driver.attach(&peer, attempt, call);
    }
    taken.ended = true;
}

/// Returns the permit for a call that was given its slots. A peer that is worse off than when it
/// requested them requests them again: they are not for its class.
fn permit<K: PeerKey>(
    driver: &Arc<DriverState<K>>,
    peer: &Name<K>,
    attempt: Attempt,
    slots: &HeldSlots<Name<K>>,
) -> Option<OwnedPermit<K>> {
    let shared = &driver.shared;
    let standing = shared.registry.standing(peer);
    let class = shared.limits.class(peer, &standing);
    let delayed = shared.not_before(peer).is_some_and(|at| at > driver.now());
    if delayed || slots.class == PeerClass::Healthy && class != PeerClass::Healthy {
        driver.put_back(peer, attempt, attempt.due, WaitReason::Slot);
        return None;
    }
    match shared.registry.acquire(peer) {
        Ok(permit) => Some(permit),
        Err(refused) => {
            let look_again = shared.registry.standing(peer).look_again;
            driver.refused(peer, attempt, refused, look_again);
            None
        }
    }
}

/// A call that is being made, or is about to be. If it is dropped before it ended, it is abandoned.
struct Calling<K: PeerKey> {
    driver: Arc<DriverState<K>>,
    attempt: Attempt,
    slots: HeldSlots<Name<K>>,
    ended: bool,
}

impl<K: PeerKey> Drop for Calling<K> {
    fn drop(&mut self) {
        if !self.ended {
            self.driver.abandoned(self.slots.peer(), self.attempt);
        }
    }
}

/// Makes one call, and tells the driver how it ended. An operation that panics has failed for the
/// driver; its permit was dropped meanwhile, so the registry counts it as abandoned.
async fn run_call<K, Op, Call, T, E>(mut calling: Calling<K>, op: Arc<Op>, permit: OwnedPermit<K>)
where
    K: PeerKey,
    Op: Fn(K) -> Call,
    Call: Future<Output = Result<T, E>>,
    E: AsFailure,
{
    let driver = Arc::clone(&calling.driver);
    let (attempt, shared) = (calling.attempt, &driver.shared);
    let is_retry = attempt.operation.attempts > 0;
    let slots = &mut calling.slots;
    let call = AssertUnwindSafe(shared.attempt(slots, permit, is_retry, |peer| op(peer)));
    let ended = call.catch_unwind().await;
    let peer = calling.slots.peer();
    let end = match ended {
        Ok(Ok((value, probe))) => {
            quietly(move || drop(value));
            let undecided = probe && shared.standing(peer).opened_at.is_some();
            shared.session_began(peer);
            AttemptEnd::Succeeded { undecided }
        }
        Ok(Err(failed)) if failed.is_local() => AttemptEnd::Local,
        Ok(Err(failed)) if failed.cut => AttemptEnd::Cut,
        Ok(Err(failed)) => AttemptEnd::Failed { terms: failed.terms, made: failed.was_made() },
        Err(panic) => {
            dispose_of(panic);
            AttemptEnd::Failed { terms: RetryTerms::after_panic(), made: true }
        }
    };
    driver.ended(peer, attempt, end);
    calling.ended = true;
}

/// Compares the registry's clock with tokio's, which may run apart (D9).
struct Clocks {
    registry: Tick,
    tokio: Instant,
    warned: bool,
}

impl Clocks {
    fn new(now: Tick) -> Self {
        Self { registry: now, tokio: Instant::now(), warned: false }
    }

    /// Warns once when the clocks are more than a minute apart.
    fn compare(&mut self, now: Tick) {
        let registry = Duration::from_nanos(now.since(self.registry));
        let tokio = self.tokio.elapsed();
        if registry.abs_diff(tokio) > MINUTE && !mem::replace(&mut self.warned, true) {
            warn_of_clocks(registry, tokio);
        }
    }
}

#[cfg(feature = "tracing")]
fn warn_of_clocks(registry: Duration, tokio: Duration) {
    quietly(|| {
        tracing::warn!(
            target: "peer_health",
            ?registry,
            ?tokio,
            "the registry's clock and tokio's run apart: waits go by the registry's, timers by tokio's; \
             with paused time, build the registry with Clock::tokio()"
        );
    });
}

#[cfg(not(feature = "tracing"))]
fn warn_of_clocks(_: Duration, _: Duration) {}
