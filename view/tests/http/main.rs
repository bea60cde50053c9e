//! What a view answers over HTTP, asked by a client of its own on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod controls;
mod events;
mod lists;
mod strangers;

use peer_health::{HealthMonitor, HealthRegistry, SyncError};
use peer_health_view::ViewBuilder;
use support::{TOKEN, registry};

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
