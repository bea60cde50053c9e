//! The pool inside a driver on the same registry.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod loopback;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iroh::SecretKey;
use iroh_util::connection_pool::Options;
use loopback::{ALPN, Process, answer, ask, counts, finding, in_time};
use peer_health::{EventKind, HealthConfig, HealthRegistry, Status, SyncCoordinator};
use peer_health_iroh::HealthPool;
use tokio::sync::mpsc;

#[tokio::test]
async fn a_peer_that_dies_and_returns_is_called_again_by_the_driver_that_holds_the_permits() {
    let config = HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_timeout(Duration::from_millis(100))
        .with_open_max(Duration::from_millis(200));
    let registry = HealthRegistry::builder().config(config).build().unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let _listening = registry.listen(move |event| {
        let _ = tell.send(event.kind);
    });

    let (us, list) = finding(ALPN).await;
    let key = SecretKey::generate();
    let id = key.public();
    let mut process = Process::start(key.clone(), ALPN, answer);
    list.set_endpoint_info(process.address.clone());
    let pool = HealthPool::new(registry.clone(), us, ALPN, Options::default())
        .with_deadline(Duration::from_millis(500));
    let (done, mut ends) = mpsc::unbounded_channel();
    let failed = Arc::new(AtomicU64::new(0));
    let driver = {
        let failed = Arc::clone(&failed);
        let op = move |peer| {
            let (pool, done, failed) = (pool.clone(), done.clone(), Arc::clone(&failed));
            async move {
                let end = pool.call_admitted(&peer, ask).await;
                match &end {
                    Ok(_) => drop(done.send(())),
                    Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                }
                end
            }
        };
        SyncCoordinator::new(registry.clone()).drive(op).unwrap()
    };

    assert!(driver.request(&id));
    in_time(ends.recv()).await.unwrap();
    process.kill();
    let opened = async { while !matches!(told.recv().await.unwrap(), EventKind::Opened { .. }) {} };
    driver.request(&id);
    in_time(opened).await;
    let _process = {
        let fresh = Process::start(key, ALPN, answer);
        list.set_endpoint_info(fresh.address.clone());
        fresh
    };
    in_time(async { while told.recv().await.unwrap() != EventKind::Closed {} }).await;
    assert_eq!(registry.status(&id), Status::Closed);
    let [succeeded, counted, ..] = counts(&registry, id);
    assert_eq!((succeeded, counted), (2, failed.load(Ordering::Relaxed)), "each call counts once");
}
