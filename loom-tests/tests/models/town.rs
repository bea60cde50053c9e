//! A registry of few peers, which the models of its table share, and what holds at the end of each.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::HealthConfig;
use crate::error::SyncError;
use crate::event::EventKind;
use crate::outcome::{Recorded, Status};
use crate::permit::OwnedPermit;
use crate::registry::HealthRegistry;
use crate::stage::config;
use crate::sync::{count_references, settings_change};
use crate::time::{Clock, ManualClock};

type Events = std::sync::Arc<Mutex<Vec<(u8, u64, EventKind)>>>;

/// A registry, its clock, and its events.
pub(crate) struct Town {
    pub(crate) registry: HealthRegistry<u8>,
    pub(crate) clock: ManualClock,
    told: Events,
}

impl Town {
    pub(crate) fn new(config: HealthConfig) -> Self {
        count_references(true);
        let (clock, hand) = Clock::manual();
        let told = Events::default();
        let log = told.clone();
        let registry = HealthRegistry::builder()
            .clock(clock)
            .config(config)
            .listener(move |event| {
                let told = (event.peer, event.generation, event.kind);
                log.lock().unwrap_or_else(PoisonError::into_inner).push(told);
            })
            .build()
            .unwrap();
        Self { registry, clock: hand, told }
    }

    /// Builds a registry for few peers, but not so few that each use counts: see `EXACT_USES` in the
    /// builder.
    pub(crate) fn small(max_peers: usize) -> Self {
        let town = Self::new(config(3, 1).with_max_peers(300));
        settings_change(true);
        town.registry.set_config(config(3, 1).with_max_peers(max_peers)).unwrap();
        settings_change(false);
        town
    }

    pub(crate) fn streak(&self, peer: u8) -> Option<u32> {
        self.registry.snapshot(&peer).map(|snapshot| snapshot.consecutive_failures)
    }

    /// Returns the generations that began with this event.
    pub(crate) fn told(&self, kind: EventKind) -> Vec<u64> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|event| event.2 == kind).map(|event| event.1).collect()
    }

    /// Checks the end of every model: one tracker for each reserved capacity, one end for each permit (R8),
    /// and generations of their own for a peer's events (R29), also across eviction and removal.
    pub(crate) fn finish(self, permits: u64) {
        let mut entries = 0;
        self.registry.for_each(|_, _| entries += 1);
        assert_eq!(self.registry.len(), entries, "places taken, and trackers");
        assert_eq!(self.registry.totals().all.settled(), permits);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.sort_by_key(|(peer, generation, _)| (*peer, *generation));
        let twice = told.windows(2).find(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1));
        assert_eq!(twice, None, "a generation of a peer was told twice");
        // P10: time and successes lead to Closed.
        self.clock.advance(Duration::from_secs(1));
        for peer in 1..=3 {
            if self.registry.status(&peer) == Status::ForcedOpen {
                self.registry.reset(&peer);
            }
            let call = || {
                self.registry
                    .acquire(&peer)
                    .is_ok_and(|permit| permit.success() == Recorded::Counted)
            };
            assert!(call() && self.registry.status(&peer) == Status::Closed);
        }
    }
}

pub(crate) fn fail(permit: OwnedPermit<u8>) -> Recorded {
    permit.failure(SyncError::State(String::new()))
}

pub(crate) fn acquire(registry: &HealthRegistry<u8>, peer: u8) -> OwnedPermit<u8> {
    registry.acquire(&peer).unwrap()
}
