//! The line of the log that sums all peers up, once in a period.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use peer_health::{
    Clock, HealthMonitor, HealthRegistry, PeerKey, RetryPolicy, SyncCoordinator, SyncDriver,
};
use tokio::time::{Instant, sleep, timeout};

use crate::support::log::{Lines, logged_to};
use crate::support::{SECOND, network, on_paused_time, panics, touchy};

const MINUTE: Duration = Duration::from_secs(60);

fn monitor<K: PeerKey>() -> HealthMonitor<K> {
    let config = touchy(600 * SECOND);
    let clock = Clock::tokio();
    HealthMonitor::new(HealthRegistry::builder().config(config).clock(clock).build().unwrap())
}

/// Runs it on paused time, and returns the lines of level INFO and above.
fn told<R>(run: impl Future<Output = R>) -> Vec<String> {
    let lines = Lines::default();
    logged_to(lines.clone(), || on_paused_time(run));
    let lines = lines.take();
    lines.into_iter().filter(|(level, _)| *level == "INFO").map(|(_, line)| line).collect()
}

/// Fails so many times, each when the wait is over.
async fn open(monitor: &HealthMonitor<u32>, peer: u32, times: usize) {
    for n in 0..times {
        if n > 0 {
            monitor.registry().end_wait(&peer);
        }
        monitor.registry().acquire(&peer).unwrap().failure(network());
    }
}

#[test]
fn a_line_a_minute_says_how_all_peers_are_and_what_was_refused_since_the_last() {
    let lines = told(async {
        let monitor = monitor::<u32>();
        let registry = monitor.registry().clone();
        (0..9).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
        open(&monitor, 1, 1).await;
        registry.acquire(&1).unwrap_err(); // before the first period
        tokio::spawn(monitor.log_summary(MINUTE).unwrap());
        sleep(SECOND).await;
        for (peer, times) in [(2, 3), (3, 2), (4, 5)] {
            open(&monitor, peer, times).await;
        }
        registry.force_open(&5).unwrap();
        (0..3).for_each(|_| _ = registry.acquire(&1).unwrap_err());
        (0..4).for_each(|_| _ = registry.acquire(&5).unwrap_err());
        sleep(MINUTE).await;
        registry.end_wait(&4);
        let probe = registry.acquire(&4).unwrap();
        registry.acquire(&4).unwrap_err();
        sleep(2 * MINUTE).await;
        drop(probe);
    });
    let worst = "4 (open, opened 5 times), 2 (open, opened 3 times), 3 (open, opened 2 times)";
    let first = format!(
        "known=9 closed=4 open=4 half_open=0 overridden=1 worst={worst} refused=7 retries=0 period=60s"
    );
    let (second, third) = (
        first
            .replace("open=4 half_open=0", "open=3 half_open=1")
            .replace("4 (open", "4 (half-open"),
        "refused=0",
    );
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0].trim(), format!("message=summary {first}"));
    let second = second.replace("refused=7", "refused=1");
    assert_eq!(lines[1].trim(), format!("message=summary {second}"));
    assert!(lines[2].contains(third), "{lines:?}");
}

#[test]
fn nothing_is_logged_unless_it_is_asked_for() {
    let lines = told(async {
        let monitor = monitor::<u32>();
        monitor.registry().acquire(&7).unwrap().success();
        drop(monitor.log_summary(MINUTE).unwrap());
        sleep(10 * MINUTE).await;
    });
    assert_eq!(lines, [""; 0]);
}

#[test]
fn a_node_that_is_dropped_gets_no_further_line_and_is_not_kept() {
    let lines = told(async {
        let held = Arc::<str>::from("alice");
        let monitor = monitor::<Arc<str>>();
        monitor.registry().force_open(&held).unwrap();
        let logging = tokio::spawn(monitor.log_summary(MINUTE).unwrap());
        sleep(MINUTE + SECOND).await;
        drop(monitor);
        assert_eq!(Arc::strong_count(&held), 1, "the future holds nothing while it waits");
        sleep(MINUTE).await;
        assert!(logging.is_finished());
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("overridden=1 refused=0"), "nobody has opened: {lines:?}");
}

#[test]
fn retries_are_those_of_all_coordinators_in_the_period() {
    let lines = told(async {
        let monitor = monitor::<u32>();
        let registry = monitor.registry().clone();
        registry.set_config(registry.config().with_failure_threshold(100)).unwrap();
        let drive = || -> SyncDriver<u32> {
            SyncCoordinator::builder(registry.clone())
                .retry(RetryPolicy { max_attempts: 3, ..RetryPolicy::default() })
                .build()
                .unwrap()
                .drive(async |_| Err::<(), _>(network()))
                .unwrap()
        };
        let drivers = [drive(), drive()];
        tokio::spawn(monitor.log_summary(MINUTE).unwrap());
        drivers[0].request(&1);
        drivers[1].request(&2);
        drivers[1].request(&3);
        sleep(MINUTE + SECOND).await;
        let started: u64 = drivers.iter().map(|driver| driver.stats().started).sum();
        assert_eq!(started, 9);
    });
    assert!(lines[0].contains(" retries=6 "), "{lines:?}");
}

/// More peers than are read at once: other tasks have their turn between two pieces.
#[test]
fn a_summary_of_many_peers_gives_way() {
    on_paused_time(async {
        let monitor = monitor::<u32>();
        (0..5000).for_each(|peer| _ = monitor.registry().acquire(&peer).unwrap().success());
        let mut logging = pin!(monitor.log_summary(MINUTE).unwrap());
        let mut polls = 0;
        let counted = poll_fn(|cx| {
            polls += 1;
            logging.as_mut().poll(cx)
        });
        assert!(timeout(SECOND, counted).await.is_err());
        assert!(polls > 5, "{polls}");
    });
}

#[test]
fn a_summary_reads_well() {
    let monitor = monitor::<u32>();
    let registry = monitor.registry();
    assert_eq!(
        monitor.summary().to_string(),
        "0 known: 0 closed, 0 open, 0 half-open, 0 overridden"
    );
    on_paused_time(async {
        for peer in 1..=5 {
            open(&monitor, peer, peer as usize).await;
        }
    });
    registry.disable(&1).unwrap();
    assert_eq!(
        monitor.summary().to_string(),
        "5 known: 0 closed, 4 open, 0 half-open, 1 overridden; worst: 5 (open, opened 5 times), \
         4 (open, opened 4 times), 3 (open, opened 3 times)"
    );
}

/// A peer that leaves while the peers are counted counts nowhere in that count, and its refusals are no
/// new ones in the next.
#[test]
fn peers_that_leave_during_a_count_are_not_counted_twice() {
    let lines = told(async {
        let monitor = monitor::<u32>();
        let registry = monitor.registry();
        for peer in 0..5000 {
            registry.force_open(&peer).unwrap();
            registry.acquire(&peer).unwrap_err();
        }
        let mut logging = pin!(monitor.log_summary(MINUTE).unwrap());
        let (begun, mut turns) = (Instant::now(), 0);
        let logged = poll_fn(|cx| {
            turns += usize::from(begun.elapsed() >= MINUTE);
            if turns == 2 {
                (0..5000).for_each(|peer| assert!(registry.remove(&peer)));
            }
            logging.as_mut().poll(cx)
        });
        assert!(timeout(2 * MINUTE + SECOND, logged).await.is_err());
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains(" refused=0 ")), "{lines:?}");
}

thread_local! {
    static DROPS_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// A key whose `Debug` panics, and whose destructor does while it is told to.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Awkward(u32);

impl Drop for Awkward {
    fn drop(&mut self) {
        if DROPS_PANIC.get() {
            panics("Drop of a key")
        }
    }
}

impl fmt::Debug for Awkward {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panics("Debug of a key")
    }
}

#[test]
fn a_key_that_cannot_be_printed_costs_no_line() {
    let lines = told(async {
        let monitor = monitor::<Awkward>();
        for peer in [7, 8] {
            monitor.registry().acquire(&Awkward(peer)).unwrap().failure(network());
        }
        tokio::spawn(monitor.log_summary(MINUTE).unwrap());
        // Two destructors that panic end the process, if the second runs while the first unwinds.
        DROPS_PANIC.set(true);
        sleep(2 * MINUTE + SECOND).await;
        DROPS_PANIC.set(false);
    });
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("worst=(unprintable) (open, opened once)"), "{lines:?}");
}
