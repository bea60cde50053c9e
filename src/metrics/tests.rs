//! What a history cannot show: looks that find less than the one before, and scrapes that meet.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::OnceLock;
use std::time::Duration;

use super::*;
use crate::snapshot::{PeerTotals, Totals};
use crate::time::ManualClock;

/// A group whose looks find as many calls that succeeded as `count` says.
fn group(count: impl Fn() -> u64 + Send + Sync + 'static) -> (HealthMetrics, ManualClock) {
    let (clock, hand) = Clock::manual();
    let registry = HealthRegistry::<u32>::builder().clock(clock).build().unwrap();
    let look = move || {
        let all = PeerTotals { succeeded: count(), ..PeerTotals::default() };
        let totals = Totals { all, ..Totals::default() };
        let peers = PeerSurvey { totals, ..PeerSurvey::default() };
        Look { peers, drivers: DriverCounts::default(), local_outage: false }
    };
    (HealthMetrics { look: Box::new(look), ..HealthMetrics::new(registry) }, hand)
}

/// Scrapes, and returns how many calls succeeded.
fn scrape(metrics: &HealthMetrics) -> u64 {
    metrics.iter().for_each(drop);
    let mut text = String::new();
    let calls = metrics.family_iter().find(|row| row.name() == "calls").unwrap();
    calls.encode_openmetrics(&mut text, &[], &[]).unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix("calls_total{outcome=\"succeeded\"} "));
    line.unwrap().parse().unwrap()
}

/// A look may miss a peer that is leaving; the next finds what it left.
#[test]
fn a_counter_never_falls() {
    let finds = Mutex::new([6, 3, 5].to_vec());
    let (metrics, hand) = group(move || finds.lock().pop().unwrap());
    for expected in [5, 5, 6] {
        assert_eq!(scrape(&metrics), expected);
        hand.advance(Duration::from_secs(1));
    }
}

/// The destructor of a key may scrape while a look drops the key; another thread may as well.
#[test]
fn a_scrape_amid_another_shows_the_last_look_and_waits_for_nothing() {
    static GROUP: OnceLock<(HealthMetrics, ManualClock)> = OnceLock::new();
    let looks = AtomicU64::new(0);
    let (metrics, hand) = GROUP.get_or_init(|| {
        group(move || {
            // Relaxed: pairs with itself; one thread looks.
            let look = looks.fetch_add(1, Ordering::Relaxed) + 1;
            if look == 2 {
                assert_eq!(GROUP.get().map(|(metrics, _)| scrape(metrics)), Some(1));
            }
            look
        })
    });
    assert_eq!(scrape(metrics), 1);
    hand.advance(Duration::from_secs(1));
    assert_eq!(scrape(metrics), 2);
    hand.advance(Duration::from_secs(1));
    assert_eq!(scrape(metrics), 3);
}
