//! What is shown, written as JSON: each test has a whole value, since a page reads it by these names.

use std::fmt;
use std::time::Duration;

use peer_health::{
    Clock, EventKind, Failure, Fault, HealthConfig, HealthRegistry, ManualClock, Reason, Status,
    SyncError,
};
use serde_json::{Value, json, to_value};

fn registry() -> (HealthRegistry<&'static str>, ManualClock) {
    let (clock, hand) = Clock::manual();
    let config = HealthConfig::default().with_failure_threshold(1).with_open_jitter(0.0);
    (HealthRegistry::builder().config(config).clock(clock).build().unwrap(), hand)
}

/// Takes a field out, so that the rest can be compared.
fn take(value: &mut Value, field: &str) -> Value {
    value.as_object_mut().unwrap().remove(field).unwrap()
}

#[test]
fn a_snapshot_has_seconds_and_times_of_day() {
    let (registry, hand) = registry();
    let reset = SyncError::Network("reset".into());
    registry.acquire(&"bob").unwrap().failure(reset);
    hand.advance(Duration::from_millis(1500));
    registry.acquire(&"bob").unwrap_err();
    let mut shown = to_value(registry.snapshot(&"bob").unwrap()).unwrap();
    for time in ["last_error_at", "opened_at"] {
        let time = take(&mut shown, time);
        humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
    }
    assert!(take(&mut shown, "generation").is_u64());
    let expected = json!({
        "status": "open",
        "consecutive_failures": 1,
        "window": { "total": 0, "failures": 0, "slow": 0 },
        "next_admission": { "after": 3.5 },
        "open_for": 1.5,
        "probes_in_flight": 0,
        "last_error": {
            "error": "network failure: reset",
            "kind": "network",
            "fault": "link",
            "counts": true,
            "retry_after": null,
            "sources": [],
        },
        "errors": 1,
        "retry_attempt": 1,
        "consecutive_successes": 0,
        "latency": null,
        "totals": {
            "succeeded": 0,
            "failed": 1,
            "neutral": 0,
            "abandoned": 0,
            "late": 0,
            "opened": 1,
            "reported_successes": 0,
            "reported_errors": 0,
            "refused": { "open": 1, "probes_in_flight": 0, "forced_open": 0 },
        },
    });
    assert_eq!(shown, expected);
}

#[test]
fn what_a_healthy_peer_has_not_is_null() {
    let (registry, _) = registry();
    registry.acquire(&"alice").unwrap().with_latency(Duration::from_millis(250)).success();
    let shown = to_value(registry.snapshot(&"alice").unwrap()).unwrap();
    for field in ["open_for", "last_error", "last_error_at", "opened_at"] {
        assert_eq!(shown[field], Value::Null, "{field}");
    }
    assert_eq!((&shown["next_admission"], &shown["latency"]), (&json!("now"), &json!(0.25)));
}

#[test]
fn totals_and_refusals_keep_their_names() {
    let (registry, _) = registry();
    registry.acquire(&"alice").unwrap().success();
    registry.force_open(&"bob").unwrap();
    let refused = registry.acquire(&"bob").unwrap_err();
    assert_eq!(to_value(refused).unwrap(), json!({ "reason": "forced_open", "retry_after": null }));
    let shown = to_value(registry.totals()).unwrap();
    assert_eq!(shown["all"]["succeeded"], 1);
    assert_eq!(shown["all"]["refused"]["forced_open"], 1);
    assert_eq!([&shown["untracked"], &shown["evicted"], &shown["removed"]], [0, 0, 0]);
}

#[test]
fn an_event_is_flat_and_its_kind_a_word() {
    use std::sync::{Arc, Mutex};
    let (registry, hand) = registry();
    let (log, told) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (shown, kinds) = (Arc::clone(&log), Arc::clone(&told));
    let _listening = registry.listen(move |event| {
        let mut event_shown = to_value(event).unwrap();
        take(&mut event_shown, "generation");
        shown.lock().unwrap().push(event_shown);
        kinds.lock().unwrap().push(event.kind);
    });
    registry.acquire(&"bob").unwrap().failure(Failure::remote("garbage"));
    hand.advance(Duration::from_secs(5));
    registry.acquire(&"bob").unwrap().failure(Failure::remote("garbage"));
    registry.force_open(&"bob").unwrap();
    registry.reset(&"bob");
    registry.remove(&"bob");
    let expected = [
        json!({ "peer": "bob", "kind": "opened", "retry_after": 5.0, "reopened": false }),
        json!({ "peer": "bob", "kind": "half_opened" }),
        json!({ "peer": "bob", "kind": "opened", "retry_after": 10.0, "reopened": true }),
        json!({ "peer": "bob", "kind": "overridden", "status": "forced_open" }),
        json!({ "peer": "bob", "kind": "reset" }),
        json!({ "peer": "bob", "kind": "removed" }),
    ];
    assert_eq!(*log.lock().unwrap(), expected);
    assert!(matches!(told.lock().unwrap()[2], EventKind::Opened { reopened: true, .. }));
    assert_eq!(to_value(EventKind::LocalOutage).unwrap(), json!({ "kind": "local_outage" }));
}

#[derive(Debug)]
struct Chain(&'static str, Option<Box<Chain>>);

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Chain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&**self.1.as_ref()?)
    }
}

#[test]
fn a_failure_says_its_sentence_its_words_and_its_sources() {
    let deep = Chain("disk gone", None);
    let error = Chain("no file", Some(Box::new(Chain("no folder", Some(Box::new(deep))))));
    let failure = Failure::local(&error)
        .with_sources_of(&error)
        .with_retry_after(Duration::from_millis(2500));
    let expected = json!({
        "error": "inconsistent state: no file",
        "kind": "state",
        "fault": "local",
        "counts": false,
        "retry_after": 2.5,
        "sources": ["no folder", "disk gone"],
    });
    assert_eq!(to_value(&failure).unwrap(), expected);
    let refused = to_value(SyncError::CircuitBreakerOpen).unwrap();
    let sentence = "circuit open: the peer is not called";
    assert_eq!(refused, json!({ "error": sentence, "kind": "circuit_breaker_open" }));
}

#[test]
fn words_are_those_of_the_variants_in_snake_case() {
    use Status::{Closed, Disabled, ForcedOpen, HalfOpen, MetricsOnly, Open};
    let words = to_value([Closed, Open, HalfOpen, ForcedOpen, Disabled, MetricsOnly]).unwrap();
    let expected =
        json!(["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"]);
    assert_eq!(words, expected);
    let reasons = to_value([Reason::Open, Reason::ProbesInFlight, Reason::ForcedOpen]).unwrap();
    assert_eq!(reasons, json!(["open", "probes_in_flight", "forced_open"]));
    let faults = [Fault::Peer, Fault::Link, Fault::Local, Fault::Document, Fault::Nobody];
    let expected = json!(["peer", "link", "local", "document", "nobody"]);
    assert_eq!(to_value(faults).unwrap(), expected);
}

/// A time before 1970, as a clock that was set wrong gives it, costs a time of day, and no snapshot.
#[test]
fn a_time_of_day_that_cannot_be_said_is_null() {
    let (registry, hand) = registry();
    registry.acquire(&"bob").unwrap().failure(Failure::remote("garbage"));
    hand.advance(Duration::from_secs(500 * 365 * 24 * 3600)); // the error was before 1970
    let snapshot = registry.snapshot(&"bob").unwrap();
    assert!(snapshot.last_error_at.is_some());
    assert_eq!(to_value(snapshot).unwrap()["last_error_at"], Value::Null);
}

#[cfg(feature = "tokio")]
mod with_tokio {
    use super::*;
    use peer_health::{HealthMonitor, Notice, SyncCoordinator};

    #[test]
    fn a_summary_names_the_worst() {
        let (registry, _) = registry();
        let monitor = HealthMonitor::new(registry.clone());
        registry.acquire(&"alice").unwrap().success();
        registry.acquire(&"bob").unwrap().failure(Failure::remote("garbage"));
        let expected = json!({
            "known": 2, "closed": 1, "open": 1, "half_open": 0, "overridden": 0,
            "worst": [{ "peer": "bob", "openings": 1, "status": "open" }],
        });
        assert_eq!(to_value(monitor.summary()).unwrap(), expected);
        let lagged = to_value(Notice::<u32>::Lagged(3)).unwrap();
        assert_eq!(lagged, json!({ "lagged": 3 }));
    }

    #[tokio::test]
    async fn a_driver_shows_its_counts_and_whom_it_waits_for() {
        let (registry, _) = registry();
        let coordinator = SyncCoordinator::new(registry);
        let driver = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap();
        driver.pause();
        driver.request(&"bob");
        let expected = json!({
            "waiting": 1, "running": 0, "started": 0, "succeeded": 0, "failed": 0, "given_up": 0,
            "retries_refused": 0, "strangers_refused": 0, "paused": true, "local_trouble": false,
            "finished": false,
        });
        assert_eq!(to_value(driver.stats()).unwrap(), expected);
        let waiting = to_value(driver.waiting()).unwrap();
        assert_eq!(waiting, json!([{ "peer": "bob", "until": 0.0, "reason": "slot" }]));
    }
}
