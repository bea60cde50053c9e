//! The registry as metrics (feature `metrics`): the group `peer_health` for a registry of iroh-metrics, and so
//! for Prometheus, OpenMetrics and iroh-services.
//!
//! 1. No call pays for it. The values are read when somebody scrapes: one look at all peers, at most one a
//!    second, and the scrapes in between show the last one. Only transitions, which a healthy peer makes
//!    none of, are counted as they come.
//! 2. A counter never falls, or Prometheus would take it for a restart and show a peak that never was. A look
//!    may find less than the one before, since a peer that leaves meanwhile counts nowhere for a moment.
//! 3. Two scrapes at once neither wait for each other nor look twice: while one looks, another shows the last
//!    look. No lock is held while foreign code runs (R25), such as a clock or the destructor of a key.
//! 4. No label names a peer, or a node with many peers would burden the server that keeps its metrics.

use std::fmt;

use iroh_metrics::iterable::{FieldIter, IntoIterable, Iterable};
use iroh_metrics::{FamilyItem, MetricItem, MetricsGroup};

use crate::event::EventKind;
use crate::registry::hook::DriverCounts;
use crate::registry::{HealthRegistry, Listening, PeerKey, PeerSurvey};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::time::{Clock, Tick};

mod rows;

use rows::Rows;

/// A look is not older than this when it is shown.
const FRESH: u64 = 1_000_000_000;

/// Shows a registry to collectors of metrics: the group `peer_health` of iroh-metrics.
///
/// ```
/// use iroh_metrics::{MetricsSource, Registry};
/// use peer_health::{HealthMetrics, HealthRegistry};
/// use std::sync::{Arc, RwLock};
///
/// let health = HealthRegistry::<u32>::new();
/// let mut registry = Registry::default();
/// registry.register(Arc::new(HealthMetrics::new(health.clone())));
/// health.acquire(&7).unwrap().success();
///
/// let text = Arc::new(RwLock::new(registry)).encode_openmetrics_to_string()?;
/// assert!(text.contains("peer_health_calls_total{outcome=\"succeeded\"} 1\n"));
/// assert!(text.contains("peer_health_peers{state=\"closed\"} 1\n"));
/// # Ok::<(), iroh_metrics::Error>(())
/// ```
///
/// | kind | name | labels |
/// |---|---|---|
/// | counter | `calls` | `outcome`: `succeeded`, `failed`, `neutral`, `abandoned`, `late` |
/// | counter | `reports`, without a permit | `outcome`: `succeeded`, `failed` |
/// | counter | `refused` | `reason`: `open`, `probes_in_flight`, `forced_open` |
/// | counter | `transitions` | `to`: `open`, `reopened`, `half_open`, `closed`, `overridden`, `reset` |
/// | counter | `evicted`, `removed`, `untracked`, `local_outages`, `retries`, `retries_refused` | |
/// | gauge | `peers` | `state`: `closed`, `open`, `half_open`, `forced_open`, `disabled`, `metrics_only` |
/// | gauge | `probes_in_flight`, `local_outage` | |
/// | gauge | `driver_waiting`, `driver_running`, `driver_local_trouble` | |
///
/// Each name is preceded by `peer_health_`, and a counter's is followed by `_total`. The counters are those of
/// [`Totals`](crate::Totals); `transitions` and `local_outages` count the [events](crate::EventKind) since
/// this was made, so make it with the registry. `local_outage` is 1 while the
/// [guard](HealthRegistry::local_outage) says so. The drivers' rows are sums over all drivers on the registry,
/// which are found without being named here, and zero where there is none: the peers that wait, those that
/// are being called, and the drivers in a local outage.
///
/// # Cost
///
/// A healthy call costs what it costs without this. A scrape looks at all peers, which takes the scraping
/// thread some tens of milliseconds where there are 65,000: a task makes it in `spawn_blocking`. Others wait
/// for it no longer than it takes to collect the references of a thousand peers, a fifth of a millisecond at
/// most. By the registry's clock it looks once a second at most: scrapes in between, and beside it, show the
/// last look.
///
/// It keeps the registry for as long as it is kept, and no driver.
///
/// # Features
///
/// The values pass through counters of iroh-metrics, which count only with its feature `metrics`; this
/// crate's feature of the same name switches that on.
pub struct HealthMetrics {
    clock: Clock,
    look: Box<dyn Fn() -> Look + Send + Sync>,
    transitions: Arc<Transitions>,
    rows: Rows,
    last: Mutex<LastLook>,
    _listening: Listening,
}

/// What a look finds of the registry.
struct Look {
    peers: PeerSurvey,
    drivers: DriverCounts,
    local_outage: bool,
}

/// When somebody last looked, and whether somebody does now.
#[derive(Debug, Default)]
struct LastLook {
    at: Option<Tick>,
    looking: bool,
}

/// The events so far: transitions in the order of the row's labels, and outages.
#[derive(Debug, Default)]
struct Transitions {
    to: [AtomicU64; 6],
    local_outages: AtomicU64,
}

impl Transitions {
    fn count(&self, kind: EventKind) {
        let [open, reopened, half_open, closed, overridden, reset] = &self.to;
        let counter = match kind {
            EventKind::Opened { reopened: false, .. } => open,
            EventKind::Opened { reopened: true, .. } => reopened,
            EventKind::HalfOpened => half_open,
            EventKind::Closed => closed,
            EventKind::Overridden(_) => overridden,
            EventKind::Reset => reset,
            EventKind::LocalOutage => &self.local_outages,
            // The registry counts those that are gone, and an outage counts when it begins.
            EventKind::Evicted | EventKind::Removed | EventKind::LocalRecovered => return,
        };
        // Relaxed: pairs with `read`; a total.
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn read(counter: &AtomicU64) -> u64 {
        // Relaxed: pairs with `count`; a total.
        counter.load(Ordering::Relaxed)
    }
}

impl HealthMetrics {
    /// Makes the group for a registry. It looks at no peer before the first scrape.
    ///
    /// ```
    /// use iroh_metrics::MetricsGroup;
    /// use peer_health::{HealthMetrics, HealthRegistry};
    ///
    /// let metrics = HealthMetrics::new(HealthRegistry::<u32>::new());
    /// assert_eq!(metrics.name(), "peer_health");
    /// assert!(metrics.iter().any(|row| row.name() == "untracked"));
    /// ```
    pub fn new<K: PeerKey>(registry: HealthRegistry<K>) -> Self {
        let transitions = Arc::new(Transitions::default());
        let counted = Arc::clone(&transitions);
        let listening = registry.listen(move |event| counted.count(event.kind));
        let clock = registry.clock();
        let look = move || Look {
            peers: registry.survey(),
            drivers: registry.driver_counts(),
            local_outage: registry.local_outage(),
        };
        let last = Mutex::new(LastLook::default());
        let (look, rows) = (Box::new(look), Rows::default());
        Self { clock, look, transitions, rows, last, _listening: listening }
    }

    /// Brings the rows up to date, unless the last look is fresh, or another thread looks.
    fn refresh(&self) {
        let now = self.clock.now();
        if !self.begins(now) {
            return;
        }
        let look = (self.look)();
        // Under the lock no look is shown before another that began earlier; it runs no foreign code.
        let mut last = self.last.lock();
        self.rows.show(&look, &self.transitions);
        *last = LastLook { at: Some(now), looking: false };
    }

    /// Returns whether this thread is to look. Of several first scrapes each looks: there is nothing yet
    /// that they could show.
    fn begins(&self, now: Tick) -> bool {
        let mut last = self.last.lock();
        let begins = last.at.is_none_or(|at| !last.looking && now.since(at) >= FRESH);
        last.looking |= begins;
        begins
    }
}

impl MetricsGroup for HealthMetrics {
    fn name(&self) -> &'static str {
        "peer_health"
    }

    /// Begins a scrape: iroh-metrics asks for these rows first, and for those with labels after them.
    fn iter(&self) -> FieldIter<'_> {
        self.refresh();
        self.field_iter()
    }
}

impl Iterable for HealthMetrics {
    fn metric_field_count(&self) -> usize {
        self.rows.metric_field_count()
    }

    fn metric_field_ref(&self, n: usize) -> Option<MetricItem<'_>> {
        self.rows.metric_field_ref(n)
    }

    fn family_field_count(&self) -> usize {
        self.rows.family_field_count()
    }

    fn family_field_ref(&self, n: usize) -> Option<FamilyItem<'_>> {
        self.rows.family_field_ref(n)
    }
}

impl fmt::Debug for HealthMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthMetrics").field("rows", &self.rows).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
