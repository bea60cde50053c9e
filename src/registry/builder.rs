//! How a registry is made.

use std::fmt;
use std::time::Duration;

use super::hook::{HookNotice, Hooks};
use super::key::PeerKey;
use super::listeners::{Listener, Listeners};
use super::log;
use super::outage::Peers;
use super::table::Table;
use super::timing::Timing;
use super::{HealthRegistry, RegistryInner};
use crate::config::rules::Rules;
use crate::config::{ConfigError, HealthConfig};
use crate::event::{Event, EventKind};
use crate::peer::{Announce, Announcement, RegistryShared};
use crate::saved::Saved;
use crate::sync::{Arc, AtomicU8};
use crate::time::Clock;
use crate::tracker::Context;

/// The largest table in which the order of uses is kept use by use. In larger ones it is kept by
/// insertion: as fine as their churn, and no write that calls to different peers would share.
const EXACT_USES: usize = 256;

/// Makes a [`HealthRegistry`].
///
/// ```
/// use peer_health::{Clock, HealthConfig, HealthRegistry};
///
/// let registry = HealthRegistry::<u32>::builder()
///     .config(HealthConfig::default().with_failure_threshold(3))
///     .clock(Clock::monotonic())
///     .listener(|event| println!("{event:?}"))
///     .seed(7)
///     .build()?;
/// assert!(registry.is_empty());
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[must_use]
pub struct RegistryBuilder<K> {
    config: HealthConfig,
    clock: Clock,
    listeners: Vec<Listener<K>>,
    seed: Option<u64>,
    pub(super) saved: Option<SavedPeers<K>>,
}

/// What was saved of peers, and how long ago.
pub(super) type SavedPeers<K> = (Vec<Saved<K>>, Option<Duration>);

impl<K> Default for RegistryBuilder<K> {
    fn default() -> Self {
        let (config, clock) = (HealthConfig::default(), Clock::default());
        Self { config, clock, listeners: Vec::new(), seed: None, saved: None }
    }
}

impl<K> fmt::Debug for RegistryBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder")
            .field("config", &self.config)
            .field("clock", &self.clock)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl<K: PeerKey> RegistryBuilder<K> {
    /// The configuration; checked by [`build`](Self::build).
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// let config = HealthConfig::default().with_max_peers(8);
    /// assert!(HealthRegistry::<u32>::builder().config(config).build().is_ok());
    /// ```
    pub fn config(mut self, config: HealthConfig) -> Self {
        self.config = config;
        self
    }

    /// Where time comes from. Default: the system's monotonic clock.
    ///
    /// ```
    /// use peer_health::{Clock, HealthRegistry};
    /// let (clock, _hand) = Clock::manual();
    /// assert!(HealthRegistry::<u32>::builder().clock(clock).build().is_ok());
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Told of each transition, by the thread that made it, while no lock is held: it may call any
    /// method of the registry. Should be quick, since a call waits for it. If it panics, that
    /// event is lost and an error is logged.
    ///
    /// Each call adds one: they are told in the order in which they were added, before those of
    /// [`HealthRegistry::listen`], and stay for as long as the registry.
    ///
    /// ```
    /// use peer_health::{EventKind, HealthRegistry};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let registry = HealthRegistry::<u32>::builder()
    ///     .listener(|event| println!("{}: {}", event.peer, event.kind))
    ///     .listener(move |event| tell.send(event.kind).unwrap_or_default())
    ///     .build()?;
    /// registry.force_open(&7).unwrap();
    /// registry.reset(&7);
    /// assert_eq!(told.iter().nth(1), Some(EventKind::Reset));
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn listener(mut self, listener: impl Fn(&Event<K>) + Send + Sync + 'static) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// The seed of the jitter, so that it can be repeated. Default: a random one.
    ///
    /// ```
    /// assert!(peer_health::HealthRegistry::<u32>::builder().seed(1).build().is_ok());
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the registry. Its time begins now.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the field of the configuration that makes no sense, and its value.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// let config = HealthConfig::default().with_open_multiplier(f64::NAN);
    /// let error = HealthRegistry::<u32>::builder().config(config).build().unwrap_err();
    /// assert_eq!(error.to_string(), "open_multiplier is NaN: must be finite and at least 1");
    /// ```
    pub fn build(self) -> Result<HealthRegistry<K>, ConfigError> {
        let rules = self.config.check()?;
        let config = self.config.clone();
        let registry = self.assemble(rules);
        registry.inner.doubt(&config);
        Ok(registry)
    }

    /// The default configuration is known to be sound.
    pub(super) fn build_default(self) -> HealthRegistry<K> {
        let rules = self.config.rules();
        self.assemble(rules)
    }

    fn assemble(self, rules: Rules) -> HealthRegistry<K> {
        let seed = self.seed.unwrap_or_else(rand::random);
        let max_peers = rules.max_peers;
        let timing = Timing::default();
        timing.configure(&rules);
        let context = Context::new(self.clock.started_now(), Arc::new(rules));
        let listeners = Arc::new(Listeners::new(self.listeners));
        let hooks = Arc::new(Hooks::default());
        let sink = sink(Arc::clone(&listeners), Arc::clone(&hooks));
        let table = Table::new(max_peers, seed);
        let inner = Arc::new_cyclic(|inner| {
            let context = context.guarding(Box::new(Peers(inner.clone())));
            let shared = Arc::new(RegistryShared::new(context, sink, max_peers <= EXACT_USES));
            RegistryInner {
                shared,
                table,
                listeners,
                hooks,
                timing,
                exported: Default::default(),
                doubted: AtomicU8::new(0),
                #[cfg(feature = "tokio")]
                waiting: Default::default(),
            }
        });
        if let Some((saved, downtime)) = self.saved {
            inner.restore(saved, downtime);
        }
        HealthRegistry { inner }
    }
}

/// What is said goes to the listeners, then to the log, then to the hooks.
fn sink<K: PeerKey>(listeners: Arc<Listeners<K>>, hooks: Arc<Hooks<K>>) -> Announce<K> {
    Box::new(move |entry, said| match said {
        Announcement::Event(generation, kind) => {
            if let EventKind::Opened { .. } = kind {
                let context = &entry.shared.context;
                context.date_next(context.clock.now());
            }
            if !listeners.tell(&entry.key, generation, kind) {
                hooks.tell(HookNotice::Unheard(&entry.key));
            }
            log::transition(entry, generation, kind);
        }
        Announcement::Step => hooks.tell(HookNotice::Peer(&entry.key)),
        Announcement::Gone { answered } => {
            hooks.tell(HookNotice::Gone { peer: &entry.key, answered })
        }
    })
}
