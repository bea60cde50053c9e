//! Keys while the table makes room: when they are touched, and what they may do when they are dropped.

use std::time::Duration;

use peer_health::{HealthConfig, HealthRegistry};

use crate::support::network;

#[test]
fn no_key_is_cloned_hashed_or_compared_by_the_path_that_a_handle_takes() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TOUCHED: AtomicU64 = AtomicU64::new(0);
    #[derive(Debug)]
    struct Key(u8);
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            TOUCHED.fetch_add(1, Ordering::SeqCst);
            self.0.hash(state);
        }
    }
    impl Clone for Key {
        fn clone(&self) -> Self {
            TOUCHED.fetch_add(1, Ordering::SeqCst);
            Key(self.0)
        }
    }
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            TOUCHED.fetch_add(1, Ordering::SeqCst);
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    let registry = HealthRegistry::<Key>::new();
    let mut handle = registry.peer(&Key(1));
    let before = TOUCHED.load(Ordering::SeqCst);
    for _ in 0..100 {
        handle.acquire().unwrap().success();
        handle.acquire().unwrap().failure(network());
    }
    assert_eq!(TOUCHED.load(Ordering::SeqCst), before);
}

#[test]
fn a_key_may_call_the_registry_when_it_is_dropped() {
    use std::cell::Cell;
    use std::sync::{OnceLock, mpsc};
    static REGISTRY: OnceLock<HealthRegistry<Key>> = OnceLock::new();
    thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Key(u32);
    impl Drop for Key {
        fn drop(&mut self) {
            // Needs the write lock of any shard; the keys that this makes do not call back again.
            if let (Some(registry), false) = (REGISTRY.get(), INSIDE.replace(true)) {
                for other in 1_000_000..1_000_064 {
                    registry.remove(&Key(other));
                }
                INSIDE.set(false);
            }
        }
    }
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let config = HealthConfig::default().with_max_peers(64);
        let registry = HealthRegistry::builder().config(config).build().unwrap();
        REGISTRY.set(registry.clone()).unwrap();
        // Used in another order than they lie in the table, so that a search changes its mind.
        for n in 0..2_000 {
            registry.acquire(&Key(n)).unwrap().success();
            registry.acquire(&Key(n.wrapping_mul(2_654_435_761) % 64)).unwrap().success();
            let mut handle = registry.peer(&Key(n % 7));
            handle.acquire().unwrap().success();
            registry.remove(&Key(n % 13));
        }
        let idle = HealthConfig::default().with_idle_timeout(Duration::ZERO);
        registry.set_config(idle).unwrap();
        assert!(registry.sweep() + registry.sweep() > 0);
        done.send(registry.len()).unwrap();
    });
    let left = finished.recv_timeout(Duration::from_secs(60)).expect("a lock is held");
    assert!(left <= 64);
}

#[test]
fn a_key_may_ask_for_another_peer_when_it_is_dropped() {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{OnceLock, mpsc};
    static REGISTRY: OnceLock<HealthRegistry<Key>> = OnceLock::new();
    /// Newcomers that come for a key that goes: not for ever, or none would find room.
    static LEFT: AtomicU64 = AtomicU64::new(1_000);
    thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Key(u64);
    impl Drop for Key {
        fn drop(&mut self) {
            let Some(registry) = REGISTRY.get() else { return };
            if INSIDE.replace(true) {
                return;
            }
            // A newcomer, for whom another has to go: a search inside of a search.
            let asks = |left: u64| left.checked_sub(1);
            if let Ok(n) = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, asks) {
                registry.acquire(&Key(1_000_000 + n)).unwrap().success();
            }
            INSIDE.set(false);
        }
    }
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let config = HealthConfig::default().with_max_peers(2_000);
        let registry = HealthRegistry::builder().config(config).build().unwrap();
        for n in 0..2_000 {
            registry.acquire(&Key(n)).unwrap().success();
        }
        // The table is full: from now on each key that goes makes another go.
        REGISTRY.set(registry.clone()).unwrap();
        registry.acquire(&Key(2_000)).unwrap().success();
        done.send(registry.len()).unwrap();
    });
    let left = finished.recv_timeout(Duration::from_secs(60)).expect("a lock is held");
    assert!(left <= 2_000);
}
