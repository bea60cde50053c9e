//! Wakers of other executors (feature `tokio`): a panic of a waker does not reach the thread that wakes.
//!
//! Tokio's own primitives wake several tasks in a row: a waker that panics would keep the others from being
//! woken, or end a thread that drives the timers.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use crate::foreign::{Own, quietly};
use crate::sync::Arc;

/// A waker that clones without foreign code, and that swallows the panics of the waker inside.
struct Shield(Own<Waker>);

impl Wake for Shield {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        quietly(|| self.0.wake_by_ref());
    }
}

/// Runs the future with a waker of our own in place of the caller's.
pub(crate) async fn shielded<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut shield: Option<(Arc<Shield>, Waker)> = None;
    poll_fn(|cx| {
        let theirs = cx.waker();
        let (_, ours) = match shield.take().filter(|(shield, _)| shield.0.will_wake(theirs)) {
            Some(same) => shield.insert(same),
            None => {
                let fresh = Arc::new(Shield(Own::new(theirs.clone())));
                shield.insert((Arc::clone(&fresh), Waker::from(fresh)))
            }
        };
        future.as_mut().poll(&mut Context::from_waker(ours))
    })
    .await
}

/// A waker that is not ours: it is cloned, woken and dropped when nothing is locked (R25).
///
/// Who registers and then looks misses nothing: what happens before the look is found, what happens
/// after it takes this waker.
#[derive(Default)]
pub(crate) struct WakerSlot(Mutex<Option<Own<Waker>>>);

impl WakerSlot {
    /// Takes this waker in the place of the one before.
    pub(crate) fn register(&self, waker: &Waker) {
        let waker = Some(Own::new(waker.clone()));
        drop(self.replace(waker));
    }

    /// Wakes who waits, if anybody does. Never panics: others are to be woken too.
    pub(crate) fn wake(&self) {
        let waker = self.replace(None);
        quietly(|| waker.iter().for_each(|waker| waker.wake_by_ref()));
    }

    fn replace(&self, waker: Option<Own<Waker>>) -> Option<Own<Waker>> {
        mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), waker)
    }
}
