//! One peer's entry: its tracker, its key, and what all entries of the registry share. A permit or a handle
//! holds the entry, and so keeps the registry from evicting it.

use crate::circuit::{Admission, Circuit, Emitted, Outcome, Ticket};
use crate::error::Failure;
use crate::event::EventKind;
use crate::foreign::Own;
use crate::outcome::{Reason, Recorded};
use crate::snapshot::{PARTS, PeerTotals, Totals};
use crate::sync::{Arc, AtomicU32, AtomicU64, Loaded, Ordering};
use crate::tracker::{Context, Tracker};

/// The news of a peer after a step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Announcement {
    /// For listeners: what happened, and in which generation.
    Event(u64, EventKind),
    /// For those that follow the peer's admission: it may have changed.
    Step,
    /// For the same: the tracker is gone; `answered` if it ever recorded a success.
    Gone { answered: bool },
}

/// The function that hears of an entry's steps.
pub(crate) type Announce<K> = Box<dyn Fn(&PeerEntry<K>, Announcement) + Send + Sync>;

/// The state that all entries of a registry share.
pub(crate) struct RegistryShared<K> {
    pub(crate) context: Context,
    /// Hears of each step that has an effect outside; the registry holds no lock meanwhile (R25).
    pub(crate) sink: Announce<K>,
    pub(crate) ledger: Ledger,
    /// The counter of the order of uses: it rises with each insertion and each sweep (R26).
    uses: AtomicU64,
    /// Whether each use raises it: in a table so small that exact order is cheap.
    exact_uses: bool,
}

/// The totals of calls that no tracker holds any more, or never did.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    counters: [AtomicU64; PARTS],
    pub(crate) untracked: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) removed: AtomicU64,
    /// Coordinators, of which the registry knows nothing else, count these two.
    pub(crate) retries: AtomicU64,
    pub(crate) retries_refused: AtomicU64,
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
            all: PeerTotals::from_parts(self.counters.each_ref().map(read)),
            untracked: read(&self.untracked),
            evicted: read(&self.evicted),
            removed: read(&self.removed),
            retries: read(&self.retries),
            retries_refused: read(&self.retries_refused),
        }
    }

    /// Counts the outcome of a call that was admitted untracked.
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

    /// Returns a new number in the order of uses, after all others.
    pub(crate) fn next_use(&self) -> u64 {
        // Relaxed: pairs with `current_use`; the callers need one order and nothing else.
        self.uses.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns the number of a use that happens now: its own in a small table, otherwise that of the latest
    /// insertion or sweep, so that calls to different peers share no write.
    #[inline]
    pub(crate) fn current_use(&self) -> u64 {
        if self.exact_uses {
            return self.next_use();
        }
        // Relaxed: pairs with `next_use`.
        self.uses.load(Ordering::Relaxed)
    }

    /// Returns the latest number in the order of uses: each insertion has raised it by one at least.
    pub(crate) fn uses(&self) -> u64 {
        // Relaxed: pairs with `next_use`.
        self.uses.load(Ordering::Relaxed)
    }
}

/// The position of an entry that is in no segment.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// The state of one peer in the registry.
#[repr(C)]
pub(crate) struct PeerEntry<K> {
    pub(crate) tracker: Tracker,
    pub(crate) shared: Arc<RegistryShared<K>>,
    pub(crate) key: Own<K>,
    /// The entry's position in its segment of the table's ring.
    pub(crate) place: AtomicU32,
    /// The number of handles that hold it.
    handles: AtomicU32,
    /// The key's hash, for the table that holds this entry.
    pub(crate) hash: u64,
}

impl<K: Clone> PeerEntry<K> {
    /// Returns an entry in no table, with a removed tracker: it sends each caller to look the peer up again.
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

    /// Returns the entry with its hash, by which a table finds it.
    pub(crate) fn hashed(mut self, hash: u64) -> Self {
        self.hash = hash;
        self
    }

    /// Brings what a look at the entry reads into the cache, ahead of the look.
    #[inline]
    pub(crate) fn prefetch(&self) {
        self.tracker.prefetch();
        std::hint::black_box(self.hash);
    }

    /// Ends the tracker: see [`Tracker::remove`].
    pub(crate) fn remove(&self) -> (Option<PeerTotals>, Emitted) {
        self.tracker.remove(&self.shared.context)
    }

    /// Tells the sink what this thread's step has emitted: most often nothing.
    #[inline]
    pub(crate) fn tell(&self, emitted: &Emitted) {
        if !emitted.is_empty() {
            self.tell_all(emitted);
        }
    }

    /// Tells of each event once, by the thread that made the step, right after it (R29).
    #[cold]
    fn tell_all(&self, emitted: &Emitted) {
        let context = &self.shared.context;
        let Context { clock, outage, .. } = context;
        let tell =
            |generation, kind| (self.shared.sink)(self, Announcement::Event(generation, kind));
        for (generation, kind) in emitted.events() {
            let told = match kind {
                EventKind::LocalOutage => outage.begin(|| clock.now()),
                EventKind::LocalRecovered => outage.end(|| clock.now()),
                _ => true,
            };
            if told {
                tell(generation, kind);
            }
            // A peer that answered after its trip was held back, and before the sink heard of that, has
            // ended an outage that had not begun.
            let over = match kind {
                EventKind::Closed => true,
                EventKind::LocalOutage => told && !outage.lasts(&context.rules(), || clock.now()),
                _ => false,
            };
            if over && outage.end(|| clock.now()) {
                tell(generation, EventKind::LocalRecovered);
            }
        }
        // The thread that removed the tracker says itself that it is gone.
        if !matches!(emitted.first(), Some((_, EventKind::Removed))) {
            (self.shared.sink)(self, Announcement::Step);
        }
    }

    /// Admits a call at once if that changes nothing but a total.
    #[inline]
    pub(crate) fn admit_at_rest(&self) -> Option<Ticket> {
        let generation = self.tracker.rests()?;
        (!self.shared.context.looks_at_successes()).then_some(Ticket::quiet(generation))
    }

    /// Counts a success at once if that changes nothing but a total. Returns whether it did.
    #[inline]
    pub(crate) fn succeed_at_rest(&self, generation: u64) -> bool {
        let rests = self.tracker.rests() == Some(generation);
        let counts = rests && !self.shared.context.looks_at_successes();
        if counts {
            self.tracker.count_success();
        }
        counts
    }

    /// Admits a call to a peer in a streak, where no rule asks for more.
    #[inline]
    pub(crate) fn admit_in_streak(&self) -> Option<Ticket> {
        self.tracker.admit_in_streak(&self.shared.context)
    }

    /// Refuses a call while the wait of an open circuit lasts, and returns the rest of it in nanoseconds;
    /// otherwise the circuit, for [`acquire`](Self::acquire).
    #[inline]
    pub(crate) fn refuse_in_wait(&self) -> Result<u64, Loaded<Circuit>> {
        let rest = self.tracker.rest_of_wait(&self.shared.context)?;
        self.tracker.count_refusal(Reason::Open);
        Ok(rest)
    }

    /// Admits a call or refuses it by the circuit that was found.
    #[inline(never)]
    pub(crate) fn acquire(&self, circuit: Loaded<Circuit>) -> Admission {
        let (admission, emitted) = self.tracker.acquire(&self.shared.context, circuit);
        if let Admission::Refused(refused) = &admission {
            self.tracker.count_refusal(refused.reason);
        }
        self.tell(&emitted);
        admission
    }

    /// Takes the outcome of a permit, unless [`Self::succeed_at_rest`] has counted it.
    pub(crate) fn settle(
        &self,
        ticket: &Ticket,
        outcome: Outcome,
        failure: &mut Option<Failure>,
        latency: Option<u64>,
    ) -> Recorded {
        let context = &self.shared.context;
        // The end of a call is a use, however long it took: a count that this outcome starts sees it.
        self.record_use_now();
        let (recorded, emitted) = self.tracker.settle(context, ticket, outcome, failure, latency);
        if outcome == Outcome::Success && recorded != Recorded::Late {
            context.date();
        }
        self.tell(&emitted);
        if recorded == Recorded::Late && self.tracker.circuit().is_removed() {
            // No view shows this tracker any more, so its counts go to the ledger.
            self.shared.ledger.add(self.tracker.take_totals());
        }
        recorded
    }

    /// Notes a use of the peer that ends now: the peer is as recently used as any.
    #[inline]
    pub(crate) fn record_use_now(&self) {
        self.tracker.record_use(self.shared.current_use());
    }

    /// Returns whether a handle holds the entry.
    pub(crate) fn has_handles(&self) -> bool {
        // Acquire: pairs with the Release in `HandleRef::drop`: a thread that finds no handle finds the use
        // that the handle noted.
        self.handles.load(Ordering::Acquire) > 0
    }
}

impl<K> Drop for PeerEntry<K> {
    fn drop(&mut self) {
        self.shared.ledger.add(self.tracker.take_totals());
    }
}

/// A handle's hold on an entry.
pub(crate) struct HandleRef<K>(Arc<PeerEntry<K>>);

impl<K> HandleRef<K> {
    pub(crate) fn new(entry: Arc<PeerEntry<K>>) -> Self {
        // Relaxed: pairs with `has_handles`; the lookup has noted the peer's use.
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
        // Release: pairs with the Acquire in `has_handles`, as explained there.
        entry.handles.fetch_sub(1, Ordering::Release);
    }
}
