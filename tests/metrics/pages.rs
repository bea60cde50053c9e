//! The alerts and the dashboard that go with the metrics. `.ci/run metrics` has Prometheus check them; these
//! look at the names alone.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::SERIES;

const ALERTS: &str = include_str!("../../doc/alerts.yml");
const BOARD: &str = include_str!("../../doc/grafana.json");

/// The names of metrics that a text has.
fn metrics(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices("peer_health_").map(|(at, _)| &text[at..]);
    let ends = |name: &str| name.find(|c: char| !c.is_ascii_lowercase() && c != '_');
    starts.map(|name| &name[..ends(name).unwrap_or(name.len())]).collect()
}

fn rows() -> BTreeSet<String> {
    SERIES.iter().map(|name| format!("peer_health_{}", name.split('{').next().unwrap())).collect()
}

/// The names of the alerts that a page has.
fn alerts(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| word.starts_with("PeerHealth") && *word != "PeerHealth").collect()
}

#[test]
fn the_dashboard_shows_every_row_and_no_other() {
    let board: Value = serde_json::from_str(BOARD).unwrap();
    let targets = board["panels"].as_array().unwrap().iter().flat_map(|panel| {
        panel["targets"].as_array().unwrap().iter().map(|target| target["expr"].as_str().unwrap())
    });
    let shown: BTreeSet<String> = targets.flat_map(metrics).map(str::to_string).collect();
    assert_eq!(shown, rows());
}

#[test]
fn the_alerts_name_rows_that_there_are() {
    let named = metrics(ALERTS);
    assert!(named.len() > 5);
    for name in named {
        assert!(rows().contains(name), "{name}");
    }
}

#[test]
fn each_alert_has_a_history_that_raises_it_and_a_place_in_the_guide() {
    let defined = alerts(ALERTS);
    let tested = include_str!("alerts.yml");
    for name in &defined {
        assert!(tested.contains(&format!("alertname: {name}\n        exp_alerts:\n")), "{name}");
    }
    assert_eq!(defined, alerts(tested));
    assert_eq!(defined, alerts(include_str!("../../doc/guide.md")));
}
