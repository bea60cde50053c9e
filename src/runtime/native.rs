//! Tokio's tasks and timers.

use std::time::Duration;

use tokio::runtime::Handle;
pub(crate) use tokio::task::{AbortHandle, JoinSet};
pub(crate) use tokio::time::error::Elapsed;
pub(crate) use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::foreign::guarded;

/// The runtime of a thread.
pub(crate) struct Runtime(Handle);

impl Runtime {
    /// Returns the calling thread's runtime; `None` outside of one.
    pub(crate) fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self)
    }

    /// Runs the future as a task of its own, until it ends or is aborted.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.0.spawn(future).abort_handle()
    }
}

/// Returns a timer; `None` in a runtime without timers, of which tokio tells by a panic only.
pub(crate) fn timer(rest: Duration) -> Option<Sleep> {
    guarded(|| sleep(rest))
}
