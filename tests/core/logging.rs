//! What is logged, and at which level (R31), as a subscriber sees it.

use std::time::Duration;

#[cfg(feature = "tokio")]
use peer_health::Clock;
use peer_health::{HealthConfig, HealthRegistry, ManualClock, SyncError, Window};

use crate::support::{
    self,
    log::{Lines, logged_to},
};

/// A registry in which one failure opens for a second, and one success closes.
fn registry(config: HealthConfig) -> (HealthRegistry<u32>, ManualClock) {
    let config = config
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_timeout(Duration::from_secs(1))
        .with_open_multiplier(1.0);
    support::registry(config)
}

fn fail(registry: &HealthRegistry<u32>, peer: u32) {
    registry.acquire(&peer).unwrap().failure(SyncError::Network("no answer".into()));
}

/// Does it while everything is logged.
fn logged(run: impl FnOnce(&Lines)) {
    let lines = Lines::default();
    logged_to(lines.clone(), || run(&lines));
}

#[test]
fn the_first_trip_of_a_peer_that_answered_is_a_warning_with_its_error_and_its_end_is_told() {
    logged(|lines| {
        let (registry, hand) = registry(HealthConfig::default());
        registry.acquire(&7).unwrap().success();
        fail(&registry, 7);
        let (level, text) = lines.0.lock().unwrap().pop().unwrap();
        assert_eq!(level, "WARN");
        assert!(text.contains("circuit opened") && text.contains("no answer"), "{text}");
        for _ in 0..3 {
            hand.advance(Duration::from_secs(1));
            fail(&registry, 7);
        }
        assert_eq!(lines.levels(), ["DEBUG"; 6], "half-open and open again, three times");
        hand.advance(Duration::from_secs(1));
        registry.acquire(&7).unwrap().success();
        assert_eq!(lines.levels(), ["DEBUG", "INFO"]);
        fail(&registry, 7);
        assert_eq!(lines.levels(), ["WARN"], "the first since it was closed");
    });
}

#[test]
fn a_stranger_that_opens_is_for_debugging_until_it_has_answered() {
    logged(|lines| {
        let (registry, hand) = registry(HealthConfig::default());
        fail(&registry, 7);
        hand.advance(Duration::from_secs(1));
        fail(&registry, 7);
        assert_eq!(lines.levels(), ["DEBUG"; 3]);
        hand.advance(Duration::from_secs(1));
        registry.acquire(&7).unwrap().success();
        fail(&registry, 7);
        assert_eq!(lines.levels(), ["DEBUG", "INFO", "WARN"]);
    });
}

#[test]
fn overrides_and_resets_are_for_debugging_and_who_is_forgotten_for_tracing() {
    logged(|lines| {
        let (registry, _) = registry(HealthConfig::default().with_max_peers(1));
        registry.force_open(&7).unwrap();
        registry.reset(&7);
        registry.acquire(&8).unwrap().success();
        registry.remove(&8);
        assert_eq!(lines.levels(), ["DEBUG", "DEBUG", "TRACE", "TRACE"]);
    });
}

#[test]
fn an_outage_of_our_own_is_a_warning_and_its_end_is_told() {
    logged(|lines| {
        let (registry, _) = registry(HealthConfig::default().with_outage_guard(true));
        (0..4).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
        let calls: Vec<_> = (0..4).map(|peer| registry.acquire(&peer).unwrap()).collect();
        for call in calls {
            call.failure(SyncError::Network("no route".into()));
        }
        registry.acquire(&3).unwrap().success();
        assert_eq!(lines.levels(), ["WARN", "WARN", "WARN", "INFO"]);
    });
}

#[test]
fn refusals_are_not_logged() {
    logged(|lines| {
        let (registry, _) = registry(HealthConfig::default());
        fail(&registry, 7);
        lines.levels();
        (0..5).for_each(|_| drop(registry.acquire(&7)));
        assert_eq!(lines.levels(), [""; 0]);
    });
}

/// Runs it on paused time, and keeps what is logged.
#[cfg(feature = "tokio")]
fn logged_on_paused_time(run: impl Future<Output = ()>) -> Vec<(&'static str, String)> {
    let lines = Lines::default();
    logged_to(lines.clone(), || support::on_paused_time(run));
    lines.take()
}

#[cfg(feature = "tokio")]
#[test]
fn a_driver_warns_once_when_the_registrys_clock_stands_still_beside_tokios() {
    use peer_health::SyncCoordinator;
    for apart in [false, true] {
        let lines = logged_on_paused_time(async {
            // The system's clock goes on as ever while tokio's is paused, and hurries when it sleeps.
            let clock = if apart { Clock::monotonic() } else { Clock::tokio() };
            let registry = HealthRegistry::<u32>::builder().clock(clock).build().unwrap();
            let coordinator = SyncCoordinator::new(registry);
            let driver = coordinator
                .drive(async |_| Err::<(), _>(SyncError::Network("no answer".into())))
                .unwrap();
            driver.request(&7);
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(60)).await;
                driver.request(&7);
            }
        });
        let warnings: Vec<_> = lines.iter().filter(|(level, _)| *level == "WARN").collect();
        assert_eq!(warnings.len(), usize::from(apart), "{warnings:?}");
        assert!(warnings.iter().all(|(_, text)| text.contains("run apart")), "{warnings:?}");
    }
}

#[cfg(feature = "tokio")]
#[test]
fn nine_hundred_dead_peers_are_no_warning_and_a_deadline_that_is_too_long_is_one() {
    use peer_health::SyncCoordinator;
    let lines = logged_on_paused_time(async {
        let config = HealthConfig::default().with_failure_threshold(1);
        let registry =
            HealthRegistry::<u32>::builder().config(config.clone()).clock(Clock::tokio());
        let registry = registry.build().unwrap();
        let coordinator = SyncCoordinator::new(registry.clone());
        let driver = coordinator
            .drive(async |_| Err::<(), _>(SyncError::Network("no answer".into())))
            .unwrap();
        for _ in 0..20 {
            (0..900).for_each(|peer| _ = driver.request(&peer));
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        let short = config.with_probe_lease(Duration::from_secs(5));
        registry.set_config(short).unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
    });
    let told: Vec<_> = lines.iter().filter(|(level, _)| *level != "DEBUG").collect();
    assert_eq!(told.len(), 1, "{:?}", &told[..told.len().min(3)]);
    assert!(told[0].1.contains("probes get half of the lease"), "{told:?}");
}

#[test]
fn what_can_hardly_be_meant_is_warned_of_once_for_each_registry() {
    let second = Duration::from_secs(1);
    let sound = HealthConfig::default();
    let doubtful = sound.clone().with_window(Window::count(9)).with_open_timeout(Duration::ZERO);
    let over = sound.clone().with_open_timeout(2 * second).with_open_max(second);
    logged(|lines| {
        let build = |config| HealthRegistry::<u32>::builder().config(config).build().unwrap();
        let registry = build(doubtful.clone());
        let told = lines.take();
        let wanted = [
            "failure_rate is not set: the window decides nothing without it or slow_rate",
            "open_timeout is 0ns: an open circuit is probed at once",
        ];
        assert_eq!(told.len(), wanted.len(), "{told:?}");
        for ((level, line), wanted) in told.iter().zip(wanted) {
            assert!(*level == "WARN" && line.contains(wanted), "{line}");
        }
        registry.set_config(doubtful.clone()).unwrap();
        assert!(lines.levels().is_empty(), "it was said");
        registry.set_config(over).unwrap();
        let told = lines.take();
        let wanted = "open_timeout is 2s: acts as open_max, which is 1s";
        assert!(told.len() == 1 && told[0].1.contains(wanted), "{told:?}");
        build(doubtful);
        assert_eq!(lines.levels().len(), 2, "another registry");
        build(sound.with_window(Window::count(9)).with_failure_rate(0.5));
        assert!(lines.levels().is_empty());
    });
}
