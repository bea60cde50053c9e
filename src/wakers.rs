//! Wakers of other executors (feature `tokio`), which are foreign: a thread that wakes a task is not
//! ended by that task's waker (R25).
//!
//! Tokio's own primitives wake side by side. One waker that panics would keep the others from being
//! woken, or end a thread that turns the timers.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use crate::foreign::{Own, quietly};
use crate::sync::Arc;

/// Wraps a foreign waker: cloning it runs no foreign code, and its panics end here.
struct Shield(Own<Waker>);

impl Wake for Shield {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        quietly(|| self.0.wake_by_ref());
    }
}

/// Polls the future with a waker of this crate in place of the caller's.
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

/// Holds the waker of the one task that waits, which may be another at each poll. The waker is foreign: it
/// is cloned, woken and dropped when nothing is locked (R25).
///
/// A task that registers and then looks misses nothing: the look finds what happened before it, and what
/// happens later wakes the task.
#[derive(Default)]
pub(crate) struct WakerSlot(Mutex<Option<Own<Waker>>>);

impl WakerSlot {
    /// Keeps this waker in place of the one before.
    pub(crate) fn register(&self, waker: &Waker) {
        let waker = Some(Own::new(waker.clone()));
        drop(self.replace(waker));
    }

    /// Wakes the task that waits, if there is one. Never panics, since other tasks are to be woken too.
    pub(crate) fn wake(&self) {
        let waker = self.replace(None);
        quietly(|| waker.iter().for_each(|waker| waker.wake_by_ref()));
    }

    fn replace(&self, waker: Option<Own<Waker>>) -> Option<Own<Waker>> {
        mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), waker)
    }
}
