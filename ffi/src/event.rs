//! Events in a bounded queue, to poll or to await. Nothing calls back on the thread that changed a circuit:
//! that thread may hold its language's lock.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use peer_health::{Event as CoreEvent, EventKind as CoreKind, Listening};

use crate::error::HealthError;
use crate::peer::PeerId;
use crate::snapshot::Status;
use crate::time::wait;

/// What happened to the circuit of one peer.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
#[non_exhaustive]
pub struct Event {
    /// Whose circuit it is.
    pub peer: Vec<u8>,
    /// The number of the circuit's phase; it rises with each transition of one peer.
    pub generation: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum EventKind {
    /// The circuit opened.
    Opened {
        /// For how long.
        retry_after: Duration,
        /// Whether a probe had failed.
        reopened: bool,
    },
    /// Probes are admitted.
    HalfOpened,
    /// The circuit closed.
    Closed,
    /// An operator set the circuit.
    Overridden {
        /// To what.
        status: Status,
    },
    /// An operator reset the circuit.
    Reset,
    /// The registry has forgotten the peer, for lack of room or use.
    Evicted,
    /// The program removed the peer.
    Removed,
    /// The circuit would have opened, but many peers fail at once: this node is probably offline.
    LocalOutage,
    /// That is over.
    LocalRecovered,
    /// What this version of the bindings does not know.
    Other,
}

impl From<&CoreEvent<PeerId>> for Event {
    fn from(event: &CoreEvent<PeerId>) -> Self {
        let kind = match event.kind {
            CoreKind::Opened { retry_after, reopened, .. } => {
                EventKind::Opened { retry_after: wait(retry_after), reopened }
            }
            CoreKind::HalfOpened => EventKind::HalfOpened,
            CoreKind::Closed => EventKind::Closed,
            CoreKind::Overridden(status) => EventKind::Overridden { status: status.into() },
            CoreKind::Reset => EventKind::Reset,
            CoreKind::Evicted => EventKind::Evicted,
            CoreKind::Removed => EventKind::Removed,
            CoreKind::LocalOutage => EventKind::LocalOutage,
            CoreKind::LocalRecovered => EventKind::LocalRecovered,
            _ => EventKind::Other,
        };
        Self { peer: event.peer.to_bytes(), generation: event.generation, kind }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    missed: u64,
    closed: bool,
    /// Of futures that wait, each under a number of its own, so that one that is dropped takes its waker along.
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

/// A queue that drops what comes while it is full, and counts it.
#[derive(Debug)]
pub(crate) struct Queue {
    capacity: usize,
    waiting: Mutex<Waiting>,
    told: Condvar,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, waiting: Mutex::default(), told: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the queue, then tells everyone who waits; wakers are foreign code, and run without the lock.
    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let wakers = {
            let mut waiting = self.lock();
            change(&mut waiting);
            std::mem::take(&mut waiting.wakers)
        };
        self.told.notify_all();
        wakers.into_values().for_each(Waker::wake);
    }

    pub(crate) fn push(&self, event: Event) {
        self.change(|waiting| match waiting.events.len() < self.capacity {
            _ if waiting.closed => {}
            true => waiting.events.push_back(event),
            false => waiting.missed = waiting.missed.saturating_add(1),
        });
    }

    /// Lets nothing more in: who waits finds what is left, or the end.
    pub(crate) fn close(&self) {
        self.change(|waiting| waiting.closed = true);
    }
}

/// Waits until there is an event or there will be none; it takes none, so that a wait that is dropped loses none.
struct Ready {
    queue: Arc<Queue>,
    number: Option<u64>,
}

impl Future for Ready {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let waker = context.waker().clone(); // foreign code, before the lock
        let queue = Arc::clone(&self.queue);
        let mut waiting = queue.lock();
        if !waiting.events.is_empty() || waiting.closed {
            return Poll::Ready(!waiting.events.is_empty());
        }
        let number = self.number.unwrap_or(waiting.next);
        if self.number.is_none() {
            waiting.next += 1;
            self.number = Some(number);
        }
        let old = waiting.wakers.insert(number, waker);
        drop(waiting);
        drop(old); // foreign code, after the lock
        Poll::Pending
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.queue.lock().wakers.remove(&number);
            drop(waker);
        }
    }
}

/// The events of a registry since the stream was made, in order, up to a capacity. The stream ends with `stop`, or
/// with the registry.
#[derive(Debug, uniffi::Object)]
pub struct Events {
    queue: Arc<Queue>,
    listening: Mutex<Option<Listening>>,
}

impl Events {
    pub(crate) fn new(queue: Arc<Queue>, listening: Listening) -> Arc<Self> {
        Arc::new(Self { queue, listening: Mutex::new(Some(listening)) })
    }
}

#[uniffi::export]
impl Events {
    /// Returns up to `max` events, and waits for the first of them for up to `timeout`. None are returned when the
    /// time has passed, or the stream is closed and empty.
    ///
    /// # Errors
    ///
    /// `Invalid` where `max` is 0.
    pub fn next_events(&self, max: u32, timeout: Duration) -> Result<Vec<Event>, HealthError> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        if max == 0 {
            return Err(HealthError::invalid("max", "0".into(), "must be at least 1"));
        }
        let idle = |waiting: &mut Waiting| waiting.events.is_empty() && !waiting.closed;
        let told = self.queue.told.wait_timeout_while(self.queue.lock(), wait(timeout), idle);
        let (mut waiting, _) = told.unwrap_or_else(PoisonError::into_inner);
        let count = max.min(waiting.events.len());
        Ok(waiting.events.drain(..count).collect())
    }

    /// Waits on the executor of the caller's language: true once an event is there, false once the stream is closed
    /// and empty. It takes no event, so that a call that is cancelled loses none: `next_events` with a `timeout` of
    /// zero takes it, and returns none where another task was faster; the caller then waits again.
    pub async fn ready(&self) -> bool {
        Ready { queue: Arc::clone(&self.queue), number: None }.await
    }

    /// Returns whether the stream is closed and empty, so that no further event will come.
    pub fn ended(&self) -> bool {
        let waiting = self.queue.lock();
        waiting.closed && waiting.events.is_empty()
    }

    /// Returns how many events did not fit: the program then looks at the peers it cares for.
    pub fn missed(&self) -> u64 {
        self.queue.lock().missed
    }

    /// Ends the stream. What waits returns; events that are in the queue are still to be had.
    pub fn stop(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(listening);
        self.queue.close();
    }
}
