//! Tasks and timers of a page, a worker or node: `setTimeout` and promises, by way of n0-future.
//!
//! All of it is `Send`, as tokio's is: n0-future's timers panic on another thread than their own, and such a
//! module has one thread.

use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
pub(crate) use futures_util::future::AbortHandle;
use futures_util::future::{Abortable, Aborted, abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use n0_future::time::Timeout;
pub(crate) use n0_future::time::{Elapsed, Instant, Sleep};

/// The one event loop.
pub(crate) struct EventLoop;

pub(crate) use EventLoop as Runtime;

impl EventLoop {
    /// Returns the event loop, which is always there.
    pub(crate) fn current() -> Option<Self> {
        Some(Self)
    }

    /// Runs the future as a task of its own, until it ends or is aborted. n0-future's own handle may not be
    /// used by the task that it aborts, so the future brings another.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let (future, handle) = abortable(future);
        drop(n0_future::task::spawn(future));
        handle
    }
}

/// Calls that the task which holds them polls: with one thread, tasks of their own would gain nothing.
/// Dropping it drops them.
pub(crate) struct JoinSet<T>(FuturesUnordered<Abortable<Pin<Box<dyn Future<Output = T> + Send>>>>);

impl<T> JoinSet<T> {
    pub(crate) fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    pub(crate) fn spawn(&mut self, call: impl Future<Output = T> + Send + 'static) -> AbortHandle {
        let (call, handle) = abortable(call.boxed());
        self.0.push(call);
        handle
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until a call has ended, and polls all of them meanwhile; `None` if there is none.
    pub(crate) async fn join_next(&mut self) -> Option<Result<T, Aborted>> {
        self.0.next().await
    }

    /// Returns a call that has ended, and polls those that were woken.
    pub(crate) fn try_join_next(&mut self) -> Option<Result<T, Aborted>> {
        self.join_next().now_or_never().flatten()
    }
}

/// A timer of `setTimeout` counts whole milliseconds in 31 bits, and n0-future cuts off what is more on both
/// sides. So a timer rings no earlier than asked, and after 24 days at the latest.
fn settable(duration: Duration) -> Duration {
    const LONGEST: u64 = i32::MAX as u64;
    let millis = duration.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).map_or(LONGEST, |millis| millis.min(LONGEST)))
}

pub(crate) fn sleep(duration: Duration) -> Sleep {
    n0_future::time::sleep(settable(duration))
}

pub(crate) fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    n0_future::time::timeout(settable(duration), future)
}

/// Returns a timer; `None` where there is no `setTimeout`, as in the worklet of an audio device.
pub(crate) fn timer(rest: Duration) -> Option<Sleep> {
    let has = js_sys::Reflect::has(&js_sys::global(), &"setTimeout".into());
    has.is_ok_and(|has| has).then(|| sleep(rest))
}
