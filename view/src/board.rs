//! What all requests share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_millis;
use peer_health::{HealthMonitor, HealthRegistry, Listening, PeerKey, SyncCoordinator};
use tokio::sync::Semaphore;

use crate::foreign::{Own, guarded};
use crate::guard::{Hosts, Token};
use crate::history::{History, Told};
use crate::problem::Problem;
use crate::sample::{Sample, Samples, Source, reason};
use crate::shown::{Budget, Driver, Offender, Page, Peer, Story, Summary, Wait};

/// A link to another view, such as that of another node.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) href: String,
}

pub(crate) struct Board<K: PeerKey> {
    pub(crate) title: String,
    pub(crate) links: Vec<Link>,
    pub(crate) monitor: HealthMonitor<K>,
    pub(crate) source: Source<K>,
    pub(crate) coordinator: Option<SyncCoordinator<K>>,
    pub(crate) token: Option<Token>,
    pub(crate) hosts: Hosts,
    pub(crate) heartbeat: Duration,
    pub(crate) history: Arc<History<K>>,
    pub(crate) samples: Arc<Samples<K>>,
    /// The streams that may still be opened.
    pub(crate) streams: Arc<Semaphore>,
    /// The number of this board, so that a stream which comes back after a restart begins anew.
    pub(crate) epoch: u32,
    pub(crate) _listening: Listening,
}

impl<K: PeerKey> Board<K> {
    pub(crate) fn registry(&self) -> &HealthRegistry<K> {
        self.monitor.registry()
    }

    pub(crate) async fn sample(&self) -> Result<Arc<Sample<K>>, Problem> {
        self.samples.get(&self.source).await.ok_or_else(Problem::unmade)
    }

    /// Returns the key that an address names: read from the text, or found among the known peers.
    pub(crate) fn key(&self, id: &str, sample: &Sample<K>) -> Result<Own<K>, Problem> {
        if let Some(key) = self.source.names.read(id) {
            return Ok(Own::new(key));
        }
        let mut found = sample.find(id, &self.source.names);
        let known = found.next().ok_or_else(|| Problem::unknown(id))?;
        // A control must not hit a peer that only looks like the one that is meant.
        match found.next() {
            None => Ok(Own::new((*known.key).clone())),
            Some(_) => Err(Problem::ambiguous(id)),
        }
    }

    /// Returns a peer as it is now; `None` if it is unknown, or its key panics.
    pub(crate) fn peer(&self, key: &K) -> Option<Peer> {
        let snapshot = guarded(|| self.registry().snapshot(key)).flatten()?;
        let named = self.source.names.of(key);
        Some(Peer { id: named.id, label: named.label, snapshot })
    }

    pub(crate) fn page(&self, page: crate::select::Page<K>, sample: &Sample<K>) -> Page {
        Page {
            // Who was forgotten since the sample is left out.
            peers: page.peers.iter().filter_map(|known| self.peer(&known.key)).collect(),
            next: page.next.map(|place| place.to_string()),
            matching: page.matching,
            counts: sample.counts.clone(),
            age: sample.age().as_secs_f64(),
        }
    }

    pub(crate) fn told<'a>(&self, told: &'a Told<K>) -> Story<'a> {
        let named = self.source.names.of(&told.event.peer);
        Story {
            number: told.number,
            at: format_rfc3339_millis(told.at).to_string(),
            peer: named.id,
            label: named.label,
            generation: told.event.generation,
            kind: told.event.kind,
            text: told.event.kind.to_string(),
            error: told.error.as_deref(),
        }
    }

    /// Says when the driver calls a peer, as far as the sample knows.
    pub(crate) fn wait(&self, key: &K, sample: &Sample<K>) -> Option<Wait> {
        let (until, why) = *sample.rest()?.waiting.get(key)?;
        let until = until.saturating_sub(sample.age()).as_secs_f64();
        Some(Wait { until, reason: reason(why), text: why.to_string() })
    }

    /// Sums up. It reads no peer; what takes a pass over all of them is from the sample.
    pub(crate) fn summary(&self, sample: Option<&Sample<K>>) -> Summary<'_> {
        let summary = self.monitor.summary();
        let worst = summary.worst.into_iter().map(Own::new).map(|worst| {
            let named = self.source.names.of(&worst.peer);
            let (openings, status) = (worst.openings, worst.status);
            Offender { id: named.id, label: named.label, openings, status }
        });
        #[allow(clippy::disallowed_methods, reason = "for display")]
        let now = SystemTime::now();
        let rest = sample.and_then(Sample::rest);
        let reasons = rest.map(|rest| rest.reasons.clone());
        Summary {
            title: &self.title,
            links: &self.links,
            now: format_rfc3339_millis(now).to_string(),
            known: summary.known,
            closed: summary.closed,
            open: summary.open,
            half_open: summary.half_open,
            overridden: summary.overridden,
            worst: worst.collect(),
            local_outage: self.registry().local_outage(),
            driver: self.source.driver.as_ref().map(|driver| Driver {
                stats: driver.stats(),
                reasons: reasons.unwrap_or_default(),
            }),
            budget: self.coordinator.as_ref().map(|coordinator| {
                let budget = coordinator.budget();
                #[allow(clippy::cast_precision_loss, reason = "for display")]
                let tokens = budget.milli_tokens() as f64 / 1000.0;
                Budget { tokens, allows_retry: budget.allows_retry() }
            }),
            totals: rest.map(|rest| rest.totals),
            heartbeat: self.heartbeat.as_secs_f64(),
            controls: self.token.is_some(),
        }
    }
}
