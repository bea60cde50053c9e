//! The coordinator, its driver and the monitor where tokio has neither tasks nor timers.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use js_sys::{Promise, Reflect};
use n0_future::time::timeout;
use peer_health::{
    Clock, DriveError, Fault, HealthConfig, HealthMonitor, HealthRegistry, OperationError,
    RetryPolicy, Status, SyncCoordinator, SyncDriver, SyncError,
};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test as test;

const MOMENT: Duration = Duration::from_millis(20);
/// What a test waits for comes long before this.
const LONG: Duration = Duration::from_secs(20);

fn network() -> SyncError {
    SyncError::Network("reset".into())
}

/// One failure opens for a moment, one success closes.
fn registry() -> HealthRegistry<u32> {
    let config = HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_timeout(MOMENT);
    HealthRegistry::builder().config(config).build().unwrap()
}

fn coordinator(registry: &HealthRegistry<u32>) -> SyncCoordinator<u32> {
    let retry = RetryPolicy { initial_delay: MOMENT, ..RetryPolicy::default() };
    SyncCoordinator::builder(registry.clone()).retry(retry).build().unwrap()
}

/// Who was called.
type Calls = Arc<Mutex<Vec<u32>>>;

/// A driver whose peers answer, but for those above 100: their first call fails.
fn driver(registry: &HealthRegistry<u32>) -> (SyncDriver<u32>, Calls) {
    let calls = Calls::default();
    let told = Arc::clone(&calls);
    let driver = coordinator(registry).drive(move |peer| {
        let told = Arc::clone(&told);
        async move {
            let mut told = told.lock().unwrap();
            told.push(peer);
            let first = told.iter().filter(|called| **called == peer).count() == 1;
            if peer > 100 && first { Err(network()) } else { Ok(()) }
        }
    });
    (driver.unwrap(), calls)
}

/// Waits until so many calls have succeeded.
async fn succeeded(driver: &SyncDriver<u32>, calls: u64) {
    let done = async {
        while driver.stats().succeeded < calls {
            n0_future::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, done).await.expect("the calls are made");
}

#[test]
async fn a_driver_serves_the_living_and_tries_again_when_a_wait_is_over() {
    let registry = registry();
    let (driver, calls) = driver(&registry);
    (0..10).chain([101]).for_each(|peer| assert!(driver.request(&peer)));
    succeeded(&driver, 11).await;
    assert_eq!(driver.stats().failed, 1);
    let called = calls.lock().unwrap().clone();
    assert_eq!(called.len(), 12);
    assert_eq!(called.last(), Some(&101), "its circuit was open meanwhile");
    assert_eq!(registry.status(&101), Status::Closed);
    driver.shutdown().await;
    assert!(driver.is_finished() && !driver.request(&1));
}

#[test]
async fn an_operation_is_tried_again_and_one_that_hangs_has_a_deadline() {
    let registry = HealthRegistry::<u32>::new();
    let tried = Cell::new(0);
    let flaky = async |_| match tried.replace(tried.get() + 1) {
        0 => Err(network()),
        before => Ok(before),
    };
    assert_eq!(coordinator(&registry).sync(&7, flaky).await.unwrap(), 1);

    let once = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let hasty = SyncCoordinator::builder(registry.clone()).retry(once).attempt_deadline(MOMENT);
    let silent = async |_| pending::<Result<(), SyncError>>().await;
    let failed = hasty.build().unwrap().sync(&8, silent).await.unwrap_err();
    assert_eq!(failed.failure().unwrap().fault(), Fault::Link);
    assert_eq!(registry.snapshot(&8).unwrap().consecutive_failures, 1);
}

/// Promises belong to one thread, and an operation is to be `Send`. One that is rejected counts.
#[test]
async fn an_operation_may_wait_for_a_promise() {
    let registry = registry();
    let tried = Mutex::new(0);
    let driver = crate::guide::drive(&registry, move |peer| {
        let mut tried = tried.lock().unwrap();
        *tried += 1;
        match *tried {
            1 => Promise::reject(&JsValue::from(peer)),
            _ => Promise::resolve(&JsValue::from(peer)),
        }
    });
    let driver = driver.unwrap();
    driver.request(&7);
    succeeded(&driver, 1).await;
    let all = registry.totals().all;
    assert_eq!((all.failed, all.succeeded), (1, 1));
}

/// Tells when it is dropped.
struct Dropped(Arc<Mutex<u32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
async fn a_driver_that_is_dropped_drops_its_calls_and_a_call_may_forget_its_own_peer() {
    let registry = HealthRegistry::<u32>::new();
    let dropped = Arc::new(Mutex::new(0));
    let own = Arc::new(Mutex::new(None::<SyncDriver<u32>>));
    let (tell, this) = (Arc::clone(&dropped), Arc::clone(&own));
    let driver = SyncCoordinator::new(registry.clone()).drive(move |peer| {
        let guard = Dropped(Arc::clone(&tell));
        let this = Arc::clone(&this);
        async move {
            let _guard = guard;
            if peer == 1 {
                this.lock().unwrap().take().unwrap().forget(&1);
            }
            pending::<Result<(), SyncError>>().await
        }
    });
    let driver = driver.unwrap();
    *own.lock().unwrap() = Some(driver.clone());
    let until = async |calls: u32| {
        let done = async {
            while *dropped.lock().unwrap() < calls {
                n0_future::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LONG, done).await.expect("the calls are dropped");
    };
    driver.request(&1);
    until(1).await;
    driver.request(&2);
    driver.request(&3);
    while driver.stats().running < 2 {
        n0_future::time::sleep(Duration::from_millis(1)).await;
    }
    drop(driver);
    until(3).await;
    assert_eq!(registry.totals().all.abandoned, 3);
}

#[test]
async fn a_task_waits_for_a_peer() {
    let registry = registry();
    registry.acquire(&7).unwrap().failure(network());
    let permit = timeout(LONG, registry.acquire_when_ready(&7)).await.expect("in a moment");
    permit.unwrap().failure(network());
    let monitor = HealthMonitor::new(registry.clone());
    timeout(LONG, monitor.ready(&7)).await.expect("in a moment");
    assert!(registry.acquire(&7).unwrap().is_probe());
}

/// A page that was asleep: its timers know nothing of the time that its clock has counted.
#[test]
async fn a_kick_after_a_suspend_calls_who_waits() {
    let (clock, hand) = Clock::manual();
    let config = HealthConfig::default().with_failure_threshold(1).with_success_threshold(1);
    let registry = HealthRegistry::<u32>::builder().config(config).clock(clock).build().unwrap();
    let (driver, calls) = driver(&registry);
    driver.request(&101);
    while registry.status(&101) != Status::Open {
        n0_future::time::sleep(Duration::from_millis(1)).await;
    }
    hand.advance(Duration::from_secs(8 * 3600));
    driver.kick_all();
    succeeded(&driver, 1).await;
    assert_eq!(*calls.lock().unwrap(), [101, 101]);
}

#[test]
async fn where_there_are_no_timers_there_is_an_error() {
    let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    let op = async |_| Ok::<_, SyncError>(());
    let (global, name) = (js_sys::global(), "setTimeout".into());
    let kept = Reflect::get(&global, &name).unwrap();
    assert!(Reflect::delete_property(&global, &name).unwrap());
    let started = coordinator.drive(op).map(|_| ());
    let synced = Rc::new(coordinator).sync(&7, op).await;
    Reflect::set(&global, &name, &kept).unwrap();
    assert_eq!(started, Err(DriveError::NoTimers));
    assert!(matches!(synced, Err(OperationError::NoTimers)));
}
