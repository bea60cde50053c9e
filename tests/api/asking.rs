//! What a registry is asked, what it prints, and how delays are had.

use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peer_health::{
    Clock, ErrorSeverity, EventKind, Fault, HealthConfig, HealthRegistry, Jitter, Listening,
    OwnedPermit, PeerHandle, Reason, RetryPolicy, Status, SyncError,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_configuration_is_told_as_it_was_given() {
    let given = HealthConfig::default().with_failure_threshold(None).with_streak_gap(SECOND);
    let registry = HealthRegistry::<u32>::builder().config(given.clone()).build().unwrap();
    assert_eq!(registry.config(), given);
    registry.set_config(given.clone().with_max_peers(0)).unwrap_err();
    assert_eq!(registry.config(), given, "what is refused is not in force");
    registry.set_config(registry.config().with_max_peers(9)).unwrap();
    assert_eq!(registry.clone().config(), given.with_max_peers(9));
    assert_eq!(HealthRegistry::<u32>::new().config(), HealthConfig::default());
}

#[test]
fn a_handle_that_others_share_can_be_asked() {
    let registry = HealthRegistry::<u32>::new();
    let shared = Arc::new(registry.peer(&7));
    registry.force_open(&7).unwrap();
    assert_eq!((shared.status(), shared.is_circuit_open()), (Status::ForcedOpen, true));
    assert_eq!(shared.snapshot().unwrap().status, Status::ForcedOpen);
}

#[test]
fn each_listener_of_a_builder_is_told_in_turn() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let told = Arc::clone(&told);
        move |event: &peer_health::Event<u32>| told.lock().unwrap().push((name, event.kind))
    };
    let builder = HealthRegistry::<u32>::builder().listener(note("first")).listener(note("second"));
    let registry = builder.build().unwrap();
    let third = registry.listen(note("third"));
    registry.force_open(&7).unwrap();
    drop(third);
    registry.reset(&7);
    let told = told.lock().unwrap();
    let names: Vec<_> = told.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["first", "second", "third", "first", "second"]);
    assert_eq!(told.last().unwrap().1, EventKind::Reset);
}

#[test]
fn whoever_is_refused_is_told_when_to_ask_again() {
    let (clock, hand) = Clock::manual();
    let config = HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(2)
        .with_open_jitter(0.0)
        .with_probe_lease(Duration::from_millis(1500));
    let builder = HealthRegistry::<u32>::builder().config(config.clone()).clock(clock);
    let registry = builder.build().unwrap();
    let asked = || registry.acquire(&7).unwrap_err();
    registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
    assert_eq!(asked().ask_again_after(), 5 * SECOND);
    hand.advance(5 * SECOND);
    let _oldest = registry.acquire(&7).unwrap();
    hand.advance(SECOND);
    let _other = registry.acquire(&7).unwrap();
    assert_eq!((asked().reason, asked().retry_after), (Reason::ProbesInFlight, None));
    assert_eq!(asked().ask_again_after(), SECOND / 2, "until the oldest lease ends");
    hand.advance(SECOND / 2 - Duration::from_micros(300));
    assert_eq!(asked().ask_again_after(), Duration::from_millis(1), "and not before");
    hand.advance(Duration::from_micros(300));
    let _again = registry.acquire(&7).unwrap();
    registry.set_config(config.with_half_open_max(Duration::from_millis(1700))).unwrap();
    assert_eq!(asked().ask_again_after(), SECOND / 5, "until the phase is as old as it may get");
    registry.force_open(&7).unwrap();
    assert_eq!(asked().ask_again_after(), SECOND, "nobody knows");
    registry.force_open_for(&7, 90 * SECOND).unwrap();
    assert_eq!(asked().ask_again_after(), 90 * SECOND);
}

#[test]
fn what_is_shown_to_people_has_words() {
    let (clock, hand) = Clock::manual();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    let config =
        HealthConfig::default().with_failure_threshold(1).with_max_peers(1).with_open_jitter(0.0);
    let registry = HealthRegistry::<u32>::builder()
        .config(config)
        .clock(clock)
        .listener(move |event| hears.lock().unwrap().push(event.kind.to_string()))
        .build()
        .unwrap();
    let fail = || registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
    fail();
    hand.advance(5 * SECOND);
    fail();
    registry.force_open(&7).unwrap();
    registry.reset(&7);
    registry.remove(&7);
    let words = ["opened for 5 s", "half-open", "reopened for 10 s", "overridden: forced open"];
    assert_eq!(*told.lock().unwrap(), [&words[..], &["reset", "removed"]].concat());
    assert_eq!(format!("[{:>9}]", Status::HalfOpen), "[half-open]");
    assert_eq!(format!("[{:<12}]", Status::Disabled), "[disabled    ]");
    assert_eq!(Fault::Local.to_string(), "our own fault");
    assert_eq!(ErrorSeverity::Recoverable.to_string(), "recoverable");
}

#[test]
fn what_a_caught_panic_leaves_may_be_used() {
    fn is_safe<T: UnwindSafe + RefUnwindSafe>() {}
    is_safe::<HealthRegistry<u32>>();
    is_safe::<PeerHandle<String>>();
    is_safe::<OwnedPermit<u32>>();
    is_safe::<Listening>();
    let registry = HealthRegistry::<u32>::new();
    let caught = catch_unwind(|| registry.call(&7, || -> Result<(), SyncError> { panic!("op") }));
    assert!(caught.is_err());
    assert_eq!(registry.totals().all.abandoned, 1);
}

#[test]
fn delays_are_those_of_a_backoff_and_end_for_good() {
    let policy = RetryPolicy::new(SECOND, 3 * SECOND, 5, 2.0);
    let plain = RetryPolicy { jitter_factor: 0.0, ..policy.clone() };
    let delays: Vec<_> = plain.delays().collect();
    assert_eq!(delays, [SECOND, 2 * SECOND, 3 * SECOND, 3 * SECOND]);
    let mut delays = plain.delays();
    assert_eq!(delays.size_hint(), (4, Some(4)));
    delays.next();
    assert_eq!(delays.size_hint(), (3, Some(3)));
    assert_eq!(delays.by_ref().count(), 3);
    assert_eq!((delays.next(), delays.next()), (None, None));
    assert_eq!(RetryPolicy { max_attempts: 0, ..plain }.delays().next(), None);
    let mut backoff = policy.backoff().with_jitter(Jitter::Full).with_seed(7);
    let seeded: Vec<_> = backoff.clone().into_iter().collect();
    assert_eq!(seeded, std::array::from_fn::<_, 4, _>(|_| backoff.next_delay().unwrap()));
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn backon_takes_the_delays_of_a_policy_as_its_backoff() {
    use backon::Retryable;
    let policy = RetryPolicy { jitter_factor: 0.0, ..RetryPolicy::severe() };
    let registry = HealthRegistry::<u32>::new();
    let began = tokio::time::Instant::now();
    let call = || registry.call_async(&7, async { Err::<(), _>(SyncError::State("?".into())) });
    call.retry(policy.delays()).await.unwrap_err();
    assert_eq!(registry.totals().all.failed, 3);
    assert_eq!(began.elapsed(), 4 * SECOND, "of paused time: one second, and three");
}
