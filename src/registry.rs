//! The registry: one circuit breaker per peer, looked up by key.

mod builder;
mod call;
mod control;
mod evict;
mod handle;
#[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "for the coordinator"))]
pub(crate) mod hook;
mod key;
mod link;
mod listeners;
mod log;
#[cfg(feature = "tokio")]
mod names;
mod outage;
mod query;
mod ring;
mod saved;
mod subscribers;
#[cfg(feature = "metrics")]
mod survey;
mod table;
mod timing;
#[cfg(feature = "tokio")]
mod waiting;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::circuit::Reported;
use crate::circuit::{Admission, Outcome, Ticket};
use crate::config::HealthConfig;
use crate::error::Failure;
use crate::outcome::{Recorded, Refused};
use crate::peer::{PeerEntry, RegistryShared};
use crate::permit::{OwnedPermit, PermitTarget};
use crate::snapshot::PeerTotals;
use crate::sync::{Arc, AtomicU8, Mutex, Ordering};
use hook::Hooks;
use listeners::Listeners;
use saved::SuccessMark;
use table::Table;
use timing::Timing;

pub use builder::RegistryBuilder;
pub use call::CallError;
pub use handle::PeerHandle;
pub use key::PeerKey;
#[cfg(any(feature = "tokio", feature = "tracing"))]
pub(crate) use key::short;
pub use listeners::Listening;
#[cfg(feature = "tokio")]
pub(crate) use names::{Name, Names};
#[cfg(feature = "tokio")]
pub(crate) use saved::SPREAD;
#[cfg(feature = "metrics")]
pub(crate) use survey::PeerSurvey;
#[cfg(feature = "tokio")]
pub(crate) use timing::CallTiming;

/// What is known of all peers: ask before a call, report after it.
///
/// A clone is another name for the same registry. Peers are independent of each other; what is
/// asked about an unknown peer is answered as for a healthy one, and does not make it known.
///
/// ```
/// use peer_health::{HealthRegistry, SyncError};
///
/// let registry = HealthRegistry::<String>::new();
/// let peer = String::from("alice");
/// match registry.acquire(&peer) {
///     Ok(permit) => match Ok::<_, SyncError>("synced") {
///         Ok(_) => permit.success(),
///         Err(error) => permit.failure(error),
///     },
///     Err(refused) => panic!("come back in {:?}", refused.retry_after),
/// };
/// assert_eq!(registry.snapshot(&peer).unwrap().totals.succeeded, 1);
/// ```
///
/// # Bounds
///
/// At most `max_peers` are tracked. Room for a newcomer is made by forgetting a peer that is clean
/// (closed, no failures held against it) and held by nobody; if there is none, the newcomer is
/// served untracked, and counted. A peer whose circuit is open is not forgotten until it was of no
/// use to anybody for `forget_after` ([R26](crate::_rules#r26)).
///
/// # Memory ordering
///
/// A step of a circuit (admission, outcome, control) acquires what the steps before it released:
/// a caller that is admitted, or sees a snapshot, also sees what was done before the step that led
/// there. Totals are counted with relaxed operations, in no order with anything.
///
/// # Cancel safety
///
/// Only the futures of `call_async` and `acquire_when_ready` wait. A permit that is dropped, wherever its future was cancelled, is counted as
/// abandoned and frees what it held ([R8](crate::_rules#r8)).
pub struct HealthRegistry<K> {
    inner: Arc<RegistryInner<K>>,
}

struct RegistryInner<K> {
    shared: Arc<RegistryShared<K>>,
    table: Table<K>,
    listeners: Arc<Listeners<K>>,
    hooks: Arc<Hooks<K>>,
    timing: Timing,
    exported: Mutex<SuccessMark>,
    /// The [doubts](HealthConfig::doubts) that were logged, by their bits.
    doubted: AtomicU8,
    #[cfg(feature = "tokio")]
    waiting: waiting::Slot<K>,
}

// A panic of foreign code leaves nothing halfway (R25): code that catches one may go on with these.
impl<K> UnwindSafe for HealthRegistry<K> {}
impl<K> RefUnwindSafe for HealthRegistry<K> {}

impl<K> RegistryInner<K> {
    /// Warns of what can hardly be meant, of each kind once.
    fn doubt(&self, config: &HealthConfig) {
        for (bit, doubt) in config.doubts().iter().enumerate() {
            let Some(doubt) = doubt else { continue };
            // Relaxed: pairs with itself; of those who set a bit, one comes first.
            if self.doubted.fetch_or(1 << bit, Ordering::Relaxed) & 1 << bit == 0 {
                log::doubtful(doubt);
            }
        }
    }
}

impl<K> Clone for HealthRegistry<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K: PeerKey> HealthRegistry<K> {
    /// A registry with the default configuration and the system's clock.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert!(registry.is_empty());
    /// ```
    pub fn new() -> Self {
        RegistryBuilder::default().build_default()
    }

    /// A registry to be configured.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// let config = HealthConfig::default().with_max_peers(1024);
    /// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
    /// assert!(registry.is_empty());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn builder() -> RegistryBuilder<K> {
        RegistryBuilder::default()
    }

    /// A handle on one peer: looked up once, and then no map on the path. For a task that calls
    /// the same peer again and again.
    ///
    /// The peer becomes known, and stays so while the handle lives. If the table is full, the
    /// handle tries again at each [`acquire`](PeerHandle::acquire).
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// let mut peer = registry.peer(&7);
    /// peer.acquire().unwrap().success();
    /// assert!(registry.contains(&7));
    /// ```
    pub fn peer(&self, peer: &K) -> PeerHandle<K> {
        PeerHandle::new(self.clone(), peer)
    }

    /// Asks to call a peer now.
    ///
    /// A permit holds its peer's tracker until it ends, by an outcome or by being dropped. One that is
    /// leaked (by `mem::forget`, in a task that never ends, in a cycle of references) holds it for ever:
    /// the circuit goes on, since a lease ends a probe's slot, but the peer is never forgotten, and
    /// takes one of `max_peers` until it is [removed](Self::remove).
    ///
    /// # Errors
    ///
    /// [`Refused`] says why not, and when to ask again: [`Open`](crate::Reason::Open) after its
    /// `retry_after`, [`ProbesInFlight`](crate::Reason::ProbesInFlight) after a while,
    /// [`ForcedOpen`](crate::Reason::ForcedOpen) not before a reset, or after its `retry_after` where
    /// the ban has an end. A caller that asks again waits
    /// [as long as it says](Refused::ask_again_after); `acquire_when_ready` (feature `tokio`) waits
    /// by itself.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// let permit = registry.acquire(&7)?;
    /// permit.success();
    /// # Ok::<(), peer_health::Refused>(())
    /// ```
    #[inline]
    pub fn acquire(&self, peer: &K) -> Result<OwnedPermit<K>, Refused> {
        // The healthy case first: it is small enough to become a part of the caller.
        let entry = match self.entry(peer) {
            Some(entry) => match entry.admit_at_rest() {
                Some(ticket) => return Ok(OwnedPermit::owned(entry, ticket)),
                None => Some(entry),
            },
            None => None,
        };
        // What is returned through memory are the parts: the healthy permit stays in registers.
        let (target, ticket) = self.acquire_in_trouble(entry, peer)?;
        Ok(OwnedPermit::of(target, ticket))
    }

    /// Asks to be admitted where that takes more than a look.
    #[inline(never)]
    fn acquire_in_trouble(
        &self,
        mut entry: Option<Arc<PeerEntry<K>>>,
        peer: &K,
    ) -> Result<(PermitTarget<'static, K>, Ticket), Refused> {
        loop {
            let Some(found) = entry else {
                let untracked = PermitTarget::Untracked(Arc::clone(&self.inner.shared));
                return Ok((untracked, Ticket::quiet(0)));
            };
            if let Some(ticket) = found.admit_in_streak() {
                return Ok((PermitTarget::Owned(found), ticket));
            }
            let circuit = match found.refuse_in_wait() {
                Ok(rest) => return Err(Refused::in_wait(rest)),
                Err(circuit) => circuit,
            };
            match found.acquire(circuit) {
                Admission::Admitted(ticket) => return Ok((PermitTarget::Owned(found), ticket)),
                Admission::Refused(refused) => return Err(refused),
                // Removed since it was looked up: the table has another by now, or none.
                Admission::Gone => entry = self.entry(peer),
            }
        }
    }

    /// Reports to the peer's tracker, without a permit; to a new one if it was removed meanwhile.
    /// The reply, and how many errors there were without a success between.
    pub(crate) fn report(
        &self,
        peer: &K,
        outcome: Outcome,
        failure: Option<&Failure>,
    ) -> (Reported<Recorded>, u32) {
        let shared = self.shared();
        while let Some(entry) = self.entry(peer) {
            let (reply, attempt, emitted) = entry.tracker.report(&shared.context, outcome, failure);
            if outcome == Outcome::Success {
                shared.context.date();
            }
            entry.tell(&emitted);
            if !matches!(reply, Reported::Gone) {
                return (reply, attempt);
            }
        }
        // No room: as for a peer that is met for the first time.
        let success = u64::from(outcome == Outcome::Success);
        shared.ledger.add(PeerTotals {
            reported_successes: success,
            reported_errors: 1 - success,
            ..PeerTotals::default()
        });
        (Reported::Gone, 1)
    }

    /// The peer's entry, made if need be.
    pub(crate) fn entry(&self, peer: &K) -> Option<Arc<PeerEntry<K>>> {
        self.inner.table.entry(&self.inner.shared, peer, false)
    }

    /// The peer's entry, if it has one.
    pub(crate) fn known(&self, peer: &K) -> Option<Arc<PeerEntry<K>>> {
        self.inner.table.get(peer)
    }

    pub(crate) fn shared(&self) -> &Arc<RegistryShared<K>> {
        &self.inner.shared
    }
}

impl<K: PeerKey> Default for HealthRegistry<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: PeerKey> fmt::Debug for HealthRegistry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthRegistry").field("len", &self.len()).finish_non_exhaustive()
    }
}
