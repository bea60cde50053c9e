//! Whoever is told to wait is woken by what it waits for.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

/// How often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Polls a future once, and says what it gives; whoever is to be woken then, is counted.
fn poll<T>(future: impl Future<Output = T>, woken: &Arc<Woken>) -> Option<T> {
    let waker = Waker::from(Arc::clone(woken));
    match pin!(future).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// What a future gives at once.
pub(super) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    poll(future, &Arc::default())
}

fn ban(monitor: &HealthMonitor<u32>, peer: u32) {
    monitor.registry().force_open(&peer).unwrap();
}

#[test]
fn of_two_wakers_the_later_one_is_woken_and_once() {
    let (monitor, _) = manual();
    let (mut events, mut watch) = (monitor.subscribe(), monitor.watch(&7));
    let [first, second, third]: [Arc<Woken>; 3] = Default::default();
    for woken in [&first, &second] {
        assert!(poll(events.recv(), woken).is_none());
    }
    for woken in [&first, &third] {
        assert!(poll(watch.changed(), woken).is_none());
    }
    for _ in 0..3 {
        ban(&monitor, 7);
    }
    assert_eq!((first.times(), second.times(), third.times()), (0, 1, 1));
    assert_eq!(now(watch.changed()), Some(Status::ForcedOpen));
    assert!(now(watch.changed()).is_none());
    monitor.registry().reset(&7);
    assert_eq!(third.times(), 1, "it waits with another waker by now");
}

#[test]
fn a_waker_is_let_go_when_it_was_woken_or_replaced_or_its_reader_is_gone() {
    let (monitor, _) = manual();
    let (mut events, mut watch) = (monitor.subscribe(), monitor.watch(&7));
    let woken = Arc::default();
    assert!(poll(events.recv(), &woken).is_none() && poll(watch.changed(), &woken).is_none());
    assert_eq!(Arc::strong_count(&woken), 3);
    assert!(now(watch.changed()).is_none());
    assert_eq!(Arc::strong_count(&woken), 2, "replaced");
    ban(&monitor, 7);
    assert_eq!((Arc::strong_count(&woken), woken.times()), (1, 1));
    assert!(now(events.recv()).is_some() && poll(events.recv(), &woken).is_none());
    assert!(now(watch.changed()).is_some() && poll(watch.changed(), &woken).is_none());
    drop((events, watch));
    assert_eq!(Arc::strong_count(&woken), 1);
}

#[test]
fn of_those_who_follow_a_peer_each_is_woken_whoever_has_gone() {
    let (monitor, _) = manual();
    let mut watches = Vec::from_iter((0..9).map(|_| monitor.watch(&7)));
    let wakers = Vec::from_iter((0..9).map(|_| Arc::<Woken>::default()));
    for (watch, woken) in watches.iter_mut().zip(&wakers) {
        assert!(poll(watch.changed(), woken).is_none());
    }
    watches.swap_remove(4);
    watches.remove(0);
    ban(&monitor, 8);
    assert!(wakers.iter().all(|woken| woken.times() == 0), "another peer");
    ban(&monitor, 7);
    let times: Vec<_> = wakers.iter().map(|woken| woken.times()).collect();
    assert_eq!(times, [0, 1, 1, 1, 0, 1, 1, 1, 1]);
    // A future that was dropped after it was woken has taken nothing with it.
    assert!(watches.iter_mut().all(|watch| now(watch.changed()) == Some(Status::ForcedOpen)));
}

#[test]
fn an_event_before_the_first_poll_is_found_and_one_after_it_wakes() {
    let (monitor, _) = manual();
    let (mut events, mut watch) = (monitor.subscribe(), monitor.watch(&7));
    ban(&monitor, 7);
    assert!(now(events.recv()).is_some() && now(watch.changed()).is_some());
    let woken = Arc::default();
    assert!(poll(monitor.ready(&7), &woken).is_none(), "it was given up: it watches no more");
    monitor.registry().reset(&7);
    assert_eq!(woken.times(), 0);
    ban(&monitor, 7);
    let mut ready = pin!(monitor.ready(&7));
    assert!(poll(ready.as_mut(), &woken).is_none());
    monitor.registry().reset(&7);
    assert_eq!((woken.times(), poll(ready, &woken)), (1, Some(())));
}

#[test]
fn a_reader_that_was_woken_for_more_than_it_has_room_for_is_told_and_then_woken_again() {
    let (monitor, _) = manual();
    let mut events = monitor.subscribe();
    let woken = Arc::default();
    assert!(poll(events.recv(), &woken).is_none());
    (0..6).for_each(|peer| ban(&monitor, peer));
    assert_eq!(woken.times(), 1, "it has not looked since");
    assert_eq!(poll(events.recv(), &woken), Some(Notice::Lagged(2)));
    for peer in 2..6 {
        let next = poll(events.recv(), &woken);
        assert!(matches!(next, Some(Notice::Event(event)) if event.peer == peer));
    }
    assert!(poll(events.recv(), &woken).is_none());
    ban(&monitor, 7);
    assert_eq!(woken.times(), 2);
}

/// In a task of tokio each poll that gives something takes from the task's budget. When that is
/// spent it gives nothing, though something is there: then the task must be woken all the same.
#[tokio::test]
async fn who_has_had_its_turn_is_woken_for_the_next() {
    let (monitor, _) = manual();
    let (mut events, mut watch) = (monitor.subscribe(), monitor.watch(&7));
    let in_turns = tokio::spawn(async move {
        let woken = [Arc::default(), Arc::default()];
        let mut spent = [0; 2];
        for round in 0..1000 {
            ban(&monitor, 7);
            spent[0] += usize::from(poll(events.recv(), &woken[0]).is_none());
            spent[1] += usize::from(poll(watch.changed(), &woken[1]).is_none());
            if spent[0] > 0 && spent[1] > 0 {
                tokio::task::yield_now().await;
                let times = [woken[0].times(), woken[1].times()];
                assert!(times[0] > 0 && times[1] > 0, "{times:?} in round {round}");
                assert!(poll(events.recv(), &woken[0]).is_some());
                assert!(poll(watch.changed(), &woken[1]).is_some());
                return;
            }
        }
        panic!("it goes on for ever: no other task has had a turn");
    });
    in_turns.await.unwrap();
}

/// A waker that panics, with a payload that panics too.
struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("of the payload"));
        }
    }
}

struct Broken;

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new(Panics));
    }
}

#[test]
fn a_waker_that_panics_keeps_no_other_from_being_woken() {
    let (monitor, _) = manual();
    let broken = Waker::from(Arc::new(Broken));
    let woken = Arc::default();
    let mut watches = Vec::from_iter((0..9).map(|_| monitor.watch(&7)));
    let mut streams = Vec::from_iter((0..9).map(|_| monitor.subscribe()));
    for (n, (watch, events)) in watches.iter_mut().zip(&mut streams).enumerate() {
        if n % 3 == 1 {
            let broken = &mut Context::from_waker(&broken);
            assert!(pin!(watch.changed()).poll(broken).is_pending());
            assert!(pin!(events.recv()).poll(broken).is_pending());
        } else {
            assert!(poll(watch.changed(), &woken).is_none());
            assert!(poll(events.recv(), &woken).is_none());
        }
    }
    ban(&monitor, 7);
    assert_eq!(woken.times(), 12);
    assert_eq!(monitor.summary().overridden, 1);
    assert!(watches.iter_mut().all(|watch| now(watch.changed()).is_some()));
    assert!(streams.iter_mut().all(|events| now(events.recv()).is_some()));
}
