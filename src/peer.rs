//! One peer's place: its tracker, its key, and what all peers of the registry share. Whoever holds
//! an entry, a permit or a handle, keeps it from being evicted.

use crate::circuit::{Admission, Circuit, Emitted, Outcome, Ticket};
use crate::error::Failure;
use crate::event::EventKind;
use crate::foreign::Own;
use crate::outcome::Recorded;
use crate::snapshot::{PARTS, PeerTotals, Totals};
use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use crate::tracker::{Context, Tracker};

/// What is said of a peer when a step was made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Announcement {
    /// To listeners: what happened, and to which generation.
    Event(u64, EventKind),
    /// To who follows the peers' admission: it may have changed.
    Step,
    /// To the same: the tracker is gone; whether a success was ever recorded in it.
    Gone { answered: bool },
}

/// Told of the peer of an entry.
pub(crate) type Announce<K> = Box<dyn Fn(&PeerEntry<K>, Announcement) + Send + Sync>;

/// What the entries of a registry share.
pub(crate) struct RegistryShared<K> {
    pub(crate) context: Context,
    /// Told of each step that somebody is to know of; never while a lock is held (R25).
    pub(crate) sink: Announce<K>,
    pub(crate) ledger: Ledger,
    /// The order of uses: rises with each insertion and each sweep (R26).
    uses: AtomicU64,
    /// Whether each use counts: in a table so small that exact order is cheap.
    exact_uses: bool,
}

/// Totals of what is not tracked, or no longer.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    counters: [AtomicU64; PARTS],
    pub(crate) untracked: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) removed: AtomicU64,
}

impl Ledger {
    pub(crate) fn add(&self, more: PeerTotals) {
        for (counter, more) in self.counters.iter().zip(more.parts()).filter(|(_, n)| *n > 0) {
            // Relaxed: pairs with nothing; totals.
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        // Relaxed: pairs with nothing; totals.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            permits: PeerTotals::from_parts(self.counters.each_ref().map(read)),
            untracked: read(&self.untracked),
            evicted: read(&self.evicted),
            removed: read(&self.removed),
        }
    }

    /// The outcome of a call that was admitted untracked.
    pub(crate) fn settle(&self, outcome: Outcome) -> Recorded {
        let mut one = PeerTotals::default();
        let (counter, recorded) = match outcome {
            Outcome::Success => (&mut one.succeeded, Recorded::Counted),
            Outcome::Failure => (&mut one.failed, Recorded::Counted),
            Outcome::Neutral => (&mut one.neutral, Recorded::Neutral),
            Outcome::Dropped => (&mut one.abandoned, Recorded::Neutral),
        };
        *counter = 1;
        self.add(one);
        recorded
    }
}

impl<K> RegistryShared<K> {
    pub(crate) fn new(context: Context, sink: Announce<K>, exact_uses: bool) -> Self {
        Self { context, sink, ledger: Ledger::default(), uses: AtomicU64::new(0), exact_uses }
    }

    /// A new place in the order of uses, after all others.
    pub(crate) fn next_use(&self) -> u64 {
        // Relaxed: pairs with `now_used`; one order is all that is asked of it.
        self.uses.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The place in the order of uses that a use has now: its own in a small table, otherwise
    /// that of the latest insertion or sweep, so that calls to different peers share no write.
    #[inline]
    pub(crate) fn current_use(&self) -> u64 {
        if self.exact_uses {
            return self.next_use();
        }
        // Relaxed: pairs with `next_use`.
        self.uses.load(Ordering::Relaxed)
    }

    /// Where the order of uses stands: it has risen by one at least with each insertion.
    pub(crate) fn uses(&self) -> u64 {
        // Relaxed: pairs with `next_use`.
        self.uses.load(Ordering::Relaxed)
    }
}

/// In no segment.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// One peer's place in the registry.
#[repr(C)]
pub(crate) struct PeerEntry<K> {
    pub(crate) tracker: Tracker,
    pub(crate) shared: Arc<RegistryShared<K>>,
    pub(crate) key: Own<K>,
    /// Where the entry is in its segment of the table's ring.
    pub(crate) place: AtomicU32,
    /// How many handle there are on it.
    handles: AtomicU32,
    /// The key's hash, for the table that holds this.
    pub(crate) hash: u64,
}

impl<K: Clone> PeerEntry<K> {
    /// An entry that is in no table, of a tracker that is removed: whoever asks it is told to look
    /// the peer up again.
    pub(crate) fn nowhere(shared: &Arc<RegistryShared<K>>, key: &K) -> Self {
        let tracker = Tracker::new(Arc::new(Circuit::new(0)), 0, 0);
        tracker.remove(&shared.context);
        Self::new(tracker, Arc::clone(shared), key.clone())
    }
}

impl<K> PeerEntry<K> {
    pub(crate) fn new(tracker: Tracker, shared: Arc<RegistryShared<K>>, key: K) -> Self {
        let (key, hash) = (Own::new(key), 0);
        let (place, handles) = (AtomicU32::new(NOWHERE), AtomicU32::new(0));
        Self { tracker, shared, key, place, handles, hash }
    }

    /// For a table, which finds it by this.
    pub(crate) fn hashed(mut self, hash: u64) -> Self {
        self.hash = hash;
        self
    }

    /// Ends the tracker: see [`Tracker::remove`].
    pub(crate) fn remove(&self) -> (Option<PeerTotals>, Emitted) {
        self.tracker.remove(&self.shared.context)
    }

    /// Tells the listener what this thread has done: most often, nothing.
    #[inline]
    pub(crate) fn tell(&self, emitted: &Emitted) {
        if !emitted.is_empty() {
            self.tell_all(*emitted);
        }
    }

    #[cold]
    fn tell_all(&self, emitted: Emitted) {
        let context = &self.shared.context;
        let Context { clock, guard, .. } = context;
        let tell =
            |generation, kind| (self.shared.sink)(self, Announcement::Event(generation, kind));
        for (generation, kind) in emitted.events.into_iter().flatten() {
            let told = match kind {
                EventKind::LocalOutage => guard.begin(|| clock.now()),
                EventKind::LocalRecovered => guard.end(|| clock.now()),
                _ => true,
            };
            if told {
                tell(generation, kind);
            }
            // A peer that answered after its trip was held back, and before this was told, has ended
            // an outage that had not begun.
            let over = match kind {
                EventKind::Closed => true,
                EventKind::LocalOutage => told && !guard.lasts(&context.rules(), || clock.now()),
                _ => false,
            };
            if over && guard.end(|| clock.now()) {
                tell(generation, EventKind::LocalRecovered);
            }
        }
        // That it is gone is for who removed it to say.
        if !matches!(emitted.events[0], Some((_, EventKind::Removed))) {
            (self.shared.sink)(self, Announcement::Step);
        }
    }

    /// Asks to be admitted: by the word alone, if the circuit is at rest.
    #[inline]
    pub(crate) fn acquire(&self) -> Admission {
        self.admit_at_rest().map_or_else(|| self.acquire_noted(), Admission::Admitted)
    }

    /// Admits a call at once if it is to change nothing but a total.
    #[inline]
    pub(crate) fn admit_at_rest(&self) -> Option<Ticket> {
        let generation = self.tracker.rests()?;
        (!self.shared.context.looks_at_successes()).then_some(Ticket::quiet(generation))
    }

    /// Counts a success at once if it changes nothing but a total.
    #[inline]
    pub(crate) fn succeed_at_rest(&self, generation: u64) -> bool {
        let rests = self.tracker.rests() == Some(generation);
        let counts = rests && !self.shared.context.looks_at_successes();
        if counts {
            self.tracker.count_success();
        }
        counts
    }

    /// Asks to be admitted by the circuit.
    #[inline(never)]
    pub(crate) fn acquire_noted(&self) -> Admission {
        let (admission, emitted) = self.tracker.acquire(&self.shared.context);
        if let Admission::Refused(refused) = &admission {
            self.tracker.count_refusal(refused.reason);
        }
        self.tell(&emitted);
        admission
    }

    /// Takes the outcome of a permit; a success that [`Self::succeed_at_rest`] has not counted.
    pub(crate) fn settle(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        failure: Option<Failure>,
        latency: Option<u64>,
    ) -> Recorded {
        let context = &self.shared.context;
        // A call that ends is a use, however long it took: for a count that this outcome brings about.
        self.record_use_now();
        let (recorded, emitted) = self.tracker.settle(context, ticket, outcome, failure, latency);
        self.tell(&emitted);
        if recorded == Recorded::Late && self.tracker.circuit().is_removed() {
            // Nobody looks here any more: what was counted goes where it is seen.
            self.shared.ledger.add(self.tracker.take_totals());
        }
        recorded
    }

    /// Notes a use that is over: the peer is as recently used as any.
    #[inline]
    pub(crate) fn record_use_now(&self) {
        self.tracker.record_use(self.shared.current_use());
    }

    /// Whether a handle is on the peer.
    pub(crate) fn has_handles(&self) -> bool {
        // Acquire: pairs with the Release in `HandleRef::drop`: who finds no handle finds the use that it
        // noted.
        self.handles.load(Ordering::Acquire) > 0
    }
}

impl<K> Drop for PeerEntry<K> {
    fn drop(&mut self) {
        self.shared.ledger.add(self.tracker.take_totals());
    }
}

/// An entry that is held for long: by a handle.
pub(crate) struct HandleRef<K>(Arc<PeerEntry<K>>);

impl<K> HandleRef<K> {
    pub(crate) fn new(entry: Arc<PeerEntry<K>>) -> Self {
        // Relaxed: pairs with `is_gripped`; the peer was marked as used when it was looked up.
        entry.handles.fetch_add(1, Ordering::Relaxed);
        Self(entry)
    }

    #[inline]
    pub(crate) fn entry(&self) -> &Arc<PeerEntry<K>> {
        &self.0
    }
}

impl<K> Drop for HandleRef<K> {
    fn drop(&mut self) {
        let Self(entry) = self;
        if entry.tracker.rests().is_none() && !entry.tracker.circuit().is_removed() {
            entry.tracker.touch(entry.shared.context.clock.now());
        }
        entry.record_use_now();
        // Release: pairs with the Acquire in `is_gripped`; see there.
        entry.handles.fetch_sub(1, Ordering::Release);
    }
}
