//! The task of a driver, which begins the calls that are due, and the task of a call.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::agenda::Run;
use super::slots::Slot;
use super::work::{Alive, Ending, Plan, Work};
use crate::error::Failure;
use crate::permit::OwnedPermit;
use crate::registry::PeerKey;
use crate::sync::Arc;

/// Drives until it is shut down. Dropped, it takes back the calls that are being made.
pub(super) async fn drive<K, Op, Call, T, E>(work: Arc<Work<K>>, op: Arc<Op>, alive: Alive<K>)
where
    K: PeerKey,
    Op: Fn(K) -> Call + Send + Sync + 'static,
    Call: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    let mut calls = JoinSet::new();
    // Kept from round to round, with its turn in the queue.
    let mut place = None;
    loop {
        let plan = work.plan();
        let wait = match plan {
            Plan::End if calls.is_empty() => break,
            Plan::Call | Plan::End => None,
            Plan::Wait(at) => at,
        };
        if plan == Plan::Call {
            place.get_or_insert_with(|| Box::pin(work.inner.slots.place()));
        } else {
            place = None;
        }
        tokio::select! {
            // What became of it, the call has told.
            Some(_) = calls.join_next() => {}
            Some(taken) = given(&mut place) => {
                place = None;
                begin(&work, taken, &op, &mut calls);
            }
            () = work.changed() => {}
            () = work.until(wait) => {}
        }
    }
    // Whoever waits for the end finds what the operation held given up.
    drop(op);
    drop(alive);
}

/// The place, when it is given; at once if none is waited for.
async fn given<P>(place: &mut Option<std::pin::Pin<Box<P>>>) -> Option<OwnedSemaphorePermit>
where
    P: Future<Output = Option<OwnedSemaphorePermit>>,
{
    place.as_mut()?.await
}

/// Begins the call that is due, if there is one and the registry lets it.
fn begin<K, Op, Call, T, E>(
    work: &Arc<Work<K>>,
    place: OwnedSemaphorePermit,
    op: &Arc<Op>,
    calls: &mut JoinSet<()>,
) where
    K: PeerKey,
    Op: Fn(K) -> Call + Send + Sync + 'static,
    Call: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    let Some((peer, run)) = work.take() else { return };
    let Some(slot) = work.inner.slots.join(place, &peer) else {
        return work.busy(&peer, run);
    };
    if run.eager {
        work.inner.registry.end_wait(&peer);
    }
    let permit = match work.inner.registry.acquire(&peer) {
        Ok(permit) => permit,
        Err(refused) => return work.refused(&peer, run, refused),
    };
    work.begun();
    let call = call(Arc::clone(work), Arc::clone(op), peer.clone(), run, permit, slot);
    let call = calls.spawn(call);
    work.attach(&peer, run, call);
}

/// One call, and what is to be told of it. An operation that panics has failed; its permit was
/// dropped meanwhile, and counts as abandoned.
async fn call<K, Op, Call, T, E>(
    work: Arc<Work<K>>,
    op: Arc<Op>,
    peer: K,
    run: Run,
    permit: OwnedPermit<K>,
    slot: Slot<K>,
) where
    K: PeerKey,
    Op: Fn(K) -> Call,
    Call: Future<Output = Result<T, E>>,
    E: Into<Failure>,
{
    let inner = &work.inner;
    let attempt = async {
        let began = Instant::now();
        inner.attempt(permit, &peer, began, op(peer.clone())).await.map(drop)
    };
    let ended = AssertUnwindSafe(attempt).catch_unwind().await;
    // While the slot is held, the peer's budget is there.
    let allowed = inner.allows_retry(&peer);
    drop(slot);
    let ending = match ended {
        Ok(Ok(())) => Ending::Succeeded,
        Ok(Err(failed)) if failed.is_local() => Ending::Local,
        Ok(Err(failed)) => {
            let (worth, least) = (failed.is_worth_another(), inner.least_wait(&failed));
            Ending::Failed { worth, allowed, least }
        }
        Err(_) => Ending::Failed { worth: true, allowed, least: Duration::ZERO },
    };
    work.ended(&peer, run, ending);
}
