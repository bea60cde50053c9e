//! One peer's place: its tracker, its key, and what all peers of the registry share. Whoever holds
//! a seat, a permit or a handle, keeps it from being evicted.

use crate::answer::Recorded;
use crate::circuit::{Admission, Core, Ticket, Turn, Turns, Verdict};
use crate::error::Failure;
use crate::event::EventKind;
use crate::foreign::Own;
use crate::snapshot::{PARTS, PeerTotals, Totals};
use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use crate::tracker::{Env, Tracker};

/// What is said of a peer when a step was made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said {
    /// To listeners: what happened, and to which generation.
    Event(u64, EventKind),
    /// To who follows the peers' admission: it may have changed.
    Step,
    /// To the same: the tracker is gone; whether a success was ever recorded in it.
    Gone { answered: bool },
}

/// Told of the peer of a seat.
pub(crate) type Sink<K> = Box<dyn Fn(&Seat<K>, Said) + Send + Sync>;

/// What the seats of a registry share.
pub(crate) struct Shared<K> {
    pub(crate) env: Env,
    /// Told of each step that somebody is to know of; never while a lock is held (R25).
    pub(crate) sink: Sink<K>,
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
    pub(crate) fn settle(&self, verdict: Verdict) -> Recorded {
        let mut one = PeerTotals::default();
        let (counter, recorded) = match verdict {
            Verdict::Success => (&mut one.succeeded, Recorded::Counted),
            Verdict::Failure => (&mut one.failed, Recorded::Counted),
            Verdict::Neutral => (&mut one.neutral, Recorded::Neutral),
            Verdict::Dropped => (&mut one.abandoned, Recorded::Neutral),
        };
        *counter = 1;
        self.add(one);
        recorded
    }
}

impl<K> Shared<K> {
    pub(crate) fn new(env: Env, sink: Sink<K>, exact_uses: bool) -> Self {
        Self { env, sink, ledger: Ledger::default(), uses: AtomicU64::new(0), exact_uses }
    }

    /// A new place in the order of uses, after all others.
    pub(crate) fn next_use(&self) -> u64 {
        // Relaxed: pairs with `now_used`; one order is all that is asked of it.
        self.uses.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The place in the order of uses that a use has now: its own in a small table, otherwise
    /// that of the latest insertion or sweep, so that calls to different peers share no write.
    #[inline]
    pub(crate) fn now_used(&self) -> u64 {
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
pub(crate) struct Seat<K> {
    pub(crate) tracker: Tracker,
    pub(crate) shared: Arc<Shared<K>>,
    pub(crate) key: Own<K>,
    /// Where the seat is in its segment of the table's circle.
    pub(crate) place: AtomicU32,
    /// How many grips there are on it.
    grips: AtomicU32,
    /// The key's hash, for the table that holds this.
    pub(crate) hash: u64,
}

impl<K: Clone> Seat<K> {
    /// A seat that is in no table, of a tracker that is removed: whoever asks it is told to look
    /// the peer up again.
    pub(crate) fn nowhere(shared: &Arc<Shared<K>>, key: &K) -> Self {
        let tracker = Tracker::new(Arc::new(Core::new(0)), 0, 0);
        tracker.remove(&shared.env);
        Self::new(tracker, Arc::clone(shared), key.clone())
    }
}

impl<K> Seat<K> {
    pub(crate) fn new(tracker: Tracker, shared: Arc<Shared<K>>, key: K) -> Self {
        let (key, hash) = (Own::new(key), 0);
        let (place, grips) = (AtomicU32::new(NOWHERE), AtomicU32::new(0));
        Self { tracker, shared, key, place, grips, hash }
    }

    /// For a table, which finds it by this.
    pub(crate) fn hashed(mut self, hash: u64) -> Self {
        self.hash = hash;
        self
    }

    /// Ends the tracker: see [`Tracker::remove`].
    pub(crate) fn remove(&self) -> (Option<PeerTotals>, Turns) {
        self.tracker.remove(&self.shared.env)
    }

    /// Tells the listener what this thread has done: most often, nothing.
    #[inline]
    pub(crate) fn tell(&self, turns: &Turns) {
        if turns.iter().any(Option::is_some) {
            self.tell_all(*turns);
        }
    }

    #[cold]
    fn tell_all(&self, turns: Turns) {
        let env = &self.shared.env;
        let Env { clock, guard, .. } = env;
        let tell = |generation, kind| (self.shared.sink)(self, Said::Event(generation, kind));
        for (generation, turn) in turns.into_iter().flatten() {
            let told = match turn {
                Turn::HeldBack => guard.begin(|| clock.now()),
                Turn::Relieved => guard.end(|| clock.now()),
                _ => true,
            };
            if let Some(kind) = EventKind::of(turn).filter(|_| told) {
                tell(generation, kind);
            }
            // A peer that answered after its trip was held back, and before this was told, has ended
            // an outage that had not begun.
            let over = match turn {
                Turn::Closed => true,
                Turn::HeldBack => told && !guard.lasts(&env.rules(), || clock.now()),
                _ => false,
            };
            if over && guard.end(|| clock.now()) {
                tell(generation, EventKind::LocalRecovered);
            }
        }
        // That it is gone is for who removed it to say.
        if !matches!(turns[0], Some((_, Turn::Removed))) {
            (self.shared.sink)(self, Said::Step);
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
        (!self.shared.env.looks_at_successes()).then_some(Ticket::quiet(generation))
    }

    /// Counts a success at once if it changes nothing but a total.
    #[inline]
    pub(crate) fn succeed_at_rest(&self, generation: u64) -> bool {
        let rests = self.tracker.rests() == Some(generation);
        let counts = rests && !self.shared.env.looks_at_successes();
        if counts {
            self.tracker.count_success();
        }
        counts
    }

    /// Asks to be admitted by the circuit.
    #[inline(never)]
    pub(crate) fn acquire_noted(&self) -> Admission {
        let (admission, turns) = self.tracker.acquire(&self.shared.env);
        if let Admission::Refused(refused) = &admission {
            self.tracker.count_refusal(refused.reason);
        }
        self.tell(&turns);
        admission
    }

    /// Takes the outcome of a permit; a success that [`Self::succeed_at_rest`] has not counted.
    pub(crate) fn settle(
        &self,
        ticket: Ticket,
        verdict: Verdict,
        failure: Option<Failure>,
        latency: Option<u64>,
    ) -> Recorded {
        let env = &self.shared.env;
        // A call that ends is a use, however long it took: for a count that this outcome brings about.
        self.used();
        let (recorded, turns) = self.tracker.settle(env, ticket, verdict, failure, latency);
        self.tell(&turns);
        if recorded == Recorded::Late && self.tracker.core().is_removed() {
            // Nobody looks here any more: what was counted goes where it is seen.
            self.shared.ledger.add(self.tracker.take_totals());
        }
        recorded
    }

    /// Notes a use that is over: the peer is as recently used as any.
    #[inline]
    pub(crate) fn used(&self) {
        self.tracker.mark(self.shared.now_used());
    }

    /// Whether a handle is on the peer.
    pub(crate) fn is_gripped(&self) -> bool {
        // Acquire: pairs with the Release in `Grip::drop`: who finds no grip finds the use that it
        // noted.
        self.grips.load(Ordering::Acquire) > 0
    }
}

impl<K> Drop for Seat<K> {
    fn drop(&mut self) {
        self.shared.ledger.add(self.tracker.take_totals());
    }
}

/// A seat that is held for long: by a handle.
pub(crate) struct Grip<K>(Arc<Seat<K>>);

impl<K> Grip<K> {
    pub(crate) fn new(seat: Arc<Seat<K>>) -> Self {
        // Relaxed: pairs with `is_gripped`; the peer was marked as used when it was looked up.
        seat.grips.fetch_add(1, Ordering::Relaxed);
        Self(seat)
    }

    #[inline]
    pub(crate) fn seat(&self) -> &Arc<Seat<K>> {
        &self.0
    }
}

impl<K> Drop for Grip<K> {
    fn drop(&mut self) {
        let Self(seat) = self;
        if seat.tracker.rests().is_none() && !seat.tracker.core().is_removed() {
            seat.tracker.touch(seat.shared.env.clock.now());
        }
        seat.used();
        // Release: pairs with the Acquire in `is_gripped`; see there.
        seat.grips.fetch_sub(1, Ordering::Release);
    }
}
