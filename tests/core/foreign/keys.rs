//! Keys that panic in what the registry does to them.

use std::sync::Mutex;
use std::time::Duration;

use peer_health::{Clock, Event, EventKind, ManualClock, OwnedPermit};

use super::*;

/// A registry, all that is told of it, and the hand of its clock.
struct World {
    registry: Registry,
    told: Arc<Mutex<Vec<EventKind>>>,
    hand: ManualClock,
    trap: Arc<Trap>,
}

fn world() -> World {
    let told: Arc<Mutex<Vec<EventKind>>> = Arc::default();
    let log = Arc::clone(&told);
    let (clock, hand) = Clock::manual();
    let registry = Registry::builder()
        .config(config().with_idle_timeout(Duration::from_secs(1)))
        .clock(clock)
        .listener(move |event: &Event<Key>| log.lock().unwrap().push(event.kind))
        .build()
        .unwrap();
    World { registry, told, hand, trap: Arc::default() }
}

impl World {
    fn key(&self, id: u32) -> Key {
        Key(id, Arc::clone(&self.trap))
    }

    fn permit(&self, id: u32) -> OwnedPermit<Key> {
        self.registry.acquire(&self.key(id)).unwrap()
    }

    /// A table with one place left; peer 0 is open, peer 1 banned, the others are clean.
    fn populate(&self) {
        (0..PLACES - 1).for_each(|id| drop(self.permit(id)));
        self.permit(0).failure(network());
        self.registry.force_open(&self.key(1)).unwrap();
    }
}

type Step = fn(&World, Option<OwnedPermit<Key>>, [Key; 3]);

/// What may be asked of a registry with a key: an open, a known and an unknown one.
const STEPS: [(&str, Step); 14] = [
    ("acquire", |world, _, keys| keys.iter().for_each(|key| drop(world.registry.acquire(key)))),
    ("evict", |world, _, [_, _, new]| {
        let another = Key(new.0 + 1, Arc::clone(&new.1));
        drop(world.registry.acquire(&new));
        drop(world.registry.acquire(&another));
    }),
    ("sweep", |world, permit, keys| {
        world.registry.sweep();
        world.hand.advance(Duration::from_secs(5));
        world.registry.sweep();
        // Their own destructors are their caller's.
        mem::forget((permit, keys));
    }),
    ("peer", |world, _, [_, known, new]| {
        for key in [known, new] {
            let mut handle = world.registry.peer(&key);
            handle.acquire().unwrap().failure(network());
            drop(handle.clone());
        }
    }),
    ("remove", |world, _, keys| keys.iter().for_each(|key| _ = world.registry.remove(key))),
    ("remove a held one", |world, permit, [_, known, _]| {
        world.registry.remove(&known);
        drop(permit);
    }),
    ("force_open", |world, _, keys| {
        keys.iter().for_each(|key| _ = world.registry.force_open(key));
    }),
    ("reset", |world, _, keys| keys.iter().for_each(|key| _ = world.registry.reset(key))),
    ("end_wait", |world, _, keys| keys.iter().for_each(|key| _ = world.registry.end_wait(key))),
    ("look", |world, _, keys| {
        for key in &keys {
            let _ = (world.registry.status(key), world.registry.snapshot(key));
            let _ = (world.registry.next_admission(key), world.registry.is_circuit_open(key));
        }
        let _ = (world.registry.totals(), world.registry.local_outage());
    }),
    ("for_each", |world, _, _| world.registry.for_each(|key, _| drop(key.clone()))),
    ("call", |world, _, keys| {
        for key in &keys {
            let _ = world.registry.call(key, || Err::<(), _>(network()));
        }
    }),
    ("half-open", |world, _, [open, ..]| {
        world.hand.advance(Duration::from_secs(60));
        let probe = world.registry.acquire(&open);
        probe.map(|probe| probe.success()).unwrap();
    }),
    ("grow", |world, _, [_, _, new]| {
        // The map moves its entries within a shard when many have come and gone.
        for id in 0..200 {
            drop(world.registry.acquire(&Key(new.0 + id, Arc::clone(&new.1))));
            world.registry.remove(&Key(new.0 + id, Arc::clone(&new.1)));
        }
    }),
];

#[test]
fn a_key_that_panics_costs_no_place_and_locks_nothing() {
    let mut sprung = [0; ALL.len()];
    for (n, what) in ALL.into_iter().enumerate() {
        for (name, step) in STEPS {
            for nth in (1..12).chain([40, 150]) {
                let world = world();
                world.populate();
                let permit = world.permit(3);
                let keys = [0, 3, 500].map(|id| world.key(id));
                world.trap.arm(what, nth, false);
                let ended = ends(|| logged(|| step(&world, Some(permit), keys)));
                let times = world.trap.disarm();
                sprung[n] += times;
                // What is not the caller's own key, or not for the caller to see, never unwinds.
                let own = what != What::Debug && name != "sweep";
                assert!(own || ended.is_some(), "{what:?} {nth} in {name}: unwinds");
                world.told.lock().unwrap().clear();
                assert_sound(&world.registry, |id| world.key(id));
                assert!(!world.told.lock().unwrap().is_empty(), "{what:?} {nth} in {name}");
                if times == 0 {
                    break;
                }
            }
        }
    }
    assert!(were_met(sprung, 3), "{sprung:?}");
}

#[test]
fn eight_keys_that_cannot_be_cloned_leave_eight_places() {
    for what in [What::Clone, What::Hash] {
        let world = world();
        world.trap.arm(what, 1, true);
        for id in 0..2 * PLACES {
            let key = world.key(id);
            assert!(ends(|| world.registry.acquire(&key)).is_none());
            assert!(ends(|| world.registry.force_open(&key)).is_none());
        }
        world.trap.disarm();
        assert_eq!(world.registry.len(), 0);
        (0..PLACES).for_each(|id| world.registry.force_open(&world.key(id)).unwrap());
        (0..PLACES).for_each(|id| assert!(world.registry.remove(&world.key(id))));
        assert_sound(&world.registry, |id| world.key(id));
    }
}

/// One that fails when it moves, among many: no other peer is lost with it.
#[test]
fn no_peer_is_lost_while_the_map_grows() {
    let trap = Arc::<Trap>::default();
    let key = Key::of(&trap);
    let registry = Registry::builder().config(config().with_max_peers(4096)).build().unwrap();
    let mut tracked = 0;
    for id in 0..4000 {
        // The first two times it is the newcomer that is hashed; others are when the map moves them.
        trap.arm(What::Hash, 1 + i64::from(id % 8), false);
        tracked += usize::from(ends(|| registry.acquire(&key(id))).is_some());
        trap.disarm();
        if id % 3 == 0 {
            tracked -= usize::from(registry.remove(&key(id)));
        }
        assert_eq!(registry.len(), tracked);
    }
    let mut found = 0;
    registry.for_each(|_, _| found += 1);
    assert!(found == tracked && found > 1000, "{found} of {tracked}");
}

#[test]
fn no_outcome_of_a_permit_unwinds_whatever_its_key_does() {
    type End = fn(OwnedPermit<Key>);
    let ends_of_permits: [End; 4] = [
        |permit| _ = permit.success(),
        |permit| _ = permit.failure(network()),
        |permit| _ = permit.neutral(),
        |permit| drop(permit),
    ];
    for what in ALL {
        for for_ever in [false, true] {
            for removed in [false, true] {
                for end in ends_of_permits {
                    let world = world();
                    let permit = world.permit(7);
                    if removed {
                        // The permit is the last that has the key.
                        world.registry.remove(&world.key(7));
                    }
                    world.trap.arm(what, 1, for_ever);
                    let ended = ends(|| logged(|| end(permit)));
                    world.trap.disarm();
                    assert!(ended.is_some(), "{what:?}, removed: {removed}");
                    assert_sound(&world.registry, |id| world.key(id));
                }
            }
        }
    }
}

/// Each key panics when it is dropped, and so the second would while the first unwinds.
#[test]
fn a_table_of_keys_that_panic_when_they_are_dropped_goes_with_its_registry() {
    let world = world();
    world.populate();
    world.trap.arm(What::Drop, 1, true);
    assert!(ends(|| drop(world.registry)).is_some());
    assert!(world.trap.disarm() >= u64::from(PLACES) - 1);
}

/// What a key does to others than its caller: they are evicted, or swept, by an innocent one.
#[test]
fn an_innocent_caller_does_not_unwind_for_another_peers_key() {
    for what in ALL {
        let world = world();
        (0..PLACES).for_each(|id| drop(world.permit(4 * id)));
        let innocent = Key(1000, Arc::default());
        world.trap.arm(what, 1, true);
        let admitted = ends(|| logged(|| world.registry.acquire(&innocent).unwrap().is_tracked()));
        world.trap.disarm();
        assert_eq!(admitted, Some(true), "{what:?}");
        assert_sound(&world.registry, |id| world.key(id));
    }
}

/// The map compares all keys whose hashes begin alike: one lookup in 2,000 would call the `Eq` of a key
/// that is no concern of its peer.
#[test]
fn the_eq_of_a_key_concerns_no_other_peer() {
    let world = world();
    drop(world.permit(0));
    world.trap.arm(What::Eq, 1, true);
    // Those below 4 have the hash of 0.
    let others = || (4..100_000).any(|id| world.registry.contains(&world.key(id)));
    let found = ends(|| logged(others));
    world.trap.disarm();
    assert_eq!(found, Some(false), "keys of two peers were compared");
}
