//! Clocks that step back, tell wrong once, or panic (R1).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use peer_health::{
    Clock, ErrorHandler, HealthConfig, HealthRegistry, ManualClock, Reason, Recorded, Status,
    Window,
};
use proptest::prelude::*;

use crate::support::network;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
const YEAR: u64 = 365 * DAY;

/// A source of time that is set to anything, and the registry that goes by it.
struct Node {
    registry: HealthRegistry<u32>,
    set: Box<dyn Fn(u64)>,
}

const OPEN_MAX: Duration = Duration::from_secs(10);
const LEASE: u64 = 60 * SECOND;
const WINDOW: u64 = 30 * SECOND;

fn config() -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(2)
        .with_window(Window::time(Duration::from_nanos(WINDOW), 3))
        .with_failure_rate(0.5)
        .with_min_calls(10)
        .with_open_max(OPEN_MAX)
        .with_success_threshold(1)
        .with_probe_lease(Duration::from_nanos(LEASE))
}

impl Node {
    /// By a clock that is set by hand, and by one of somebody's own.
    fn both(config: &HealthConfig) -> [Self; 2] {
        let (by_hand, hand) = Clock::manual();
        let time = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&time);
        let own = Clock::from_fn(move || Duration::from_nanos(told.load(Ordering::Relaxed)));
        let set_hand = move |nanos| hand.set(Duration::from_nanos(nanos));
        let set_own = move |nanos| time.store(nanos, Ordering::Relaxed);
        [Self::of(config, by_hand, set_hand), Self::of(config, own, set_own)]
    }

    fn of(config: &HealthConfig, clock: Clock, set: impl Fn(u64) + 'static) -> Self {
        set(DAY);
        let builder = HealthRegistry::builder().config(config.clone()).clock(clock);
        Self { registry: builder.build().unwrap(), set: Box::new(set) }
    }

    fn set(&self, nanos: u64) {
        (self.set)(nanos);
    }

    /// One more failure, if the peer is called.
    fn fail(&self, peer: u32) -> Option<Recorded> {
        Some(self.registry.acquire(&peer).ok()?.failure(network()))
    }

    fn wait(&self, peer: u32) -> Option<Duration> {
        self.registry.acquire(&peer).err().and_then(|refused| refused.retry_after)
    }

    /// Opens the peer's circuit, and waits until it may be probed.
    fn open(&self, peer: u32) {
        assert!(self.registry.end_wait(&peer) || self.fail(peer).is_some() && self.open_now(peer));
    }

    fn open_now(&self, peer: u32) -> bool {
        while self.registry.status(&peer) == Status::Closed {
            self.fail(peer);
        }
        self.registry.end_wait(&peer)
    }
}

#[test]
fn r01_no_wait_becomes_longer_when_the_clock_is_set_back() {
    for node in Node::both(&config()) {
        node.fail(7);
        assert!(matches!(node.fail(7), Some(Recorded::Opened { .. })));
        let before = node.wait(7).unwrap();
        node.set(0);
        assert_eq!(node.wait(7), Some(before), "a day back");
        node.set(SECOND);
        assert_eq!(node.wait(7), Some(before - Duration::from_secs(1)), "and a second on");
        node.set(SECOND / 2);
        assert_eq!(node.wait(7), Some(before - Duration::from_secs(1)), "half a second back");
        node.set(10 * SECOND);
        assert_eq!(node.wait(7), None);
    }
}

#[test]
fn r01_a_leaked_probe_holds_its_slot_no_longer_than_its_lease() {
    for node in Node::both(&config()) {
        node.open(7);
        std::mem::forget(node.registry.acquire(&7).unwrap());
        node.set(0);
        assert_eq!(node.registry.acquire(&7).unwrap_err().reason, Reason::ProbesInFlight);
        node.set(LEASE);
        assert!(node.registry.acquire(&7).unwrap().is_probe());
    }
}

#[test]
fn r01_a_window_by_time_takes_what_comes_after_a_step_back() {
    for node in Node::both(&config().with_failure_threshold(None).with_failure_rate(None)) {
        node.fail(7);
        for (count, nanos) in (2..).zip([0, SECOND, YEAR, 0, SECOND]) {
            node.set(nanos);
            node.fail(7);
            let failures = node.registry.snapshot(&7).unwrap().window.failures;
            // The year ahead is the one jump that is believed.
            assert_eq!(failures, if nanos < YEAR && count < 4 { count } else { count - 3 });
        }
    }
}

#[test]
fn r01_one_reading_a_year_ahead_is_gone_on_from() {
    for node in Node::both(&config()) {
        node.fail(7);
        node.set(YEAR);
        assert!(matches!(node.fail(7), Some(Recorded::Opened { .. })));
        node.set(DAY + SECOND);
        assert!(node.wait(7).is_some());
        node.set(DAY + SECOND + 10 * SECOND);
        assert!(node.registry.acquire(&7).unwrap().is_probe());
    }
}

/// A clock that calls the registry which asks it for the time is told what it told last.
#[test]
fn r01_a_clock_that_calls_the_registry_ends() {
    use std::sync::OnceLock;
    static REGISTRY: OnceLock<HealthRegistry<u32>> = OnceLock::new();
    let clock = Clock::from_fn(|| {
        let error = REGISTRY.get().and_then(|registry| registry.snapshot(&7));
        Duration::from_secs(error.map_or(1, |seen| 1 + seen.errors))
    });
    let registry = HealthRegistry::<u32>::builder().clock(clock).build().unwrap();
    REGISTRY.set(registry.clone()).unwrap();
    registry.acquire(&7).unwrap().failure(network());
    let shown = registry.snapshot(&7).unwrap().last_error_at.unwrap();
    let age = shown.elapsed().unwrap();
    assert!(age >= Duration::from_secs(1), "since then an error has moved the clock: {age:?}");
}

/// R1: what is shown is the system's time less the age, so that it is right once the system's is.
#[test]
fn r01_times_are_shown_by_the_system_time_as_it_is_now() {
    let (clock, hand) = Clock::manual();
    let config = HealthConfig::default().with_failure_threshold(1);
    let registry = HealthRegistry::<u32>::builder().config(config).clock(clock).build().unwrap();
    let hour = Duration::from_secs(3600);
    let ago = |shown: Option<SystemTime>| shown.unwrap().elapsed().unwrap();
    registry.acquire(&7).unwrap().failure(network());
    hand.advance(hour);
    let seen = registry.snapshot(&7).unwrap();
    for age in [ago(seen.opened_at), ago(seen.last_error_at)] {
        assert!(age >= hour && age < hour + Duration::from_secs(60), "{age:?}");
    }
    // A healthy peer too, whose last error is still shown.
    let probe = registry.acquire(&7).unwrap();
    probe.success();
    registry.acquire(&7).unwrap().success();
    hand.advance(hour);
    let seen = registry.snapshot(&7).unwrap();
    assert_eq!(seen.status, Status::Closed);
    assert!(ago(seen.last_error_at) >= 2 * hour);
}

/// The source steps back by a day while four threads read it: it is one step, whoever sees it first.
#[test]
fn r01_threads_that_see_one_step_back_shift_once() {
    const THREADS: u64 = 4;
    const READS: u64 = 20_000;
    let milli = SECOND / 1000;
    let count = Arc::new(AtomicU64::new(0));
    let reads = Arc::clone(&count);
    let clock = Clock::from_fn(move || {
        let n = reads.fetch_add(1, Ordering::Relaxed);
        let before = if n < THREADS * READS / 2 { DAY } else { 0 };
        Duration::from_nanos(before + n * milli)
    });
    let wait = Duration::from_secs(3600);
    let config = HealthConfig::default()
        .with_failure_threshold(1)
        .with_open_timeout(wait)
        .with_open_max(wait)
        .with_open_jitter(0.0);
    let registry = HealthRegistry::<u32>::builder().config(config).clock(clock).build().unwrap();
    registry.acquire(&7).unwrap().failure(network());
    let began = count.load(Ordering::Relaxed);
    let rest = || registry.acquire(&7).unwrap_err().retry_after.unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut last = wait;
                for _ in 0..READS {
                    let now = rest();
                    assert!(now <= last, "{now:?} after {last:?}");
                    last = now;
                }
            });
        }
    });
    let passed = wait - rest();
    let told = Duration::from_nanos((count.load(Ordering::Relaxed) - began) * milli);
    let lost = told.abs_diff(passed);
    assert!(lost < Duration::from_secs(2), "{told:?} were told, {passed:?} have passed");
}

/// R1: how often the clock is read for a thousand calls of a healthy peer, by permits of the
/// registry and of a handle, and by reports; the first of which may set up what the rules need.
fn reads(config: HealthConfig) -> [u64; 3] {
    let count = Arc::new(AtomicU64::new(0));
    let reads = Arc::clone(&count);
    let clock =
        Clock::from_fn(move || Duration::from_millis(reads.fetch_add(1, Ordering::Relaxed)));
    let registry = HealthRegistry::<u32>::builder().config(config).clock(clock).build().unwrap();
    let mut handle = registry.peer(&7);
    let handler = ErrorHandler::with_registry(registry.clone());
    let since = |act: &mut dyn FnMut()| {
        let before = count.load(Ordering::Relaxed);
        (0..1000).for_each(|_| act());
        count.load(Ordering::Relaxed) - before
    };
    [
        since(&mut || assert_eq!(registry.acquire(&7).unwrap().success(), Recorded::Counted)),
        since(&mut || assert_eq!(handle.acquire().unwrap().success(), Recorded::Counted)),
        since(&mut || {
            assert!(!handler.is_circuit_open(&7));
            handler.record_success(&7);
        }),
    ]
}

#[test]
fn r01_a_healthy_peer_needs_no_clock_where_no_rule_looks_at_time() {
    let rate = HealthConfig::default().with_failure_rate(0.5);
    assert_eq!(reads(HealthConfig::default()), [0; 3], "a streak");
    assert_eq!(reads(rate.clone().with_window(Window::count(10))), [0; 3], "a window by count");
    let by_time = rate.clone().with_window(Window::time(Duration::from_secs(9), 3));
    assert!(reads(by_time).iter().all(|reads| *reads >= 1000), "a window by time");
    let slow = rate.with_window(Window::count(10)).with_slow_call(Duration::from_secs(1));
    assert!(reads(slow)[0] >= 1000, "slow calls");
}

/// R15: what needs no clock is judged all the same: a success that completes `min_calls`, of a call
/// that was admitted before the failures.
#[test]
fn r15_a_success_that_completes_the_calls_opens_by_a_window_by_count() {
    let config = HealthConfig::default()
        .with_failure_threshold(None)
        .with_window(Window::count(4))
        .with_min_calls(3)
        .with_failure_rate(0.6);
    for node in Node::both(&config) {
        let healthy = node.registry.acquire(&7).unwrap();
        node.set(2 * DAY);
        assert_eq!(
            (node.fail(7), node.fail(7)),
            (Some(Recorded::Counted), Some(Recorded::Counted))
        );
        let Recorded::Opened { retry_after } = healthy.success() else { panic!("not judged") };
        assert!(node.wait(7).unwrap() <= retry_after);
        let seen = node.registry.snapshot(&7).unwrap();
        assert_eq!(seen.open_for, Some(Duration::ZERO), "it opened now");
    }
}

fn readings() -> impl Strategy<Value = Vec<u64>> {
    let reading = prop_oneof![
        4 => 0..120 * SECOND,
        2 => 0..3 * DAY,
        1 => Just(YEAR),
        1 => 0..=u64::MAX,
        1 => Just(0),
        1 => Just(u64::MAX),
        1 => (0..3 * SECOND).prop_map(|n| u64::MAX - n),
    ];
    proptest::collection::vec(reading, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a clock tells: once it ticks again, what began is over after its length, a second
    /// more at the most, for which a clock that is a little behind stands still.
    #[test]
    fn r01_whatever_a_clock_tells_nothing_outlives_its_length(readings in readings()) {
        let windowed = config().with_failure_threshold(None);
        for (node, window) in Node::both(&config()).into_iter().zip(Node::both(&windowed)) {
            for reading in &readings {
                node.set(*reading);
                window.set(*reading);
                for peer in 0..3 {
                    let rest = node.wait(peer);
                    prop_assert!(rest.is_none_or(|rest| rest <= OPEN_MAX), "{rest:?}");
                    node.fail(peer);
                }
                if let Ok(probe) = node.registry.acquire(&3) {
                    match probe.is_probe() {
                        true => std::mem::forget(probe),
                        false => drop(probe.failure(network())),
                    }
                }
                window.fail(4);
                node.registry.snapshot(&3);
                node.registry.sweep();
            }
            // From now on it ticks, from wherever it is.
            let now = readings[readings.len() - 1].min(u64::MAX - DAY);
            node.set(now);
            window.set(now);
            let _ = (node.wait(0), window.registry.snapshot(&4).unwrap().window);
            let later = now + LEASE + SECOND;
            node.set(later);
            window.set(later);
            for peer in 0..3 {
                prop_assert!(node.registry.acquire(&peer).is_ok(), "its wait is over");
            }
            prop_assert!(node.registry.acquire(&3).is_ok(), "the lease of its probe is over");
            window.registry.end_wait(&4);
            if let Ok(probe) = window.registry.acquire(&4) {
                probe.success();
            }
            let tripped = (0..10).any(|_| {
                matches!(window.fail(4), Some(Recorded::Opened { .. }))
            });
            // Where time has ended, each probe of a circuit that is open is late.
            let open = window.registry.status(&4) != Status::Closed;
            prop_assert!(tripped || open, "the window takes what comes");
        }
    }
}

#[test]
fn r01_the_hand_shows_what_it_was_set_to() {
    let (clock, hand): (Clock, ManualClock) = Clock::manual();
    let registry = HealthRegistry::<u32>::builder().clock(clock).build().unwrap();
    hand.set(Duration::from_secs(9));
    registry.sweep();
    hand.set(Duration::from_secs(1));
    registry.sweep();
    assert_eq!(hand.elapsed(), Duration::from_secs(1));
}
