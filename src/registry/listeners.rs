//! Who is told of transitions (R29): the builder's listeners first, then those that were added.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::key::PeerKey;
use super::subscribers::{Subscribers, Unsubscribe, tell_each};
use super::{HealthRegistry, log};
use crate::event::{Event, EventKind};
use crate::foreign::{Own, guarded};
use crate::sync::Arc;

/// A listener, as it was given.
pub(super) type Listener<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;

pub(super) struct Listeners<K>(Subscribers<Listener<K>>);

impl<K: PeerKey> Listeners<K> {
    pub(super) fn new(first: Vec<Listener<K>>) -> Self {
        Self(Subscribers::new(first))
    }

    /// Tells everybody, with no lock held, before anything is logged. `false` if the event could not be
    /// made, since the key could not be cloned: nobody has heard.
    pub(super) fn tell(&self, peer: &K, generation: u64, kind: EventKind) -> bool {
        let list = self.0.now();
        if list.is_empty() {
            return true;
        }
        let event = guarded(|| Own::new(Event::new(peer.clone(), generation, kind)));
        let lost = match &event {
            Some(event) => tell_each(&list, |listener| listener(event)),
            None => 1,
        };
        (0..lost).for_each(|_| log::lost(peer, generation, kind));
        event.is_some()
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
    _stop: Unsubscribe,
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Adds a listener: told of each transition that is made from now on, after those that were
    /// added before it, the builder's first. As for [that one](super::RegistryBuilder::listener):
    /// it is told by the thread that made the transition, while no lock is held, and should be
    /// quick; if it panics, that event is lost to it alone, and an error is logged.
    ///
    /// A caller that looks at a peer after this misses none of its transitions: each was made before
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
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn listen(&self, listener: impl Fn(&Event<K>) + Send + Sync + 'static) -> Listening {
        let listeners = Arc::clone(&self.inner.listeners);
        let listener = listeners.0.add(Box::new(listener));
        Listening { _stop: Unsubscribe(Box::new(move || listeners.0.remove(&listener))) }
    }
}

// As for the registry that is listened to.
impl UnwindSafe for Listening {}
impl RefUnwindSafe for Listening {}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}
