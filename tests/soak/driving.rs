//! A driver that is asked for honest peers all the time, on threads of its own.

use std::sync::Arc;
use std::time::Duration;

use peer_health::{SyncCoordinator, SyncDriver};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::honest::{FAILS, is_held};
use super::others::pace;
use super::seen::network;
use super::{Counter, HONEST, HOUR, Key, World, random};

/// So long may a driver take to become idle.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Driving {
    runtime: Runtime,
    driver: SyncDriver<Key>,
    called: Arc<Vec<Counter>>,
}

impl Driving {
    pub(crate) fn new(world: &World) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let called: Arc<Vec<Counter>> = Arc::new((0..HONEST).map(|_| Counter::default()).collect());
        let calls = Arc::clone(&called);
        let _entered = runtime.enter();
        let driver = SyncCoordinator::new(world.registry.clone())
            .drive(move |peer: Key| {
                let call = calls[usize::try_from(peer.0).unwrap()].count() + 1;
                async move {
                    tokio::task::yield_now().await;
                    if call.is_multiple_of(FAILS) { Err(network()) } else { Ok(()) }
                }
            })
            .unwrap();
        drop(_entered);
        Self { runtime, driver, called }
    }

    pub(crate) fn called(&self, peer: u64) -> u64 {
        self.called[usize::try_from(peer).unwrap()].get()
    }

    /// The calls that were begun.
    pub(crate) fn started(&self) -> u64 {
        self.driver.stats().started
    }

    pub(crate) fn request_all(&self, world: &World) {
        let mut draws = 77;
        while !world.is_over() {
            for peer in 0..HONEST {
                self.driver.request(&Key(peer));
            }
            let draw = random(&mut draws);
            let peer = Key((draw >> 32) % HONEST);
            match draw % 64 {
                0 => self.driver.note_reachable(&peer),
                // What is taken back before it was begun is not seen here: nothing of a held peer is.
                1 if !is_held(peer.0) => _ = self.driver.forget(&peer),
                2 => _ = self.driver.kick(&peer),
                3 => _ = self.driver.waiting(),
                4 => self.driver.kick_all(),
                5 => {
                    self.driver.pause();
                    self.driver.resume();
                }
                _ => {}
            }
            pace();
        }
    }

    /// The driver makes all calls that it was asked for, one more when it is asked for that, and ends.
    pub(crate) fn come_to_rest(&self, world: &World) {
        self.runtime.block_on(async {
            self.idle(world).await;
            for peer in 0..HONEST {
                let before = self.called(peer);
                assert!(self.driver.request(&Key(peer)), "{peer} waits for ever");
                self.idle(world).await;
                assert!(self.called(peer) > before, "{peer} is not called any more");
            }
            self.driver.shutdown().await;
        });
        assert!(self.driver.is_finished());
        let called: u64 = (0..HONEST).map(|peer| self.called(peer)).sum();
        let started = self.started();
        assert!(called <= started, "{called} calls of {started}");
    }

    /// Time passes until nobody waits and no call is made.
    async fn idle(&self, world: &World) {
        let idle = async {
            loop {
                let stats = self.driver.stats();
                if (stats.waiting, stats.running) == (0, 0) {
                    return;
                }
                world.hand.ahead(HOUR);
                self.driver.kick_all();
                sleep(Duration::from_millis(1)).await;
            }
        };
        let idle = timeout(PATIENCE, idle).await;
        assert!(idle.is_ok(), "it waits: {:?}, {:?}", self.driver.stats(), self.driver.waiting());
    }
}
