//! The stream of all events, for a reader that may lag.
//!
//! Each stream has a queue of its own. When the queue is full, the oldest event gives way and is
//! counted. So threads that make transitions never wait for a reader, and a reader learns how many
//! events it missed before it gets the next.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::task::coop;

use super::HealthMonitor;
use crate::event::Event;
use crate::foreign::{Own, guarded};
use crate::registry::hook::{HookNotice, Hooked};
use crate::registry::{Listening, PeerKey};
use crate::sync::Arc;
use crate::wakers::WakerSlot;

/// An item of [`Events`]: an event, or how many of them the reader missed.
///
/// ```
/// use peer_health::Notice;
/// let notice = Notice::<u32>::Lagged(3);
/// assert!(matches!(notice, Notice::Lagged(n) if n > 0));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Notice<K> {
    /// A transition of a peer, or the beginning or end of a local outage.
    Event(Event<K>),
    /// The reader lagged, and this many events are gone. Read from the registry what they led to: see
    /// [`HealthMonitor::subscribe`].
    Lagged(u64),
}

/// A stream of all transitions of a registry since [`HealthMonitor::subscribe`]. It gives [`Notice`]s as
/// a [`Stream`], or by [`recv`](Self::recv).
///
/// ```
/// use peer_health::{Events, EventKind, HealthMonitor, HealthRegistry, Notice};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let registry = HealthRegistry::<u32>::new();
/// let mut events: Events<u32> = HealthMonitor::new(registry.clone()).subscribe();
/// registry.force_open(&7).unwrap();
/// registry.remove(&7);
/// assert!(matches!(events.recv().await, Notice::Event(event) if event.peer == 7));
/// assert!(matches!(events.recv().await, Notice::Event(event) if event.kind == EventKind::Removed));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Events<K> {
    queue: Arc<EventQueue<K>>,
    _listening: Listening,
    _hooked: Hooked,
    /// The monitor listens before this stream does, so it knows what an event has led to.
    _monitor: HealthMonitor<K>,
}

struct EventQueue<K> {
    capacity: usize,
    waiting: Mutex<QueuedEvents<K>>,
    waker: WakerSlot,
}

struct QueuedEvents<K> {
    /// The events that wait; each is dropped guarded, since its key is the user's.
    events: VecDeque<Own<Event<K>>>,
    /// The number of events that were missed before the first that waits.
    missed: u64,
}

impl<K> EventQueue<K> {
    fn new(capacity: usize) -> Self {
        let waiting = Mutex::new(QueuedEvents { events: VecDeque::new(), missed: 0 });
        Self { capacity, waiting, waker: WakerSlot::default() }
    }

    fn locked(&self) -> MutexGuard<'_, QueuedEvents<K>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. The one that gives way is dropped, and the reader is woken, when nothing is locked.
    fn push(&self, event: Own<Event<K>>) {
        let mut waiting = self.locked();
        let full = waiting.events.len() >= self.capacity;
        let gone = if full { waiting.events.pop_front() } else { None };
        waiting.missed = waiting.missed.saturating_add(u64::from(full));
        waiting.events.push_back(event);
        drop(waiting);
        self.waker.wake();
        drop(gone);
    }

    /// Counts an event that is lost, since its key could not be cloned.
    fn miss(&self) {
        let mut waiting = self.locked();
        waiting.missed = waiting.missed.saturating_add(1);
        drop(waiting);
        self.waker.wake();
    }

    /// Takes the next notice: events that were missed come before the first that was not.
    fn pop(&self) -> Option<Notice<K>> {
        let mut waiting = self.locked();
        match mem::take(&mut waiting.missed) {
            0 => waiting.events.pop_front().and_then(Own::take).map(Notice::Event),
            missed => Some(Notice::Lagged(missed)),
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Notice<K>> {
        // A reader that always finds an event yields to other tasks now and then.
        let progress = ready!(coop::poll_proceed(cx));
        let found = self.pop().or_else(|| {
            self.waker.register(cx.waker());
            self.pop()
        });
        found.map_or(Poll::Pending, |notice| {
            progress.made_progress();
            Poll::Ready(notice)
        })
    }
}

impl<K: PeerKey> HealthMonitor<K> {
    /// Returns a stream of all transitions from now on. A reader that lags by more than the
    /// [capacity](super::MonitorBuilder::capacity) gets a [`Notice::Lagged`] with the number of events
    /// that it missed.
    ///
    /// The stream keeps the registry alive, and does not end by itself.
    ///
    /// # Consistency
    ///
    /// Two threads may deliver the transitions of one peer in the other order; the generation of an
    /// event tells which is later, also across removal and eviction. A reader that keeps the state of
    /// peers reads a peer from the registry when an event names it, and all peers at the beginning and
    /// after [`Notice::Lagged`]. It then finds what every event led to that it got before, or missed.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry, Notice, Status};
    /// use std::collections::HashMap;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let registry = HealthRegistry::<u32>::new();
    /// let monitor = HealthMonitor::builder(registry.clone()).capacity(2).build().unwrap();
    /// let mut events = monitor.subscribe();
    /// for peer in 0..5 {
    ///     registry.force_open(&peer).unwrap();
    /// }
    ///
    /// let mut states = HashMap::new();
    /// for _ in 0..3 {
    ///     match events.recv().await {
    ///         Notice::Event(event) => {
    ///             states.insert(event.peer, registry.status(&event.peer));
    ///         }
    ///         Notice::Lagged(n) => {
    ///             assert_eq!(n, 3);
    ///             states.clear();
    ///             registry.for_each(|peer, seen| {
    ///                 states.insert(*peer, seen.status);
    ///             });
    ///         }
    ///         _ => {}
    ///     }
    /// }
    /// assert_eq!(states, (0..5).map(|peer| (peer, Status::ForcedOpen)).collect());
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn subscribe(&self) -> Events<K> {
        let queue = Arc::new(EventQueue::new(self.shared.capacity));
        let (end, unheard) = (Arc::clone(&queue), Arc::clone(&queue));
        let listening =
            self.shared.registry.listen(move |event| match guarded(|| Own::new(event.clone())) {
                Some(event) => end.push(event),
                None => end.miss(),
            });
        let hooked = self.shared.registry.hook(move |notice| {
            if matches!(notice, HookNotice::Unheard(_)) {
                unheard.miss();
            }
        });
        Events { queue, _listening: listening, _hooked: hooked, _monitor: self.clone() }
    }
}

impl<K: PeerKey> Events<K> {
    /// Waits for the next event, or tells how many were missed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event: those that wait stay for the next call.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry, Notice};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let registry = HealthRegistry::<u32>::new();
    /// let mut events = HealthMonitor::new(registry.clone()).subscribe();
    /// registry.disable(&7).unwrap();
    /// assert!(matches!(events.recv().await, Notice::Event(_)));
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn recv(&mut self) -> Notice<K> {
        poll_fn(|cx| self.queue.poll(cx)).await
    }
}

impl<K: PeerKey> Stream for Events<K> {
    type Item = Notice<K>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll(cx).map(Some)
    }
}

impl<K: PeerKey> fmt::Debug for Events<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("capacity", &self.queue.capacity).finish_non_exhaustive()
    }
}
