//! How a peer compares with others as the next to be called.

use std::time::Duration;

use crate::outcome::{NextAdmission, Status};
use crate::registry::{HealthRegistry, PeerKey};

/// What is known of a candidate. The availability compares first, then the cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) availability: Availability,
    latency: Option<u64>,
    streak: u32,
}

/// The best comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Availability {
    /// May be called now, and is closed, disabled or metrics-only.
    Healthy,
    /// May be called now, as a probe of a half-open circuit.
    Probe,
    /// May be called now, as the probe with which a circuit becomes half-open.
    FirstProbe,
    /// Half-open, and its probes are out.
    Probed,
    /// Open for as long.
    Open(Duration),
    /// Forced open.
    Banned,
}

impl Availability {
    pub(super) fn is_healthy(self) -> bool {
        self == Self::Healthy
    }

    pub(super) fn may_be_called(self) -> bool {
        self <= Self::FirstProbe
    }
}

impl Candidate {
    pub(super) fn of<K: PeerKey>(registry: &HealthRegistry<K>, peer: &K) -> Self {
        let Some(entry) = registry.known(peer) else {
            return Self { availability: Availability::Healthy, latency: None, streak: 0 };
        };
        let (context, circuit) = (&registry.shared().context, entry.tracker.circuit());
        // Of a peer that admits all, nobody asks the time.
        let now = if circuit.admits_all() { Default::default() } else { context.clock.now() };
        let circuit = circuit.seen_at(now);
        let availability =
            match (circuit.status(), entry.tracker.next_admission(&circuit, context, now)) {
                (Status::HalfOpen, NextAdmission::Now) => Availability::Probe,
                // Half-open for too long: it opens again when somebody asks, and not before (R6).
                (Status::Open, NextAdmission::Now)
                | (Status::HalfOpen, NextAdmission::After(_)) => Availability::FirstProbe,
                (_, NextAdmission::Now) => Availability::Healthy,
                (_, NextAdmission::After(wait)) => Availability::Open(wait),
                (Status::ForcedOpen, NextAdmission::Unknown) => Availability::Banned,
                (_, NextAdmission::Unknown) => Availability::Probed,
            };
        let latency = entry.tracker.latency(|| context.clock.now());
        Self { availability, latency, streak: circuit.health.run.streak }
    }

    /// The order in which candidates are called, the best first: by what a call is expected to
    /// cost, which is the latency, once more for each failure of the streak. A latency that is
    /// unknown is taken for this median: neither better nor worse than what is known (D13).
    pub(super) fn key(&self, median: u64) -> (Availability, u64) {
        let latency = self.latency.unwrap_or(median);
        (self.availability, latency.saturating_mul(u64::from(self.streak).saturating_add(1)))
    }
}

/// The median of the latencies that are known of these; of an even number the mean of the two in
/// the middle. Any will do where none is known.
pub(super) fn median<'a>(all: impl IntoIterator<Item = &'a Candidate>) -> u64 {
    let mut known: Vec<u64> = all.into_iter().filter_map(|candidate| candidate.latency).collect();
    known.sort_unstable();
    let (upper, even) = (known.len() / 2, known.len().is_multiple_of(2));
    match (known.get(upper), upper.checked_sub(1).and_then(|lower| known.get(lower))) {
        (Some(upper), Some(lower)) if even => lower.midpoint(*upper),
        (middle, _) => middle.copied().unwrap_or(1),
    }
}
