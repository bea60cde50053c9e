//! Listeners that come and go while the registry is in use (R25, R29).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};

use peer_health::{EventKind, HealthRegistry, Listening, Status};

type Log = Arc<Mutex<Vec<(&'static str, EventKind)>>>;

fn note(
    log: &Log,
    name: &'static str,
) -> impl Fn(&peer_health::Event<u32>) + Send + Sync + 'static {
    let log = Arc::clone(log);
    move |event| log.lock().unwrap().push((name, event.kind))
}

#[test]
fn listeners_are_told_in_the_order_in_which_they_came_until_they_go() {
    let log = Log::default();
    let registry = HealthRegistry::builder().listener(note(&log, "builder")).build().unwrap();
    let first = registry.listen(note(&log, "first"));
    let second = registry.listen(note(&log, "second"));
    registry.force_open(&7).unwrap();
    drop(first);
    registry.reset(&7);
    drop(second);
    registry.remove(&7);
    let banned = EventKind::Overridden(Status::ForcedOpen);
    assert_eq!(
        *log.lock().unwrap(),
        [
            ("builder", banned),
            ("first", banned),
            ("second", banned),
            ("builder", EventKind::Reset),
            ("second", EventKind::Reset),
            ("builder", EventKind::Removed),
        ]
    );
}

#[test]
fn a_listener_that_panics_loses_its_event_alone() {
    let log = Log::default();
    let registry = HealthRegistry::builder().listener(|_| panic!("builder")).build().unwrap();
    let _first = registry.listen(|_| panic!("first"));
    let _second = registry.listen(note(&log, "second"));
    registry.force_open(&7).unwrap();
    registry.reset(&7);
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[test]
fn a_listener_may_use_the_registry_add_listeners_and_go() {
    let log = Log::default();
    let registry = HealthRegistry::<u32>::new();
    let own: Arc<OnceLock<Mutex<Option<Listening>>>> = Arc::default();
    let (inside, cell, told) = (registry.clone(), Arc::clone(&own), Arc::clone(&log));
    let listening = registry.listen(move |event| {
        assert_eq!(inside.status(&event.peer), Status::ForcedOpen);
        let next = inside.listen(note(&told, "next"));
        note(&told, "own")(event);
        // Removes itself: the place is taken by the one that was added.
        let before = cell.get().unwrap().lock().unwrap().replace(next);
        drop(before);
    });
    own.set(Mutex::new(Some(listening))).unwrap();
    registry.force_open(&7).unwrap();
    registry.reset(&7);
    let banned = EventKind::Overridden(Status::ForcedOpen);
    assert_eq!(*log.lock().unwrap(), [("own", banned), ("next", EventKind::Reset)]);
}

#[test]
fn what_a_listener_holds_goes_with_it_even_if_that_panics() {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            assert!(!std::thread::panicking(), "dropped while unwinding");
            panic!("dropped");
        }
    }
    let held = Arc::new(());
    let registry = HealthRegistry::<u32>::new();
    let guard = Arc::clone(&held);
    let listening = registry.listen(move |_| assert_eq!(Arc::strong_count(&guard), 2));
    drop(listening);
    assert_eq!(Arc::strong_count(&held), 1);

    // Removed while it is told: who tells drops it last, and goes on.
    let place: Arc<Mutex<Option<Listening>>> = Arc::default();
    let (own, loud) = (Arc::clone(&place), Loud);
    let listening = registry.listen(move |_| {
        let _ = &loud;
        drop(own.lock().unwrap().take());
    });
    *place.lock().unwrap() = Some(listening);
    registry.force_open(&7).unwrap();
    assert_eq!(registry.status(&7), Status::ForcedOpen);
}

#[test]
fn who_listens_and_then_looks_misses_no_transition() {
    for _ in 0..500 {
        let registry = HealthRegistry::<u32>::new();
        let start = Arc::new(Barrier::new(2));
        let (banning, began) = (registry.clone(), Arc::clone(&start));
        let thread = std::thread::spawn(move || {
            began.wait();
            (0..20).for_each(|peer| banning.force_open(&peer).unwrap());
        });
        start.wait();
        let told: Arc<Mutex<Vec<u32>>> = Arc::default();
        let log = Arc::clone(&told);
        let _listening = registry.listen(move |event| log.lock().unwrap().push(event.peer));
        let mut known = Vec::new();
        registry.for_each(|peer, seen| {
            if seen.status == Status::ForcedOpen {
                known.push(*peer);
            }
        });
        thread.join().unwrap();
        known.extend(told.lock().unwrap().iter());
        known.sort_unstable();
        known.dedup();
        assert_eq!(known, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn listeners_that_come_and_go_side_by_side_are_all_in_their_places() {
    let registry = HealthRegistry::<u32>::new();
    let told = Arc::new(AtomicUsize::new(0));
    let count = |registry: &HealthRegistry<u32>| {
        let told = Arc::clone(&told);
        registry.listen(move |_| {
            told.fetch_add(1, Ordering::Relaxed);
        })
    };
    let stay: Vec<Listening> = std::thread::scope(|scope| {
        let come = || {
            (0..200).for_each(|_| drop(count(&registry)));
            count(&registry)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(come)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    registry.force_open(&7).unwrap();
    assert_eq!(told.swap(0, Ordering::Relaxed), 4);
    drop(stay);
    registry.reset(&7);
    assert_eq!(told.load(Ordering::Relaxed), 0);
}
