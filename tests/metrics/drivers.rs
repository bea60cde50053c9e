//! The rows of drivers, which the group finds by itself.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use peer_health::{
    Clock, Failure, HealthConfig, HealthRegistry, OperationError, RetryBudget, RetryPolicy,
    SyncCoordinator, SyncError,
};
use tokio::time::sleep;

use crate::Scraped;
use crate::support::network;

/// Opens no circuit, on tokio's time.
fn patient() -> HealthRegistry<u32> {
    let config = HealthConfig::default().with_failure_threshold(1000);
    HealthRegistry::builder().config(config).clock(Clock::tokio()).build().unwrap()
}

fn rows(scraped: &Scraped) -> [u64; 3] {
    let rows = scraped.series();
    ["driver_waiting", "driver_running", "driver_local_trouble"].map(|row| rows[row])
}

/// Lets two seconds go by: a scrape after that looks anew.
async fn pass() {
    sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn what_all_drivers_do_is_added_up_and_those_that_are_gone_do_nothing() {
    let registry = patient();
    let scraped = Scraped::new(&registry);
    let held = Arc::new(());
    let drive = |concurrent| {
        let held = Arc::clone(&held);
        let builder = SyncCoordinator::builder(registry.clone());
        let builder = builder.attempt_deadline(Duration::from_secs(29)).max_concurrent(concurrent);
        let hangs = move |_| {
            let held = Arc::clone(&held);
            async move {
                let _held = held;
                pending::<Result<(), SyncError>>().await
            }
        };
        builder.build().unwrap().drive(hangs).unwrap()
    };
    let (one, other) = (drive(8), drive(8));
    (0..20).for_each(|peer| assert!(one.request(&peer) && other.request(&(100 + peer))));
    pass().await;
    let sum = [one.stats(), other.stats()].map(|stats| [stats.waiting, stats.running]);
    let sum: Vec<u64> = (0..2).map(|row| sum.iter().map(|one| one[row] as u64).sum()).collect();
    assert!(sum[1] > 1 && sum[0] > sum[1], "{sum:?}");
    assert_eq!(rows(&scraped), [sum[0], sum[1], 0]);
    drop((one, other));
    pass().await;
    assert_eq!(rows(&scraped), [0; 3]);
    assert_eq!(Arc::strong_count(&held), 1, "the group keeps no driver");
}

#[tokio::test(start_paused = true)]
async fn a_driver_whose_calls_fail_locally_shows() {
    let registry = patient();
    let scraped = Scraped::new(&registry);
    let offline = async |_| Err::<(), _>(Failure::local("no endpoint"));
    let driver = SyncCoordinator::new(registry).drive(offline).unwrap();
    driver.request(&7);
    pass().await;
    assert_eq!(rows(&scraped), [1, 0, 1]);
}

/// Ten tokens, of which half may be used: of a driver and of `sync`, everything counts.
#[tokio::test(start_paused = true)]
async fn retries_and_those_that_no_budget_allowed_are_counted() {
    let registry = patient();
    let scraped = Scraped::new(&registry);
    (0..9).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
    let coordinator = SyncCoordinator::builder(registry.clone())
        .retry(RetryPolicy { max_attempts: 3, jitter_factor: 0.0, ..RetryPolicy::default() })
        .budget(RetryBudget::new(10, 0.1).unwrap())
        .build()
        .unwrap();
    let fails = async |_| Err::<(), _>(network());
    let gave_up = coordinator.sync(&0, fails).await.unwrap_err();
    assert!(matches!(gave_up, OperationError::GaveUp { attempts: 3, .. }));
    let seen = || (scraped.value("retries_total"), scraped.value("retries_refused_total"));
    assert_eq!(seen(), (2, 0));

    let driver = coordinator.drive(fails).unwrap();
    driver.request(&1);
    sleep(Duration::from_secs(60)).await;
    let driven = driver.stats().started - 1;
    assert_eq!(seen(), (2 + driven, 0));
    while driver.stats().retries_refused == 0 {
        driver.request(&2);
        sleep(Duration::from_secs(60)).await;
    }
    let spent = coordinator.sync(&3, fails).await.unwrap_err();
    assert!(matches!(spent, OperationError::BudgetSpent { attempts: 1, .. }), "{spent:?}");
    pass().await;
    assert_eq!(seen().1, driver.stats().retries_refused + 1);
    let totals = registry.totals();
    assert_eq!((totals.retries, totals.retries_refused), seen());
}
