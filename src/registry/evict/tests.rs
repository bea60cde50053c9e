//! The number of entries one newcomer looks at (R26), which the ring counts in tests only.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::Cell;
use std::time::Duration;

use super::{FOR_IDLE, FOR_ROOM};
use crate::circuit::Outcome;
use crate::config::HealthConfig;
use crate::error::{Failure, SyncError};
use crate::registry::HealthRegistry;
use crate::time::{Clock, ManualClock};

/// The number of entries that one newcomer may look at, whatever the table holds.
const MOST: usize = 100;
const ROOM: u32 = 4096;
/// The number of newcomers in a row: they look at each entry of the table more than once.
const NEWCOMERS: u32 = 3 * ROOM / 64;

thread_local!(static LOOKS: Cell<usize> = const { Cell::new(0) });

/// Counts entries that the ring has shown to this thread.
pub(in crate::registry) fn note_looks(entries: usize) {
    LOOKS.set(LOOKS.get() + entries);
}

/// A table of `ROOM` peers at most, and the most looks that one of its newcomers took so far.
struct Scene {
    registry: HealthRegistry<u32>,
    hand: ManualClock,
    next: u32,
    most: usize,
}

impl Scene {
    fn new() -> Self {
        let (clock, hand) = Clock::manual();
        let config = HealthConfig::default().with_max_peers(ROOM as usize);
        let registry = HealthRegistry::builder().config(config).clock(clock).build().unwrap();
        Self { registry, hand, next: 0, most: 0 }
    }

    /// Fills the table with strangers that failed once, each of them idle for newcomers too.
    fn troubled() -> Self {
        let mut scene = Self::new();
        (0..ROOM).for_each(|_| scene.newcomer(true));
        for _ in 0..2 {
            scene.hand.advance(HealthConfig::default().idle_timeout);
            scene.newcomer(true);
        }
        assert_eq!(scene.registry.totals().untracked, 2);
        scene.most = 0;
        scene
    }

    fn newcomer(&mut self, fails: bool) {
        LOOKS.set(0);
        let permit = self.registry.acquire(&self.next).unwrap();
        self.most = self.most.max(LOOKS.get());
        self.next += 1;
        if fails {
            permit.failure(reset());
        } else {
            permit.success();
        }
    }

    /// Lets newcomers fail after `before` has run for each, and returns the most looks of one.
    fn newcomers_after(mut self, before: impl Fn(&HealthRegistry<u32>)) -> usize {
        for _ in 0..NEWCOMERS {
            before(&self.registry);
            self.newcomer(true);
        }
        self.most
    }
}

fn reset() -> SyncError {
    SyncError::Network("connection reset by peer".into())
}

/// Reports a failure as the error handler does.
fn report(registry: &HealthRegistry<u32>, peer: u32) {
    registry.report(&peer, Outcome::Failure, Some(&Failure::from(reset())));
}

#[test]
fn a_newcomer_to_a_table_of_strangers_that_failed_looks_at_a_constant_number_of_seats() {
    let most = Scene::troubled().newcomers_after(|_| ());
    assert_eq!(most, FOR_ROOM + FOR_IDLE);
    assert!(most <= MOST, "{most}");
}

#[test]
fn so_it_does_whoever_releases_a_peer_between_two_newcomers() {
    let scene = Scene::troubled();
    let most = scene.newcomers_after(|registry| _ = registry.acquire(&0).unwrap().neutral());
    assert!((1..=MOST).contains(&most), "a neutral outcome of a peer in trouble: {most}");

    let scene = Scene::troubled();
    scene.registry.force_open(&0).unwrap();
    let most = scene.newcomers_after(|registry| drop(registry.peer(&0)));
    assert!((1..=MOST).contains(&most), "a handle on a peer that is forced open: {most}");

    let scene = Scene::troubled();
    while !scene.registry.is_circuit_open(&0) {
        report(&scene.registry, 0);
    }
    let most = scene.newcomers_after(|registry| report(registry, 0));
    assert!((1..=MOST).contains(&most), "an error of an open peer: {most}");
}

#[test]
fn so_it_does_in_a_clean_table() {
    let mut scene = Scene::new();
    (0..ROOM + NEWCOMERS).for_each(|_| scene.newcomer(false));
    assert_eq!(scene.registry.totals().evicted, u64::from(NEWCOMERS));
    assert!((1..=MOST).contains(&scene.most), "{}", scene.most);
}

#[test]
fn none_of_a_million_newcomers_looks_at_more_whoever_is_full_clean_idle_or_forgotten() {
    let mut scene = Scene::new();
    for nth in 0..1_000_000_u32 {
        // The table is full of clean peers with some in trouble, then of peers in trouble alone; then more
        // and more of them are idle, and forgotten.
        let step = [1, 1, 1_000, 4_000][nth as usize / 250_000];
        scene.hand.advance(Duration::from_millis(step));
        scene.newcomer(if nth / 250_000 == 1 { true } else { nth % 4 == 0 });
    }
    let totals = scene.registry.totals();
    assert!(totals.evicted > 500_000 && totals.untracked > 200_000, "{totals:?}");
    assert!((1..=MOST).contains(&scene.most), "{}", scene.most);
}
