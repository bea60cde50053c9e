//! How a peer compares with others as the next to be called.

use std::time::Duration;

use crate::answer::{NextAdmission, Status};
use crate::registry::{HealthRegistry, PeerKey};

/// What is known of a candidate. The class compares first, then the cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standing {
    pub(super) class: Class,
    latency: Option<u64>,
    /// Whether a call has succeeded. If that has made no latency known, nobody times the calls.
    tried: bool,
    streak: u32,
}

/// The best comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
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

impl Class {
    pub(super) fn is_healthy(self) -> bool {
        self == Self::Healthy
    }

    pub(super) fn may_be_called(self) -> bool {
        self <= Self::FirstProbe
    }
}

impl Standing {
    pub(super) fn of<K: PeerKey>(registry: &HealthRegistry<K>, peer: &K) -> Self {
        let Some(seat) = registry.known(peer) else {
            return Self { class: Class::Healthy, latency: None, tried: false, streak: 0 };
        };
        let (env, core) = (&registry.shared().env, seat.tracker.core());
        // Of a peer that admits all, nobody asks the time.
        let now = if core.admits_all() { Default::default() } else { env.clock.now() };
        let class = match (core.status(), seat.tracker.next_admission(&core, env, now)) {
            (Status::HalfOpen, NextAdmission::Now) => Class::Probe,
            // Half-open for too long: it opens again when somebody asks, and not before (R6).
            (Status::Open, NextAdmission::Now) | (Status::HalfOpen, NextAdmission::After(_)) => {
                Class::FirstProbe
            }
            (_, NextAdmission::Now) => Class::Healthy,
            (_, NextAdmission::After(wait)) => Class::Open(wait),
            (Status::ForcedOpen, NextAdmission::Unknown) => Class::Banned,
            (_, NextAdmission::Unknown) => Class::Probed,
        };
        let (latency, tried) = (seat.tracker.latency(), seat.tracker.successes() > 0);
        Self { class, latency, tried, streak: core.health.streak }
    }

    /// What a call is expected to cost: the latency, once more for each failure of the streak. Of
    /// a peer whose latency is unknown it is that of the fastest.
    pub(super) fn cost(&self, fastest: u64) -> u64 {
        let latency = self.latency.unwrap_or(fastest);
        latency.saturating_mul(u64::from(self.streak) + 1)
    }

    /// The order in which candidates are called, the best first. Of two that are equal otherwise
    /// the one that was not tried comes first, so that its latency becomes known.
    pub(super) fn key(&self, fastest: u64) -> (Class, u64, bool) {
        (self.class, self.cost(fastest), self.latency.is_some() || self.tried)
    }
}

/// The lowest latency that is known of these.
pub(super) fn fastest<'a>(all: impl IntoIterator<Item = &'a Standing>) -> u64 {
    all.into_iter().filter_map(|standing| standing.latency).min().unwrap_or(1)
}
