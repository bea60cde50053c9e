//! How a peer compares with others as the next one to call.

use std::time::Duration;

use crate::outcome::{NextAdmission, Status};
use crate::registry::{HealthRegistry, PeerKey};

/// What the registry knows of a peer that could be called. Candidates compare by availability first, by
/// cost second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) availability: Availability,
    latency: Option<u64>,
    streak: u32,
}

/// Whether a peer may be called now, and as what. The best comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Availability {
    /// The peer may be called now, and is closed, disabled or metrics-only.
    Healthy,
    /// The peer may be called now, as a probe of a half-open circuit.
    Probe,
    /// The peer may be called now, as the probe with which its circuit becomes half-open.
    FirstProbe,
    /// The circuit is half-open, and all its probes are out.
    Probed,
    /// The circuit is open for this long.
    Open(Duration),
    /// The circuit is forced open.
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
        // A peer that admits every call needs no time.
        let now = if circuit.admits_all() { Default::default() } else { context.clock.now() };
        let circuit = circuit.seen_at(now);
        let availability =
            match (circuit.status(), entry.tracker.next_admission(&circuit, context, now)) {
                (Status::HalfOpen, NextAdmission::Now) => Availability::Probe,
                // A circuit that is half-open for too long opens again at the next request, not before (R6).
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

    /// Returns the key that sorts the best candidate first. A call is expected to cost the latency, once
    /// more for each failure of the streak. An unknown latency counts as this median, neither better nor
    /// worse than what is known (D13).
    pub(super) fn key(&self, median: u64) -> (Availability, u64) {
        let latency = self.latency.unwrap_or(median);
        (self.availability, latency.saturating_mul(u64::from(self.streak).saturating_add(1)))
    }
}

/// Returns the median of the known latencies of these candidates: of an even number, the mean of the two
/// in the middle. The value makes no difference where no latency is known.
pub(super) fn median<'a>(all: impl IntoIterator<Item = &'a Candidate>) -> u64 {
    let mut known: Vec<u64> = all.into_iter().filter_map(|candidate| candidate.latency).collect();
    known.sort_unstable();
    let (upper, even) = (known.len() / 2, known.len().is_multiple_of(2));
    match (known.get(upper), upper.checked_sub(1).and_then(|lower| known.get(lower))) {
        (Some(upper), Some(lower)) if even => lower.midpoint(*upper),
        (middle, _) => middle.copied().unwrap_or(1),
    }
}
