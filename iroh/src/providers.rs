//! Which provider the downloader tries next, and what the registry learns from it.

mod attempt;
mod follow;
mod seen;
mod walk;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use iroh::endpoint::Connection;
use iroh::{Endpoint, EndpointId};
use iroh_blobs::HashAndFormat;
use iroh_blobs::api::Store;
use iroh_blobs::api::downloader::{
    ContentDiscovery, DownloadOptions, DownloadProgressItem, Downloader, SplitStrategy,
    SupportedRequest,
};
use iroh_util::connection_pool::Options;
use n0_error::{Result, anyerr};
use n0_future::{StreamExt, stream};
use peer_health::{HealthMonitor, HealthRegistry};

use crate::blame::Blame;
use attempt::Book;
use follow::Follower;
use seen::Seen;
use walk::Walk;

/// As the deadline of a pool's call.
const STALL: Duration = Duration::from_secs(10);

/// Providers for the [`Downloader`] of iroh-blobs, the best first; what becomes of each attempt is reported.
///
/// The downloader goes through the providers of each part from the start, and remembers nothing: a dead one
/// costs it a second per part, a slow one the time of the whole part. This [`ContentDiscovery`] remembers:
///
/// - It yields the providers in the order of [`rank`](HealthMonitor::rank), each with a permit: first those
///   that deliver, by what they cost, then those of which nothing is known, in the given order, then those
///   that failed or may be probed. The time that a provider takes is scaled to 64 KiB, so that blobs of all
///   sizes can be compared.
/// - One part in eight first asks a provider that [`pick`](HealthMonitor::pick) chooses among those that have
///   not failed, once one of them delivers: so a slow one is not asked for ever since it was the first.
/// - Those that the registry refuses come last: an open circuit never keeps a blob from being found, and
///   costs nothing while another provider has it. One that answers then has its wait ended
///   ([good news](HealthRegistry::note_reachable)). A provider that is forced open is left out.
/// - A provider that fails is reported at once, and one that delivers as soon as the downloader says so. That
///   needs [`download`](Self::download) or [`progress`](Self::progress): if the downloader is given the
///   providers themselves, failures are reported, and a success is an abandoned call.
///
/// The downloader says that a provider failed, and not why. So the reason is read off its connections, which
/// [`downloader`](Self::downloader) or [`pool_options`](Self::pool_options) let this see:
///
/// | what is seen | reported as |
/// |---|---|
/// | no connection came about | `Network`, `Link`: it counts |
/// | the connection ended | as [`Codes::blobs`](peer_health::iroh::Codes::blobs) judge its reason |
/// | it sends no data for the time of a [stall](Self::with_stall) | `Network`, `Link`: it counts |
/// | the connection goes on, and the provider reset a stream: it lacks the blob | `Document`, `Document` |
/// | the connection goes on without a reset, and another provider delivers to the same store: wrong data | `Protocol`, `Peer`: it counts |
/// | the same, and nobody else delivers: perhaps our store is at fault | abandoned |
///
/// Where parts are fetched side by side, one event counts once, as in a [`HealthPool`](crate::HealthPool).
/// A part looks at each of the providers once. Whoever sets the pool's limits lower than the number of
/// providers that are dialled at once should know that a dial which these limits refuse looks like a provider
/// that is gone.
///
/// Hooks with [inferred failures](peer_health::iroh::HealthHooks::with_inferred_failures) take permits too: those
/// on the same registry must [leave out](peer_health::iroh::HealthHooks::with_alpns) the ALPN of iroh-blobs.
///
/// A clone shares everything; [`of`](Self::of) gives one with other providers, for another blob.
///
/// ```no_run
/// use iroh::{Endpoint, EndpointId};
/// use iroh_blobs::{Hash, api::Store};
/// use peer_health::HealthRegistry;
/// use peer_health_iroh::HealthyProviders;
///
/// # async fn doc(store: Store, endpoint: Endpoint, one: EndpointId, two: EndpointId) -> n0_error::Result<()> {
/// let registry = HealthRegistry::new();
/// let providers = HealthyProviders::new(registry.clone(), [one, two]);
/// let downloader = providers.downloader(&store, &endpoint);
/// for text in ["one", "two"] {
///     providers.download(&downloader, Hash::new(text)).await?;
/// }
/// assert_eq!(registry.totals().all.succeeded, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HealthyProviders {
    shared: Arc<Shared>,
    providers: Arc<[EndpointId]>,
    /// The attempts of a download that is followed; `None` if each part has its own.
    book: Option<Arc<Book>>,
    stall: Duration,
}

/// The state that all providers have in common.
struct Shared {
    monitor: HealthMonitor<EndpointId>,
    seen: Seen,
    blame: Arc<Blame>,
    /// The number of parts that have begun.
    parts: AtomicU64,
}

impl HealthyProviders {
    /// Returns these providers, which are ranked by what `registry` knows and report to it. Equals keep
    /// the given order. The registry times calls from here on.
    ///
    /// ```
    /// use iroh::SecretKey;
    /// use peer_health::HealthRegistry;
    /// use peer_health_iroh::HealthyProviders;
    ///
    /// let one = SecretKey::generate().public();
    /// let registry = HealthRegistry::new();
    /// let providers = HealthyProviders::new(registry.clone(), [one]);
    /// assert_eq!(providers.ids(), [one]);
    /// assert!(registry.is_empty());
    /// ```
    pub fn new(
        registry: HealthRegistry<EndpointId>,
        providers: impl IntoIterator<Item = EndpointId>,
    ) -> Self {
        let monitor = HealthMonitor::new(registry);
        let shared = Shared {
            monitor,
            seen: Seen::default(),
            blame: Arc::default(),
            parts: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            providers: providers.into_iter().collect(),
            book: None,
            stall: STALL,
        }
    }

    /// Returns other providers that share everything else with these: for another blob.
    ///
    /// ```
    /// # use iroh::SecretKey;
    /// # use peer_health::HealthRegistry;
    /// # use peer_health_iroh::HealthyProviders;
    /// let (one, two) = (SecretKey::generate().public(), SecretKey::generate().public());
    /// let providers = HealthyProviders::new(HealthRegistry::new(), [one]);
    /// assert_eq!(providers.of([two]).ids(), [two]);
    /// assert_eq!(providers.ids(), [one]);
    /// ```
    #[must_use]
    pub fn of(&self, providers: impl IntoIterator<Item = EndpointId>) -> Self {
        let providers = providers.into_iter().collect();
        Self { shared: Arc::clone(&self.shared), providers, book: None, stall: self.stall }
    }

    /// Gives the providers another limit for their silence; the default is 10 s. The connection of one that is
    /// asked, and sends no data for so long, is closed: it has failed, and the downloader asks the next. So has
    /// one that has been silent for so long when the download is dropped.
    ///
    /// That needs [`download`](Self::download) or [`progress`](Self::progress), and connections that these
    /// providers [see](Self::pool_options). A store of ours that takes no data for so long looks the same.
    ///
    /// # Errors
    ///
    /// If `stall` is zero: choose a longer one.
    ///
    /// ```
    /// # use {peer_health::HealthRegistry, peer_health_iroh::HealthyProviders, std::time::Duration};
    /// let providers = HealthyProviders::new(HealthRegistry::new(), []);
    /// assert!(providers.clone().with_stall(Duration::from_secs(3)).is_ok());
    /// let refused = providers.with_stall(Duration::ZERO).unwrap_err();
    /// assert_eq!(refused.to_string(), "stall is 0ns: must be more than 0s");
    /// ```
    pub fn with_stall(mut self, stall: Duration) -> Result<Self> {
        if stall.is_zero() {
            return Err(anyerr!("stall is {stall:?}: must be more than 0s"));
        }
        self.stall = stall;
        Ok(self)
    }

    /// Returns the providers, in the order in which they were given.
    ///
    /// ```
    /// # use peer_health::HealthRegistry;
    /// # use peer_health_iroh::HealthyProviders;
    /// let providers = HealthyProviders::new(HealthRegistry::new(), []);
    /// assert!(providers.ids().is_empty());
    /// ```
    pub fn ids(&self) -> &[EndpointId] {
        &self.providers
    }

    /// Returns a downloader whose connections these providers see. One serves all blobs of a program.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`Downloader::new`] does: the downloader has a task.
    ///
    /// ```
    /// # use iroh::{Endpoint, RelayMode, SecretKey, endpoint::presets::Minimal};
    /// use iroh_blobs::{Hash, api::Store, store::mem::MemStore};
    /// use peer_health::HealthRegistry;
    /// use peer_health_iroh::HealthyProviders;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// # let us = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// let store: Store = MemStore::new().into();
    /// let nobody = SecretKey::generate().public(); // and no address of it
    /// let registry = HealthRegistry::new();
    /// let providers = HealthyProviders::new(registry.clone(), [nobody]);
    /// let downloader = providers.downloader(&store, &us);
    /// assert!(providers.download(&downloader, Hash::new("hello")).await.is_err());
    /// assert_eq!(registry.snapshot(&nobody).unwrap().consecutive_failures, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn downloader(&self, store: &Store, endpoint: &Endpoint) -> Downloader {
        let options = self.pool_options(Options::default());
        Downloader::builder(store, endpoint).pool_options(options).build()
    }

    /// Returns `options` for a [`Downloader::builder`], such that these providers see its connections. They
    /// take the place of a callback that was set [`with_on_connected`](Options::with_on_connected): one that
    /// is needed calls [`note_connected`](Self::note_connected) instead.
    ///
    /// A downloader without this works too, but then each failure looks like a provider that is gone, even
    /// that of one which lacks a blob.
    ///
    /// ```
    /// # use peer_health::HealthRegistry;
    /// # use peer_health_iroh::HealthyProviders;
    /// use iroh_util::connection_pool::Options;
    /// use std::time::Duration;
    ///
    /// let providers = HealthyProviders::new(HealthRegistry::new(), []);
    /// let mut options = Options::default();
    /// options.connect_timeout = Duration::from_millis(300);
    /// let options = providers.pool_options(options);
    /// assert_eq!(options.connect_timeout, Duration::from_millis(300));
    /// ```
    #[must_use]
    pub fn pool_options(&self, options: Options) -> Options {
        let shared = Arc::clone(&self.shared);
        options.with_on_connected(move |_, connection| {
            shared.seen.note(&connection);
            async { Ok(()) }
        })
    }

    /// Notes a new connection to a provider, for a program that has a callback of its own in the
    /// [pool's options](Self::pool_options). It holds no connection open.
    ///
    /// ```
    /// # use peer_health::HealthRegistry;
    /// # use peer_health_iroh::HealthyProviders;
    /// # use iroh_util::connection_pool::Options;
    /// let providers = HealthyProviders::new(HealthRegistry::new(), []);
    /// let options = Options::default().with_on_connected({
    ///     let providers = providers.clone();
    ///     move |_endpoint, connection| {
    ///         providers.note_connected(&connection);
    ///         async { Ok(()) } // and whatever else has to be done first
    ///     }
    /// });
    /// assert_eq!(options.max_connections, 1024);
    /// ```
    pub fn note_connected(&self, connection: &Connection) {
        self.shared.seen.note(connection);
    }

    /// Downloads from these providers, one after the other, until one of them has delivered.
    ///
    /// # Errors
    ///
    /// The downloader's error, if none of the providers delivered: ask for more providers, or come back
    /// later. All of them were tried, but for those that are forced open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the download. Its attempts count as abandoned, but for those of providers that
    /// have been silent for the time of a [stall](Self::with_stall).
    ///
    /// ```
    /// # use iroh::{Endpoint, RelayMode, endpoint::presets::Minimal};
    /// # use iroh_blobs::{Hash, api::Store, store::mem::MemStore};
    /// # use peer_health::HealthRegistry;
    /// # use peer_health_iroh::HealthyProviders;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// # let us = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// let store: Store = MemStore::new().into();
    /// let providers = HealthyProviders::new(HealthRegistry::new(), []);
    /// let downloader = providers.downloader(&store, &us);
    /// store.add_slice("hello").await?;
    /// assert!(providers.download(&downloader, Hash::new("hello")).await.is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn download(
        &self,
        downloader: &Downloader,
        request: impl SupportedRequest,
    ) -> Result<()> {
        let mut items = self.progress(downloader, request, SplitStrategy::None).await?;
        while let Some(item) = items.next().await {
            match item {
                DownloadProgressItem::Error(error) => return Err(error),
                DownloadProgressItem::DownloadError => {
                    return Err(anyerr!("a part is at none of the providers"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts a download from these providers and returns what the downloader says of it, item by item. What
    /// becomes of the attempts is reported as the items pass: read the stream to its end.
    ///
    /// With [`SplitStrategy::Split`] the downloader keeps some of it to itself: the root of a collection, and
    /// the last parts. Their providers are known to have delivered when the download has ended without an
    /// error; after an error these attempts count as abandoned.
    ///
    /// # Errors
    ///
    /// If the downloader is gone: make another.
    ///
    /// # Cancel safety
    ///
    /// As for [`download`](Self::download); dropping the stream does the same.
    ///
    /// ```
    /// # use iroh::{Endpoint, RelayMode, SecretKey, endpoint::presets::Minimal};
    /// # use iroh_blobs::{Hash, api::Store, store::mem::MemStore};
    /// # use peer_health::HealthRegistry;
    /// # use peer_health_iroh::HealthyProviders;
    /// use iroh_blobs::api::downloader::{DownloadProgressItem, SplitStrategy};
    /// use n0_future::StreamExt;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled);
    /// # let builder = builder.clear_address_lookup().clear_ip_transports();
    /// # let us = builder.bind_addr("127.0.0.1:0")?.bind().await?;
    /// # let store: Store = MemStore::new().into();
    /// let nobody = SecretKey::generate().public(); // and no address of it
    /// let providers = HealthyProviders::new(HealthRegistry::new(), [nobody]);
    /// let downloader = providers.downloader(&store, &us);
    /// let hash = Hash::new("hello");
    /// let mut items = providers.progress(&downloader, hash, SplitStrategy::None).await?;
    /// let tried = items.next().await;
    /// assert!(matches!(tried, Some(DownloadProgressItem::TryProvider { id, .. }) if id == nobody));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn progress(
        &self,
        downloader: &Downloader,
        request: impl SupportedRequest,
        strategy: SplitStrategy,
    ) -> Result<stream::Boxed<DownloadProgressItem>> {
        let (book, shared) = (Arc::new(Book::default()), Arc::clone(&self.shared));
        let followed = Self { book: Some(Arc::clone(&book)), ..self.clone() };
        let options = DownloadOptions::new(request, followed, strategy);
        let items = downloader.download_with_opts(options).stream().await?;
        let follower = Follower::new(shared, book, items.boxed(), self.stall);
        Ok(stream::unfold(follower, |mut follower| async {
            follower.next().await.map(|item| (item, follower))
        })
        .boxed())
    }
}

/// Each part goes through the providers anew, and ranks them when it begins.
impl ContentDiscovery for HealthyProviders {
    fn find_providers(&self, content: HashAndFormat) -> stream::Boxed<EndpointId> {
        let book = self.book.clone().unwrap_or_default();
        stream::iter(Walk::new(Arc::clone(&self.shared), &self.providers, content, book)).boxed()
    }
}

impl fmt::Debug for HealthyProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthyProviders")
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}
