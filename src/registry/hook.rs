//! The registry's hooks: a coordinator hears of steps and looks at a peer, and so follows the circuits
//! without asking them again and again.
//!
//! The thread that made a step calls the hooks, after the listeners and while it holds no lock. A hook hears
//! more than a listener: of a probe that ended without deciding, of a wait that was cut short, of a new
//! configuration. No hook hears of a success of a healthy peer.

use std::time::Duration;

use super::subscribers::{Subscribers, Unsubscribe, tell_each};
use super::{HealthRegistry, PeerKey, log};
use crate::circuit::Phase;
use crate::outcome::Refused;
use crate::sync::{Arc, Ordering};
use crate::time::{Clock, Tick};

/// The news for a hook.
pub(crate) enum HookNotice<'a, K> {
    /// A step lets the peer be admitted earlier than it seemed, or changed its status.
    Peer(&'a K),
    /// The peer's tracker is gone, evicted or removed; `answered` if it ever recorded a success.
    Gone { peer: &'a K, answered: bool },
    /// No listener has heard of a step of the peer, since its key could not be cloned.
    Unheard(&'a K),
    /// The registry has a new configuration.
    Configured,
    /// This node's link is back: all peers may be called now (D8), and what was begun meanwhile is begun again.
    LinkIsBack,
    /// This node's network is another: all peers may be called now (D8).
    #[cfg(feature = "iroh")]
    NewNetwork,
    /// No step: those that drive calls add what they do now.
    #[cfg(feature = "metrics")]
    Count(&'a std::cell::Cell<DriverCounts>),
}

/// What the drivers on a registry do at one moment.
#[cfg(feature = "metrics")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DriverCounts {
    /// The peers that wait to be called.
    pub(crate) waiting: usize,
    /// The peers that are being called.
    pub(crate) running: usize,
    /// The drivers whose calls fail for a reason of this node.
    pub(crate) in_trouble: usize,
}

impl<K> Clone for HookNotice<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for HookNotice<'_, K> {}

type Hook<K> = Box<dyn Fn(HookNotice<'_, K>) + Send + Sync>;

pub(super) struct Hooks<K>(Subscribers<Hook<K>>);

impl<K> Default for Hooks<K> {
    fn default() -> Self {
        Self(Subscribers::new(None))
    }
}

impl<K> Hooks<K> {
    pub(super) fn tell(&self, told: HookNotice<'_, K>) {
        let list = self.0.now();
        if !list.is_empty() {
            let lost = tell_each(&list, |hook| hook(told));
            (0..lost).for_each(|_| log::lost_by_hook());
        }
    }
}

/// A hook that was added: the registry calls it until this is dropped.
#[must_use = "the hook is removed when this is dropped"]
pub(crate) struct Hooked {
    _stop: Unsubscribe,
}

/// The state of a peer for the coordinator, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Whether its tracker recorded a success, by a permit or a report, or was restored as one that did.
    pub(crate) answered: bool,
    /// Whether a streak is running, or the circuit is open or half-open; false under an override.
    pub(crate) troubled: bool,
    /// The refusal that `acquire` would give now; `None` if it would admit.
    pub(crate) refused: Option<Refused>,
    /// While probes are out, the time until a slot becomes free although no probe ends: a lease runs out, or
    /// the phase is old enough; `None` if neither will. Zero if the phase has its greatest age and opens at
    /// the next admission, which it refuses as `refused` says.
    pub(crate) look_again: Option<Duration>,
    pub(crate) opened_at: Option<Tick>,
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Adds a hook, which hears of each step from now on. A caller that looks at a peer after this misses
    /// none: each was made before the look, or the hook hears of it.
    pub(crate) fn hook(&self, hook: impl Fn(HookNotice<'_, K>) + Send + Sync + 'static) -> Hooked {
        let hooks = Arc::clone(&self.inner.hooks);
        let hook = hooks.0.add(Box::new(hook));
        Hooked { _stop: Unsubscribe(Box::new(move || hooks.0.remove(&hook))) }
    }

    /// Returns the state of a peer. It asks for no admission, counts no refusal and notes no use of the
    /// peer. An unknown peer stands as a new one.
    pub(crate) fn standing(&self, peer: &K) -> Standing {
        let Some(entry) = self.known(peer) else { return Standing::default() };
        let (context, circuit) = (&self.shared().context, entry.tracker.circuit());
        // A peer that admits all calls needs no time.
        let now = if circuit.admits_all() { Tick::default() } else { context.clock.now() };
        let circuit = circuit.seen_at(now);
        let refused = entry.tracker.refusal(&circuit, context, now);
        let look_again = match &circuit.phase {
            Phase::HalfOpen(half_open) if refused.is_some() => {
                half_open.frees_at(context.rules().half_open_max)
            }
            _ => None,
        };
        let troubled = match &circuit.phase {
            Phase::Closed(_) => circuit.health.run.streak > 0,
            phase => matches!(phase, Phase::Open(_) | Phase::HalfOpen(_)),
        };
        Standing {
            answered: entry.tracker.has_answered(),
            troubled,
            refused,
            look_again: look_again.map(|at| Duration::from_nanos(at.since(now))),
            opened_at: circuit.opened_at(),
        }
    }

    /// Returns the refusal of a call to the peer, and counts it; no step is made. `None` if the call may be
    /// made, or if only a step can tell: then `acquire` decides.
    pub(crate) fn refusal(&self, peer: &K) -> Option<Refused> {
        let Standing { refused, look_again, .. } = self.standing(peer);
        let refused = refused.filter(|_| look_again != Some(Duration::ZERO))?;
        self.known(peer)?.tracker.count_refusal(refused.reason);
        Some(refused)
    }

    /// Counts an attempt after the first of an operation.
    pub(crate) fn count_retry(&self) {
        // Relaxed: pairs with nothing; a total.
        self.shared().ledger.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt that no budget allowed.
    pub(crate) fn count_refused_retry(&self) {
        // Relaxed: pairs with nothing; a total.
        self.shared().ledger.retries_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks all drivers on this registry what they do now.
    #[cfg(feature = "metrics")]
    pub(crate) fn driver_counts(&self) -> DriverCounts {
        let counts = std::cell::Cell::default();
        self.inner.hooks.tell(HookNotice::Count(&counts));
        counts.get()
    }

    /// Returns the registry's clock.
    pub(crate) fn clock(&self) -> Clock {
        self.shared().context.clock.clone()
    }

    /// Returns the registry's time.
    pub(crate) fn now(&self) -> Tick {
        self.shared().context.clock.now()
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
