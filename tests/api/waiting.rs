//! Waiting for a permit: on paused time, where nothing that is expected is expected of a sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peer_health::{
    Clock, HealthConfig, HealthRegistry, OwnedPermit, Reason, Recorded, Status, SyncError,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn config() -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_jitter(0.0)
        .with_probe_lease(None)
}

fn registry(config: HealthConfig) -> HealthRegistry<u32> {
    HealthRegistry::builder().config(config).clock(Clock::tokio()).build().unwrap()
}

fn fail(registry: &HealthRegistry<u32>) {
    registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
}

/// A permit for the peer, and how long it was waited for.
async fn waited(registry: &HealthRegistry<u32>) -> (OwnedPermit<u32>, Duration) {
    let began = Instant::now();
    let permit = timeout(YEAR, registry.acquire_when_ready(&7)).await.unwrap().unwrap();
    (permit, began.elapsed())
}

/// Waits for a permit, which `cause` brings about when everybody waits.
async fn waited_until(registry: &HealthRegistry<u32>, cause: impl FnOnce()) -> Duration {
    let mut waits = std::pin::pin!(waited(registry));
    let early = timeout(Duration::ZERO, &mut waits).await;
    assert!(early.is_err(), "it was not to be called");
    cause();
    let (permit, took) = waits.await;
    drop(permit);
    took
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_may_be_called_is_not_waited_for() {
    let registry = registry(config());
    assert_eq!(waited(&registry).await.1, Duration::ZERO, "an unknown peer");
    registry.disable(&7).unwrap();
    assert_eq!(waited(&registry).await.1, Duration::ZERO);
    assert_eq!(registry.totals().all.refused, Default::default());
}

#[tokio::test(start_paused = true)]
async fn an_open_peer_is_waited_for_until_its_wait_is_over() {
    let registry = registry(config());
    fail(&registry);
    let (permit, took) = waited(&registry).await;
    assert!(permit.is_probe());
    assert_eq!(took, 5 * SECOND);
    assert_eq!(permit.success(), Recorded::Counted);
    registry.force_open_for(&7, 600 * SECOND).unwrap();
    assert_eq!(waited(&registry).await.1, 600 * SECOND, "and so is one that is banned for a time");
    assert_eq!(registry.totals().all.refused.open, 1, "who waits asks once");
}

#[tokio::test(start_paused = true)]
async fn whatever_admits_the_peer_earlier_wakes_at_once() {
    let causes: [fn(&HealthRegistry<u32>); 7] = [
        |registry| assert!(registry.end_wait(&7)),
        |registry| assert!(registry.note_reachable(&7)),
        |registry| assert!(registry.reset(&7)),
        |registry| assert!(registry.remove(&7)),
        |registry| registry.disable(&7).unwrap(),
        |registry| registry.metrics_only(&7).unwrap(),
        |registry| {
            registry.force_open(&7).unwrap();
            registry.force_open_for(&7, Duration::ZERO).unwrap();
        },
    ];
    for cause in causes {
        let registry = registry(config());
        fail(&registry);
        assert_eq!(waited_until(&registry, || cause(&registry)).await, Duration::ZERO);
    }
    let registry = registry(config());
    registry.force_open(&7).unwrap();
    let lifted = || assert!(registry.reset(&7));
    assert_eq!(waited_until(&registry, lifted).await, Duration::ZERO, "a ban that is lifted");
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_free_when_its_probe_ends_whichever_way() {
    let ends: [fn(OwnedPermit<u32>); 3] = [drop, |p| _ = p.neutral(), |p| _ = p.success()];
    for end in ends {
        let registry = registry(config());
        fail(&registry);
        let (probe, _) = waited(&registry).await;
        assert_eq!(waited_until(&registry, || end(probe)).await, Duration::ZERO);
    }
    let registry = registry(config());
    fail(&registry);
    let (probe, _) = waited(&registry).await;
    let garbage = || _ = probe.failure(SyncError::Network("garbage".into()));
    assert_eq!(waited_until(&registry, garbage).await, 10 * SECOND, "and open again when it fails");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_is_waited_for_until_its_lease_ends_or_its_phase() {
    let leased = registry(config().with_probe_lease(40 * SECOND));
    fail(&leased);
    let (_hangs, _) = waited(&leased).await;
    assert_eq!(waited(&leased).await.1, 40 * SECOND);
    let aged = registry(config().with_half_open_max(20 * SECOND));
    fail(&aged);
    let (_hangs, _) = waited(&aged).await;
    let (permit, took) = waited(&aged).await;
    assert_eq!(took, 30 * SECOND, "twenty until it opens again, and ten");
    assert!(permit.is_probe());
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_is_looked_at() {
    let registry = registry(config());
    fail(&registry);
    let (_hangs, _) = waited(&registry).await;
    let shorter = config().with_half_open_max(SECOND);
    let took = waited_until(&registry, || registry.set_config(shorter).unwrap()).await;
    assert_eq!(took, 11 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn of_many_who_wait_each_gets_a_permit_and_no_more_than_the_probes_at_a_time() {
    let registry = registry(config().with_success_threshold(3).with_probe_lease(60 * SECOND));
    fail(&registry);
    let (probes, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let (registry, probes, most) = (registry.clone(), probes.clone(), most.clone());
        tasks.spawn(async move {
            let permit = registry.acquire_when_ready(&7).await.unwrap();
            if permit.is_probe() {
                let out = probes.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(out, Ordering::Relaxed);
                tokio::task::yield_now().await;
                probes.fetch_sub(1, Ordering::Relaxed);
            }
            permit.success();
        });
    }
    timeout(YEAR, tasks.join_all()).await.unwrap();
    assert_eq!(most.load(Ordering::Relaxed), 3);
    assert_eq!(registry.totals().all.succeeded, 100);
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_takes_nothing_from_others() {
    let registry = registry(config());
    registry.force_open(&7).unwrap();
    let mut gone: Vec<_> = (0..10).map(|_| Box::pin(registry.acquire_when_ready(&7))).collect();
    for waits in &mut gone {
        assert!(timeout(Duration::ZERO, waits).await.is_err());
    }
    let took = waited_until(&registry, || {
        registry.reset(&7);
        drop(gone);
    });
    assert_eq!(took.await, Duration::ZERO);
    let totals = registry.totals().all;
    assert_eq!((totals.settled(), totals.abandoned), (1, 1), "the one permit there was");
}

#[test]
fn without_timers_the_refusal_comes_back_and_a_ban_is_waited_for_all_the_same() {
    let registry =
        HealthRegistry::<u32>::builder().config(config()).clock(Clock::manual().0).build().unwrap();
    fail(&registry);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = runtime.block_on(registry.acquire_when_ready(&7)).unwrap_err();
    assert_eq!((refused.reason, refused.retry_after), (Reason::Open, Some(5 * SECOND)));
    registry.force_open(&7).unwrap();
    runtime.block_on(async {
        let waiting = registry.clone();
        let waits = tokio::spawn(async move { waiting.acquire_when_ready(&7).await.is_ok() });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        registry.reset(&7);
        assert!(waits.await.unwrap());
    });
}

/// Threads that take and give back the only slot as fast as they can: a wake-up that is lost leaves
/// somebody waiting, and the test does not end.
#[test]
fn no_wake_up_is_lost_between_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let registry = HealthRegistry::<u32>::builder()
            .config(config().with_open_timeout(Duration::from_nanos(1)).with_open_multiplier(1.0))
            .build()
            .unwrap();
        fail(&registry);
        let mut tasks = JoinSet::new();
        for n in 0..8 {
            let registry = registry.clone();
            tasks.spawn(async move {
                for round in 0..500 {
                    let permit = registry.acquire_when_ready(&7).await.unwrap();
                    match (n + round) % 3 {
                        0 => drop(permit),
                        1 => _ = permit.neutral(),
                        _ => _ = permit.failure(SyncError::Network("reset".into())),
                    }
                }
            });
        }
        tasks.join_all().await;
        let totals = registry.totals().all;
        assert_eq!(totals.settled(), 8 * 500 + 1);
        assert_ne!(registry.status(&7), Status::Closed);
    });
}
