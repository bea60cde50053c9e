//! Hooks by which an endpoint asks and tells the registry.

use std::fmt;
use std::time::Duration;

use ::iroh::endpoint::{
    AfterHandshakeOutcome, BeforeConnectOutcome, Connection, EndpointHooks, Side,
};
use ::iroh::{EndpointAddr, EndpointId};

use super::closes::{BANNED, BANNED_REASON};
use super::codes::{Codes, Ending};
use crate::config::ConfigError;
use crate::foreign::{Own, quietly};
use crate::outcome::Status;
use crate::registry::HealthRegistry;
use crate::runtime::Runtime;
use crate::sync::Arc;

mod inferred;

use inferred::Dials;

type OnInbound = Own<Box<dyn Fn(EndpointId) + Send + Sync>>;
type OnClosed = Arc<Own<Box<dyn Fn(EndpointId, Ending) + Send + Sync>>>;

/// Hooks that keep an endpoint from dialling peers whose circuit is open, and tell the registry which peers
/// call us.
///
/// - The hooks refuse a dial to a peer whose circuit [is open](HealthRegistry::is_circuit_open), with its
///   wait not over, or forced open, before a packet leaves. Its error is iroh's `LocallyRejected`, which is
///   [`CircuitBreakerOpen`](crate::SyncError::CircuitBreakerOpen) and counts against no peer. A hook makes
///   no step and takes no permit, so it is a net below the caller's own [`acquire`](HealthRegistry::acquire)
///   and no substitute: while a circuit is half-open the hook lets every dial pass, and only permits bound
///   the probes. (With [inferred failures](Self::with_inferred_failures) the hook takes permits itself.)
/// - A peer whose inbound connection has completed its handshake has proven its key, and that there is a way
///   to it. That is [good news](HealthRegistry::note_reachable): the wait of its open circuit ends, and the
///   next `acquire` is admitted, as a probe. News closes no circuit, and lifts no `force_open`: a peer that
///   is alive may still answer garbage, and then its probe fails. After each such probe the circuit heeds
///   the next connection later, so that a peer which answers garbage is not probed more often for calling
///   us.
/// - The hooks refuse the connections of a peer that is forced open, its own and ours, once the handshake has
///   proven the key: with the code [`BANNED`], which keeps the peer away. Such a connection is no news.
///   iroh looks at the hooks when the handshake is awaited, so a server that takes 0-RTT data answers it
///   before.
///
/// The code that holds a connection closes it: the hooks hold neither an endpoint nor a connection, and what
/// you give them must not either, or the endpoint is never dropped. They apply to all ALPNs of the endpoint
/// unless [told which](Self::with_alpns). iroh has no hook for a dial that fails: the permit reports that, or
/// the hooks [infer it](Self::with_inferred_failures).
/// Install these hooks after those that may reject a connection, or a peer that is rejected by them has
/// ended its wait before.
///
/// ```
/// use iroh::endpoint::{BeforeConnectOutcome, EndpointHooks};
/// use iroh::{EndpointAddr, SecretKey};
/// use peer_health::HealthRegistry;
/// use peer_health::iroh::HealthHooks;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let registry = HealthRegistry::new();
/// let hooks = HealthHooks::new(registry.clone()); // for `Endpoint::builder(..).hooks(hooks)`
/// let peer = SecretKey::generate().public();
/// registry.force_open(&peer)?;
/// let outcome = hooks.before_connect(&EndpointAddr::new(peer), b"my-sync/1").await;
/// assert!(matches!(outcome, BeforeConnectOutcome::Reject));
/// # Ok::<(), peer_health::TableFull>(())
/// # }).unwrap();
/// ```
#[must_use = "hooks do nothing until they are given to an endpoint"]
pub struct HealthHooks {
    registry: HealthRegistry<EndpointId>,
    /// The watched ALPNs; `None` for all.
    alpns: Option<Vec<Vec<u8>>>,
    on_inbound: Option<OnInbound>,
    on_closed: Option<(Codes, OnClosed)>,
    dials: Option<Arc<Dials>>,
}

/// The longest time that a dial is waited for.
const MOST: Duration = Duration::from_secs(3_600);

impl HealthHooks {
    /// Returns hooks that ask and tell `registry`, for all ALPNs.
    ///
    /// ```
    /// use iroh::{Endpoint, endpoint::presets::Minimal};
    /// use peer_health::{HealthRegistry, iroh::HealthHooks};
    ///
    /// let registry = HealthRegistry::new();
    /// let builder = Endpoint::builder(Minimal).hooks(HealthHooks::new(registry.clone()));
    /// assert!(registry.is_empty());
    /// ```
    pub fn new(registry: HealthRegistry<EndpointId>) -> Self {
        Self { registry, alpns: None, on_inbound: None, on_closed: None, dials: None }
    }

    /// Watches these ALPNs only, of dials and of connections. Use it where other protocols share the
    /// endpoint: a circuit that opened by one protocol's failures then does not stop another.
    ///
    /// The hooks judge a dial by the ALPN it names first, a connection by the one that was agreed on.
    ///
    /// ```
    /// use iroh::endpoint::{BeforeConnectOutcome, EndpointHooks};
    /// use iroh::{EndpointAddr, SecretKey};
    /// use peer_health::{HealthRegistry, iroh::HealthHooks};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let registry = HealthRegistry::new();
    /// let hooks = HealthHooks::new(registry.clone()).with_alpns([b"my-sync/1"]);
    /// let peer = SecretKey::generate().public();
    /// registry.force_open(&peer)?;
    /// let outcome = hooks.before_connect(&EndpointAddr::new(peer), b"gossip/1").await;
    /// assert!(matches!(outcome, BeforeConnectOutcome::Accept));
    /// # Ok::<(), peer_health::TableFull>(())
    /// # }).unwrap();
    /// ```
    pub fn with_alpns(mut self, alpns: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.alpns = Some(alpns.into_iter().map(Into::into).collect());
        self
    }

    /// Calls `tell` for each inbound connection on a watched ALPN, once its handshake is completed and the
    /// wait of its circuit has ended: then what waits for that peer may be tried.
    ///
    /// `tell` runs inside the accept of the connection: keep it short, and send longer work to a task. If it
    /// panics, the accept goes on. A [`SyncDriver`](crate::SyncDriver) whose operation dials with this
    /// endpoint holds it, and must not be held by `tell`, or be [shut down](crate::SyncDriver::shutdown):
    /// send the peer over a channel, as here.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry, SyncError, iroh::HealthHooks};
    /// use tokio::sync::mpsc;
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
    /// # fn address(of: &Endpoint) -> EndpointAddr {
    /// #     EndpointAddr::new(of.id()).with_ip_addr(of.bound_sockets()[0])
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let config = HealthConfig::default().with_failure_threshold(1);
    /// let registry = HealthRegistry::builder().config(config).build()?;
    /// let (tell, mut told) = mpsc::unbounded_channel();
    /// let hooks = HealthHooks::new(registry.clone()).on_inbound(move |peer| {
    ///     let _ = tell.send(peer); // nobody listens any more: nothing to do
    /// });
    /// let us = node()?.hooks(hooks).bind().await?;
    /// let peer = node()?.bind().await?;
    /// registry.acquire(&peer.id())?.failure(SyncError::Network("lost".into()));
    /// assert!(registry.acquire(&peer.id()).is_err());
    ///
    /// let accept = async { us.accept().await.unwrap().await };
    /// let (theirs, ours) = tokio::join!(peer.connect(address(&us), b"my-sync/1"), accept);
    /// assert_eq!(told.recv().await, Some(peer.id()));
    /// assert!(registry.acquire(&peer.id())?.is_probe());
    /// # drop((theirs?, ours?));
    /// # tokio::join!(us.close(), peer.close());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_inbound(mut self, tell: impl Fn(EndpointId) + Send + Sync + 'static) -> Self {
        self.on_inbound = Some(Own::new(Box::new(tell)));
        self
    }

    /// Calls `tell` once for each connection on a watched ALPN that has ended, whichever side dialled, with
    /// how it ended; `codes` says what the codes mean with which peers close them.
    ///
    /// The hooks report nothing to the registry: a call that was being made on the connection fails with the
    /// same reason and reports it, once. `tell` serves connections that were idle, and the owner of a pool.
    /// A connection may end long after its peer has come back on another: check that it was the newest
    /// before its end counts for anything.
    ///
    /// If `tell` panics, or the function of `codes`, its task ends, and this event is lost.
    ///
    /// Each such connection has a small task, in the tokio runtime in which it was dialled or accepted, that
    /// holds it by a weak handle. Outside a runtime `tell` is never called.
    ///
    /// ```
    /// use peer_health::HealthRegistry;
    /// use peer_health::iroh::{Codes, Ending, HealthHooks};
    /// use tokio::sync::mpsc;
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
    /// # fn address(of: &Endpoint) -> EndpointAddr {
    /// #     EndpointAddr::new(of.id()).with_ip_addr(of.bound_sockets()[0])
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let (tell, mut told) = mpsc::unbounded_channel();
    /// let codes = Codes::new(|code| (code.into_inner() == 1).then_some(Ending::Planned));
    /// let hooks = HealthHooks::new(HealthRegistry::new()).on_closed(codes, move |peer, ending| {
    ///     let _ = tell.send((peer, ending)); // nobody listens any more: nothing to do
    /// });
    /// let us = node()?.hooks(hooks).bind().await?;
    /// let peer = node()?.bind().await?;
    /// for (code, planned) in [(1_u32, true), (2, false)] {
    ///     let accept = async { peer.accept().await.unwrap().await };
    ///     let (ours, theirs) = tokio::join!(us.connect(address(&peer), b"my-sync/1"), accept);
    ///     theirs?.close(code.into(), b"");
    ///     let (who, ending) = told.recv().await.unwrap();
    ///     assert_eq!((who, ending == Ending::Planned), (peer.id(), planned));
    /// #   drop(ours?);
    /// }
    /// # tokio::join!(us.close(), peer.close());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_closed(
        mut self,
        codes: Codes,
        tell: impl Fn(EndpointId, Ending) + Send + Sync + 'static,
    ) -> Self {
        self.on_closed = Some((codes, Arc::new(Own::new(Box::new(tell)))));
        self
    }

    /// Reports dials by themselves, so that protocols which know nothing of the registry feed it: iroh-gossip,
    /// iroh-docs, the downloader of iroh-blobs.
    ///
    /// A dial that the hooks let pass, and that no handshake has followed `within` that time, is a failure:
    /// [`Network`](crate::SyncError::Network), [`Fault::Link`](crate::Fault::Link). It counts for nothing if a
    /// connection to the peer is open by then, or was made meanwhile, begun by either side and on any ALPN.
    /// Other dials of the same peer within that time are the same failure. A handshake that follows is a
    /// success. Once the circuit opens, dials do not leave any more; when its wait is over the hooks let one
    /// dial of the peer pass at a time, as a probe, until the circuit is decided. While a connection that
    /// this node began on a watched ALPN lasts, each further `within` counts as a success to a circuit that is
    /// half-open, or open and at the end of its wait.
    /// A peer that [bans us](BANNED) has failed, though its handshakes succeed.
    ///
    /// It is an inference, since iroh tells no hook of a dial that failed or was given up:
    ///
    /// - *A dial that its caller cancels* looks like one that failed: no hook sees its end. It is a
    ///   failure unless a connection was made within the time. So choose a `within` at which a caller that
    ///   gave up was right to do so: 5 s suits iroh-gossip and iroh-docs, whose dials have iroh's own 30 s.
    ///   For the pool of iroh-util, and with it the downloader of iroh-blobs, 1 s is the time it waits itself.
    /// - *An error that comes at once* (refused, no common ALPN, no address, another hook that rejects) is seen
    ///   when the time is over, as a failure of the link, whosever fault it was.
    /// - *An endpoint that is closed* under its dials is told from nothing else while it is not dropped: at
    ///   most one failure for each peer that was being dialled. Dropped, it leaves none.
    /// - *A peer that accepts and answers garbage* is well to the hooks. Only code that reads the answer can
    ///   tell.
    ///
    /// The hooks take a permit for each dial that they wait for. A caller that takes permits itself
    /// would count twice, and compete with its own dial for a probe's slot: leave its protocol out by
    /// [`with_alpns`](Self::with_alpns), or let it report by its permits alone and infer nothing.
    ///
    /// At most `max_peers` peers are waited for, those that ban us included, however many are connected; further
    /// dials pass unless their circuit is open.
    /// `within` is counted by tokio's timers in the runtime of the dial, and outside of a runtime nothing is
    /// inferred; what follows from a failure is decided by the registry's clock. A probe is waited for at
    /// most half as long as its [lease](crate::HealthConfig::probe_lease). Each connection has a small task in
    /// the runtime of its handshake, which holds it by a weak handle, and wakes each `within` if this node began
    /// it on a watched ALPN. A runtime that ends takes its dials with it as no calls, and its connections as
    /// ended.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names `within` if it is zero or longer than an hour: choose one between.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, iroh::HealthHooks};
    /// use std::time::Duration;
    ///
    /// let hooks = || HealthHooks::new(HealthRegistry::new()).with_alpns([b"/iroh-gossip/1"]);
    /// assert!(hooks().with_inferred_failures(Duration::from_secs(5)).is_ok());
    /// let error = hooks().with_inferred_failures(Duration::ZERO).unwrap_err();
    /// assert_eq!(error.to_string(), "within is 0ns: must be more than 0s and at most 1h");
    /// ```
    pub fn with_inferred_failures(mut self, within: Duration) -> Result<Self, ConfigError> {
        if within.is_zero() || within > MOST {
            let rule = "must be more than 0s and at most 1h";
            return Err(ConfigError::time("within", within, rule));
        }
        self.dials = Some(Arc::new(Dials::new(self.registry.clone(), within)));
        Ok(self)
    }

    fn watches(&self, alpn: &[u8]) -> bool {
        self.alpns.as_ref().is_none_or(|alpns| alpns.iter().any(|watched| watched == alpn))
    }

    /// Calls `tell` with the connection's end, when it ends.
    fn watch(&self, connection: &Connection) {
        let Some((codes, tell)) = self.on_closed.clone() else { return };
        let Some(runtime) = Runtime::current() else { return };
        // The future is made while the connection is sure to be alive, and does not keep it alive.
        let closed = connection.weak_handle().closed();
        let peer = connection.remote_id();
        runtime.spawn(async move {
            if let Some(closed) = closed.await {
                quietly(|| tell(peer, codes.ending(&closed.reason)));
            }
        });
    }
}

impl EndpointHooks for HealthHooks {
    async fn before_connect(&self, peer: &EndpointAddr, alpn: &[u8]) -> BeforeConnectOutcome {
        let passes = !self.watches(alpn)
            || match &self.dials {
                Some(dials) => dials.admit(peer.id),
                None => !self.registry.refuses_now(&peer.id),
            };
        if passes { BeforeConnectOutcome::Accept } else { BeforeConnectOutcome::Reject }
    }

    async fn after_handshake(&self, connection: &Connection) -> AfterHandshakeOutcome {
        let watched = self.watches(connection.alpn());
        let peer = connection.remote_id();
        if watched && self.registry.status(&peer) == Status::ForcedOpen {
            let reason = BANNED_REASON.to_vec();
            return AfterHandshakeOutcome::Reject { error_code: BANNED, reason };
        }
        if let Some(dials) = &self.dials {
            dials.connected(connection, watched);
        }
        if watched {
            self.watch(connection);
            if connection.side() == Side::Server {
                self.registry.note_reachable(&peer);
                if let Some(tell) = &self.on_inbound {
                    // A panic of `tell` must not end the endpoint's accept.
                    quietly(|| tell(peer));
                }
            }
        }
        AfterHandshakeOutcome::Accept
    }
}

impl fmt::Debug for HealthHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthHooks")
            .field("registry", &self.registry)
            .field("alpns", &self.alpns)
            .field("on_inbound", &self.on_inbound.is_some())
            .field("on_closed", &self.on_closed.is_some())
            .field("inferred_failures", &self.dials.as_ref().map(|dials| dials.within()))
            .finish()
    }
}
