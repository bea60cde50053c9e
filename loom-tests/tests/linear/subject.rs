//! One peer, as a registry would keep it, and a time that records which thread has read it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::circuit::{Admission, Circuit, Control, Outcome, Reported, Ticket};
use crate::config::HealthConfig;
use crate::error::Failure;
use crate::event::EventKind;
use crate::outcome::{Reason, Recorded, Refused};
use crate::peer::{Announcement, PeerEntry, RegistryShared};
use crate::permit::OwnedPermit;
use crate::snapshot::PeerTotals;
use crate::sync::Arc;
use crate::time::{Clock, Tick};
use crate::tracker::{Context, Tracker, View};

pub(crate) const SALT: u64 = 0x5EED;

/// The events of the listener.
type Told = Arc<Mutex<Vec<(u64, EventKind)>>>;

/// A peer, its entry, and the events of its listener.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) entry: Arc<PeerEntry<()>>,
    told: Told,
}

impl Peer {
    pub(crate) fn new(config: &HealthConfig, clock: Clock) -> Self {
        let told = Told::default();
        let listener = Arc::clone(&told);
        let sink = move |_: &PeerEntry<()>, said| {
            if let Announcement::Event(generation, kind) = said {
                listener.lock().unwrap_or_else(PoisonError::into_inner).push((generation, kind));
            }
        };
        let rules = Arc::new(config.check().expect("a sound configuration"));
        let shared =
            Arc::new(RegistryShared::new(Context::new(clock, rules), Box::new(sink), false));
        let tracker = Tracker::new(Arc::new(Circuit::new(0)), SALT, 0);
        Self { entry: Arc::new(PeerEntry::new(tracker, shared, ())), told }
    }

    pub(crate) fn circuit(&self) -> View {
        self.entry.tracker.circuit()
    }

    /// Returns the events in the order of generations, which are all different (R29).
    pub(crate) fn told(&self) -> Vec<EventKind> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.sort_by_key(|(generation, _)| *generation);
        assert!(told.windows(2).all(|two| two[0].0 < two[1].0), "told twice: {told:?}");
        told.into_iter().map(|(_, kind)| kind).collect()
    }

    /// Checks that the listener heard of each generation once (R13, R29), and that no permit counted twice
    /// or not at all (R8), if this many have ended.
    pub(crate) fn audit(&self, ended: usize) {
        let circuit = self.circuit();
        assert_eq!(self.told().len() as u64, circuit.generation, "transitions told");
        assert_eq!(self.totals().settled(), ended as u64, "permits ended: {:?}", self.totals());
    }

    /// Returns all counts, before a removal and after it.
    pub(crate) fn totals(&self) -> PeerTotals {
        let mut totals = self.entry.shared.ledger.totals().all;
        totals.add(self.entry.tracker.totals());
        totals
    }

    pub(crate) fn acquire(&self) -> Result<OwnedPermit<()>, Reason> {
        self.answer(self.admission())
    }

    /// Asks for admission, in the order of the registry and of a handle.
    pub(crate) fn admission(&self) -> Admission {
        match self.entry.admit_at_rest().or_else(|| self.entry.admit_in_streak()) {
            Some(ticket) => Admission::Admitted(ticket),
            None => self.admission_by_value(),
        }
    }

    /// Asks for admission where the word admits nobody.
    pub(crate) fn admission_by_value(&self) -> Admission {
        match self.entry.refuse_in_wait() {
            Ok(rest) => Admission::Refused(Refused::in_wait(rest)),
            Err(circuit) => self.entry.acquire(circuit),
        }
    }

    /// Converts an admission to the caller's answer.
    pub(crate) fn answer(&self, admission: Admission) -> Result<OwnedPermit<()>, Reason> {
        match admission {
            Admission::Admitted(ticket) => Ok(self.permit(ticket)),
            Admission::Refused(refused) => Err(refused.reason),
            Admission::Gone => unreachable!("nobody removes the peer here"),
        }
    }

    pub(crate) fn permit(&self, ticket: Ticket) -> OwnedPermit<()> {
        OwnedPermit::owned(Arc::clone(&self.entry), ticket)
    }

    /// Ends the tracker as a registry does, which keeps its counts.
    pub(crate) fn remove(&self) -> bool {
        let (totals, emitted) = self.entry.remove();
        self.entry.tell(&emitted);
        totals.map(|totals| self.entry.shared.ledger.add(totals)).is_some()
    }

    pub(crate) fn control(&self, control: Control) -> bool {
        let (done, emitted) = self.entry.tracker.control(&self.entry.shared.context, control);
        self.entry.tell(&emitted);
        done.is_some()
    }

    pub(crate) fn report(
        &self,
        outcome: Outcome,
        failure: Option<&Failure>,
    ) -> (Reported<Recorded>, u32) {
        let entry = &self.entry;
        let (reply, attempt, emitted) =
            entry.tracker.report(&entry.shared.context, outcome, failure);
        entry.tell(&emitted);
        (reply, attempt)
    }
}

/// A time that is moved by hand and records, for each thread, its last reading. A read of it is no
/// scheduling point: it lies between two, and has no order with the circuit.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<Mutex<Readings>>);

#[derive(Default)]
struct Readings {
    now: u64,
    told: [Option<Tick>; 4],
}

impl Time {
    pub(crate) fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::from_fn(move || {
            time.with(|readings| {
                readings.told[me()] = Some(Tick(readings.now));
                Duration::from_nanos(readings.now)
            })
        })
    }

    pub(crate) fn advance(&self, nanos: u64) {
        self.with(|readings| readings.now += nanos);
    }

    /// Returns this thread's readings since the last call.
    pub(crate) fn told(&self) -> Option<Tick> {
        self.with(|readings| readings.told[me()].take())
    }

    fn with<R>(&self, f: impl FnOnce(&mut Readings) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the number of this thread in its model; the first is 0.
pub(crate) fn me() -> usize {
    shuttle::current::me().into()
}
