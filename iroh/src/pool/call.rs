//! One call over the pool, and whose fault it was that it gave no result.

use std::future::Future;

use iroh::EndpointId;
use iroh::endpoint::{Connection, ConnectionError, VarInt};
use iroh_util::connection_pool::ConnectionRef;
use n0_future::future::now_or_never;
use peer_health::{Failure, Fault};
use tokio::time::timeout;

use super::HealthPool;
use crate::blame::Share;
use crate::pool_error::PoolError;

/// The end of a call that gave no result.
struct Ended<E> {
    error: PoolError<E>,
    /// The call's share, if other calls fail by the same event.
    shared: Option<Share>,
    /// Why the connection ended, where this side has closed it once more since.
    hidden: Option<ConnectionError>,
}

impl<E> Ended<E> {
    /// The end of a call that had no connection.
    fn before(error: PoolError<E>, shared: Option<Share>) -> Self {
        Self { error, shared, hidden: None }
    }
}

impl HealthPool {
    /// Makes the call that was admitted; with an error comes what is to be reported.
    pub(super) async fn judged<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        peer: &EndpointId,
        op: impl FnOnce(Connection) -> F,
        classify: impl FnOnce(&E) -> Failure,
    ) -> Result<T, (PoolError<E>, Failure)> {
        let Ended { error, shared, hidden } = match self.make(peer, op).await {
            Ok(value) => return Ok(value),
            Err(ended) => ended,
        };
        let failure = match (error.judge(classify), hidden) {
            (failure, Some(close)) if failure.fault() == Fault::Local => self.codes.judge(&close),
            (failure, _) => failure,
        };
        let told_before = failure.counts() && shared.is_some_and(|share| !share.is_first());
        let failure = if told_before { failure.with_fault(Fault::Nobody) } else { failure };
        Err((error, failure))
    }

    /// Dials if need be, and calls.
    async fn make<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        peer: &EndpointId,
        op: impl FnOnce(Connection) -> F,
    ) -> Result<T, Ended<E>> {
        if self.deadline.is_zero() {
            return Err(Ended::before(PoolError::TimedOut(self.deadline), None));
        }
        let share = self.blame.share(*peer);
        // Outlives the call, so that a connection that is in use is not idle.
        let mut held: Option<ConnectionRef> = None;
        let mut first = None;
        let call = async {
            let got = self.pool.get_or_connect(*peer).await.map_err(PoolError::Connect)?;
            let connection = held.insert(got);
            // The first close is told to those who wait for it; whoever asks later learns the last one.
            let handle = connection.weak_handle();
            let closed = handle.closed();
            let result = op((**connection).clone()).await;
            first = now_or_never(closed).flatten().map(|closed| closed.reason);
            result.map_err(PoolError::Failed)
        };
        let error = match timeout(self.deadline, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => PoolError::TimedOut(self.deadline),
        };
        let Some(connection) = held else { return Err(Ended::before(error, Some(share))) };
        if let PoolError::TimedOut(_) = error {
            // Not `ConnectionPool::close`, which closes the peer's connection of that moment: it may be a
            // younger one, on which others are served. The pool hands out none that is closed.
            connection.close(VarInt::from_u32(0), b"timed out");
        }
        let last = connection.close_reason();
        let hidden = first.filter(|first| last.as_ref().is_some_and(|last| last != first));
        // An error on a connection that goes on is the call's own.
        Err(Ended { error, shared: last.is_some().then_some(share), hidden })
    }
}
