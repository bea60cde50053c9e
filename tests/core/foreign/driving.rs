//! A driver whose keys, operations and subscribers panic goes on (D11).

use std::future::pending;
use std::sync::Mutex;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use peer_health::{Clock, Failure, RetryBudget, RetryPolicy, SyncCoordinator, SyncDriver};
use tokio::time::sleep;

use super::*;

/// A coordinator on paused time, and whom its driver has called.
struct World {
    registry: Registry,
    coordinator: SyncCoordinator<Key>,
    driver: SyncDriver<Key>,
    called: Arc<Mutex<Vec<u32>>>,
    trap: Arc<Trap>,
}

/// An error that panics when it is converted.
struct Unreadable;

impl From<&Unreadable> for Failure {
    fn from(_: &Unreadable) -> Self {
        panics()
    }
}

/// Peers 0 and 1 fail, peer 2 fails for a reason of ours, others answer.
fn answer(id: u32) -> Result<u32, Failure> {
    match id {
        0 | 1 => Err(network().into()),
        2 => Err(Failure::local("disk full")),
        _ => Ok(id),
    }
}

fn world() -> World {
    let trap = Arc::<Trap>::default();
    let registry = Registry::builder().config(config()).clock(Clock::tokio()).build().unwrap();
    let retry = RetryPolicy { initial_delay: Duration::from_millis(5), ..RetryPolicy::default() };
    let coordinator = SyncCoordinator::builder(registry.clone())
        .retry(retry)
        .budget_per_peer(RetryBudget::new(5, 0.5).unwrap())
        .max_concurrent(2)
        .build()
        .unwrap();
    let called = Arc::<Mutex<Vec<u32>>>::default();
    let log = Arc::clone(&called);
    let driver = coordinator
        .drive(move |key: Key| {
            log.lock().unwrap().push(key.0);
            let id = key.0;
            mem::forget(key); // its destructor is the operation's own
            async move { answer(id) }
        })
        .unwrap();
    World { registry, coordinator, driver, called, trap }
}

impl World {
    fn key(&self, id: u32) -> Key {
        Key(id, Arc::clone(&self.trap))
    }

    /// The driver calls a peer, and one that it knew before.
    async fn assert_goes_on(&self, what: &str) {
        self.driver.resume();
        for id in [3, 77] {
            let before = self.called.lock().unwrap().iter().filter(|called| **called == id).count();
            self.driver.request(&self.key(id));
            self.driver.kick_all();
            sleep(Duration::from_secs(60)).await;
            let after = self.called.lock().unwrap().iter().filter(|called| **called == id).count();
            assert!(after > before, "{what}: {id} is not called any more");
        }
        let stats = self.driver.stats();
        assert_eq!((stats.finished, stats.running), (false, 0), "{what}: a call is never over");
        // What the driver holds back, it waits for: nobody is forgotten halfway.
        for waiting in self.driver.waiting() {
            assert!(self.driver.forget(&waiting.peer), "{what}: {} is not found", waiting.peer.0);
        }
        let stats = self.driver.stats();
        assert_eq!((stats.waiting, stats.running), (0, 0), "{what}");
        // Both places are there.
        for id in [20, 21] {
            let key = self.key(id);
            let synced = self.coordinator.sync(&key, async |key: Key| answer(key.0)).await;
            assert_eq!(synced.ok(), Some(id), "{what}");
        }
    }
}

fn on_paused_time(run: impl Future<Output = ()>) {
    logged(|| support::on_paused_time(run));
}

#[test]
fn a_key_that_panics_when_it_is_cloned_hides_no_other_that_waits() {
    on_paused_time(async {
        let world = world();
        world.driver.pause();
        (3..8).for_each(|id| assert!(world.driver.request(&world.key(id))));
        for nth in 1..=5 {
            world.trap.arm(What::Clone, nth, false);
            let named = ends(|| world.driver.waiting().len());
            assert_eq!(named, Some(4), "{nth}");
            assert_eq!(world.trap.disarm(), 1);
        }
        assert_eq!(world.driver.waiting().len(), 5);
    });
}

/// Everything that a driver is asked and told, with keys that nobody drops.
fn ask(world: &World, round: u32) {
    for id in 0..6 {
        let key = mem::ManuallyDrop::new(world.key(id));
        match (round + id) % 9 {
            0 => _ = world.driver.kick(&key),
            1 => world.driver.note_reachable(&key),
            2 => _ = world.driver.forget(&key),
            3 => world.driver.note_lost(&key, network()),
            4 => _ = world.registry.remove(&key),
            5 => _ = world.registry.reset(&key),
            6 => world.driver.kick_all(),
            7 => mem::forget(world.driver.waiting()),
            _ => _ = world.driver.request(&key),
        }
    }
}

#[test]
fn a_driver_goes_on_whatever_its_keys_do() {
    let mut sprung = [0; ALL.len()];
    for (n, what) in ALL.into_iter().enumerate() {
        for nth in (1..60).chain([100, 200, 300]) {
            on_paused_time(async {
                let world = world();
                (0..6).for_each(|id| _ = world.driver.request(&world.key(id)));
                sleep(Duration::from_millis(1)).await;
                world.trap.arm(what, nth, false);
                for round in 0..12 {
                    let _ = ends(|| ask(&world, round));
                    sleep(Duration::from_millis(20)).await;
                }
                sprung[n] += world.trap.disarm();
                world.assert_goes_on(&format!("{what:?} {nth}")).await;
            });
        }
    }
    assert!(were_met(sprung, 3), "{sprung:?}");
}

/// Of one peer the key always panics; the others are called as ever.
#[test]
fn a_key_that_always_panics_is_the_loss_of_its_own_peer() {
    for what in ALL {
        on_paused_time(async {
            let world = world();
            let bad = Arc::<Trap>::default();
            world.driver.request(&Key(5000, Arc::clone(&bad)));
            (0..6).for_each(|id| _ = world.driver.request(&world.key(id)));
            bad.arm(what, 1, true);
            sleep(Duration::from_secs(60)).await;
            let called = world.called.lock().unwrap().clone();
            assert!([3, 4, 5].iter().all(|id| called.contains(id)), "{what:?}: {called:?}");
            bad.disarm();
            sleep(Duration::from_secs(60)).await;
            let called = world.called.lock().unwrap().contains(&5000);
            assert!(called, "{what:?}: it is not called when its key is well again");
            world.assert_goes_on(&format!("{what:?}")).await;
        });
    }
}

/// A step of its circuit is heard although the key does not say whose it is.
#[test]
fn a_reset_wakes_the_driver_although_the_key_panics() {
    for what in [What::Hash, What::Eq, What::Clone] {
        on_paused_time(async {
            let world = world();
            world.registry.acquire(&world.key(50)).unwrap().failure(network());
            world.driver.request(&world.key(50));
            sleep(Duration::from_millis(100)).await;
            assert!(world.called.lock().unwrap().is_empty(), "{what:?}: its circuit is open");
            // Armed by a listener: what happens to a key from there on is the hooks' doing.
            let trap = Arc::clone(&world.trap);
            let listening = world.registry.listen(move |_| trap.arm(what, 1, true));
            world.registry.reset(&world.key(50));
            world.trap.disarm();
            drop(listening);
            sleep(Duration::from_millis(100)).await;
            assert_eq!(*world.called.lock().unwrap(), [50], "{what:?}");
        });
    }
}

/// Results, errors and operations that panic, also when they are dropped.
#[test]
fn operations_and_what_they_leave_may_panic_in_every_way() {
    /// Panics when it is dropped, or converted.
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panics();
        }
    }
    on_paused_time(async {
        let registry = HealthRegistry::<u32>::builder().clock(Clock::tokio()).build().unwrap();
        let coordinator =
            SyncCoordinator::builder(registry.clone()).max_concurrent(2).build().unwrap();
        let called = Arc::<Mutex<Vec<u32>>>::default();
        let (log, held) = (Arc::clone(&called), Bad);
        let driver = coordinator
            .drive(move |id: u32| {
                let _ = &held;
                log.lock().unwrap().push(id);
                if id == 0 {
                    panics();
                }
                async move {
                    match id {
                        1 => panics(),
                        2 => Ok(Some(Bad)),
                        3 => Err(Unreadable),
                        4 => {
                            let _bad = Bad;
                            pending().await
                        }
                        _ => Ok(None),
                    }
                }
            })
            .unwrap();
        (0..5).for_each(|id| _ = driver.request(&id));
        sleep(Duration::from_secs(100)).await;
        driver.forget(&4);
        sleep(Duration::from_secs(100)).await;
        for id in [7, 8, 9] {
            driver.request(&id);
        }
        sleep(Duration::from_secs(10)).await;
        let called = called.lock().unwrap().clone();
        assert!((0..5).chain([7, 8, 9]).all(|id| called.contains(&id)), "{called:?}");
        let stats = driver.stats();
        assert_eq!((stats.running, stats.finished), (0, false));
        assert_eq!(registry.snapshot(&2).unwrap().totals.succeeded, 1);
        // The operation itself is dropped, and the end is told.
        driver.shutdown().await;
        assert!(driver.is_finished());
    });
}

/// What panics in an operation of `sync` is its caller's, and leaves nothing behind.
#[test]
fn a_sync_that_panics_gives_its_slot_and_its_permit_back() {
    on_paused_time(async {
        let registry = HealthRegistry::<u32>::builder().clock(Clock::tokio()).build().unwrap();
        let coordinator =
            SyncCoordinator::builder(registry.clone()).max_concurrent(1).build().unwrap();
        let driver = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap();
        for round in 1..4 {
            let mut sync = Box::pin(coordinator.sync(&7, async |id: u32| match round {
                1 => panics(),
                2 => Err(Unreadable),
                _ => Ok(id),
            }));
            let polled = ends(|| futures_util::FutureExt::now_or_never(&mut sync));
            assert_eq!(polled.map(|synced| synced.unwrap().is_ok()), (round > 2).then_some(true));
            assert!(ends(|| drop(sync)).is_some());
        }
        assert_eq!(registry.snapshot(&7).unwrap().totals.abandoned, 2);
        assert!(ends(|| driver.note_lost(&7, &Unreadable)).is_none(), "its caller's own");
        assert_eq!(registry.snapshot(&7).unwrap().errors, 0);
        driver.request(&8);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(driver.stats().succeeded, 1);
    });
}

/// Wakes nobody, and panics.
struct Sleeper;

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        panics();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        panics();
    }
}

/// Polls once with a waker that panics when it is woken, and when it is dropped.
fn poll_badly<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(Sleeper));
    let polled = std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker));
    mem::forget(waker);
    polled
}

#[test]
fn who_waits_with_a_waker_that_panics_keeps_no_slot_and_stops_no_timer() {
    on_paused_time(async {
        let registry = HealthRegistry::<u32>::builder().clock(Clock::tokio()).build().unwrap();
        let coordinator =
            SyncCoordinator::builder(registry.clone()).max_concurrent(1).build().unwrap();
        let driver = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap();
        // One holds the place, and two wait for it; the first with a waker that panics.
        let op = |_| sleep(Duration::from_secs(1));
        let op = |id| async move {
            op(id).await;
            Ok::<_, SyncError>(id)
        };
        let mut first = Box::pin(coordinator.sync(&1, op));
        let mut second = Box::pin(coordinator.sync(&2, op));
        assert!(poll_badly(&mut first).is_pending());
        assert!(poll_badly(&mut second).is_pending());
        driver.request(&3);
        // The timer of the first wakes a waker that panics.
        sleep(Duration::from_secs(2)).await;
        assert!(matches!(poll_badly(&mut first), Poll::Ready(Ok(1))), "its slot wakes the second");
        assert!(ends(|| drop(first)).is_some());
        assert!(ends(|| drop(second)).is_some(), "it has the slot, and gives it back");
        sleep(Duration::from_millis(10)).await;
        assert_eq!(driver.stats().succeeded, 1);

        let mut over = Box::pin(driver.shutdown());
        assert!(poll_badly(&mut over).is_pending());
        driver.shutdown().await;
        assert!(driver.is_finished());
    });
}

#[cfg(feature = "tracing")]
#[test]
fn a_driver_goes_on_although_nothing_can_be_logged() {
    struct Closed;
    impl tracing_subscriber::Layer<tracing_subscriber::Registry> for Closed {
        fn on_event(
            &self,
            _: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, tracing_subscriber::Registry>,
        ) {
            panics();
        }
    }
    log::logged_to(Closed, || {
        support::on_paused_time(async {
            let world = world();
            (0..6).for_each(|id| _ = world.driver.request(&world.key(id)));
            sleep(Duration::from_secs(600)).await;
            world.assert_goes_on("a closed log").await;
        });
    });
}
