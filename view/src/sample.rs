//! A sample of all peers, in the order in which the page lists them: the worst first.
//!
//! A list of 65,000 peers cannot be put in order for each request. A sample puts it in order at most once a
//! second, on a thread that may block, and only while somebody asks; all requests share it. A page reads its
//! peers anew from the registry, so what it says of each is true now; the order, the counts and the choice
//! may be as old as the sample.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use peer_health::{HealthRegistry, PeerKey, Snapshot, Status, SyncDriver, Totals, WaitReason};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::foreign::{Own, guarded};
use crate::names::Names;
use crate::select::{Place, Select};

/// A sample is as good as a new one for this long, or for twenty times as long as it took.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// A sample that is older is not shown while the next one is taken.
const SHOWN_FOR: Duration = Duration::from_secs(10);

/// A peer as samples know it.
pub(crate) struct Known<K> {
    pub(crate) key: Own<K>,
    /// The order in which peers were first seen.
    number: u64,
    /// Made when it is needed, and once: the texts of all take longer than the rest of a sample.
    text: OnceLock<Text>,
}

struct Text {
    id: String,
    /// What a search looks at, if that is not the id.
    searched: Option<String>,
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
    /// How many peers each filter would show.
    pub(crate) counts: BTreeMap<&'static str, usize>,
    /// What no list needs, a moment later.
    rest: OnceLock<Rest<K>>,
}

pub(crate) struct Rest<K> {
    pub(crate) totals: Totals,
    /// The peers that the driver waits for.
    pub(crate) waiting: HashMap<Own<K>, (Duration, WaitReason)>,
    pub(crate) reasons: BTreeMap<&'static str, usize>,
}

/// What one sample leaves for the next: the texts of peers, and their order.
struct Memory<K> {
    peers: HashMap<Own<K>, (Arc<Known<K>>, u64)>,
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
    /// for one: the next is taken beside the answer. `None` if the code of a key has panicked.
    pub(crate) async fn get(self: &Arc<Self>, source: &Source<K>) -> Option<Arc<Sample<K>>> {
        if let Some(sample) = self.latest() {
            let age = sample.taken.elapsed();
            if age < SHOWN_FOR.max(sample.good_for() * 2) {
                if age >= sample.good_for() && self.memory.try_lock().is_ok() {
                    let (samples, source) = (Arc::clone(self), source.clone());
                    tokio::spawn(async move { samples.take(source).await.map(drop) });
                }
                return Some(sample);
            }
        }
        self.take(source.clone()).await
    }

    /// Takes a sample. One is taken at a time, and whoever waited for it shares it.
    async fn take(self: &Arc<Self>, source: Source<K>) -> Option<Arc<Sample<K>>> {
        let mut memory = Arc::clone(&self.memory).lock_owned().await;
        if let Some(sample) = self.latest().filter(|sample| sample.is_good()) {
            return Some(sample);
        }
        let (samples, (tell, told)) = (Arc::clone(self), oneshot::channel());
        spawn_blocking(move || {
            let (sample, newcomers) = memory.sample(&source);
            let sample = Arc::new(sample);
            samples.publish(&sample);
            // Who waits is answered; the next sample is not taken before this is done.
            let _ = tell.send(Arc::clone(&sample));
            memory.remember(newcomers);
            sample.complete(&source);
        });
        told.await.ok()
    }

    /// Waits until the sample that is being taken is complete.
    pub(crate) async fn settled(&self) {
        drop(self.memory.lock().await);
    }

    fn publish(&self, sample: &Arc<Sample<K>>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let old = latest.replace(Arc::clone(sample));
        drop(latest);
        drop(old);
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

    pub(crate) fn rest(&self) -> Option<&Rest<K>> {
        self.rest.get()
    }
}

impl<K: PeerKey> Sample<K> {
    /// Finds the peers that are written like this: one, unless the program writes two alike.
    pub(crate) fn find(&self, id: &str, names: &Names<K>) -> impl Iterator<Item = &Known<K>> {
        self.lines.iter().map(|line| &*line.peer).filter(move |peer| peer.text(names).id == id)
    }

    fn complete(&self, source: &Source<K>) {
        let (mut waiting, mut reasons) = (HashMap::new(), BTreeMap::new());
        for wait in source.driver.iter().flat_map(SyncDriver::waiting) {
            *reasons.entry(reason(wait.reason)).or_default() += 1;
            let peer = Own::new(wait.peer);
            let _ = guarded(|| waiting.insert(peer, (wait.until, wait.reason)));
        }
        let totals = source.registry.totals();
        self.rest.get_or_init(|| Rest { totals, waiting, reasons });
        for line in &self.lines {
            line.peer.text(&source.names);
        }
    }
}

impl<K: PeerKey> Known<K> {
    fn text(&self, names: &Names<K>) -> &Text {
        self.text.get_or_init(|| {
            let named = names.of(&self.key);
            let searched = Some(named.searched()).filter(|searched| *searched != named.id);
            Text { id: named.id, searched }
        })
    }

    /// Whether a search for this, in lower case, finds the peer.
    pub(crate) fn is_found_by(&self, search: &str, names: &Names<K>) -> bool {
        search.is_empty() || {
            let text = self.text(names);
            text.searched.as_ref().unwrap_or(&text.id).contains(search)
        }
    }
}

/// So many peers that were first seen together are put in the order of their names.
const SORTED: usize = 2000;

impl<K: PeerKey> Memory<K> {
    /// Takes a sample, and returns the peers that no earlier one knew.
    fn sample(&mut self, source: &Source<K>) -> (Sample<K>, Vec<Arc<Known<K>>>) {
        let taken = Instant::now();
        self.rounds = self.rounds.wrapping_add(1);
        let mut lines = Vec::with_capacity(source.registry.len());
        let mut newcomers = Vec::new();
        source.registry.for_each(|peer, seen| {
            // A key that panics costs its own line.
            match guarded(|| self.known(peer)).flatten() {
                Some(known) => lines.push(Line::of(&seen, known)),
                // A snapshot is large: what a line needs is enough.
                None => newcomers
                    .extend(guarded(|| (Own::new(peer.clone()), seen.status, Place::of(&seen, 0)))),
            }
        });
        if newcomers.len() <= SORTED {
            newcomers.sort_by_cached_key(|(key, ..)| source.names.of(key).searched());
        }
        let newcomers = newcomers.into_iter().map(|(key, status, place)| {
            let (number, text) = (self.next, OnceLock::new());
            self.next = number.saturating_add(1);
            let peer = Arc::new(Known { key, number, text });
            lines.push(Line { place: place.numbered(number), status, peer: Arc::clone(&peer) });
            peer
        });
        let newcomers = newcomers.collect();
        lines.sort_unstable_by_key(|line| line.place);
        let counts = Select::counts(&lines);
        (Sample { taken, cost: taken.elapsed(), lines, counts, rest: OnceLock::new() }, newcomers)
    }

    fn known(&mut self, peer: &K) -> Option<Arc<Known<K>>> {
        let (known, round) = self.peers.get_mut(peer)?;
        *round = self.rounds;
        Some(Arc::clone(known))
    }

    /// Knows these from now on, and forgets the peers that the registry has forgotten.
    fn remember(&mut self, newcomers: Vec<Arc<Known<K>>>) {
        let round = self.rounds;
        self.peers.retain(|_, (_, seen)| *seen == round);
        for known in newcomers {
            let _ = guarded(|| {
                let key = Own::new((*known.key).clone());
                self.peers.insert(key, (Arc::clone(&known), round))
            });
        }
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
