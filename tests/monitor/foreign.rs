//! Keys with a will of their own (R25): none is cloned or dropped while something is locked, and
//! one that panics leaves the monitor in step.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use super::*;

thread_local! {
    /// What the next one does that happens to a key in this thread.
    static MISCHIEF: RefCell<Option<Mischief>> = const { RefCell::new(None) };
    static HAPPENED: Cell<u32> = const { Cell::new(0) };
}

type Mischief = (What, Box<dyn FnMut()>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Cloned,
    Hashed,
    Dropped,
    ClonedOrDropped,
}

#[derive(Debug, PartialEq, Eq)]
struct Willful(u32);

fn happens(now: What) {
    let due = |what: What| what == now || what == What::ClonedOrDropped && now != What::Hashed;
    // Taken out, so that what it does to keys has no further consequences.
    let taken = MISCHIEF.with_borrow_mut(|mischief| mischief.take_if(|(what, _)| due(*what)));
    if let Some((what, mut act)) = taken {
        HAPPENED.set(HAPPENED.get() + 1);
        act();
        MISCHIEF.set(Some((what, act)));
    }
}

/// Does as it says each time that this happens to a key in this thread; once if it panics.
fn arm(what: What, act: impl FnMut() + 'static) {
    HAPPENED.set(0);
    MISCHIEF.set(Some((what, Box::new(act))));
}

/// How often it has happened.
fn disarm() -> u32 {
    drop(MISCHIEF.take());
    HAPPENED.get()
}

impl Clone for Willful {
    fn clone(&self) -> Self {
        happens(What::Cloned);
        Self(self.0)
    }
}

impl Hash for Willful {
    fn hash<H: Hasher>(&self, state: &mut H) {
        happens(What::Hashed);
        self.0.hash(state);
    }
}

impl Drop for Willful {
    fn drop(&mut self) {
        happens(What::Dropped);
    }
}

/// Does it in a thread of its own: what hangs, fails.
fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(act()).unwrap());
    // A thread that fails tells nothing, and hangs up.
    told.recv_timeout(NEVER).unwrap()
}

/// One that knows some peers, of which the first is followed and has opened.
fn monitor() -> HealthMonitor<Willful> {
    let registry = HealthRegistry::builder().config(config()).build().unwrap();
    for peer in 0..4 {
        registry.acquire(&Willful(peer)).unwrap().failure(network());
        registry.reset(&Willful(peer));
    }
    HealthMonitor::builder(registry).capacity(1).build().unwrap()
}

/// Asks a monitor for all that it locks something for, of the peer at hand and of another.
fn meddle(monitor: &HealthMonitor<Willful>) {
    for peer in [Willful(0), Willful(1)] {
        let (watch, events) = (monitor.watch(&peer), monitor.subscribe());
        let _ = (watch.status(), monitor.summary(), monitor.pick(&[Willful(2), Willful(3)]));
        drop((watch, events));
        monitor.registry().force_open(&peer).unwrap();
        monitor.registry().reset(&peer);
    }
}

#[test]
fn a_key_that_calls_back_when_it_is_cloned_or_dropped_locks_nobody_out() {
    type Act = fn(&HealthMonitor<Willful>, &mut Events<Willful>);
    let acts: [Act; 5] = [
        |monitor, _| drop(monitor.summary()),
        |monitor, _| drop((monitor.watch(&Willful(0)), monitor.watch(&Willful(9)))),
        // An event gives way to another, and is dropped.
        |monitor, _| {
            monitor.registry().force_open(&Willful(0)).unwrap();
            monitor.registry().reset(&Willful(0));
        },
        |_, events| {
            let Notice::Lagged(missed) = waking::now(events.recv()).unwrap() else { panic!() };
            assert!(missed > 0 && waking::now(events.recv()).is_some());
        },
        |monitor, _| {
            monitor.registry().remove(&Willful(0));
            assert_eq!(waking::now(monitor.ready(&Willful(0))), Some(()));
        },
    ];
    for what in [What::Cloned, What::Dropped, What::ClonedOrDropped] {
        let times = acts.map(|act| {
            in_time(move || {
                let monitor = monitor();
                let (_watch, mut events) = (monitor.watch(&Willful(0)), monitor.subscribe());
                (0..2).for_each(|peer| monitor.registry().disable(&Willful(peer)).unwrap());
                let meddler = monitor.clone();
                arm(what, move || meddle(&meddler));
                act(&monitor, &mut events);
                disarm()
            })
        });
        assert!(times.iter().filter(|times| **times > 0).count() > 3, "{what:?}: {times:?}");
    }
}

/// What is known of all peers is what a scan finds, although a key has panicked in the midst of a
/// look; and who follows the peer is told.
#[test]
fn a_key_that_panics_leaves_the_monitor_in_step() {
    type Act = fn(&HealthRegistry<Willful>);
    let acts: [Act; 4] = [
        |registry| registry.force_open(&Willful(0)).unwrap(),
        |registry| assert!(registry.reset(&Willful(1))),
        |registry| assert!(registry.remove(&Willful(1))),
        |registry| {
            registry.acquire(&Willful(0)).map(|permit| _ = permit.failure(network())).unwrap()
        },
    ];
    for what in [What::Cloned, What::Hashed, What::Dropped] {
        for (n, act) in acts.into_iter().enumerate() {
            in_time(move || {
                let registry = HealthRegistry::builder().config(config()).build().unwrap();
                (0..3).for_each(|peer| drop(registry.acquire(&Willful(peer))));
                // Told before the monitor: the next that happens to a key is the monitor's doing.
                let armed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
                let arming = std::sync::Arc::clone(&armed);
                let _first = registry.listen(move |_| {
                    if arming.load(std::sync::atomic::Ordering::Relaxed) {
                        arm(what, || std::panic::resume_unwind(Box::new("of the key")));
                    }
                });
                let monitor = HealthMonitor::new(registry.clone());
                let _last = registry.listen(|_| _ = disarm());
                registry.force_open(&Willful(1)).unwrap();
                registry.force_open(&Willful(2)).unwrap();
                let mut watches = [monitor.watch(&Willful(0)), monitor.watch(&Willful(1))];
                armed.store(true, std::sync::atomic::Ordering::Relaxed);
                let done = catch_unwind(AssertUnwindSafe(|| act(&registry)));
                armed.store(false, std::sync::atomic::Ordering::Relaxed);
                assert!(done.is_ok());

                let mut banned = 0;
                let mut open = 0;
                registry.for_each(|_, seen| {
                    banned += usize::from(seen.status == Status::ForcedOpen);
                    open += usize::from(seen.status == Status::Open);
                });
                let seen = monitor.summary();
                assert_eq!((seen.overridden, seen.open), (banned, open), "{what:?}, act {n}");
                let told = watches.each_mut().map(|watch| waking::now(watch.changed()).is_some());
                assert!(told[0] || told[1], "{what:?}, act {n}");
            });
        }
    }
}
