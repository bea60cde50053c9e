//! What two listeners were told: all that the totals count, each step once. The first of them panics
//! now and then.
//!
//! What is kept of it does not grow. Of a peer that is held the generations are known to follow each
//! other, so that their number and their sum tell whether one was told twice or not at all; of one
//! that comes and goes the last few are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use peer_health::{Event, EventKind, Totals};

use super::key::panics;
use super::{CHURN, Counter, HONEST, Key};

/// So many of a peer's last generations are kept.
const KEPT: usize = 64;
const WATCHED: u64 = CHURN + 64;

#[derive(Debug, Default)]
struct Counts {
    all: Counter,
    opened: Counter,
    evicted: Counter,
    removed: Counter,
}

impl Counts {
    fn note(&self, kind: EventKind) {
        self.all.count();
        match kind {
            EventKind::Opened { .. } => self.opened.count(),
            EventKind::Evicted => self.evicted.count(),
            EventKind::Removed => self.removed.count(),
            _ => 0,
        };
    }

    fn get(&self) -> [u64; 4] {
        [&self.all, &self.opened, &self.evicted, &self.removed].map(Counter::get)
    }
}

/// The generations that were told of one peer.
#[derive(Default)]
struct Told {
    number: u64,
    sum: u64,
    last: VecDeque<u64>,
}

pub(crate) struct Heard {
    first: Counts,
    second: Counts,
    /// A listener that fails an assertion fails nothing else: what is wrong is counted.
    repeated: Counter,
    told: Vec<Mutex<Told>>,
}

impl Default for Heard {
    fn default() -> Self {
        let told = || Told { last: VecDeque::with_capacity(KEPT + 1), ..Told::default() };
        let told = (0..WATCHED).map(|_| Mutex::new(told())).collect();
        let (first, second) = (Counts::default(), Counts::default());
        Self { first, second, repeated: Counter::default(), told }
    }
}

impl Heard {
    pub(crate) fn first(self: &Arc<Self>) -> impl Fn(&Event<Key>) + Send + Sync + 'static {
        let heard = Arc::clone(self);
        move |event| {
            heard.first.note(event.kind);
            if heard.first.all.get().is_multiple_of(61) {
                panics();
            }
        }
    }

    pub(crate) fn second(self: &Arc<Self>) -> impl Fn(&Event<Key>) + Send + Sync + 'static {
        let heard = Arc::clone(self);
        move |event| {
            heard.second.note(event.kind);
            heard.note(event);
        }
    }

    fn note(&self, event: &Event<Key>) {
        if matches!(event.kind, EventKind::LocalOutage | EventKind::LocalRecovered) {
            return; // no transition
        }
        let watched = usize::try_from(event.peer.0).ok().and_then(|peer| self.told.get(peer));
        let Some(told) = watched else { return };
        let mut told = told.lock().unwrap();
        told.number += 1;
        told.sum = told.sum.wrapping_add(event.generation);
        if told.last.contains(&event.generation) {
            self.repeated.count();
        }
        told.last.push_back(event.generation);
        if told.last.len() > KEPT {
            told.last.pop_front();
        }
    }

    /// R29: both have heard all; but an event whose key cannot be cloned, which neither does.
    pub(crate) fn check(&self, totals: &Totals, uncloned: u64) {
        let (first, second) = (self.first.get(), self.second.get());
        assert_eq!(first, second, "a listener that panics is in the way of another");
        assert_eq!(self.repeated.get(), 0, "generations repeat");
        let counted = [totals.all.opened, totals.evicted, totals.removed];
        for (counted, heard) in counted.into_iter().zip(&second[1..]) {
            let lost = counted.checked_sub(*heard);
            assert!(lost.is_some_and(|lost| lost <= uncloned), "{heard} of {counted} were told");
        }
        assert!(second.iter().all(|count| *count > 0), "{second:?}");
    }

    /// Each generation from the first to the last of a peer that was held was told once.
    pub(crate) fn check_held(&self, peer: u64, first: u64, last: u64) {
        assert!(peer < HONEST);
        let told = self.told[usize::try_from(peer).unwrap()].lock().unwrap();
        let sum: u64 = (first + 1..=last).fold(0, u64::wrapping_add);
        assert_eq!((told.number, told.sum), (last - first, sum), "steps of peer {peer}");
    }
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [all, opened, evicted, removed] = self.second.get();
        write!(f, "{all} events, {opened} opened, {evicted} evicted, {removed} removed")
    }
}
