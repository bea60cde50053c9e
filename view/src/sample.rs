//! A sample of all peers, in the order in which the page lists them: the worst first.
//!
//! A list of 65,000 peers cannot be put in order for each request. A sample puts it in order at most once a
//! second, on a thread that may block, and only while somebody asks; all requests share it. A page reads its
//! peers anew from the registry, so what it says of each is true now; the order, the counts and the choice
//! may be as old as the sample.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peer_health::{HealthRegistry, PeerKey, Snapshot, Status, SyncDriver, Totals, WaitReason};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::Instant;

use crate::names::{Names, guarded};
use crate::select::{Place, Select};

/// A sample is as good as a new one for this long, or for twenty times as long as it took.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// A sample that is older is not shown while the next one is taken.
const SHOWN_FOR: Duration = Duration::from_secs(10);

/// A peer as samples know it.
pub(crate) struct Known<K> {
    pub(crate) key: K,
    pub(crate) id: String,
    /// What a search looks at.
    pub(crate) searched: String,
    /// The order in which peers were first seen, by their names where they were seen together.
    number: u64,
}

/// A peer's line: what decides its place, and whether it is shown.
pub(crate) struct Line<K> {
    pub(crate) place: Place,
    pub(crate) status: Status,
    pub(crate) peer: Arc<Known<K>>,
}

pub(crate) struct Sample<K> {
    taken: Instant,
    cost: Duration,
    pub(crate) lines: Vec<Line<K>>,
    pub(crate) totals: Totals,
    /// The peers that the driver waits for.
    pub(crate) waiting: HashMap<K, (Duration, WaitReason)>,
    pub(crate) reasons: BTreeMap<&'static str, usize>,
}

/// What one sample leaves for the next: the texts of peers, which are made once.
struct Memory<K> {
    peers: HashMap<K, (Arc<Known<K>>, u64)>,
    rounds: u64,
    next: u64,
}

/// The latest sample, and the right to take the next.
pub(crate) struct Samples<K> {
    latest: Mutex<Option<Arc<Sample<K>>>>,
    memory: Arc<tokio::sync::Mutex<Memory<K>>>,
}

/// What samples are taken of.
#[derive(Clone)]
pub(crate) struct Source<K: PeerKey> {
    pub(crate) registry: HealthRegistry<K>,
    pub(crate) driver: Option<SyncDriver<K>>,
    pub(crate) names: Arc<Names<K>>,
}

impl<K> Default for Samples<K> {
    fn default() -> Self {
        let memory = Memory { peers: HashMap::new(), rounds: 0, next: 0 };
        Self { latest: Mutex::default(), memory: Arc::new(tokio::sync::Mutex::new(memory)) }
    }
}

impl<K: PeerKey> Samples<K> {
    /// Returns the latest sample, of whatever age.
    pub(crate) fn latest(&self) -> Option<Arc<Sample<K>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a sample that is at most a few seconds old. While somebody asks again and again, nobody waits
    /// for one: the next is taken beside the answer.
    pub(crate) async fn get(
        self: &Arc<Self>,
        source: &Source<K>,
    ) -> Result<Arc<Sample<K>>, JoinError> {
        if let Some(sample) = self.latest() {
            let age = sample.taken.elapsed();
            if age < SHOWN_FOR.max(sample.good_for() * 2) {
                if age >= sample.good_for() && self.memory.try_lock().is_ok() {
                    let (samples, source) = (Arc::clone(self), source.clone());
                    tokio::spawn(async move { samples.take(source).await.map(drop) });
                }
                return Ok(sample);
            }
        }
        self.take(source.clone()).await
    }

    /// Takes a sample. One is taken at a time, and whoever waited for it shares it.
    async fn take(&self, source: Source<K>) -> Result<Arc<Sample<K>>, JoinError> {
        let mut memory = Arc::clone(&self.memory).lock_owned().await;
        if let Some(sample) = self.latest().filter(|sample| sample.is_good()) {
            return Ok(sample);
        }
        let sample = spawn_blocking(move || Arc::new(memory.sample(&source))).await?;
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let old = latest.replace(Arc::clone(&sample));
        drop(latest);
        drop(old);
        Ok(sample)
    }
}

impl<K> Sample<K> {
    fn good_for(&self) -> Duration {
        GOOD_FOR.max(self.cost.saturating_mul(20))
    }

    fn is_good(&self) -> bool {
        self.taken.elapsed() < self.good_for()
    }

    pub(crate) fn age(&self) -> Duration {
        self.taken.elapsed()
    }

    /// Returns the number of peers in each status.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<_, _> = Select::ALL.map(|select| (select.name(), 0)).into();
        for line in &self.lines {
            for select in Select::ALL.into_iter().filter(|select| select.takes(line)) {
                *counts.entry(select.name()).or_default() += 1;
            }
        }
        counts
    }

    /// Finds the peer that is written like this.
    pub(crate) fn find(&self, id: &str) -> Option<&Known<K>> {
        self.lines.iter().find(|line| line.peer.id == id).map(|line| &*line.peer)
    }
}

impl<K: PeerKey> Memory<K> {
    fn sample(&mut self, source: &Source<K>) -> Sample<K> {
        let taken = Instant::now();
        self.rounds = self.rounds.wrapping_add(1);
        let mut lines = Vec::with_capacity(source.registry.len());
        let mut newcomers = Vec::new();
        source.registry.for_each(|peer, seen| {
            // A key that panics costs its own line.
            let known = guarded(|| self.known(peer)).flatten();
            match known {
                Some(known) => lines.push(Line::of(&seen, known)),
                None => newcomers.extend(guarded(|| (Seen::new(peer, &source.names), seen))),
            }
        });
        // Peers that were first seen together are in the order of their names.
        newcomers.sort_unstable_by(|(a, _), (b, _)| a.searched.cmp(&b.searched));
        for (newcomer, seen) in newcomers {
            lines.extend(guarded(|| Line::of(&seen, self.add(newcomer))));
        }
        self.peers.retain(|_, (_, round)| *round == self.rounds);
        lines.sort_unstable_by_key(|line| line.place);
        let mut waiting = HashMap::new();
        let mut reasons = BTreeMap::new();
        for wait in source.driver.iter().flat_map(SyncDriver::waiting) {
            *reasons.entry(reason(wait.reason)).or_default() += 1;
            waiting.insert(wait.peer, (wait.until, wait.reason));
        }
        let totals = source.registry.totals();
        Sample { taken, cost: taken.elapsed(), lines, totals, waiting, reasons }
    }

    fn known(&mut self, peer: &K) -> Option<Arc<Known<K>>> {
        let (known, round) = self.peers.get_mut(peer)?;
        *round = self.rounds;
        Some(Arc::clone(known))
    }

    fn add(&mut self, Seen { key, id, searched }: Seen<K>) -> Arc<Known<K>> {
        let number = self.next;
        self.next = number.saturating_add(1);
        let known = Arc::new(Known { key: key.clone(), id, searched, number });
        self.peers.insert(key, (Arc::clone(&known), self.rounds));
        known
    }
}

/// A peer that no earlier sample knew.
struct Seen<K> {
    key: K,
    id: String,
    searched: String,
}

impl<K: PeerKey> Seen<K> {
    fn new(peer: &K, names: &Names<K>) -> Self {
        let named = names.of(peer);
        Self { key: peer.clone(), searched: named.searched(), id: named.id }
    }
}

impl<K> Line<K> {
    fn of(seen: &Snapshot, peer: Arc<Known<K>>) -> Self {
        Self { place: Place::of(seen, peer.number), status: seen.status, peer }
    }
}

/// The word for a reason, as the driver's own JSON has it.
pub(crate) fn reason(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::Slot => "slot",
        WaitReason::Retry => "retry",
        WaitReason::Local => "local",
        WaitReason::Circuit => "circuit",
        WaitReason::Probes => "probes",
        WaitReason::Session => "session",
        _ => "other",
    }
}
