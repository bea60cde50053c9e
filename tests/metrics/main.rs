//! The registry as metrics: every row has the value that its history gives it, the pages that go with
//! them name rows that exist, and a real Prometheus reads a mesh of real endpoints.
//!
//! That one is ignored: it needs Debian's `prometheus`. `.ci/run metrics` runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod drivers;
#[path = "../support/loopback.rs"]
mod loopback;
mod mesh;
mod pages;
mod prometheus;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use iroh_metrics::{MetricsSource, Registry};
use peer_health::{HealthMetrics, HealthRegistry, PeerKey};

/// A registry of iroh-metrics with one group, as a program has it.
#[derive(Clone)]
pub(crate) struct Scraped(Arc<RwLock<Registry>>);

impl Scraped {
    pub(crate) fn new<K: PeerKey>(registry: &HealthRegistry<K>) -> Self {
        let mut all = Registry::default();
        all.register(Arc::new(HealthMetrics::new(registry.clone())));
        Self(Arc::new(RwLock::new(all)))
    }

    pub(crate) fn text(&self) -> String {
        self.0.encode_openmetrics_to_string().unwrap()
    }

    /// Every series, without what is common to all names, and its value.
    pub(crate) fn series(&self) -> BTreeMap<String, u64> {
        let text = self.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let read = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = name.strip_prefix("peer_health_").unwrap();
            (name.to_string(), value.parse().unwrap())
        };
        lines.map(read).collect()
    }

    /// The value of one series.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> u64 {
        *self.series().get(name).unwrap_or_else(|| panic!("no series {name}"))
    }
}

/// All series of the table, as [`Scraped::series`] names them.
pub(crate) const SERIES: [&str; 33] = [
    "calls_total{outcome=\"abandoned\"}",
    "calls_total{outcome=\"failed\"}",
    "calls_total{outcome=\"late\"}",
    "calls_total{outcome=\"neutral\"}",
    "calls_total{outcome=\"succeeded\"}",
    "driver_local_trouble",
    "driver_running",
    "driver_waiting",
    "evicted_total",
    "local_outage",
    "local_outages_total",
    "peers{state=\"closed\"}",
    "peers{state=\"disabled\"}",
    "peers{state=\"forced_open\"}",
    "peers{state=\"half_open\"}",
    "peers{state=\"metrics_only\"}",
    "peers{state=\"open\"}",
    "probes_in_flight",
    "refused_total{reason=\"forced_open\"}",
    "refused_total{reason=\"open\"}",
    "refused_total{reason=\"probes_in_flight\"}",
    "removed_total",
    "reports_total{outcome=\"failed\"}",
    "reports_total{outcome=\"succeeded\"}",
    "retries_refused_total",
    "retries_total",
    "transitions_total{to=\"closed\"}",
    "transitions_total{to=\"half_open\"}",
    "transitions_total{to=\"open\"}",
    "transitions_total{to=\"overridden\"}",
    "transitions_total{to=\"reopened\"}",
    "transitions_total{to=\"reset\"}",
    "untracked_total",
];
