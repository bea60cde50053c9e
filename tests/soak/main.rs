//! Everything at once on a full table, for as long as it is told: strangers, churn, looks, changed
//! configurations, clock steps, panics, and a driver that calls. Nothing is lost, memory stays within
//! what `max_peers` allows, and calls of honest peers cost about what they cost undisturbed.
//!
//! Undisturbed are calls to a table of their own, which the same threads make in turns with the others.
//! What a thread pays for being interrupted in the middle of a call is in both figures, whatever else the
//! machine does; it is most of the p99.9, as the third figure shows, of honest peers without any other
//! thread.
//!
//! `SOAK_SECONDS=60 cargo test --release --features tokio --test soak -- --ignored --nocapture`
//! takes a minute; without the variable it takes an hour. An hour is to be run with
//! `MALLOC_ARENA_MAX=1`: the arenas that glibc keeps for threads go on growing by some per cent while what
//! is allocated in them does not, and then it is them that RSS shows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod driving;
mod heard;
mod honest;
mod key;
mod memory;
mod others;
mod seen;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use driving::Driving;
use heard::Heard;
use honest::{Honest, Times};
use key::Key;
use memory::Memory;
use peer_health::{Clock, HealthConfig, HealthRegistry, Status};
use seen::Seen;
use support::{HOUR, random};

type Registry = HealthRegistry<Key>;

/// The most peers that the table may ever have.
const MAX_PEERS: usize = 4096;
/// The peers that keep calling are numbered from 0, those of the churn from `CHURN`, those that are
/// called by who panics from `PANICS`, and strangers from `STRANGERS`.
const HONEST: u64 = 100;
const CHURN: u64 = 1_000;
const PANICS: u64 = 2_000;
const STRANGERS: u64 = 1 << 32;
/// RSS is judged from then on, in runs that last twice as long.
const WARM_UP: Duration = Duration::from_secs(600);
/// The p99.9 of the honest peers' calls, in processor time, may be so many times that of calls to a table
/// of their own.
const SLOWER: f64 = 5.0;

/// Counts what threads do.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    /// Adds one; gives what was counted before.
    fn count(&self) -> u64 {
        // Relaxed: pairs with `get`, which is asked at rest, or by who needs no order.
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn add(&self, more: u64) {
        // Relaxed: as in `count`.
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        // Relaxed: pairs with `count` and `add`; joined threads are ordered by that.
        self.0.load(Ordering::Relaxed)
    }
}

/// A clock that jumps ahead and steps back, by hand.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Hand {
    fn ahead(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap();
        // Relaxed: pairs with `reading`; the number alone matters.
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    fn back(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap();
        // Relaxed, twice: as in `ahead`.
        let step = |now: u64| Some(now.saturating_sub(by));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap();
    }

    fn reading(&self) -> Duration {
        // Relaxed: pairs with `ahead` and `back`.
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// What all threads share.
struct World {
    registry: Registry,
    hand: Arc<Hand>,
    heard: Arc<Heard>,
    over: AtomicBool,
    strangers: Counter,
    /// How often a key panicked, and how often of these when it was cloned.
    sprung: Counter,
    uncloned: Counter,
}

impl World {
    fn new() -> Self {
        let (hand, heard) = (Arc::<Hand>::default(), Arc::<Heard>::default());
        hand.ahead(HOUR);
        let clock = Arc::clone(&hand);
        let registry = Registry::builder()
            .config(config())
            .clock(Clock::from_fn(move || clock.reading()))
            .listener(heard.first())
            .build()
            .unwrap();
        let (over, strangers) = (AtomicBool::new(false), Counter::default());
        let (sprung, uncloned) = (Counter::default(), Counter::default());
        Self { registry, hand, heard, over, strangers, sprung, uncloned }
    }

    fn is_over(&self) -> bool {
        // Relaxed: pairs with `end`; threads stop a little later.
        self.over.load(Ordering::Relaxed)
    }

    fn end(&self) {
        // Relaxed: pairs with `is_over`; joining orders what comes after.
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The rules at the beginning and at the end, and of the undisturbed table.
fn config() -> HealthConfig {
    HealthConfig::default()
        .with_max_peers(MAX_PEERS)
        .with_open_timeout(Duration::from_secs(1))
        .with_open_max(Duration::from_secs(60))
        .with_idle_timeout(Duration::from_secs(60))
        .with_forget_after(Duration::from_secs(600))
}

fn length() -> Duration {
    let said = std::env::var("SOAK_SECONDS").ok();
    said.map_or(HOUR, |seconds| Duration::from_secs(seconds.parse().unwrap()))
}

/// All at once, until `watch` ends or a thread does: honest peers call in turns to a table of their own
/// and to the one that all others disturb. What the honest of both know, and what all others have seen.
fn everything<'w>(
    calm: &'w World,
    disturbed: &'w World,
    driving: &Driving,
    watch: impl FnOnce(&dyn Fn() -> bool),
) -> ([Honest<'w>; 2], [Honest<'w>; 2], Vec<Seen>) {
    let (mut undisturbed, mut honest) = (Honest::pair(calm), Honest::pair(disturbed));
    let seen = std::thread::scope(|scope| {
        let calling: Vec<_> = undisturbed
            .iter_mut()
            .zip(&mut honest)
            .map(|(calm, honest)| scope.spawn(|| Honest::run([calm, honest])))
            .collect();
        let requesting = scope.spawn(|| driving.request_all(disturbed));
        let run = |run: &'static others::Run| scope.spawn(|| run(disturbed));
        let others: Vec<_> = others::ALL.iter().map(run).collect();
        watch(&|| {
            !requesting.is_finished()
                && !calling.iter().any(|thread| thread.is_finished())
                && !others.iter().any(|thread| thread.is_finished())
        });
        [calm, disturbed].into_iter().for_each(World::end);
        calling.into_iter().for_each(|thread| thread.join().unwrap());
        requesting.join().unwrap();
        others.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    (undisturbed, honest, seen)
}

/// What they cost while there is nobody else.
fn alone(length: Duration) -> Times {
    let world = World::new();
    let mut honest = Honest::pair(&world);
    std::thread::scope(|scope| {
        let threads = honest.each_mut().map(|honest| scope.spawn(|| Honest::run([honest])));
        std::thread::sleep(length);
        world.end();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    Times::of(&honest)
}

/// R25 to R29, at rest: what was counted is what the threads saw.
fn assert_nothing_is_lost(world: &World, driving: &Driving, honest: &[Honest<'_>], seen: &[Seen]) {
    let registry = &world.registry;
    let totals = registry.totals();
    Seen::check(seen, totals.all, driving.started());
    world.heard.check(&totals, world.uncloned.get());
    for honest in honest {
        honest.check(|peer| driving.called(peer));
    }
    registry.sweep();
    let mut known = Vec::new();
    registry.for_each(|peer, _| known.push(peer.clone()));
    assert!(registry.len() <= MAX_PEERS);
    assert_eq!(registry.len(), known.len(), "places and peers");
    // Each can be found and be removed, and takes its place with it.
    assert!(known.iter().all(|peer| registry.remove(peer)));
    assert!(registry.is_empty(), "{} places are lost", registry.len());
    assert_eq!(registry.totals().all, totals.all);
}

#[test]
#[ignore = "one hour, or SOAK_SECONDS: \
            cargo test --release --features tokio --test soak -- --ignored --nocapture"]
#[allow(clippy::disallowed_methods, reason = "no clock of a registry")]
fn everything_at_once_loses_nothing_and_nothing_grows() {
    let length = length();
    let alone = alone((length / 10).min(Duration::from_secs(30)));
    let mut memory = Memory::new();
    let (calm, world) = (World::new(), World::new());
    let _listening = world.registry.listen(world.heard.second());
    let driving = Driving::new(&world);
    let began = Instant::now();
    let watch = |is_on: &dyn Fn() -> bool| memory.watch(length, is_on);
    let (undisturbed, mut honest, mut seen) = everything(&calm, &world, &driving, watch);
    println!(
        "{:.0?} of everything at once, {} peers at the end",
        began.elapsed(),
        world.registry.len()
    );
    world.registry.set_config(config()).unwrap();
    driving.come_to_rest(&world);
    world.hand.ahead(HOUR);
    world.registry.sweep();
    honest.iter_mut().for_each(Honest::recover);
    let (quiet, busy) = (Times::of(&undisturbed), Times::of(&honest));
    seen.extend(honest.iter().map(|honest| honest.seen));
    for peer in (0..HONEST).map(Key) {
        assert!(world.registry.contains(&peer), "{peer:?} is not known");
        assert_eq!(world.registry.status(&peer), Status::Closed, "{peer:?}");
    }
    seen.iter().filter(|seen| seen.ended > 0).for_each(|seen| println!("{seen}"));
    assert_nothing_is_lost(&world, &driving, &honest, &seen);
    println!("calls of the driver: {}; panics of keys: {}", driving.started(), world.sprung.get());
    println!("told: {:?}", world.heard);
    memory.check(length);
    let slower = busy.tail() / quiet.tail();
    println!("alone: {alone}\nundisturbed: {quiet}\ndisturbed: {busy}\np99.9: {slower:.2} times");
    assert!(slower <= SLOWER, "the honest peers' p99.9 is {slower:.2} times what it was");
}
