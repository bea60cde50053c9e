//! What a driver knows: who is to be called, and how it goes. Its handles change it, its task and
//! its calls read and change it.
//!
//! The lock is held for a few steps of the agenda and nothing else: no operation, no listener and no
//! clock runs under it, no key is dropped under it, and nothing is awaited.

use std::future::pending;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::Inner;
use super::agenda::{Agenda, Run};
use super::driver::DriverStats;
use super::trouble::{self, Trouble};
use crate::answer::{Reason, Refused};
use crate::backoff::Jitter;
use crate::registry::PeerKey;
use crate::sync::Arc;
use crate::time::{Tick, nanos};

/// A peer that cannot be called now is not looked at again before that: tokio's timers are no finer.
const LEAST: Duration = Duration::from_millis(1);
/// How soon a peer is looked at again that somebody else calls at the moment.
const BUSY: Duration = Duration::from_millis(20);

pub(super) struct Work<K> {
    pub(super) inner: Arc<Inner<K>>,
    state: Mutex<State<K>>,
    wake: Notify,
    /// Closed when the driver has ended.
    over: watch::Receiver<()>,
    began: Instant,
}

pub(super) struct State<K> {
    pub(super) agenda: Agenda<K, AbortHandle>,
    pub(super) stats: DriverStats,
    pub(super) closing: bool,
    /// Calls fail for a reason of our own.
    pub(super) trouble: Option<Trouble>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    Call,
    /// Nothing, until then or until something happens.
    Wait(Option<Tick>),
    End,
}

/// Held by the driver's task: when it goes, the driver has ended, however it did.
pub(super) struct Alive<K: PeerKey> {
    work: Arc<Work<K>>,
    _over: watch::Sender<()>,
}

impl<K: PeerKey> Drop for Alive<K> {
    fn drop(&mut self) {
        self.work.change(|state, _| {
            state.closing = true;
            state.agenda.clear();
        });
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    Succeeded,
    /// It failed for a reason of our own.
    Local,
    Failed {
        /// Whether such a failure may pass by itself.
        worth: bool,
        /// Whether the budget allows another attempt.
        allowed: bool,
        /// No attempt is to be made before that.
        least: Duration,
    },
}

impl<K: PeerKey> State<K> {
    fn plan(&self, now: Tick) -> Plan {
        if self.closing {
            return Plan::End;
        }
        let Some(due) = self.agenda.next().filter(|_| !self.stats.paused) else {
            return Plan::Wait(None);
        };
        let at = self.trouble.map_or(due, |trouble| trouble.not_before(due));
        if at <= now { Plan::Call } else { Plan::Wait(Some(at)) }
    }
}

impl<K: PeerKey> Work<K> {
    pub(super) fn new(inner: Arc<Inner<K>>) -> (Arc<Self>, Alive<K>) {
        let (alive, over) = watch::channel(());
        let (agenda, stats) = (Agenda::new(), DriverStats::default());
        let state = Mutex::new(State { agenda, stats, closing: false, trouble: None });
        let work = Self { inner, state, wake: Notify::new(), over, began: Instant::now() };
        let work = Arc::new(work);
        (Arc::clone(&work), Alive { work, _over: alive })
    }

    fn with<R>(&self, look: impl FnOnce(&mut State<K>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = look(&mut state);
        let gone = state.agenda.take_gone();
        drop(state);
        drop(gone);
        seen
    }

    /// Changes what there is to do, and lets the driver look at it.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut State<K>, Tick) -> R) -> R {
        let now = self.now();
        let changed = self.with(|state| change(state, now));
        self.wake.notify_one();
        changed
    }

    fn now(&self) -> Tick {
        Tick(nanos(self.began.elapsed()))
    }

    pub(super) fn stats(&self) -> DriverStats {
        self.with(|state| {
            let (count, local_trouble) = (state.agenda.count(), state.trouble.is_some());
            let (waiting, running) = (count.waiting, count.running);
            DriverStats { waiting, running, local_trouble, ..state.stats }
        })
    }

    pub(super) fn over(&self) -> watch::Receiver<()> {
        self.over.clone()
    }

    pub(super) fn plan(&self) -> Plan {
        let now = self.now();
        self.with(|state| state.plan(now))
    }

    /// Until something was changed.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    pub(super) async fn until(&self, at: Option<Tick>) {
        match at.and_then(|at| self.began.checked_add(Duration::from_nanos(at.0))) {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }

    pub(super) fn remove(&self, peer: &K) -> bool {
        let removed = self.change(|state, _| {
            let removed = state.agenda.remove(peer)?;
            if let (Some(trouble), Some(run)) = (&mut state.trouble, removed.run) {
                trouble.not_probed_by(run);
            }
            Some(removed)
        });
        let Some(removed) = removed else { return false };
        if let Some(call) = removed.call {
            call.abort();
        }
        true
    }

    /// Takes the peer that is to be called now, if there is one.
    pub(super) fn take(&self) -> Option<(K, Run)> {
        let now = self.now();
        self.with(|state| {
            if state.plan(now) != Plan::Call {
                return None;
            }
            let (peer, run) = state.agenda.take(now)?;
            if let Some(trouble) = &mut state.trouble {
                trouble.probed_by(run.number, now);
            }
            Some((peer, run))
        })
    }

    /// The peer that was taken is not called now: somebody else calls it.
    pub(super) fn busy(&self, peer: &K, run: Run) {
        self.not_begun(peer, run, Some(BUSY));
    }

    /// The peer that was taken is not called now: the registry refuses it.
    pub(super) fn refused(&self, peer: &K, run: Run, refused: Refused) {
        let wait = match (refused.reason, refused.retry_after) {
            (Reason::ForcedOpen, _) => None,
            (_, Some(wait)) => Some(wait),
            // Others probe it, each for as long as an attempt may take.
            (_, None) => Some(self.inner.deadline),
        };
        self.not_begun(peer, run.refused(), wait);
    }

    fn not_begun(&self, peer: &K, run: Run, wait: Option<Duration>) {
        self.change(|state, now| {
            if let Some(trouble) = &mut state.trouble {
                trouble.not_probed_by(run.number);
            }
            match wait {
                Some(wait) => state.agenda.retry(peer, run, now.plus(nanos(wait.max(LEAST)))),
                None => {
                    state.stats.given_up += 1;
                    state.agenda.done(peer, run, now);
                }
            }
        });
    }

    /// A call is about to begin.
    pub(super) fn begun(&self) {
        self.with(|state| state.stats.started += 1);
    }

    /// `call` stops it. If the peer was removed since it was taken, that is done at once.
    pub(super) fn attach(&self, peer: &K, run: Run, call: AbortHandle) {
        if let Some(call) = self.with(|state| state.agenda.attach(peer, run, call)) {
            call.abort();
        }
    }

    /// Takes what became of a call.
    pub(super) fn ended(&self, peer: &K, run: Run, ending: Ending) {
        let (u, retry) = (self.draw(run), &self.inner.retry);
        self.change(|state, now| {
            let local = matches!(ending, Ending::Local);
            state.trouble = Trouble::after(state.trouble, run, local, now, u);
            let (agenda, stats) = (&mut state.agenda, &mut state.stats);
            match ending {
                Ending::Succeeded => {
                    stats.succeeded += 1;
                    agenda.done(peer, run, now);
                }
                Ending::Local => {
                    stats.failed += 1;
                    let run = run.failed_locally();
                    let wait = trouble::pause(u32::from(run.local), u);
                    agenda.retry(peer, run, now.plus(nanos(wait)));
                }
                Ending::Failed { worth, allowed, least } => {
                    stats.failed += 1;
                    let soon = retry.delay(1, Jitter::Factor, Duration::ZERO, u);
                    if agenda.retry_on_news(peer, run, now.plus(nanos(soon))) {
                        return;
                    }
                    let run = run.failed();
                    let worth = worth && retry.should_retry(run.attempts);
                    if worth && allowed {
                        let wait = retry.delay(run.attempts, Jitter::Factor, Duration::ZERO, u);
                        agenda.retry(peer, run, now.plus(nanos(wait.max(least))));
                    } else {
                        stats.given_up += 1;
                        stats.retries_refused += u64::from(worth);
                        agenda.done(peer, run, now);
                    }
                }
            }
        });
    }

    /// A number from [0, 1) for the jitter.
    fn draw(&self, run: Run) -> f64 {
        match self.inner.seed {
            Some(seed) => SmallRng::seed_from_u64(seed ^ run.number).random(),
            None => rand::rng().random(),
        }
    }
}
