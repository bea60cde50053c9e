//! Export and restore (R32): what a registry knows of its peers goes from one process to the next.
//!
//! 1. An export is a look: it neither uses a peer nor holds a lock for longer than `for_each` does.
//! 2. Where a node was offline, all its peers failed, and their waits say nothing of them. The export knows
//!    of the last success by three things: the first one after a circuit has opened or refused is dated, once a second;
//!    latencies are samples with a time; and an export remembers how many successes there were. A success that
//!    none of these dates is one of an unknown time, which is no proof.
//! 3. A restore runs before anyone else has the registry, and makes up no event and no total. Each peer is
//!    restored by itself: a key that panics costs its own peer.

use std::time::Duration;

use super::{HealthRegistry, PeerKey, RegistryBuilder, RegistryInner, log};
use crate::circuit::{Circuit, StepContext};
use crate::foreign::{Own, guarded, quietly};
use crate::peer::PeerEntry;
use crate::saved::{Saved, SavedState};
use crate::sync::Arc;
use crate::time::{Tick, nanos};

/// A node whose last known success is older than this was offline.
const ONLINE: u64 = 60_000_000_000;

/// Peers that become due together are called within the first of these times, and one after the other at
/// intervals of the second if that is shorter.
pub(crate) const SPREAD: (u64, u64) = (5_000_000_000, 20_000_000);

/// What an export remembers for the next one. The default is that of a registry that begins: it counts as
/// online for as long as nobody can know better.
#[derive(Debug, Default)]
pub(super) struct SuccessMark {
    /// The time of the last export, and the number of all successes before it.
    at: Tick,
    successes: u64,
    /// A time before the latest success of which exports know.
    after: Tick,
    /// Whether a peer was restored that had answered.
    restored: bool,
}

impl SuccessMark {
    /// Notes an export. Returns a time that is before the latest success of which exports know.
    fn note(&mut self, now: Tick, successes: u64) -> Tick {
        if successes > self.successes {
            (self.successes, self.after) = (successes, self.at);
        }
        self.at = self.at.max(now);
        self.after
    }
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Returns whether a peer was restored that had answered: a coordinator's first answer was one of an earlier
    /// process (D4).
    #[cfg(feature = "tokio")]
    pub(crate) fn was_answered_before(&self) -> bool {
        self.inner.exported.lock().restored
    }

    /// Returns what is worth keeping of all peers across a restart; a later process hands it to
    /// [`RegistryBuilder::restore`].
    ///
    /// Kept are open circuits with the rest of their wait and its growth, overrides with their end, latencies,
    /// and who ever answered. Never kept are probes, permits, windows, streaks, errors and totals: a half-open
    /// circuit is exported as one whose wait is over. Of a peer of whom there is nothing to keep, nothing is
    /// returned ([R32](crate::_rules#r32)).
    ///
    /// If no peer is known to have had a success in the last minute, this node was probably offline, and its
    /// peers are not to blame: every wait is exported as over. Dead peers, however many, are no sign of it. Known
    /// are the time of each success whose latency is known, of the first success after a circuit has opened or
    /// refused a call, and that there was one since the last export: a program that exports every half minute,
    /// as it should for the sake of its own crashes, is judged rightly. A registry in its first minute counts as
    /// online.
    ///
    /// Never panics, whatever the key does: a peer whose key panics in `Clone` is left out.
    ///
    /// # Consistency
    ///
    /// As for [`for_each`](Self::for_each): it walks the table in pieces, holds no lock while it looks at a
    /// peer, and so holds nobody up. Its work is proportional to the table.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry, SavedState, SyncError};
    ///
    /// let config = HealthConfig::default().with_failure_threshold(1);
    /// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
    /// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
    /// let saved = registry.export();
    /// assert_eq!((saved.len(), saved[0].peer, saved[0].answered), (1, 7, false));
    /// assert!(matches!(saved[0].state, SavedState::Open { .. }));
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn export(&self) -> Vec<Saved<K>> {
        let context = &self.inner.shared.context;
        let now = context.clock.now();
        // First the ledger, then the trackers: a peer that is forgotten meanwhile counts at most once.
        let forgotten = self.inner.shared.ledger.totals().all;
        let mut successes = forgotten.succeeded.saturating_add(forgotten.reported_successes);
        let (mut last, mut saved) = (context.succeeded_at(), Vec::new());
        self.inner.each(|entry| {
            successes = successes.saturating_add(entry.tracker.successes());
            last = last.max(entry.tracker.timed_at().unwrap_or_default());
            saved.extend(self.inner.saved(entry, now));
        });
        last = last.max(self.inner.exported.lock().note(now, successes));
        if now.since(last) > ONLINE {
            saved.iter_mut().for_each(|saved| saved.state.end_wait());
        }
        saved
    }
}

impl<K: PeerKey> RegistryBuilder<K> {
    /// Begins with what an earlier process [exported](HealthRegistry::export), after so long a downtime: the
    /// time from the export to the build, and `None` if that is not known, since the system's clock went back.
    /// [`SystemTime::elapsed`](std::time::SystemTime::elapsed) of the time of the export gives it, with `.ok()`.
    ///
    /// An open circuit stays open for the rest of its wait less the downtime, at most
    /// [`open_max`](crate::HealthConfig::open_max), and its next wait grows from where the last one was. All
    /// whose wait is over, which includes all peers of a node that was offline, may be probed within the next
    /// five seconds, each at a moment of its own. Good news, `kick_all` and controls end a restored wait like
    /// any other. After an unknown downtime, or one of more than
    /// [`forget_after`](crate::HealthConfig::forget_after), circuits begin closed.
    ///
    /// Overrides stay, however long the downtime was: a ban with an end keeps it, and after an unknown downtime
    /// the rest that it had. A latency of less than fifteen minutes' downtime counts as of now. Who answered is
    /// no stranger. No event is told, and no total is made up.
    ///
    /// Restored peers count in [`max_peers`](crate::HealthConfig::max_peers). If there are more of them,
    /// overrides come first, then open circuits by how often their wait grew, then peers that answered, and the
    /// log says how many had no room. Of several values of one peer the first in this order counts. What has an
    /// unknown version is ignored, and the log says so once. A second call replaces the first.
    ///
    /// Neither this nor [`build`](Self::build) fails or panics by what was saved, whatever it says.
    ///
    /// ```
    /// use peer_health::{Clock, HealthConfig, HealthRegistry, NextAdmission, SyncError};
    /// use std::time::Duration;
    ///
    /// let config = || HealthConfig::default().with_failure_threshold(1).with_open_jitter(0.0);
    /// let registry = HealthRegistry::<u32>::builder().config(config()).build()?;
    /// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into())); // open for 5 s
    /// let saved = registry.export();
    ///
    /// let (clock, _hand) = Clock::manual();
    /// let downtime = Some(Duration::from_secs(2));
    /// let registry =
    ///     HealthRegistry::builder().config(config()).clock(clock).restore(saved, downtime).build()?;
    /// let NextAdmission::After(rest) = registry.next_admission(&7) else { panic!("closed") };
    /// assert!(rest <= Duration::from_secs(3) && rest > Duration::from_secs(2));
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn restore(mut self, saved: Vec<Saved<K>>, downtime: Option<Duration>) -> Self {
        self.saved = Some((saved, downtime));
        self
    }
}

impl<K: PeerKey> RegistryInner<K> {
    /// Returns what is saved of a peer; `None` if that is nothing, or if its key panics.
    fn saved(&self, entry: &PeerEntry<K>, now: Tick) -> Option<Saved<K>> {
        let tracker = &entry.tracker;
        let state = tracker.circuit().saved(now);
        let latency = tracker.latency(|| now).map(Duration::from_nanos);
        guarded(|| Saved::of((*entry.key).clone(), state, tracker.has_answered(), latency))
            .flatten()
    }

    /// Restores what was saved: see [`RegistryBuilder::restore`].
    pub(super) fn restore(&self, saved: Vec<Saved<K>>, downtime: Option<Duration>) {
        let forget = Duration::from_nanos(self.shared.context.rules().forget);
        let (mut known, mut unknown) = (Vec::new(), (0, 0));
        for mut one in saved {
            if let Some(version) = one.unknown_version() {
                unknown = (version, unknown.1 + 1);
                quietly(move || drop(one));
                continue;
            }
            one.state = one.state.after(downtime, forget);
            if one.is_empty() {
                quietly(move || drop(one));
            } else {
                known.push(one);
            }
        }
        if let (version, peers @ 1..) = unknown {
            log::unknown_version(version, peers);
        }
        known.sort_by_key(Saved::rank);
        let due = known.iter().filter(|one| one.state.is_due()).count();
        let spread = SPREAD.0.min(SPREAD.1.saturating_mul(due as u64));
        let (mut peers, mut overrides, mut closed) = (0, 0, None);
        for one in known {
            let is_override = one.state.is_override();
            if guarded(|| self.restore_one(one, downtime, spread, &mut closed)) != Some(true) {
                (peers, overrides) = (peers + 1, overrides + usize::from(is_override));
            }
        }
        if peers > 0 {
            log::not_restored(peers, overrides);
        }
    }

    /// Restores one peer; returns `false` if there is no room. All that are closed and answered share `closed`,
    /// as new ones share theirs.
    fn restore_one(
        &self,
        saved: Saved<K>,
        downtime: Option<Duration>,
        spread: u64,
        closed: &mut Option<Arc<Circuit>>,
    ) -> bool {
        let Saved { peer, state, answered, latency, .. } = saved;
        let peer = Own::new(peer);
        if self.table.get(&peer).is_some() {
            return true; // by a value that came first
        }
        let context = &self.shared.context;
        let (now, rules) = (context.clock.now(), context.rules());
        let circuit = |fresh: &Circuit, salt| {
            let at = StepContext { rules: &rules, now, salt, held: false };
            let begin = || Arc::new(fresh.restored(state, answered, spread, at));
            match (state, answered) {
                (SavedState::Closed, true) => Arc::clone(closed.get_or_insert_with(begin)),
                _ => begin(),
            }
        };
        let Some(entry) = self.table.restore(&self.shared, peer, rules.max_peers, circuit) else {
            return false;
        };
        if let (Some(latency), Some(age)) = (latency, downtime) {
            entry.tracker.restore_latency(nanos(latency), nanos(age), now);
        }
        self.exported.lock().restored |= answered;
        true
    }
}
