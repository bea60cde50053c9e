//! The node: this library's registry, coordinator, driver and monitor, as a program uses them; and
//! what the simulation asks of any design in its place.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peer_health::{
    Clock, HealthConfig, HealthMonitor, HealthRegistry, Listening, Saved, Status, SyncCoordinator,
    SyncDriver, SyncError,
};
use tokio::time::Instant;

use super::cell::{Cell, Happening};
use super::network::Network;

/// A design, and what the simulation asks of it. What a design has no notion of, does nothing.
pub(crate) trait Node {
    fn request(&self, peer: u32);
    fn is_open(&self, peer: u32) -> bool;
    fn note_reachable(&self, _peer: u32) {}
    fn note_lost(&self, _peer: u32, _error: SyncError) {}
    /// The peers for which its driver waits.
    fn waiting(&self) -> HashSet<u32> {
        HashSet::new()
    }
    fn kick_all(&self) {}
    fn pause(&self) {}
    fn resume(&self) {}
    fn set_link_up(&self, _up: bool) {}
    fn set_config(&self, _config: HealthConfig) {}
    fn jump(&self, _by: i64) {}
    /// How many peers are tracked, and how many wait.
    fn held(&self) -> (usize, usize) {
        (0, 0)
    }
    fn allows_retry(&self) -> bool {
        true
    }
    /// Ends the node, and keeps what it knows for the next one.
    fn stop(&self) -> Box<dyn Node> {
        Box::new(Stopped { saved: Vec::new() })
    }
    /// Starts a node with what an earlier one has kept, so long ago; with nothing if it was not kept.
    fn start(&self, _: &Cell, _: &Arc<Network>, _: Option<Duration>) -> Option<Box<dyn Node>> {
        None
    }
}

/// A node whose process has ended: what is left of it is a file.
struct Stopped {
    saved: Vec<Saved<u32>>,
}

impl Node for Stopped {
    fn request(&self, _: u32) {}

    fn is_open(&self, _: u32) -> bool {
        false
    }

    fn start(
        &self,
        cell: &Cell,
        network: &Arc<Network>,
        downtime: Option<Duration>,
    ) -> Option<Box<dyn Node>> {
        let saved = downtime.map(|_| self.saved.clone()).unwrap_or_default();
        Some(Box::new(Ours::restored(cell, network, saved, downtime)))
    }
}

/// This library.
pub(crate) struct Ours {
    registry: HealthRegistry<u32>,
    coordinator: SyncCoordinator<u32>,
    driver: SyncDriver<u32>,
    monitor: HealthMonitor<u32>,
    /// By how many milliseconds the registry's clock is ahead of tokio's; it starts a day ahead, so
    /// that it can be set back.
    ahead: Arc<AtomicU64>,
    _listening: Listening,
}

const DAY: u64 = 24 * super::cell::HOUR;

impl Ours {
    pub(crate) fn new(cell: &Cell, network: &Arc<Network>) -> Self {
        Self::restored(cell, network, Vec::new(), None)
    }

    fn restored(
        cell: &Cell,
        network: &Arc<Network>,
        saved: Vec<Saved<u32>>,
        downtime: Option<Duration>,
    ) -> Self {
        let (seed, settings) = (cell.seed, &cell.settings);
        let (start, ahead) = (Instant::now(), Arc::new(AtomicU64::new(DAY)));
        let offset = Arc::clone(&ahead);
        let jumps = cell.happenings.iter().any(|(_, h)| matches!(h, Happening::Jump(_)));
        let clock = match jumps {
            false => Clock::tokio(),
            true => Clock::from_fn(move || {
                start.elapsed() + Duration::from_millis(offset.load(Ordering::Relaxed))
            }),
        };
        let registry = HealthRegistry::builder().config(settings.health.clone()).clock(clock);
        let registry =
            registry.seed(seed).restore(saved, downtime).build().expect("a sound configuration");
        let monitor = HealthMonitor::builder(registry.clone()).seed(seed).build();
        let coordinator = SyncCoordinator::builder(registry.clone()).seed(seed);
        let coordinator = coordinator.config(settings.coordinator.clone()).build();
        let coordinator = coordinator.expect("sound settings");
        let (op, asked, told) = (Arc::clone(network), registry.clone(), Arc::clone(network));
        network.ask(move |peer| asked.status(&peer) == Status::Closed);
        let listening = registry.listen(move |event| told.heard(event));
        let driver = coordinator.drive(move |peer| Arc::clone(&op).call(peer));
        Self {
            monitor: monitor.expect("a sound monitor"),
            driver: driver.expect("a runtime with timers"),
            registry,
            coordinator,
            ahead,
            _listening: listening,
        }
    }
}

impl Node for Ours {
    fn request(&self, peer: u32) {
        self.driver.request(&peer);
    }

    fn is_open(&self, peer: u32) -> bool {
        self.registry.status(&peer) == Status::Open
    }

    fn note_reachable(&self, peer: u32) {
        self.driver.note_reachable(&peer);
    }

    fn note_lost(&self, peer: u32, error: SyncError) {
        self.driver.note_lost(&peer, error);
    }

    fn waiting(&self) -> HashSet<u32> {
        self.driver.waiting().iter().map(|waiting| waiting.peer).collect()
    }

    fn kick_all(&self) {
        self.driver.kick_all();
    }

    fn pause(&self) {
        self.driver.pause();
    }

    fn resume(&self) {
        self.driver.resume();
    }

    fn set_link_up(&self, up: bool) {
        self.registry.set_link_up(up);
    }

    fn set_config(&self, config: HealthConfig) {
        self.registry.set_config(config).expect("a sound configuration");
    }

    fn jump(&self, by: i64) {
        self.ahead.fetch_add(by as u64, Ordering::Relaxed);
    }

    fn held(&self) -> (usize, usize) {
        // The monitor keeps a peer that is not closed, or was ever open.
        let followed = self.monitor.summary().open;
        (self.registry.len().max(followed), self.driver.stats().waiting)
    }

    fn allows_retry(&self) -> bool {
        self.coordinator.budget().allows_retry()
    }

    fn stop(&self) -> Box<dyn Node> {
        Box::new(Stopped { saved: self.registry.export() })
    }
}
