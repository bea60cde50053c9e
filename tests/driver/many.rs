//! A hundred thousand peers that wait: what they cost.

use std::time::Duration;

use peer_health::{HealthConfig, HealthRegistry, SyncCoordinator, SyncDriver, SyncError};

use crate::peers::pass;
use crate::support::scramble;

const PEERS: u64 = 100_000;

type Key = [u8; 32];

fn key(n: u64) -> Key {
    let mut key = [0; 32];
    for (part, bytes) in key.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&scramble(n << 2 | part as u64).to_le_bytes());
    }
    key
}

/// A driver for which all of them wait.
fn waited_for() -> SyncDriver<Key> {
    let config = HealthConfig::default().with_max_peers(200_000);
    let registry = HealthRegistry::builder().config(config).build().unwrap();
    let coordinator = SyncCoordinator::new(registry);
    let driver = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap();
    driver.pause();
    assert!((0..PEERS).all(|n| driver.request(&key(n))));
    driver
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_waits_has_no_task() {
    let driver = waited_for();
    pass(Duration::from_secs(60)).await;
    assert_eq!(driver.stats().waiting as u64, PEERS);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1, "the driver's");
    driver.resume();
    pass(Duration::from_secs(1)).await;
    assert_eq!(driver.stats().succeeded, PEERS);
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// `cargo test --all-features --test driver -- --ignored --nocapture`: alone, as memory is of the
/// whole process.
#[tokio::test]
#[ignore = "measures the whole process: run it alone, on Linux"]
async fn a_hundred_thousand_peers_that_wait_cost_no_time_and_less_than_300_bytes_each() {
    let before = resident();
    let driver = waited_for();
    tokio::task::yield_now().await;
    let each = (resident() - before) / PEERS;
    let began = cpu_time::ProcessTime::now();
    pass(Duration::from_secs(2)).await;
    let time = began.elapsed();
    println!("{each} bytes for each peer, {time:?} of processor time in 2 s");
    assert!(each < 300, "{each} bytes");
    assert!(time < Duration::from_millis(20), "{time:?}");
    drop(driver);
}
