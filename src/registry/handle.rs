//! A handle on one peer, looked up once.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::HealthRegistry;
use super::key::PeerKey;
use crate::circuit::Admission;
use crate::outcome::{NextAdmission, Refused, Status};
use crate::peer::{HandleRef, PeerEntry};
use crate::permit::Permit;
use crate::snapshot::Snapshot;
use crate::sync::Arc;

/// One peer of a registry, looked up once. For a task that calls the same peer again and again: a
/// call to a healthy peer takes a few loads and one count; no map, no lock, no clock, no reference
/// count.
///
/// One per task; a clone is cheap and independent. While a handle lives, its peer is not evicted.
/// If its peer is [removed](HealthRegistry::remove), the next [`acquire`](Self::acquire) makes it
/// known again, with a clean record.
///
/// ```
/// use peer_health::{HealthRegistry, SyncError};
///
/// let registry = HealthRegistry::<u32>::new();
/// let mut peer = registry.peer(&7);
/// for round in 0..3 {
///     let permit = peer.acquire()?;
///     if round == 1 {
///         permit.failure(SyncError::Network("reset".into()));
///     } else {
///         permit.success();
///     }
/// }
/// assert_eq!(peer.snapshot().unwrap().consecutive_failures, 0);
/// # Ok::<(), peer_health::Refused>(())
/// ```
pub struct PeerHandle<K> {
    pub(super) registry: HealthRegistry<K>,
    /// While the table has no room, an entry of its own whose tracker is removed from the start.
    handle_ref: HandleRef<K>,
}

impl<K: PeerKey> PeerHandle<K> {
    pub(super) fn new(registry: HealthRegistry<K>, peer: &K) -> Self {
        let entry = registry.entry(peer);
        let entry = entry.unwrap_or_else(|| Arc::new(PeerEntry::nowhere(registry.shared(), peer)));
        Self { registry, handle_ref: HandleRef::new(entry) }
    }

    /// Whose handle this is.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert_eq!(registry.peer(&7).peer(), &7);
    /// ```
    pub fn peer(&self) -> &K {
        &self.handle_ref.entry().key
    }

    /// Asks to call the peer now. The permit borrows the handle until it is settled.
    ///
    /// # Errors
    ///
    /// As [`HealthRegistry::acquire`].
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// let mut peer = registry.peer(&7);
    /// peer.acquire()?.success();
    /// # Ok::<(), peer_health::Refused>(())
    /// ```
    #[inline]
    pub fn acquire(&mut self) -> Result<Permit<'_, K>, Refused> {
        // Decided first, the permit built last: it borrows the handle for as long as it lives.
        match self.handle_ref.entry().admit_at_rest() {
            Some(ticket) => Ok(Permit::borrowed(self.handle_ref.entry(), ticket)),
            None => self.acquire_in_trouble(),
        }
    }

    /// Asks to be admitted where that takes more than a look. Looks the peer up again if it was
    /// removed, or if there was no room.
    #[inline(never)]
    fn acquire_in_trouble(&mut self) -> Result<Permit<'_, K>, Refused> {
        loop {
            let entry = self.handle_ref.entry();
            if let Some(ticket) = entry.admit_in_streak() {
                return Ok(Permit::borrowed(self.handle_ref.entry(), ticket));
            }
            let circuit = match entry.refuse_in_wait() {
                Ok(rest) => return Err(Refused::in_wait(rest)),
                Err(circuit) => circuit,
            };
            match entry.acquire(circuit) {
                Admission::Admitted(ticket) => {
                    return Ok(Permit::borrowed(self.handle_ref.entry(), ticket));
                }
                Admission::Refused(refused) => return Err(refused),
                Admission::Gone => {}
            }
            let Some(entry) = self.registry.entry(self.peer()) else {
                return Ok(Permit::untracked(Arc::clone(self.registry.shared())));
            };
            self.handle_ref = HandleRef::new(entry);
        }
    }

    /// Where the circuit stands.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, Status};
    /// assert_eq!(HealthRegistry::<u32>::new().peer(&7).status(), Status::Closed);
    /// ```
    pub fn status(&self) -> Status {
        let tracker = &self.handle_ref.entry().tracker;
        match tracker.circuit().is_removed() {
            true => self.registry.status(self.peer()),
            false => tracker.status(&self.registry.shared().context),
        }
    }

    /// Whether the circuit is open: see [`HealthRegistry::is_circuit_open`].
    ///
    /// ```
    /// assert!(!peer_health::HealthRegistry::<u32>::new().peer(&7).is_circuit_open());
    /// ```
    pub fn is_circuit_open(&self) -> bool {
        self.handle_ref.entry().tracker.rests().is_none()
            && self.registry.is_circuit_open(self.peer())
    }

    /// When a call may be admitted: see [`HealthRegistry::next_admission`].
    ///
    /// ```
    /// use peer_health::{HealthRegistry, NextAdmission};
    /// let peer = HealthRegistry::<u32>::new().peer(&7);
    /// assert_eq!(peer.next_admission(), NextAdmission::Now);
    /// ```
    pub fn next_admission(&self) -> NextAdmission {
        self.registry.next_admission(self.peer())
    }

    /// Everything that is known of the peer; `None` if it is unknown.
    ///
    /// ```
    /// let peer = peer_health::HealthRegistry::<u32>::new().peer(&7);
    /// assert_eq!(peer.snapshot().unwrap().consecutive_failures, 0);
    /// ```
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.registry.snapshot(self.peer())
    }
}

// As for the registry.
impl<K> UnwindSafe for PeerHandle<K> {}
impl<K> RefUnwindSafe for PeerHandle<K> {}

impl<K: PeerKey> Clone for PeerHandle<K> {
    fn clone(&self) -> Self {
        let handle_ref = HandleRef::new(Arc::clone(self.handle_ref.entry()));
        Self { registry: self.registry.clone(), handle_ref }
    }
}

impl<K: PeerKey> fmt::Debug for PeerHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerHandle").field("peer", self.peer()).finish_non_exhaustive()
    }
}
