//! Wakers of other executors (feature `tokio`): a panic of a waker does not reach the thread that wakes.
//!
//! Tokio's own primitives wake several tasks in a row: a waker that panics would keep the others from being
//! woken, or end a thread that drives the timers.

use std::future::poll_fn;
use std::pin::pin;
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
