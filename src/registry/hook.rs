//! What a coordinator is told by the registry, and how it sees a peer: what it needs in order to
//! follow the circuits instead of asking them again and again.
//!
//! A hook is told after the listeners, by the thread that made the step, while no lock is held. It
//! hears more than they do: a probe that ended without deciding, a wait that was cut short, a new
//! configuration. A success of a healthy peer tells nobody anything.

use std::time::Duration;

use super::subscribers::{Subscribers, Unsubscribe, tell_each};
use super::{HealthRegistry, PeerKey, log};
use crate::circuit::Phase;
use crate::outcome::Refused;
use crate::sync::Arc;
use crate::time::{Clock, Tick};

/// What a hook is told.
pub(crate) enum HookNotice<'a, K> {
    /// A step was made by which the peer may be admitted earlier than it seemed, or stands
    /// otherwise.
    Peer(&'a K),
    /// The peer's tracker is gone, evicted or removed; whether a success was ever recorded in it.
    Gone { peer: &'a K, answered: bool },
    /// A step of the peer was made of which no listener has heard: its key could not be cloned.
    Unheard(&'a K),
    /// The configuration was replaced.
    Configured,
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

/// A hook that was added: it is told until this is dropped.
#[must_use = "the hook is removed when this is dropped"]
pub(crate) struct Hooked {
    _stop: Unsubscribe,
}

/// How a peer stands, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Whether a success was recorded in its tracker, by a permit or a report.
    pub(crate) answered: bool,
    /// Whether a streak is running, or the circuit is open or half-open; under an override, not.
    pub(crate) troubled: bool,
    /// What `acquire` would answer now; `None` if it would admit.
    pub(crate) refused: Option<Refused>,
    /// Where the probes are out: how long until time alone frees a slot, by a lease that runs out or
    /// by the age of the phase; `None` if it never does. Zero if the phase is as old as it may get, and
    /// opens as soon as somebody asks, which is then refused as `refused` says.
    pub(crate) look_again: Option<Duration>,
    pub(crate) opened_at: Option<Tick>,
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Adds a hook: told of each step that is made from now on. Whoever looks at a peer after this
    /// misses none: each was made before the look, or is told.
    pub(crate) fn hook(&self, hook: impl Fn(HookNotice<'_, K>) + Send + Sync + 'static) -> Hooked {
        let hooks = Arc::clone(&self.inner.hooks);
        let hook = hooks.0.add(Box::new(hook));
        Hooked { _stop: Unsubscribe(Box::new(move || hooks.0.remove(&hook))) }
    }

    /// How a peer stands. Asks for no admission: no refusal is counted, and it is no use of the
    /// peer. An unknown peer stands as a new one.
    pub(crate) fn standing(&self, peer: &K) -> Standing {
        let Some(entry) = self.known(peer) else { return Standing::default() };
        let (context, circuit) = (&self.shared().context, entry.tracker.circuit());
        // Of a peer that admits all, nobody asks the time.
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
            answered: entry.tracker.successes() > 0,
            troubled,
            refused,
            look_again: look_again.map(|at| Duration::from_nanos(at.since(now))),
            opened_at: circuit.opened_at(),
        }
    }

    /// Why the peer may not be called now, counted as a refusal; nothing is moved. `None` if it may be
    /// called, or if a step has to be made to know it: asking to be admitted tells.
    pub(crate) fn refusal(&self, peer: &K) -> Option<Refused> {
        let Standing { refused, look_again, .. } = self.standing(peer);
        let refused = refused.filter(|_| look_again != Some(Duration::ZERO))?;
        self.known(peer)?.tracker.count_refusal(refused.reason);
        Some(refused)
    }

    /// The registry's clock.
    pub(crate) fn clock(&self) -> Clock {
        self.shared().context.clock.clone()
    }

    /// The registry's time.
    pub(crate) fn now(&self) -> Tick {
        self.shared().context.clock.now()
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
