//! Export and restore: what outlives a process, clause by clause.

use std::time::Duration;

use peer_health::{
    HealthConfig, HealthRegistry, ManualClock, NextAdmission, Reason, Saved, SavedState, Status,
    Totals,
};

use crate::support::{self, HOUR, SECOND, network};

#[cfg(feature = "serde")]
mod files;
mod offline;

const MINUTE: Duration = Duration::from_secs(60);

/// One failure opens, for ten seconds first and then for twice as long each time, at most five minutes.
fn config() -> HealthConfig {
    support::touchy(10 * SECOND).with_open_multiplier(2.0).with_open_max(5 * MINUTE)
}

fn registry() -> (HealthRegistry<u32>, ManualClock) {
    support::registry(config())
}

/// The registry of the next process.
fn restored_by(
    config: HealthConfig,
    saved: Vec<Saved<u32>>,
    downtime: Option<Duration>,
) -> (HealthRegistry<u32>, ManualClock) {
    let (clock, hand) = peer_health::Clock::manual();
    let builder = HealthRegistry::builder().config(config).clock(clock).seed(7);
    (builder.restore(saved, downtime).build().unwrap(), hand)
}

fn restored(
    saved: Vec<Saved<u32>>,
    downtime: Option<Duration>,
) -> (HealthRegistry<u32>, ManualClock) {
    restored_by(config(), saved, downtime)
}

fn answer(registry: &HealthRegistry<u32>, peer: u32) {
    registry.acquire(&peer).unwrap().success();
}

fn fail(registry: &HealthRegistry<u32>, peer: u32) {
    registry.acquire(&peer).unwrap().failure(network());
}

/// The rest of the peer's wait; zero if it may be called.
fn rest(registry: &HealthRegistry<u32>, peer: u32) -> Duration {
    match registry.next_admission(&peer) {
        NextAdmission::After(rest) => rest,
        _ => Duration::ZERO,
    }
}

fn state(registry: &HealthRegistry<u32>, peer: u32) -> Option<SavedState> {
    registry.export().into_iter().find(|saved| saved.peer == peer).map(|saved| saved.state)
}

fn by_peer(mut saved: Vec<Saved<u32>>) -> Vec<Saved<u32>> {
    saved.sort_by_key(|saved| saved.peer);
    saved
}

#[test]
fn an_open_circuit_stays_open_for_the_rest_of_its_wait_less_the_downtime() {
    let (registry, hand) = registry();
    fail(&registry, 7);
    hand.advance(2 * SECOND);
    let saved = registry.export();
    assert_eq!(rest(&registry, 7), 8 * SECOND);
    let (registry, hand) = restored(saved, Some(3 * SECOND));
    assert_eq!((registry.status(&7), rest(&registry, 7)), (Status::Open, 5 * SECOND));
    assert_eq!(registry.acquire(&7).unwrap_err().reason, Reason::Open);
    hand.advance(5 * SECOND);
    let probe = registry.acquire(&7).unwrap();
    assert!(probe.is_probe());
    probe.success();
    assert_eq!(registry.status(&7), Status::Closed);
}

#[test]
fn the_wait_grows_on_from_where_it_was() {
    let (registry, hand) = registry();
    for wait in [10, 20, 40] {
        fail(&registry, 7);
        assert_eq!(rest(&registry, 7), wait * SECOND);
        hand.advance(rest(&registry, 7) - SECOND);
        if wait < 40 {
            hand.advance(SECOND);
        }
    }
    answer(&registry, 8); // this node is online
    let (registry, hand) = restored(registry.export(), Some(Duration::ZERO));
    assert_eq!(rest(&registry, 7), SECOND);
    hand.advance(SECOND);
    fail(&registry, 7);
    assert_eq!(rest(&registry, 7), 80 * SECOND);
}

#[test]
fn a_wait_is_at_most_the_longest_that_the_next_process_allows() {
    let (registry, _) = registry();
    fail(&registry, 7);
    let short = config().with_open_max(4 * SECOND);
    let (registry, _) = restored_by(short, registry.export(), Some(Duration::ZERO));
    assert_eq!(rest(&registry, 7), 4 * SECOND);
}

#[test]
fn of_several_values_of_one_peer_the_first_alone_counts() {
    let (registry, _) = registry();
    registry.acquire(&7).unwrap().with_latency(SECOND).success();
    let mut slow = registry.export();
    fail(&registry, 7);
    let mut both = registry.export();
    slow[0].latency = Some(9 * SECOND);
    both.append(&mut slow);
    let (registry, _) = restored(both, Some(Duration::ZERO));
    assert_eq!((registry.len(), registry.status(&7)), (1, Status::Open));
    assert_eq!(registry.snapshot(&7).unwrap().latency, Some(SECOND));
}

#[test]
fn a_half_open_circuit_is_restored_as_due_and_no_probe_is_out() {
    let (registry, hand) = registry();
    fail(&registry, 7);
    hand.advance(10 * SECOND);
    let _probe = registry.acquire(&7).unwrap();
    assert_eq!(registry.status(&7), Status::HalfOpen);
    let (registry, hand) = restored(registry.export(), Some(Duration::ZERO));
    assert_eq!(registry.snapshot(&7).unwrap().probes_in_flight, 0);
    assert!(rest(&registry, 7) <= Duration::from_millis(20), "one peer is due at once");
    hand.advance(Duration::from_millis(20));
    fail(&registry, 7);
    assert_eq!(rest(&registry, 7), 20 * SECOND, "the probe that was out is no failure");
}

#[test]
fn peers_that_are_due_are_spread_over_five_seconds_and_few_over_less() {
    let saved = |count: u32| {
        let (registry, hand) = registry();
        (0..count).for_each(|peer| fail(&registry, peer));
        hand.advance(9 * SECOND);
        registry.export()
    };
    let (registry, _) = restored(saved(1000), Some(SECOND));
    for second in 0..5 {
        let within = second * SECOND..(second + 1) * SECOND;
        let count = (0..1000).filter(|peer| within.contains(&rest(&registry, *peer))).count();
        assert!((130..=270).contains(&count), "{count} of 1000 in second {second}");
    }
    let (registry, _) = restored(saved(10), Some(SECOND));
    assert!((0..10).all(|peer| rest(&registry, peer) < SECOND / 5));
}

#[test]
fn a_clock_that_went_back_and_a_downtime_of_a_week_leave_nobody_open() {
    let (registry, _) = registry();
    answer(&registry, 6);
    (6..9).for_each(|peer| fail(&registry, peer));
    let saved = registry.export();
    for downtime in [None, Some(168 * HOUR), Some(HOUR + Duration::from_nanos(1))] {
        let (registry, _) = restored(saved.clone(), downtime);
        assert!((6..9).all(|peer| registry.acquire(&peer).is_ok()), "{downtime:?}");
        assert!(registry.snapshot(&6).unwrap().status == Status::Closed);
    }
    let (registry, _) = restored(saved.clone(), None);
    let answered: Vec<_> =
        by_peer(registry.export()).iter().map(|s| (s.peer, s.answered)).collect();
    assert_eq!(answered, [(6, true)], "who answered is no stranger for that");
    let (registry, _) = restored(saved, Some(HOUR));
    assert!((6..9).all(|peer| registry.status(&peer) == Status::Open), "{HOUR:?} is not too long");
}

#[test]
fn good_news_and_an_operator_end_a_restored_wait_as_any_other() {
    let (registry, _) = registry();
    (7..10).for_each(|peer| fail(&registry, peer));
    let (registry, _) = restored(registry.export(), Some(Duration::ZERO));
    assert!(registry.note_reachable(&7) && registry.end_wait(&8) && registry.reset(&9));
    assert!(registry.acquire(&7).unwrap().is_probe() && registry.acquire(&8).unwrap().is_probe());
    assert!(!registry.acquire(&9).unwrap().is_probe());
}

#[test]
fn overrides_outlast_any_downtime_and_a_ban_ends_when_it_would_have() {
    let (registry, hand) = registry();
    registry.force_open(&1).unwrap();
    registry.disable(&2).unwrap();
    registry.metrics_only(&3).unwrap();
    registry.force_open_for(&4, 48 * HOUR).unwrap();
    registry.force_open_for(&5, HOUR).unwrap();
    hand.advance(10 * SECOND);
    let saved = registry.export();
    let statuses = |registry: &HealthRegistry<u32>| [1, 2, 3].map(|peer| registry.status(&peer));
    let imposed = [Status::ForcedOpen, Status::Disabled, Status::MetricsOnly];

    let (registry, hand) = restored(saved.clone(), Some(24 * HOUR));
    assert_eq!(statuses(&registry), imposed);
    assert_eq!(rest(&registry, 4), 24 * HOUR - 10 * SECOND);
    assert_eq!(registry.status(&5), Status::Closed, "its ban ended meanwhile");
    hand.advance(24 * HOUR);
    assert_eq!(registry.status(&4), Status::Closed);
    assert_eq!(registry.acquire(&1).unwrap_err().reason, Reason::ForcedOpen);

    let (registry, _) = restored(saved, None);
    assert_eq!(statuses(&registry), imposed);
    assert_eq!(rest(&registry, 4), 48 * HOUR - 10 * SECOND, "no operator lifted it");
    assert!(registry.reset(&1) && registry.acquire(&1).is_ok());
}

#[test]
fn latency_is_kept_unless_it_is_too_old() {
    let (registry, _) = registry();
    let took = Duration::from_micros(1500);
    registry.acquire(&7).unwrap().with_latency(took).success();
    let latency = |downtime| {
        let (registry, _) = restored(registry.export(), downtime);
        registry.snapshot(&7).unwrap().latency
    };
    assert_eq!(latency(Some(14 * MINUTE)), Some(took));
    assert_eq!([latency(Some(15 * MINUTE)), latency(None)], [None; 2]);
}

#[test]
fn streaks_windows_errors_and_totals_are_not_kept_and_none_is_made_up() {
    let (registry, _) = support::registry(config().with_failure_threshold(3));
    fail(&registry, 7);
    assert!(registry.export().is_empty(), "nothing is known of it that is worth keeping");
    answer(&registry, 8);
    for _ in 0..3 {
        fail(&registry, 8);
    }
    let (registry, _) = restored(registry.export(), Some(Duration::ZERO));
    let snapshot = registry.snapshot(&8).unwrap();
    assert_eq!((snapshot.status, snapshot.consecutive_failures), (Status::Open, 0));
    assert!(snapshot.last_error.is_none() && snapshot.errors == 0);
    assert_eq!(registry.totals(), Totals::default());
    assert!(registry.remove(&8));
    assert_eq!(registry.totals().all, Totals::default().all);
}

#[test]
fn no_event_is_told_of_a_restored_peer() {
    let (registry, _) = registry();
    fail(&registry, 7);
    registry.disable(&8).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let builder = HealthRegistry::builder().config(config());
    let builder = builder.listener(move |event| tell.send(event.generation).unwrap());
    let registry = builder.restore(registry.export(), Some(Duration::ZERO)).build().unwrap();
    assert_eq!(told.try_iter().count(), 0);
    let before = registry.snapshot(&7).unwrap().generation;
    registry.reset(&7);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [before + 1], "generations go on");
}

#[test]
fn restored_peers_count_in_max_peers_and_the_worst_come_first() {
    let (registry, hand) = registry();
    (0..4).for_each(|peer| answer(&registry, peer));
    (4..8).for_each(|peer| fail(&registry, peer));
    hand.advance(10 * SECOND);
    [4, 5].iter().for_each(|peer| fail(&registry, *peer)); // open for longer now
    registry.force_open(&8).unwrap();
    let saved = registry.export();
    assert_eq!(saved.len(), 9);
    for (max_peers, expected) in [(1, vec![8]), (3, vec![4, 5, 8]), (5, vec![4, 5, 6, 7, 8])] {
        let config = config().with_max_peers(max_peers);
        let (registry, _) = restored_by(config, saved.clone(), Some(Duration::ZERO));
        let mut known = Vec::new();
        registry.for_each(|peer, _| known.push(*peer));
        known.sort_unstable();
        assert_eq!((registry.len(), known), (max_peers, expected));
        answer(&registry, 100);
        assert_eq!((registry.len(), registry.totals().untracked), (max_peers, 1), "none may go");
    }
    let (registry, _) = restored_by(config().with_max_peers(7), saved, Some(Duration::ZERO));
    answer(&registry, 100);
    assert!(registry.contains(&100), "a clean one has gone for it");
    assert_eq!(registry.len(), 7);
}

#[test]
fn a_restored_peer_is_forgotten_like_any_other() {
    let (registry, _) = registry();
    answer(&registry, 6);
    fail(&registry, 7);
    registry.force_open(&8).unwrap();
    let (registry, hand) = restored(registry.export(), Some(Duration::ZERO));
    let config = registry.config();
    assert_eq!(registry.sweep(), 0);
    hand.advance(config.idle_timeout);
    assert_eq!(registry.sweep(), 1, "the clean one");
    hand.advance(10 * SECOND + config.forget_after - Duration::from_nanos(1) - config.idle_timeout);
    assert_eq!(registry.sweep(), 0);
    hand.advance(Duration::from_nanos(1));
    assert_eq!(registry.sweep(), 1, "so long after the end of its wait");
    assert_eq!(registry.len(), 1, "the ban stays");
}

#[test]
fn of_several_values_of_one_peer_the_worst_counts() {
    let (first, _) = registry();
    answer(&first, 7);
    let (second, _) = registry();
    fail(&second, 7);
    let (third, _) = registry();
    third.force_open(&7).unwrap();
    let all = || [first.export(), second.export(), third.export(), second.export()].concat();
    let (registry, _) = restored(all(), Some(Duration::ZERO));
    assert_eq!((registry.status(&7), registry.len()), (Status::ForcedOpen, 1));
    let (registry, _) = restored_by(config().with_max_peers(1), all(), Some(Duration::ZERO));
    assert_eq!(registry.len(), 1);
    answer(&registry, 8);
    assert_eq!(registry.totals().untracked, 1, "no room is lost and none is found");
}

/// The outage guard counts peers that answered; it knows those of the last process (R30).
#[test]
fn the_guard_counts_restored_peers_that_answered() {
    let guarded = || config().with_outage_guard(true);
    let saved = |answers: bool| {
        let (registry, _) = support::registry(config());
        for peer in 0..10 {
            if answers {
                answer(&registry, peer);
            } else {
                registry.disable(&peer).unwrap();
            }
        }
        registry.export()
    };
    let opened = |saved| {
        let (registry, _) = restored_by(guarded(), saved, Some(Duration::ZERO));
        (0..10).for_each(|peer| _ = registry.reset(&peer));
        (0..10).for_each(|peer| fail(&registry, peer));
        (0..10).filter(|peer| registry.status(peer) == Status::Open).count()
    };
    assert_eq!((opened(saved(true)), opened(saved(false))), (5, 10));
}

/// Export, restore, export: the same.
#[test]
fn what_was_restored_is_exported_again() {
    let (registry, hand) = registry();
    (0..30).for_each(|peer| answer(&registry, peer));
    (20..60).for_each(|peer| fail(&registry, peer));
    registry.disable(&60).unwrap();
    registry.force_open_for(&61, HOUR).unwrap();
    registry.acquire(&62).unwrap().with_latency(3 * SECOND).success();
    hand.advance(SECOND);
    let saved = by_peer(registry.export());
    assert_eq!(saved.len(), 63);
    let (registry, _) = restored(saved.clone(), Some(Duration::ZERO));
    assert_eq!(by_peer(registry.export()), saved);
    assert_eq!(registry.len(), 63);
}
