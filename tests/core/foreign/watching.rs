//! A monitor whose keys and wakers panic stays in step.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Wake, Waker};

use peer_health::{HealthMonitor, Notice, Status};

use super::*;

/// Counts, and may panic.
struct Woken {
    times: AtomicUsize,
    panics: bool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::Relaxed);
        if self.panics {
            panics();
        }
    }
}

fn woken(panics: bool) -> Arc<Woken> {
    Arc::new(Woken { times: AtomicUsize::new(0), panics })
}

fn poll<T>(future: impl Future<Output = T>, woken: &Arc<Woken>) -> Option<T> {
    let waker = Waker::from(Arc::clone(woken));
    match pin!(future).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// What the registry says, as the monitor should: overridden, open.
fn scan(registry: &Registry) -> (usize, usize) {
    let (mut banned, mut open) = (0, 0);
    registry.for_each(|_, seen| match seen.status {
        Status::ForcedOpen => banned += 1,
        Status::Open => open += 1,
        _ => {}
    });
    (banned, open)
}

type Act = fn(&Registry, &dyn Fn(u32) -> Key);

const ACTS: [Act; 5] = [
    |registry, key| registry.force_open(&key(0)).unwrap(),
    |registry, key| assert!(registry.reset(&key(1))),
    |registry, key| assert!(registry.remove(&key(1))),
    |registry, key| _ = registry.acquire(&key(0)).unwrap().failure(network()),
    |registry, key| {
        let permit = registry.acquire(&key(2)).unwrap();
        let _ = registry.force_open(&key(3));
        permit.failure(network());
    },
];

#[test]
fn a_monitor_is_in_step_whatever_its_keys_do() {
    let mut sprung = [0; ALL.len()];
    for (n, what) in ALL.into_iter().enumerate() {
        for (act, run) in ACTS.into_iter().enumerate() {
            for nth in 1..25 {
                let trap = Arc::<Trap>::default();
                let key = Key::of(&trap);
                let registry = Registry::builder().config(config()).build().unwrap();
                (0..3).for_each(|id| drop(registry.acquire(&key(id))));
                let monitor = HealthMonitor::new(registry.clone());
                registry.force_open(&key(1)).unwrap();
                let mut watches = [monitor.watch(&key(0)), monitor.watch(&key(1))];
                let mut events = monitor.subscribe();
                trap.arm(what, nth, false);
                let ended = logged(|| ends(|| run(&registry, &|id| key(id))));
                let times = trap.disarm();
                sprung[n] += times;
                let place = format!("{what:?} {nth}, act {act}");

                let seen = monitor.summary();
                assert_eq!((seen.overridden, seen.open), scan(&registry), "{place}");
                assert_eq!(seen.known, registry.len(), "{place}");
                let quiet = woken(false);
                if ended.is_some() && act < 4 {
                    let told = watches.each_mut().map(|one| poll(one.changed(), &quiet).is_some());
                    assert!(told[usize::from(act == 1 || act == 2)], "{place}: {told:?}");
                    assert!(
                        poll(events.recv(), &quiet).is_some(),
                        "{place}: neither told nor missed"
                    );
                }
                trap.arm(What::Drop, 1, true);
                assert!(ends(|| drop((watches, events, monitor))).is_some(), "{place}");
                trap.disarm();
                assert_sound(&registry, key);
                if times == 0 {
                    break;
                }
            }
        }
    }
    assert!(were_met(sprung, 2), "{sprung:?}");
}

/// The first three times that a key is cloned after a step: the event is lost to all who listen, or to
/// the stream alone. The monitor sees the step anyway, and the stream says that it missed something.
#[test]
fn an_event_that_cannot_be_cloned_is_a_missed_one() {
    for nth in 1..=2 {
        let trap = Arc::<Trap>::default();
        let key = Key::of(&trap);
        let registry = Registry::builder().config(config()).build().unwrap();
        let monitor = HealthMonitor::new(registry.clone());
        registry.reset(&key(7));
        let permit = registry.acquire(&key(7)).unwrap();
        let mut events = monitor.subscribe();
        trap.arm(What::Clone, nth, nth == 1);
        assert!(ends(|| permit.failure(network())).is_some());
        trap.disarm();
        let notice = poll(events.recv(), &woken(false));
        let missed = matches!(notice, Some(Notice::Lagged(1)));
        assert!(missed || nth == 2 && notice.is_some(), "{nth}: {notice:?}");
        assert_eq!(monitor.summary().open, 1);
    }
}

#[test]
fn who_waits_is_woken_although_anothers_waker_panics() {
    let registry = HealthRegistry::<u32>::builder().config(config()).build().unwrap();
    let monitor = HealthMonitor::new(registry.clone());
    let (bad, good) = (woken(true), woken(false));
    let (mut first, mut second) = (monitor.watch(&7), monitor.watch(&7));
    let (mut stream, mut other) = (monitor.subscribe(), monitor.subscribe());
    assert!(poll(first.changed(), &bad).is_none() && poll(second.changed(), &good).is_none());
    assert!(poll(stream.recv(), &bad).is_none() && poll(other.recv(), &good).is_none());
    assert!(ends(|| registry.force_open(&7)).is_some());
    assert_eq!(good.times.load(Ordering::Relaxed), 2);
    assert!(bad.times.load(Ordering::Relaxed) >= 2);
}

/// Wakers that cannot be dropped: they lie in the monitor when it goes.
#[test]
fn a_waker_that_panics_when_it_is_dropped_may_lie_in_a_stream() {
    struct Heavy;
    impl Wake for Heavy {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Heavy {
        fn drop(&mut self) {
            panics();
        }
    }
    let registry = HealthRegistry::<u32>::new();
    let monitor = HealthMonitor::new(registry.clone());
    let (mut watch, mut events) = (monitor.watch(&7), monitor.subscribe());
    for _ in 0..2 {
        // Each takes the place of the one before, which is dropped.
        let waker = Waker::from(Arc::new(Heavy));
        let mut cx = Context::from_waker(&waker);
        assert!(pin!(watch.changed()).poll(&mut cx).is_pending());
        assert!(pin!(poll_fn(|cx| pin!(events.recv()).poll(cx))).poll(&mut cx).is_pending());
        assert!(ends(|| drop(waker)).is_some(), "the monitor has it too");
    }
    assert!(ends(|| registry.force_open(&7)).is_some());
    assert!(ends(|| drop((watch, events, monitor))).is_some());
}
