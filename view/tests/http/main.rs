//! What a view answers over HTTP, asked by a client of its own on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod controls;
mod events;
mod lists;
mod strangers;

use std::time::Duration;

use peer_health::{HealthConfig, HealthMonitor, HealthRegistry, SyncError};
use peer_health_view::ViewBuilder;

const TOKEN: &str = "a secret of the operator";

/// A registry in which two failures open a circuit, for 250 s.
fn registry() -> HealthRegistry<String> {
    let config = HealthConfig::default()
        .with_failure_threshold(2)
        .with_open_timeout(Duration::from_secs(250))
        .with_open_jitter(0.0);
    HealthRegistry::builder().config(config).build().unwrap()
}

fn view(registry: &HealthRegistry<String>) -> ViewBuilder<String> {
    ViewBuilder::new(HealthMonitor::new(registry.clone())).by_display()
}

fn fail(registry: &HealthRegistry<String>, peer: &str) {
    for _ in 0..2 {
        let error = SyncError::Network("connection refused".into());
        registry.acquire(&peer.into()).unwrap().failure(error);
    }
}

fn succeed(registry: &HealthRegistry<String>, peer: &str) {
    registry.acquire(&peer.into()).unwrap().success();
}
