//! Keys whose destructor calls back: none is dropped while the driver or the limits are locked (R25).

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use peer_health::{
    HealthConfig, HealthRegistry, RetryBudget, RetryPolicy, SyncCoordinator, SyncDriver, SyncError,
};

/// What the destructor of a key calls back.
static CALL_BACK: OnceLock<(SyncDriver<Key>, SyncCoordinator<Key>)> = OnceLock::new();

thread_local! {
    /// Keys that the callback itself drops call nobody.
    static CALLING: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug, Clone)]
struct Key(u32);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let Some((driver, coordinator)) = CALL_BACK.get() else { return };
        if CALLING.replace(true) {
            return;
        }
        // Each takes a lock: of the driver, of the limits, of the table.
        driver.stats();
        driver.kick(&Key(1_000_000));
        drop(driver.waiting());
        coordinator.registry().status(&Key(1_000_000));
        CALLING.set(false);
    }
}

async fn use_all(registry: HealthRegistry<Key>) {
    let retry = RetryPolicy {
        initial_delay: Duration::from_micros(100),
        max_delay: Duration::from_millis(1),
        max_attempts: 2,
        ..RetryPolicy::default()
    };
    let coordinator = SyncCoordinator::builder(registry.clone())
        .max_concurrent(4)
        .retry(retry)
        .budget_per_peer(RetryBudget::new(2, 0.5).unwrap())
        .build()
        .unwrap();
    let op = |Key(n): &Key| match n % 5 {
        0 => Err(SyncError::Network("reset".into())),
        _ => Ok(()),
    };
    let driver = coordinator.drive(move |key: Key| async move { op(&key) }).unwrap();
    assert!(CALL_BACK.set((driver.clone(), coordinator.clone())).is_ok());
    for round in 0..200u32 {
        for n in 0..8 {
            let key = Key(round * 3 + n);
            match (round + n) % 8 {
                0 => _ = driver.kick(&key),
                1 => driver.note_reachable(&key),
                2 => _ = driver.forget(&key),
                3 => driver.note_lost(&key, SyncError::Network("lost".into())),
                4 => _ = registry.remove(&key),
                5 => _ = coordinator.sync(&key, |key| async move { op(&key) }).await,
                _ => _ = driver.request(&key),
            }
        }
        match round % 16 {
            0 => driver.pause(),
            2 => driver.resume(),
            7 => driver.kick_all(),
            9 => _ = registry.sweep(),
            // Dropped while it asks for a slot.
            11 => {
                let one = Key(1);
                let hangs = |_| std::future::pending::<Result<(), SyncError>>();
                let sync = coordinator.sync(&one, hangs);
                let _ = tokio::time::timeout(Duration::from_millis(1), sync).await;
            }
            _ => tokio::task::yield_now().await,
        }
    }
    driver.resume();
    driver.shutdown().await;
}

#[test]
fn a_key_whose_destructor_calls_back_finds_nothing_locked() {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config = HealthConfig::default()
            .with_max_peers(16)
            .with_failure_threshold(2)
            .with_idle_timeout(Duration::ZERO)
            .with_open_timeout(Duration::from_millis(1));
        let registry = HealthRegistry::builder().config(config).build().unwrap();
        runtime.block_on(use_all(registry));
        tell.send(()).unwrap();
    });
    assert!(told.recv_timeout(Duration::from_secs(60)).is_ok(), "a deadlock");
}
