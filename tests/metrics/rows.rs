//! What a history leaves in the rows, on a clock that is set by hand. No two series that a mistake could
//! take for each other have the same value.

use std::collections::BTreeMap;
use std::mem::forget;
use std::time::Duration;

use peer_health::sync_errors::ErrorHandler;
use peer_health::{Failure, HealthConfig, HealthRegistry, ManualClock, SyncError};

use crate::support::{SECOND, network, registry, touchy};
use crate::{SERIES, Scraped};

const OPEN: Duration = Duration::from_secs(5);

/// Makes the history of a node in trouble, with a peer for each thing that can happen to one.
fn live(registry: &HealthRegistry<u32>, hand: &ManualClock) {
    let ask = |peer: u32| registry.acquire(&peer);
    let fail = |peer: u32| _ = ask(peer).unwrap().failure(network());
    let times = |n: usize, act: &dyn Fn()| (0..n).for_each(|_| act());

    times(10, &|| _ = ask(1).unwrap().success());
    times(4, &|| drop(ask(1)));
    times(3, &|| _ = ask(1).unwrap().failure(Failure::local("disk full")));
    // Reports, without a permit.
    let handler = ErrorHandler::<u32>::with_registry(registry.clone());
    times(6, &|| handler.record_success(&1));
    times(2, &|| _ = handler.handle_error(&1, SyncError::Document("bad".into())));

    // Four peers fail. One comes back at once, one fails a probe and has another out, one fails two, and
    // nobody asks for the last.
    let late: Vec<_> = (0..2).map(|_| ask(2).unwrap()).collect();
    [2, 3, 4, 5].into_iter().for_each(fail);
    times(7, &|| _ = ask(3).unwrap_err());
    late.into_iter().for_each(|late| _ = late.success());
    hand.advance(OPEN);
    ask(2).unwrap().success();
    fail(3);
    fail(4);
    hand.advance(OPEN);
    fail(4);
    hand.advance(OPEN);
    let probe = ask(3).unwrap();
    times(5, &|| _ = ask(3).unwrap_err());
    forget(probe);

    // The operator.
    [10, 11, 12].iter().for_each(|peer| registry.force_open(peer).unwrap());
    [13, 14].iter().for_each(|peer| registry.disable(peer).unwrap());
    registry.metrics_only(&15).unwrap();
    times(8, &|| _ = ask(10).unwrap_err());
    registry.reset(&12);
    registry.reset(&14);
    [20, 21, 22].iter().for_each(|peer| _ = ask(*peer).unwrap().success());
    [20, 21, 22].iter().for_each(|peer| assert!(registry.remove(peer)));
}

#[test]
fn every_row_has_the_value_that_its_history_gives_it() {
    let (registry, hand) = registry::<u32>(touchy(OPEN).with_max_peers(16));
    let scraped = Scraped::new(&registry);
    live(&registry, &hand);
    // The table is full of peers that are in use, of which two are idle and go.
    let handles: Vec<_> = [1, 2, 12, 14].iter().map(|peer| registry.peer(peer)).collect();
    (30..41).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
    let kept: Vec<_> = (30..41).map(|peer| registry.peer(&peer)).collect();
    (0..9).for_each(|_| _ = registry.acquire(&99).unwrap().success());
    let expected = [
        ("calls_total{outcome=\"abandoned\"}", 4),
        ("calls_total{outcome=\"failed\"}", 7),
        ("calls_total{outcome=\"late\"}", 2),
        ("calls_total{outcome=\"neutral\"}", 3),
        ("calls_total{outcome=\"succeeded\"}", 10 + 1 + 3 + 11 + 9),
        ("refused_total{reason=\"forced_open\"}", 8),
        ("refused_total{reason=\"open\"}", 7),
        ("refused_total{reason=\"probes_in_flight\"}", 5),
        ("reports_total{outcome=\"failed\"}", 2),
        ("reports_total{outcome=\"succeeded\"}", 6),
        ("transitions_total{to=\"closed\"}", 1),
        ("transitions_total{to=\"half_open\"}", 5),
        ("transitions_total{to=\"open\"}", 4),
        ("transitions_total{to=\"overridden\"}", 6),
        ("transitions_total{to=\"reopened\"}", 3),
        ("transitions_total{to=\"reset\"}", 2),
        ("removed_total", 3),
    ];
    let shown = scraped.series();
    for (name, value) in expected {
        assert_eq!(shown.get(name), Some(&value), "{name}");
    }
    drop((handles, kept));
    let states = [("forced_open", 2), ("disabled", 1), ("metrics_only", 1), ("open", 2)];
    for (state, value) in states.into_iter().chain([("half_open", 1)]) {
        assert_eq!(shown.get(&format!("peers{{state=\"{state}\"}}")), Some(&value), "{state}");
    }
    let totals = registry.totals();
    assert_eq!(shown["peers{state=\"closed\"}"], registry.len() as u64 - 7);
    assert_eq!(shown["probes_in_flight"], 1);
    assert_eq!(
        (shown["evicted_total"], shown["untracked_total"]),
        (totals.evicted, totals.untracked)
    );
    assert!(totals.evicted > 0 && totals.untracked > totals.evicted, "{totals:?}");
    for row in ["retries_total", "retries_refused_total", "driver_waiting", "local_outage"] {
        assert_eq!(shown[row], 0, "{row}");
    }
}

#[test]
fn all_series_are_there_before_anything_happens() {
    let (registry, _) = registry::<u32>(HealthConfig::default());
    let shown = Scraped::new(&registry).series();
    let all: BTreeMap<_, _> = SERIES.iter().map(|name| (name.to_string(), 0)).collect();
    assert_eq!(shown, all);
}

#[test]
fn a_scrape_within_a_second_of_another_shows_the_same() {
    let (registry, hand) = registry::<u32>(HealthConfig::default());
    let scraped = Scraped::new(&registry);
    let seen = || scraped.value("calls_total{outcome=\"succeeded\"}");
    let call = || _ = registry.acquire(&7).unwrap().success();
    call();
    assert_eq!(seen(), 1, "the first scrape waits for nothing");
    call();
    hand.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(seen(), 1);
    hand.advance(Duration::from_nanos(1));
    assert_eq!(seen(), 2);
}

/// As in `every_row..`, the guard needs peers that have answered.
#[test]
fn an_outage_of_our_own_shows_while_it_lasts_and_is_counted() {
    let (registry, hand) = registry::<u32>(touchy(OPEN).with_outage_guard(true));
    let scraped = Scraped::new(&registry);
    (0..4).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
    let calls: Vec<_> = (0..4).map(|peer| registry.acquire(&peer).unwrap()).collect();
    calls.into_iter().for_each(|call| _ = call.failure(network()));
    let seen = || (scraped.value("local_outage"), scraped.value("local_outages_total"));
    assert_eq!(seen(), (1, 1));
    registry.acquire(&3).unwrap().success();
    hand.advance(SECOND);
    assert_eq!(seen(), (0, 1));
}

/// A wait that is over, and a ban that has ended: what a scrape shows is what a caller would find.
#[test]
fn a_ban_that_has_ended_counts_as_closed() {
    let (registry, hand) = registry::<u32>(HealthConfig::default());
    let scraped = Scraped::new(&registry);
    registry.force_open_for(&7, OPEN).unwrap();
    assert_eq!(scraped.value("peers{state=\"forced_open\"}"), 1);
    hand.advance(OPEN);
    let seen = scraped.series();
    assert_eq!((seen["peers{state=\"forced_open\"}"], seen["peers{state=\"closed\"}"]), (0, 1));
}

#[test]
fn a_scrape_is_no_use_of_a_peer() {
    let (registry, hand) = registry::<u32>(HealthConfig::default());
    let scraped = Scraped::new(&registry);
    registry.acquire(&7).unwrap().success();
    registry.sweep();
    hand.advance(HealthConfig::default().idle_timeout);
    scraped.text();
    registry.sweep();
    assert!(registry.is_empty());
    hand.advance(SECOND);
    assert_eq!(scraped.value("evicted_total"), 1);
    assert_eq!(scraped.value("calls_total{outcome=\"succeeded\"}"), 1, "nothing is lost");
}
