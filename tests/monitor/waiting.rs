//! One peer, followed and waited for.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake};

use tokio::time::{Instant, sleep};

use super::*;

/// On tokio's clock, which the tests have paused: it moves when everybody waits.
fn tokio_clock(config: HealthConfig) -> HealthMonitor<u32> {
    let builder = HealthRegistry::builder().config(config).clock(Clock::tokio());
    HealthMonitor::new(builder.build().unwrap())
}

async fn is_ready(monitor: &HealthMonitor<u32>) -> Duration {
    let began = Instant::now();
    timeout(Duration::from_secs(3600), monitor.ready(&7)).await.unwrap();
    began.elapsed()
}

/// Waits side by side with what makes the peer ready.
async fn is_ready_by(
    monitor: &HealthMonitor<u32>,
    cause: impl Future<Output = ()> + Send + 'static,
) -> Duration {
    let cause = tokio::spawn(cause);
    let waited = is_ready(monitor).await;
    cause.await.unwrap();
    waited
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_each_peer_its_own() {
    let (monitor, _) = manual();
    let (mut first, mut second) = (monitor.watch(&7), monitor.watch(&7));
    let mut other = monitor.watch(&8);
    monitor.registry().force_open(&7).unwrap();
    assert_eq!(first.changed().await, Status::ForcedOpen);
    assert_eq!(second.changed().await, Status::ForcedOpen);
    assert!(timeout(NEVER, other.changed()).await.is_err());
    assert!(timeout(NEVER, first.changed()).await.is_err(), "told once");
    drop(first);
    monitor.registry().remove(&7);
    assert_eq!(second.changed().await, Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_change_between_look_and_wait_is_told_and_so_is_one_after_a_wait_that_was_given_up() {
    let (monitor, _) = manual();
    let mut watch = monitor.watch(&7);
    assert_eq!(watch.status(), Status::Closed);
    monitor.registry().force_open(&7).unwrap();
    monitor.registry().disable(&7).unwrap();
    assert_eq!(watch.changed().await, Status::Disabled);
    assert!(timeout(NEVER, watch.changed()).await.is_err());
    monitor.registry().reset(&7);
    assert_eq!(timeout(NEVER, watch.changed()).await, Ok(Status::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_may_be_called_is_ready_at_once() {
    let monitor = tokio_clock(config());
    assert_eq!(is_ready(&monitor).await, Duration::ZERO, "an unknown peer");
    monitor.registry().acquire(&7).unwrap().success();
    assert_eq!(is_ready(&monitor).await, Duration::ZERO);
    monitor.registry().disable(&7).unwrap();
    assert_eq!(is_ready(&monitor).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_open_peer_is_ready_when_its_wait_is_over_and_not_before() {
    let monitor = tokio_clock(config());
    fail(&monitor, 7);
    assert_eq!(is_ready(&monitor).await, Duration::from_secs(5));
    assert!(monitor.registry().acquire(&7).unwrap().is_probe());
}

#[tokio::test(start_paused = true)]
async fn a_banned_peer_is_ready_when_the_ban_is_lifted() {
    let monitor = tokio_clock(config());
    for lift in [HealthRegistry::reset, HealthRegistry::remove] {
        monitor.registry().force_open(&7).unwrap();
        let registry = monitor.registry().clone();
        let waited = is_ready_by(&monitor, async move {
            sleep(Duration::from_secs(60)).await;
            lift(&registry, &7);
        });
        assert_eq!(waited.await, Duration::from_secs(60));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_ready_soon_after_a_probe_was_dropped_which_is_no_transition() {
    let monitor = tokio_clock(config());
    for held in [Duration::from_millis(20), Duration::from_secs(20)] {
        fail(&monitor, 7);
        assert_eq!(is_ready(&monitor).await, Duration::from_secs(5));
        let probe = monitor.registry().acquire(&7).unwrap();
        let waited = is_ready_by(&monitor, async move {
            sleep(held).await;
            drop(probe);
        });
        let waited = waited.await;
        assert!(waited >= held && waited <= held + held.min(Duration::from_secs(1)), "{waited:?}");
        monitor.registry().remove(&7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_ready_soon_after_the_lease_of_a_leaked_probe_is_over() {
    let monitor = tokio_clock(config());
    fail(&monitor, 7);
    is_ready(&monitor).await;
    std::mem::forget(monitor.registry().acquire(&7).unwrap());
    let waited = is_ready(&monitor).await;
    assert!((Duration::from_secs(30)..=Duration::from_secs(31)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_cut_short_is_noticed_before_it_would_be_over() {
    let monitor = tokio_clock(config().with_open_timeout(Duration::from_secs(300)));
    fail(&monitor, 7);
    let registry = monitor.registry().clone();
    let waited = is_ready_by(&monitor, async move {
        sleep(Duration::from_secs(3)).await;
        assert!(registry.end_wait(&7));
    });
    let waited = waited.await;
    assert!((Duration::from_secs(3)..=Duration::from_secs(6)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn somebody_asks_a_circuit_that_has_been_half_open_for_too_long() {
    let monitor = tokio_clock(config().with_half_open_max(Duration::from_secs(2)));
    fail(&monitor, 7);
    is_ready(&monitor).await;
    let _hung = monitor.registry().acquire(&7).unwrap();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(is_ready(&monitor).await, Duration::ZERO);
    assert!(monitor.registry().acquire(&7).is_err());
    assert_eq!(is_ready(&monitor).await, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn of_many_who_wait_those_who_go_on_are_not_held_up_by_one_who_gives_up() {
    let monitor = tokio_clock(config());
    fail(&monitor, 7);
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let monitor = monitor.clone();
            tokio::spawn(async move {
                let patience = if n % 2 == 0 { Duration::from_secs(1) } else { NEVER };
                timeout(patience, monitor.ready(&7)).await.is_ok()
            })
        })
        .collect();
    for (n, task) in waiting.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), n % 2 == 1);
    }
}

/// Noted by a waker, so that a future is polled again when it was woken, and only then.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs a future without parking the thread: what it waits for happens at any moment of its polls.
fn run<T>(future: impl Future<Output = T>) -> T {
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    // It is the only task: nobody else is to have a turn.
    let mut future = std::pin::pin!(tokio::task::coop::unconstrained(future));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        let began = Instant::now();
        while !woken.0.swap(false, Ordering::AcqRel) {
            assert!(began.elapsed() < NEVER, "nobody wakes it");
            std::thread::yield_now();
        }
    }
}

/// Two take turns as fast as they can: a ban is lifted while somebody begins to wait for that. A
/// wake-up that is lost between the look and the wait is lost for good: a ban has no timer.
#[tokio::test]
async fn no_wake_up_is_lost_between_the_look_and_the_wait() {
    type Waits = fn(&HealthMonitor<u32>, &mut peer_health::PeerWatch<u32>, &mut Events<u32>);
    let waits: [Waits; 3] = [
        |_, watch, _| assert_eq!(run(watch.changed()), Status::Closed),
        |monitor, _, _| run(monitor.ready(&7)),
        |_, _, events| assert!(matches!(run(events.recv()), Notice::Event(_))),
    ];
    for wait in waits {
        let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
        let registry = monitor.registry();
        let turn = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    for spins in 1_u64.. {
                        match turn.load(Ordering::Acquire) {
                            OVER => return,
                            now if now == round => break,
                            // On one core the other needs it to go on.
                            _ if spins.is_multiple_of(64) => std::thread::yield_now(),
                            _ => std::hint::spin_loop(),
                        }
                    }
                    registry.reset(&7);
                }
            });
            let _over = Over(&turn);
            for round in 1..=ROUNDS {
                registry.force_open(&7).unwrap();
                let (mut watch, mut events) = (monitor.watch(&7), monitor.subscribe());
                turn.store(round, Ordering::Release);
                // So long that the lift comes before, meanwhile, or after.
                (0..round % 512).for_each(|_| std::hint::spin_loop());
                wait(&monitor, &mut watch, &mut events);
            }
        });
    }
}

const ROUNDS: u64 = 8_000;
const OVER: u64 = u64::MAX;

/// Ends the other thread, also when this one fails.
struct Over<'a>(&'a AtomicU64);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(OVER, Ordering::Release);
    }
}
