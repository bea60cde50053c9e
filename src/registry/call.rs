//! The call that settles itself: acquire, operation and outcome in one (R8).

use std::fmt;
use std::future::Future;

use super::{HealthRegistry, PeerHandle, PeerKey};
use crate::error::{AsFailure, Failure};
use crate::outcome::Refused;
use crate::permit::Permit;
use crate::time::Tick;

/// Why a [`call`](HealthRegistry::call) gave no result.
///
/// It prints its cause: the refusal with its wait, or the error of the call. The
/// [`source`](std::error::Error::source) is what lies beneath that.
///
/// ```
/// use peer_health::{CallError, HealthRegistry, SyncError};
///
/// let registry = HealthRegistry::<u32>::new();
/// let reset = || Err::<(), _>(SyncError::Network("reset".into()));
/// let error = registry.call(&7, reset).unwrap_err();
/// assert_eq!(error.to_string(), "call failed: network failure: reset");
/// registry.force_open(&7)?;
/// let error = registry.call(&7, reset).unwrap_err();
/// assert!(matches!(error, CallError::Refused(_)));
/// assert_eq!(error.to_string(), "refused: forced open");
/// # Ok::<(), peer_health::TableFull>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The call was not made.
    Refused(Refused),
    /// The call was made and failed; reported.
    Failed(E),
}

impl<E> From<Refused> for CallError<E> {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Failed(error) => write!(f, "call failed: {error}"),
        }
    }
}

impl<E: std::error::Error> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Failed(error) => error.source(),
        }
    }
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Makes a call if the peer may be called, and reports what became of it: acquire and outcome
    /// in one. A panic of `op` counts as abandoned and goes on.
    ///
    /// The call is timed, for the [average](crate::Snapshot::latency) by which peers are ranked, while
    /// there is a `HealthMonitor` (feature `tokio`), or where
    /// [`with_timing`](crate::HealthConfig::with_timing) or a slow-call rule asks for it. Otherwise the
    /// call to a healthy peer reads no clock.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] if the call was not made, [`CallError::Failed`] with the error of
    /// `op`, which is reported by its `From<&E> for Failure`: see [`AsFailure`]. For an error that has
    /// none there is [`call_with`](Self::call_with).
    ///
    /// ```
    /// use peer_health::{CallError, HealthRegistry, SyncError};
    ///
    /// let registry = HealthRegistry::<u32>::new();
    /// let answer = registry.call(&7, || Ok::<_, SyncError>(42));
    /// assert_eq!(answer, Ok(42));
    /// let error = SyncError::Network("reset".into());
    /// let answer = registry.call(&7, || Err::<(), _>(error.clone()));
    /// assert_eq!(answer, Err(CallError::Failed(error)));
    /// ```
    pub fn call<T, E: AsFailure>(
        &self,
        peer: &K,
        op: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, CallError<E>> {
        self.call_with(peer, op, E::as_failure)
    }

    /// [`call`](Self::call) for an error of another crate: `classify` reads the failure off it. If
    /// `classify` panics, nobody knows whose fault it was: the outcome is neutral, and the last error
    /// says so.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// ```
    /// use peer_health::{Failure, HealthRegistry};
    ///
    /// let registry = HealthRegistry::<u32>::new();
    /// let parsed = registry.call_with(&7, || "7 peers".parse::<u32>(), |e| Failure::remote(e));
    /// assert!(parsed.is_err());
    /// assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 1);
    /// ```
    pub fn call_with<T, E>(
        &self,
        peer: &K,
        op: impl FnOnce() -> Result<T, E>,
        classify: impl FnOnce(&E) -> Failure,
    ) -> Result<T, CallError<E>> {
        match self.begin() {
            None => settle(self.acquire(peer)?, op(), classify),
            Some(began) => timed(self.acquire(peer)?, began, op, classify),
        }
    }

    /// [`call`](Self::call) for a future. Needs no particular runtime.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// The permit is taken at the first poll. Dropping the returned future drops `future` and
    /// counts the call as abandoned; a probe's slot is free again. A deadline belongs inside: one
    /// around the whole only abandons the call, one inside `future` makes it a failure.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let registry = HealthRegistry::<u32>::new();
    /// let answer = registry.call_async(&7, async { Ok::<_, SyncError>(42) }).await;
    /// assert_eq!(answer, Ok(42));
    /// # });
    /// ```
    pub async fn call_async<T, E: AsFailure>(
        &self,
        peer: &K,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        self.call_async_with(peer, future, E::as_failure).await
    }

    /// [`call_async`](Self::call_async) for an error of another crate, as
    /// [`call_with`](Self::call_with) is for a call that blocks.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As for [`call_async`](Self::call_async).
    ///
    /// ```
    /// use peer_health::{Failure, HealthRegistry};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let registry = HealthRegistry::<u32>::new();
    /// let parse = async { "7 peers".parse::<u32>() };
    /// let parsed = registry.call_async_with(&7, parse, |error| Failure::document(error)).await;
    /// assert!(parsed.is_err());
    /// assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 0);
    /// # });
    /// ```
    pub async fn call_async_with<T, E>(
        &self,
        peer: &K,
        future: impl Future<Output = Result<T, E>>,
        classify: impl FnOnce(&E) -> Failure,
    ) -> Result<T, CallError<E>> {
        let began = self.begin();
        let permit = self.acquire(peer)?;
        let outcome = future.await;
        settle(permit.begun(began), outcome, classify)
    }
}

impl<K: PeerKey> PeerHandle<K> {
    /// Makes a call if the peer may be called, and reports what became of it: see
    /// [`HealthRegistry::call`].
    ///
    /// # Errors
    ///
    /// As [`HealthRegistry::call`].
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncError};
    /// let registry = HealthRegistry::<u32>::new();
    /// let mut peer = registry.peer(&7);
    /// assert_eq!(peer.call(|| Ok::<_, SyncError>(42)), Ok(42));
    /// ```
    pub fn call<T, E: AsFailure>(
        &mut self,
        op: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, CallError<E>> {
        self.call_with(op, E::as_failure)
    }

    /// [`call`](Self::call) for an error of another crate: see [`HealthRegistry::call_with`].
    ///
    /// # Errors
    ///
    /// As [`HealthRegistry::call`].
    ///
    /// ```
    /// use peer_health::{Failure, HealthRegistry};
    /// let mut peer = HealthRegistry::<u32>::new().peer(&7);
    /// assert!(peer.call_with(|| "7 peers".parse::<u32>(), |e| Failure::remote(e)).is_err());
    /// assert_eq!(peer.snapshot().unwrap().consecutive_failures, 1);
    /// ```
    pub fn call_with<T, E>(
        &mut self,
        op: impl FnOnce() -> Result<T, E>,
        classify: impl FnOnce(&E) -> Failure,
    ) -> Result<T, CallError<E>> {
        match self.registry.begin() {
            None => settle(self.acquire()?, op(), classify),
            Some(began) => timed(self.acquire()?, began, op, classify),
        }
    }

    /// [`call`](Self::call) for a future: see [`HealthRegistry::call_async`], also for its cancel
    /// safety.
    ///
    /// # Errors
    ///
    /// As [`HealthRegistry::call`].
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let mut peer = HealthRegistry::<u32>::new().peer(&7);
    /// assert_eq!(peer.call_async(async { Ok::<_, SyncError>(42) }).await, Ok(42));
    /// # });
    /// ```
    pub async fn call_async<T, E: AsFailure>(
        &mut self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        self.call_async_with(future, E::as_failure).await
    }

    /// [`call_async`](Self::call_async) for an error of another crate: see
    /// [`HealthRegistry::call_async_with`].
    ///
    /// # Errors
    ///
    /// As [`HealthRegistry::call`].
    ///
    /// ```
    /// use peer_health::{Failure, HealthRegistry};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let mut peer = HealthRegistry::<u32>::new().peer(&7);
    /// let parse = async { "7 peers".parse::<u32>() };
    /// assert!(peer.call_async_with(parse, |error| Failure::remote(error)).await.is_err());
    /// assert_eq!(peer.snapshot().unwrap().consecutive_failures, 1);
    /// # });
    /// ```
    pub async fn call_async_with<T, E>(
        &mut self,
        future: impl Future<Output = Result<T, E>>,
        classify: impl FnOnce(&E) -> Failure,
    ) -> Result<T, CallError<E>> {
        let began = self.registry.begin();
        let permit = self.acquire()?;
        let outcome = future.await;
        settle(permit.begun(began), outcome, classify)
    }
}

/// Makes a call that is timed.
#[cold]
fn timed<K, T, E>(
    permit: Permit<'_, K>,
    began: Tick,
    op: impl FnOnce() -> Result<T, E>,
    classify: impl FnOnce(&E) -> Failure,
) -> Result<T, CallError<E>> {
    let outcome = op();
    settle(permit.begun(Some(began)), outcome, classify)
}

/// Reports what became of a call.
#[inline]
fn settle<K, T, E>(
    permit: Permit<'_, K>,
    outcome: Result<T, E>,
    classify: impl FnOnce(&E) -> Failure,
) -> Result<T, CallError<E>> {
    match outcome {
        Ok(value) => {
            permit.success();
            Ok(value)
        }
        Err(error) => {
            permit.failed(|| classify(&error));
            Err(CallError::Failed(error))
        }
    }
}
