//! What one look at all peers counts, for those who show the registry as a whole (feature `metrics`).

use super::{HealthRegistry, PeerKey};
use crate::outcome::Status;
use crate::snapshot::Totals;
use crate::time::Tick;
use crate::tracker::Tracker;

/// The peers by status, their probes, and what was ever counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PeerSurvey {
    pub(crate) totals: Totals,
    /// The peers of each status, in the order of [`STATUSES`].
    pub(crate) peers: [usize; 6],
    pub(crate) probes: usize,
}

const STATUSES: [Status; 6] = [
    Status::Closed,
    Status::Open,
    Status::HalfOpen,
    Status::ForcedOpen,
    Status::Disabled,
    Status::MetricsOnly,
];

impl<K: PeerKey> HealthRegistry<K> {
    /// Looks at each known peer once. As for [`totals`](Self::totals), a shard is locked only while its
    /// entries are collected, and a look is no use of a peer.
    pub(crate) fn survey(&self) -> PeerSurvey {
        let now = self.now();
        // The ledger is read first, as in `totals_in_pieces`.
        let totals = self.inner.shared.ledger.totals();
        let mut survey = PeerSurvey { totals, ..PeerSurvey::default() };
        self.inner.each(|entry| survey.add(&entry.tracker, now));
        survey
    }
}

impl PeerSurvey {
    fn add(&mut self, tracker: &Tracker, now: Tick) {
        self.totals.all.add(tracker.totals());
        // Most peers are at rest, which their word tells.
        let (status, probes) = match tracker.rests() {
            Some(_) => (Status::Closed, 0),
            None => {
                let circuit = tracker.circuit();
                let circuit = circuit.seen_at(now);
                (circuit.status(), circuit.probes_in_flight())
            }
        };
        let index = STATUSES.iter().position(|known| *known == status);
        index.iter().for_each(|index| self.peers[*index] += 1);
        self.probes += probes;
    }
}
