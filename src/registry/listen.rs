//! Who is told of transitions (R29): the builder's listener first, then those that were added.
//!
//! The list is an immutable value that is swapped as a whole. Whoever tells takes the list as it is
//! and holds nothing else: a listener may add listeners, remove itself, or take its time.
//!
//! Who begins to listen and then looks misses nothing: a transition is told to it, or was made
//! before it looks. See [`Listeners::now`].

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::key::PeerKey;
use super::{HealthRegistry, builder};
use crate::event::{Event, EventKind};
use crate::sync::{Arc, AtomicU64, Ordering, Swap};

/// A listener, as it was given.
pub(super) type Listener<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;

type List<K> = Vec<Arc<Listener<K>>>;

pub(super) struct Listeners<K> {
    list: Swap<List<K>>,
    /// Where those who tell and those who begin to listen meet.
    meeting: AtomicU64,
}

impl<K: PeerKey> Listeners<K> {
    pub(super) fn new(first: Option<Listener<K>>) -> Self {
        let list = first.into_iter().map(Arc::new).collect();
        Self { list: Swap::new(Arc::new(list)), meeting: AtomicU64::new(0) }
    }

    /// The list for who has made a transition.
    fn now(&self) -> Arc<List<K>> {
        // AcqRel: pairs with the one in `add`. Of two read-modify-writes one comes first: if it is
        // this, who begins to listen finds the transition that was made before; if it is that, the
        // list that is loaded next has the new listener.
        self.meeting.fetch_add(1, Ordering::AcqRel);
        // No guard of the swap lives while a listener runs.
        Arc::clone(&self.list.load())
    }

    /// Tells everybody, with no lock held. A listener that panics loses this event, nobody else.
    pub(super) fn tell(&self, peer: &K, generation: u64, kind: EventKind) {
        let list = self.now();
        if list.is_empty() {
            return;
        }
        let event = Event::new(peer.clone(), generation, kind);
        for listener in &*list {
            if catch_unwind(AssertUnwindSafe(|| listener(&event))).is_err() {
                builder::log_lost(&event);
            }
        }
        // The last to let go of a listener that was removed meanwhile drops what it holds.
        if catch_unwind(AssertUnwindSafe(move || drop(list))).is_err() {
            builder::log_lost(&event);
        }
    }

    fn add(&self, listener: &Arc<Listener<K>>) {
        self.change(|list| list.iter().chain([listener]).map(Arc::clone).collect());
        // AcqRel: pairs with the one in `now`; see there.
        self.meeting.fetch_add(1, Ordering::AcqRel);
    }

    fn remove(&self, listener: &Arc<Listener<K>>) {
        let others = |other: &&Arc<Listener<K>>| !Arc::ptr_eq(other, listener);
        self.change(|list| list.iter().filter(others).map(Arc::clone).collect());
    }

    fn change(&self, next: impl Fn(&List<K>) -> List<K>) {
        let mut seen = self.list.load();
        while let Err(found) = self.list.compare_and_swap(&seen, Arc::new(next(&seen))) {
            seen = found;
        }
    }
}

/// A listener that was added by [`HealthRegistry::listen`]: it is told of transitions until this is
/// dropped, or the registry is.
///
/// ```
/// use peer_health::{HealthRegistry, Listening};
///
/// let registry = HealthRegistry::<u32>::new();
/// let listening: Listening = registry.listen(|event| println!("{event:?}"));
/// drop(listening);
/// ```
#[must_use = "the listener is removed when this is dropped"]
pub struct Listening {
    stop: Box<dyn Fn() + Send + Sync>,
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Adds a listener: told of each transition that is made from now on, after those that were
    /// added before it, the builder's first. As for [that one](super::RegistryBuilder::listener):
    /// it is told by the thread that made the transition, while no lock is held, and should be
    /// quick; if it panics, that event is lost to it alone, and an error is logged.
    ///
    /// Whoever looks at a peer after this, misses none of its transitions: each was made before
    /// the look, or is told. When the returned value is dropped, events that are being told at
    /// that moment may still arrive.
    ///
    /// The registry keeps its listeners: one that holds the registry keeps it for good.
    ///
    /// ```
    /// use peer_health::{EventKind, HealthRegistry};
    /// use std::sync::mpsc;
    ///
    /// let registry = HealthRegistry::<u32>::new();
    /// let (tell, told) = mpsc::channel();
    /// let listening = registry.listen(move |event| tell.send(event.kind).unwrap_or_default());
    /// registry.force_open(&7)?;
    /// registry.reset(&7);
    /// drop(listening);
    /// registry.remove(&7);
    /// assert_eq!(told.iter().last(), Some(EventKind::Reset));
    /// # Ok::<(), peer_health::Untracked>(())
    /// ```
    pub fn listen(&self, listener: impl Fn(&Event<K>) + Send + Sync + 'static) -> Listening {
        let listeners = Arc::clone(&self.inner.listeners);
        let listener: Arc<Listener<K>> = Arc::new(Box::new(listener));
        listeners.add(&listener);
        Listening { stop: Box::new(move || listeners.remove(&listener)) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        (self.stop)();
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}
