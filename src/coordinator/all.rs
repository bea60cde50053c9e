//! One operation with each of many peers.

use futures_core::Stream;
use futures_util::stream::FuturesUnordered;

use super::{OperationError, SyncCoordinator};
use crate::error::AsFailure;
use crate::registry::PeerKey;

impl<K: PeerKey> SyncCoordinator<K> {
    /// Makes an operation with each of these peers, side by side within the limits, and returns a stream
    /// of the results in the order in which they come. An operation that waits for another attempt keeps
    /// no other waiting.
    ///
    /// # Errors
    ///
    /// Each result has the [`OperationError`] that [`sync`](Self::sync) would give; a peer whose circuit
    /// refuses it gets that answer when it is its turn.
    ///
    /// # Cancel safety
    ///
    /// The stream does nothing before it is polled. Dropping it takes the calls back that are being made,
    /// as for [`sync`](Self::sync); results that it gave are not affected. A panic of `op` comes out
    /// of the poll, and ends its operation alone.
    ///
    /// While the stream is not polled, its operations stand still and keep their slots: between two
    /// results, do not wait for another operation of the same coordinator.
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let op = async |peer| match peer {
    ///     2 => Err(SyncError::Protocol("not a sync message".into())),
    ///     _ => Ok(peer * 10),
    /// };
    /// let results: Vec<_> = coordinator.sync_all([1, 2, 3], &op).collect().await;
    /// let synced = results.iter().filter(|(_, result)| result.is_ok()).count();
    /// assert_eq!((results.len(), synced), (3, 2));
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sync_all<'a, Call, T, E>(
        &'a self,
        peers: impl IntoIterator<Item = K>,
        op: &'a impl Fn(K) -> Call,
    ) -> impl Stream<Item = (K, Result<T, OperationError<E>>)>
    where
        Call: Future<Output = Result<T, E>> + 'a,
        T: 'a,
        E: 'a,
        E: AsFailure,
    {
        let one = |peer: K| async move {
            let result = self.sync(&peer, op).await;
            (peer, result)
        };
        peers.into_iter().map(one).collect::<FuturesUnordered<_>>()
    }
}
