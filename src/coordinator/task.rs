//! The task of a driver, which looks at the peers that are due and begins calls, and the task of a
//! call.

use std::mem;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::limits::HeldSlots;
use super::schedule::{Attempt, Push};
use super::slots::PeerClass;
use super::state::{AttemptEnd, DriverGuard, DriverState, Plan};
use super::stats::WaitReason;
use crate::error::Failure;
use crate::foreign::{dispose_of, quietly};
use crate::permit::OwnedPermit;
use crate::registry::{Name, PeerKey};
use crate::sync::Arc;
use crate::time::{Tick, nanos};

/// So many peers are looked at before the task lets others have their turn.
const BATCH: usize = 64;
/// The driver sleeps no longer without a look at the registry's clock, and warns if that and tokio's
/// are further apart (D9).
const MINUTE: Duration = Duration::from_secs(60);
/// How long the driver rests when something foreign has panicked, and how long the peer waits at
/// which it looked.
const AFTER_A_PANIC: Duration = Duration::from_millis(20);

/// Drives until it is shut down. Dropped, it takes back the calls that are being made.
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
    Failure: for<'e> From<&'e E>,
{
    let mut calls = JoinSet::new();
    let mut clocks = Clocks::new(driver.now());
    loop {
        // Keys, operations, log subscribers: what is foreign may panic, and ends no driver (D11).
        let turn = AssertUnwindSafe(turn(&driver, &op, &mut calls, &mut clocks)).catch_unwind();
        match turn.await {
            Ok(true) => break,
            Ok(false) => {}
            Err(panic) => {
                dispose_of(panic);
                sleep(AFTER_A_PANIC).await;
            }
        }
    }
    // Whoever waits for the end finds what the operation held given up.
    quietly(move || drop(op));
    drop(guard);
}

/// Does what is to be done now, and waits until there is more; `true` if there will be none.
async fn turn<K, Op, Call, T, E>(
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
    Failure: for<'e> From<&'e E>,
{
    clocks.compare(driver.now());
    for _ in 0..BATCH {
        match driver.take() {
            Some((peer, attempt)) => look(driver, &peer, attempt),
            None => break,
        }
    }
    while let Some((attempt, slot)) = driver.given() {
        begin(driver, attempt, slot, op, calls);
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
        // What became of it, the call has told.
        Some(_) = calls.join_next() => {}
        () = driver.changed() => {}
        () = sleep(rest.min(MINUTE)), if sleep_until.is_some() => {}
    }
    false
}

/// Puts a peer back if what was begun with it does not end as it should.
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

/// Looks at a peer that is due: it asks for a slot if it may be called, and waits otherwise.
fn look<K: PeerKey>(driver: &Arc<DriverState<K>>, peer: &Name<K>, attempt: Attempt) {
    let mut taken = PutBackOnDrop { driver, peer, attempt, ended: false };
    if let Some(class) = may_be_called(driver, peer, attempt) {
        driver.ask(peer, attempt, class);
    }
    taken.ended = true;
}

/// As what the peer may be called now; if it may not, it waits.
fn may_be_called<K: PeerKey>(
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
        // The circuit may have opened since it heard.
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
            // The phase is as old as it may get, which the next to ask finds out (R6).
            match shared.registry.acquire(peer) {
                Ok(permit) => drop(permit.neutral()),
                Err(latest) => refused = latest,
            }
        }
        driver.refused(peer, attempt, refused, standing.look_again);
        return None;
    }
    let class = shared.limits.class(peer, standing.answered, standing.troubled);
    let heeded = push == Push::News && class == PeerClass::Troubled;
    Some(if heeded { PeerClass::News } else { class })
}

/// Begins a call that was given its slot, if the registry lets it.
fn begin<K, Op, Call, T, E>(
    driver: &Arc<DriverState<K>>,
    attempt: Attempt,
    slot: HeldSlots<Name<K>>,
    op: &Arc<Op>,
    calls: &mut JoinSet<()>,
) where
    K: PeerKey,
    Op: Fn(K) -> Call + Send + Sync + 'static,
    Call: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    Failure: for<'e> From<&'e E>,
{
    let peer = slot.peer().clone();
    let mut taken = PutBackOnDrop { driver, peer: &peer, attempt, ended: false };
    let permit = permit(driver, &peer, attempt, &slot);
    if let Some(permit) = permit {
        driver.begun();
        let call = Calling { driver: Arc::clone(driver), attempt, slot, ended: false };
        let call = calls.spawn(make(call, Arc::clone(op), permit));
        driver.attach(&peer, attempt, call);
    }
    taken.ended = true;
}

/// The permit for a call that was given its slot. A peer that is worse off than when it asked asks
/// again: the place is not for it.
fn permit<K: PeerKey>(
    driver: &Arc<DriverState<K>>,
    peer: &Name<K>,
    attempt: Attempt,
    slot: &HeldSlots<Name<K>>,
) -> Option<OwnedPermit<K>> {
    let shared = &driver.shared;
    let standing = shared.registry.standing(peer);
    let class = shared.limits.class(peer, standing.answered, standing.troubled);
    let delayed = shared.not_before(peer).is_some_and(|at| at > driver.now());
    if delayed || slot.class == PeerClass::Healthy && class != PeerClass::Healthy {
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

/// A call that is being made, or is about to be. If it goes without an end of its own, it was taken
/// back.
struct Calling<K: PeerKey> {
    driver: Arc<DriverState<K>>,
    attempt: Attempt,
    slot: HeldSlots<Name<K>>,
    ended: bool,
}

impl<K: PeerKey> Drop for Calling<K> {
    fn drop(&mut self) {
        if !self.ended {
            self.driver.left(self.slot.peer(), self.attempt);
        }
    }
}

/// One call, and what is to be told of it. An operation that panics has failed; its permit was
/// dropped meanwhile, and counts as abandoned.
async fn make<K, Op, Call, T, E>(mut calling: Calling<K>, op: Arc<Op>, permit: OwnedPermit<K>)
where
    K: PeerKey,
    Op: Fn(K) -> Call,
    Call: Future<Output = Result<T, E>>,
    Failure: for<'e> From<&'e E>,
{
    let driver = Arc::clone(&calling.driver);
    let (attempt, shared) = (calling.attempt, &driver.shared);
    let retry = attempt.operation.attempts > 0;
    let call = AssertUnwindSafe(shared.attempt(&mut calling.slot, permit, retry, |peer| op(peer)));
    let ended = call.catch_unwind().await;
    let peer = calling.slot.peer();
    let ending = match ended {
        Ok(Ok((value, probe))) => {
            quietly(move || drop(value));
            let undecided = probe && shared.standing(peer).opened_at.is_some();
            shared.session_began(peer);
            AttemptEnd::Succeeded { undecided }
        }
        Ok(Err(failed)) if failed.is_local() => AttemptEnd::Local,
        Ok(Err(failed)) => AttemptEnd::Failed {
            worth: failed.is_worth_another(),
            allowed: failed.allowed,
            least: shared.least_wait(&failed),
            made: failed.was_made(),
        },
        Err(panic) => {
            dispose_of(panic);
            AttemptEnd::Failed { worth: true, allowed: true, least: Duration::ZERO, made: true }
        }
    };
    driver.ended(peer, attempt, ending);
    calling.ended = true;
}

/// The registry's clock and tokio's, which may run apart (D9).
struct Clocks {
    registry: Tick,
    tokio: Instant,
    warned: bool,
}

impl Clocks {
    fn new(now: Tick) -> Self {
        Self { registry: now, tokio: Instant::now(), warned: false }
    }

    /// Warns once when they are more than a minute apart.
    fn compare(&mut self, now: Tick) {
        let registry = Duration::from_nanos(now.since(self.registry));
        let tokio = self.tokio.elapsed();
        if registry.abs_diff(tokio) > MINUTE && !mem::replace(&mut self.warned, true) {
            warn(registry, tokio);
        }
    }
}

#[cfg(feature = "tracing")]
fn warn(registry: Duration, tokio: Duration) {
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
fn warn(_: Duration, _: Duration) {}
