//! Wakers of other executors (feature `tokio`): whoever wakes somebody is not ended by that.
//!
//! Tokio's own primitives wake side by side: one waker that panics would keep the others from being
//! woken, or end a thread that turns the timers.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Wake, Waker};

use crate::foreign::{Own, quietly};
use crate::sync::Arc;

/// A waker that is cloned without foreign code, and whose panics go nowhere.
struct Shield(Own<Waker>);

impl Wake for Shield {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        quietly(|| self.0.wake_by_ref());
    }
}

/// The same future, which hands on no waker but our own.
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
