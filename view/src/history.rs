//! The latest events of all peers, in the order in which they were told.
//!
//! The registry remembers no event. One listener keeps the latest here, for the story of a peer and for all
//! streams together: a stream has a position and no queue, so a client that reads slowly holds nothing, and
//! one that comes back goes on where it was, or learns how many events it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use peer_health::{Event, EventKind, Failure, HealthRegistry, Listening, PeerKey};

use crate::foreign::Own;

/// The number of events that are kept.
const KEPT: usize = 4096;

/// An event as it was told.
pub(crate) struct Told<K> {
    pub(crate) number: u64,
    /// For display.
    pub(crate) at: SystemTime,
    pub(crate) event: Own<Event<K>>,
    /// The peer's last error when its circuit opened.
    pub(crate) error: Option<Arc<Failure>>,
}

pub(crate) struct History<K>(Mutex<Kept<K>>);

struct Kept<K> {
    /// The number of the next event.
    next: u64,
    told: VecDeque<Arc<Told<K>>>,
}

/// The events that a stream gets next.
pub(crate) struct Next<K> {
    /// The number of events that are not kept any more.
    pub(crate) missed: u64,
    pub(crate) told: Vec<Arc<Told<K>>>,
}

impl<K: PeerKey> History<K> {
    /// Listens to the registry until the returned [`Listening`] is dropped.
    pub(crate) fn follow(registry: &HealthRegistry<K>) -> (Arc<Self>, Listening) {
        let history = Arc::new(Self(Mutex::new(Kept { next: 0, told: VecDeque::new() })));
        let (keep, looks) = (Arc::clone(&history), registry.clone());
        let listening = registry.listen(move |event| {
            let error = match event.kind {
                EventKind::Opened { .. } | EventKind::LocalOutage => {
                    looks.snapshot(&event.peer).and_then(|seen| seen.last_error)
                }
                _ => None,
            };
            keep.add(event.clone(), error);
        });
        (history, listening)
    }

    fn locked(&self) -> MutexGuard<'_, Kept<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. The thread that made the transition does this: an event that gives way is dropped when
    /// nothing is locked.
    fn add(&self, event: Event<K>, error: Option<Arc<Failure>>) {
        #[allow(clippy::disallowed_methods, reason = "for display")]
        let at = SystemTime::now();
        let mut told = Told { number: 0, at, event: Own::new(event), error };
        let mut kept = self.locked();
        told.number = kept.next;
        kept.next = kept.next.saturating_add(1);
        let gone = if kept.told.len() >= KEPT { kept.told.pop_front() } else { None };
        kept.told.push_back(Arc::new(told));
        drop(kept);
        drop(gone);
    }

    /// Returns the number of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.locked().next
    }

    /// Returns the events from this number on, at most so many.
    pub(crate) fn since(&self, number: u64, at_most: usize) -> Next<K> {
        let kept = self.locked();
        let first = kept.next.saturating_sub(kept.told.len() as u64);
        let missed = first.saturating_sub(number);
        let skip = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        let told = kept.told.iter().skip(skip).take(at_most).map(Arc::clone).collect();
        Next { missed, told }
    }

    /// Returns the kept events of a peer, the latest first. Keys are compared while nothing is locked.
    pub(crate) fn of(&self, peer: &K) -> Vec<Arc<Told<K>>> {
        let mut told: Vec<_> = self.locked().told.iter().map(Arc::clone).collect();
        told.retain(|told| told.event.peer == *peer);
        told.reverse();
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_comes_too_late_learns_how_many_events_it_missed() {
        let registry = HealthRegistry::<u32>::new();
        let (history, _listening) = History::follow(&registry);
        for _ in 0..KEPT + 5 {
            registry.force_open(&7).unwrap();
        }
        let next = history.since(2, 10);
        assert_eq!((next.missed, next.told[0].number, next.told.len()), (3, 5, 10));
        assert_eq!(history.since(history.next(), 10).told.len(), 0);
        assert_eq!(history.of(&7)[0].number, history.next() - 1);
        assert!(history.of(&8).is_empty());
    }

    #[test]
    fn an_opening_keeps_the_error_that_caused_it() {
        let registry = HealthRegistry::<u32>::new();
        let (history, _listening) = History::follow(&registry);
        for error in ["first", "second", "third", "fourth", "fifth"] {
            let error = peer_health::SyncError::Network(error.into());
            registry.acquire(&7).unwrap().failure(error);
        }
        let error = history.of(&7)[0].error.as_ref().map(ToString::to_string);
        assert_eq!(error.as_deref(), Some("network failure: fifth"));
    }
}
