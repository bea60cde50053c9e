//! A connection pool that asks the registry before it dials, and tells it how the call went.

mod call;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::Connection;
use iroh::{Endpoint, EndpointId};
use iroh_util::connection_pool::{ConnectionPool, Options};
use peer_health::iroh::Codes;
use peer_health::{AsFailure, Failure, HealthRegistry};
use tokio::time::Instant;

use crate::blame::Blame;
use crate::pool_error::PoolError;

/// As the deadline of a coordinator's attempt.
const DEADLINE: Duration = Duration::from_secs(10);

/// iroh-util's [`ConnectionPool`] behind the registry: one permit per call, and one connection per peer.
///
/// - A call that the registry refuses is not made: nothing is dialled.
/// - A dial that fails and a call that fails are reported, each by whose fault it was: see
///   [`connect_failure`](crate::connect_failure) and [`AsFailure`].
/// - A call that has no answer by the [deadline](Self::with_deadline) counts, and closes its connection: the
///   pool would hand out the same one again and again, and a peer that was restarted never answers on it.
///   The next call dials.
/// - Calls to a peer share its dial and its connection. When these fail, all such calls fail, and the first
///   of them counts: the others report [`Fault::Nobody`]. So a peer that restarts under thirty calls has
///   failed once.
/// - A connection that the peer has closed is closed by the pool once more, and the errors of its streams then
///   say that this side closed it. A call that failed then by a fault of this side is judged by the peer's
///   close, with the pool's [codes](Self::with_codes).
/// - A call that is dropped is abandoned, counts nothing, and leaves the connection in the pool.
/// - A coordinator or a driver on the same registry holds a permit already: its operation makes its call by
///   [`call_admitted`](Self::call_admitted), which takes none.
/// - Hooks with [inferred failures](peer_health::iroh::HealthHooks::with_inferred_failures) take permits too:
///   those on the same registry must leave out the pool's ALPN.
///
/// A clone shares everything but the deadline and the codes. The connections are closed when the last clone is
/// dropped.
///
/// ```
/// use iroh::address_lookup::memory::MemoryLookup;
/// use iroh_util::connection_pool::Options;
/// use peer_health::{Failure, HealthRegistry};
/// use peer_health_iroh::HealthPool;
///
/// # use iroh::endpoint::{Builder, presets::Minimal};
/// # use iroh::{Endpoint, EndpointAddr, RelayMode};
/// # fn node() -> Result<Builder, Box<dyn std::error::Error>> {
/// #     let loopback = Endpoint::builder(Minimal)
/// #         .alpns(vec![b"my-sync/1".to_vec()])
/// #         .relay_mode(RelayMode::Disabled)
/// #         .clear_address_lookup()
/// #         .clear_ip_transports()
/// #         .bind_addr("127.0.0.1:0")?;
/// #     Ok(loopback)
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let peer = node()?.bind().await?;
/// # let address = EndpointAddr::new(peer.id()).with_ip_addr(peer.bound_sockets()[0]);
/// let us = node()?.address_lookup(MemoryLookup::from_endpoint_info([address])).bind().await?;
/// let accepting = tokio::spawn({
///     let peer = peer.clone();
///     async move { peer.accept().await.unwrap().await.unwrap().closed().await }
/// });
///
/// let registry = HealthRegistry::new();
/// let pool = HealthPool::new(registry.clone(), us.clone(), b"my-sync/1", Options::default());
/// for _ in 0..2 {
///     let sync = |connection: iroh::endpoint::Connection| async move {
///         let (_send, _receive) = connection.open_bi().await?; // and sync
///         Ok::<_, Failure>(connection.stable_id())
///     };
///     pool.call(&peer.id(), sync).await?;
/// }
/// assert_eq!(registry.totals().all.succeeded, 2);
///
/// registry.force_open(&peer.id())?;
/// let sync = |_| async { Ok::<_, Failure>(()) };
/// assert!(pool.call(&peer.id(), sync).await.is_err());
/// # drop(pool);
/// # accepting.await?;
/// # tokio::join!(us.close(), peer.close());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HealthPool {
    registry: HealthRegistry<EndpointId>,
    pool: ConnectionPool,
    blame: Arc<Blame>,
    codes: Codes,
    deadline: Duration,
}

impl HealthPool {
    /// Returns a pool that dials from `endpoint`, for `alpn`, and asks and tells `registry`. Calls have a
    /// deadline of 10 s.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`ConnectionPool::new`] does: the pool has a task.
    ///
    /// ```
    /// use iroh::{Endpoint, RelayMode, endpoint::presets::Minimal};
    /// use iroh_util::connection_pool::Options;
    /// use peer_health::HealthRegistry;
    /// use peer_health_iroh::HealthPool;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// let endpoint = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// let mut options = Options::default();
    /// options.max_connections = 64;
    /// let registry = HealthRegistry::new();
    /// let pool = HealthPool::new(registry.clone(), endpoint, b"my-sync/1", options);
    /// assert!(pool.registry().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        registry: HealthRegistry<EndpointId>,
        endpoint: Endpoint,
        alpn: &[u8],
        options: Options,
    ) -> Self {
        let pool = ConnectionPool::new(endpoint, alpn, options);
        Self { registry, pool, blame: Arc::default(), codes: Codes::default(), deadline: DEADLINE }
    }

    /// Gives calls another deadline, dial and all; the default is 10 s. The dial has a limit of its own, the
    /// pool's `connect_timeout` of 1 s by default.
    ///
    /// Choose it shorter than the registry's [`probe_lease`](peer_health::HealthConfig::probe_lease), or a
    /// probe that hangs loses its slot before it fails. With a deadline of zero nothing is dialled: each call
    /// fails with [`PoolError::TimedOut`], as a fault of our own.
    ///
    /// ```
    /// # use iroh::{Endpoint, RelayMode, SecretKey, endpoint::presets::Minimal};
    /// # use iroh_util::connection_pool::Options;
    /// # use peer_health::{Failure, HealthRegistry};
    /// # use peer_health_iroh::{HealthPool, PoolError};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// # let us = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// # let nobody = SecretKey::generate().public();
    /// let pool = HealthPool::new(HealthRegistry::new(), us, b"my-sync/1", Options::default())
    ///     .with_deadline(Duration::ZERO);
    /// let call = pool.call(&nobody, |_| async { Ok::<_, Failure>(()) }).await;
    /// assert!(matches!(call, Err(PoolError::TimedOut(Duration::ZERO))));
    /// assert_eq!(pool.registry().snapshot(&nobody).unwrap().consecutive_failures, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Gives the codes by which a peer closes a connection a meaning, where the errors of a call no longer say
    /// that the peer closed it. The default gives none a meaning; a pool of iroh-blobs has [`Codes::blobs`].
    /// The errors of a call are judged by its own classification, as always.
    ///
    /// ```
    /// # use iroh::{Endpoint, RelayMode, SecretKey, endpoint::presets::Minimal};
    /// # use iroh_util::connection_pool::Options;
    /// # use peer_health::HealthRegistry;
    /// # use peer_health_iroh::HealthPool;
    /// use peer_health::iroh::Codes;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// # let us = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// let registry = HealthRegistry::new();
    /// let pool = HealthPool::new(registry, us, iroh_blobs::ALPN, Options::default())
    ///     .with_codes(Codes::blobs());
    /// assert!(pool.registry().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_codes(mut self, codes: Codes) -> Self {
        self.codes = codes;
        self
    }

    /// Returns the registry that the pool asks and tells. It never panics.
    ///
    /// ```
    /// # use iroh::{Endpoint, RelayMode, endpoint::presets::Minimal};
    /// # use iroh_util::connection_pool::Options;
    /// # use peer_health::HealthRegistry;
    /// # use peer_health_iroh::HealthPool;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// # let us = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// let pool = HealthPool::new(HealthRegistry::new(), us, b"my-sync/1", Options::default());
    /// assert_eq!(pool.registry().totals().all.succeeded, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn registry(&self) -> &HealthRegistry<EndpointId> {
        &self.registry
    }

    /// Makes a call over a connection to the peer, if the peer may be called, and reports what became of it.
    /// The pool keeps the connection open while `op` runs. A panic of `op` counts as abandoned and goes on.
    ///
    /// # Errors
    ///
    /// [`PoolError::Refused`] if the call was not made: its `retry_after` says when to ask again. The other
    /// variants are reported already: try another peer.
    ///
    /// # Cancel safety
    ///
    /// The permit is taken at the first poll. Dropping the returned future drops that of `op` and counts the
    /// call as abandoned; the dial goes on for others.
    ///
    /// ```
    /// # use iroh::{Endpoint, RelayMode, SecretKey, endpoint::presets::Minimal};
    /// # use iroh_util::connection_pool::Options;
    /// # use peer_health::{Failure, HealthRegistry};
    /// # use peer_health_iroh::{HealthPool, PoolError};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// # let us = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// let pool = HealthPool::new(HealthRegistry::new(), us, b"my-sync/1", Options::default());
    /// let nobody = SecretKey::generate().public(); // and no address of it
    /// let call = pool.call(&nobody, |_| async { Ok::<_, Failure>(()) }).await;
    /// assert!(matches!(call, Err(PoolError::Connect(_))));
    /// assert_eq!(pool.registry().snapshot(&nobody).unwrap().consecutive_failures, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn call<T, E: AsFailure, F: Future<Output = Result<T, E>>>(
        &self,
        peer: &EndpointId,
        op: impl FnOnce(Connection) -> F,
    ) -> Result<T, PoolError<E>> {
        self.call_with(peer, op, E::as_failure).await
    }

    /// [`call`](Self::call) for an error of another crate: `classify` reads the failure off it, as
    /// [`get_failure`](crate::get_failure) does for those of iroh-blobs. If `classify` panics, the call
    /// counts as abandoned, and the panic goes on.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As for [`call`](Self::call).
    ///
    /// ```
    /// # use iroh::{Endpoint, RelayMode, SecretKey, endpoint::presets::Minimal};
    /// # use iroh_util::connection_pool::Options;
    /// # use peer_health::HealthRegistry;
    /// use iroh_blobs::{Hash, api::Store, protocol::GetRequest, store::mem::MemStore};
    /// use peer_health::iroh::Codes;
    /// use peer_health_iroh::{HealthPool, get_failure};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// # let us = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// # let nobody = SecretKey::generate().public();
    /// let pool = HealthPool::new(HealthRegistry::new(), us, iroh_blobs::ALPN, Options::default())
    ///     .with_codes(Codes::blobs());
    /// let store: Store = MemStore::new().into();
    /// let hello = GetRequest::blob(Hash::new("hello"));
    /// let get = |connection| store.remote().execute_get(connection, hello).complete();
    /// assert!(pool.call_with(&nobody, get, get_failure).await.is_err());
    /// assert_eq!(pool.registry().snapshot(&nobody).unwrap().consecutive_failures, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn call_with<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        peer: &EndpointId,
        op: impl FnOnce(Connection) -> F,
        classify: impl FnOnce(&E) -> Failure,
    ) -> Result<T, PoolError<E>> {
        let permit = self.registry.acquire(peer).map_err(PoolError::Refused)?;
        let began = Instant::now();
        match self.judged(peer, op, classify).await {
            Ok(value) => {
                permit.with_latency(began.elapsed()).success();
                Ok(value)
            }
            Err((error, failure)) => {
                permit.failure(failure);
                Err(error)
            }
        }
    }

    /// Makes a call under a permit that the caller holds: inside the operation of a coordinator, a driver or
    /// [`call_async`](HealthRegistry::call_async) on the same registry. It asks the registry nothing and
    /// reports nothing. The operation hands the failure on, and whoever holds the permit reports it.
    ///
    /// [`call`](Self::call) is wrong there: it takes a second permit, so one failure counts twice, and a probe,
    /// which holds the only slot of its peer, is refused by its own registry each time.
    ///
    /// # Errors
    ///
    /// The failure that the [`PoolError`] of [`call`](Self::call) would stand for, of [`Fault::Nobody`] if
    /// another call has blamed the peer for the same event.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops that of `op`; the dial goes on for others.
    ///
    /// ```
    /// # use iroh::{Endpoint, RelayMode, SecretKey, endpoint::presets::Minimal};
    /// # use iroh_util::connection_pool::Options;
    /// # use peer_health::{Failure, HealthRegistry};
    /// # use peer_health_iroh::HealthPool;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// # let us = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// let registry = HealthRegistry::new();
    /// let pool = HealthPool::new(registry.clone(), us, b"my-sync/1", Options::default());
    /// let nobody = SecretKey::generate().public(); // and no address of it
    /// let op = pool.call_admitted(&nobody, |_| async { Ok::<_, Failure>(()) });
    /// assert!(registry.call_async(&nobody, op).await.is_err());
    /// assert_eq!(registry.snapshot(&nobody).unwrap().totals.failed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn call_admitted<T, E: AsFailure, F: Future<Output = Result<T, E>>>(
        &self,
        peer: &EndpointId,
        op: impl FnOnce(Connection) -> F,
    ) -> Result<T, Failure> {
        self.judged(peer, op, E::as_failure).await.map_err(|(_, failure)| failure)
    }
}

impl fmt::Debug for HealthPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthPool").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
