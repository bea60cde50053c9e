//! What an operator may do: replace the configuration, override a circuit, forget a peer.

use std::time::Duration;

use super::hook::HookNotice;
use super::{HealthRegistry, PeerKey};
use crate::circuit::Control;
use crate::config::{ConfigError, HealthConfig};
use crate::outcome::TableFull;
use crate::peer::PeerEntry;
use crate::sync::Arc;
use crate::time::nanos;

impl<K: PeerKey> HealthRegistry<K> {
    /// Replaces the configuration (R18). Open circuits keep their wait, half-open ones their
    /// probes; closed ones continue under the new one from their next step, their streak kept.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the field; nothing was changed.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// let registry = HealthRegistry::<u32>::new();
    /// registry.set_config(HealthConfig::default().with_failure_threshold(2))?;
    /// assert!(registry.set_config(HealthConfig::default().with_open_jitter(7.0)).is_err());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn set_config(&self, config: HealthConfig) -> Result<(), ConfigError> {
        let rules = Arc::new(config.check()?);
        self.inner.timing.configure(&rules);
        self.inner.shared.context.configure(rules);
        self.inner.doubt(&config);
        self.inner.hooks.tell(HookNotice::Configured);
        Ok(())
    }

    /// Refuses all calls to a peer until [`reset`](Self::reset). Calls in flight become late.
    /// [`force_open_for`](Self::force_open_for) does so for a time.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if the peer is unknown and the table full of peers that may not go, all of which
    /// were looked at: it is *not* refused. The work is proportional to the table then.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.force_open(&7)?;
    /// assert!(registry.acquire(&7).is_err());
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn force_open(&self, peer: &K) -> Result<(), TableFull> {
        self.control(peer, Control::ForceOpen)
    }

    /// Refuses all calls to a peer for so long, or until [`reset`](Self::reset) if that comes first.
    /// As [`force_open`](Self::force_open), with an end. Calls in flight become late.
    ///
    /// Nothing waits for the end: time is compared when somebody asks. From then on (inclusive) the
    /// peer reads [`Closed`](crate::Status::Closed) and clean, is admitted, and may be forgotten; all-time totals
    /// stay. The first admission or report after it tells listeners of a
    /// [`Reset`](crate::EventKind::Reset), with the next generation.
    ///
    /// What comes later counts: this replaces a ban without an end, and another one of these. No time
    /// at all begins and ends a ban at once, so that calls in flight are late and the next one is
    /// admitted; more than fits (584 years) lasts until then.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if the peer is unknown and the table full: it is *not* refused.
    ///
    /// ```
    /// use peer_health::{Clock, HealthRegistry, NextAdmission, Status};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual();
    /// let registry = HealthRegistry::<u32>::builder().clock(clock).build()?;
    /// let hour = Duration::from_secs(3600);
    /// registry.force_open_for(&7, hour)?;
    /// assert_eq!(registry.acquire(&7).unwrap_err().retry_after, Some(hour));
    /// hand.advance(hour / 2);
    /// assert_eq!(registry.next_admission(&7), NextAdmission::After(hour / 2));
    /// hand.advance(hour / 2);
    /// assert_eq!(registry.status(&7), Status::Closed);
    /// assert!(registry.acquire(&7).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn force_open_for(&self, peer: &K, duration: Duration) -> Result<(), TableFull> {
        let ends = self.inner.shared.context.clock.now().plus(nanos(duration));
        self.control(peer, Control::ForceOpenUntil(ends))
    }

    /// Admits all calls to a peer and records nothing, until [`reset`](Self::reset).
    ///
    /// # Errors
    ///
    /// [`TableFull`] if the peer is unknown and the table full.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.disable(&7)?;
    /// assert_eq!(registry.status(&7), peer_health::Status::Disabled);
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn disable(&self, peer: &K) -> Result<(), TableFull> {
        self.control(peer, Control::Disable)
    }

    /// Admits all calls to a peer and records their outcomes without ever opening the circuit,
    /// until [`reset`](Self::reset).
    ///
    /// # Errors
    ///
    /// [`TableFull`] if the peer is unknown and the table full.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.metrics_only(&7)?;
    /// assert_eq!(registry.status(&7), peer_health::Status::MetricsOnly);
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn metrics_only(&self, peer: &K) -> Result<(), TableFull> {
        self.control(peer, Control::MetricsOnly)
    }

    /// Closes the circuit and clears what is held against the peer. Calls in flight become late;
    /// all-time totals stay. `false` if the peer is unknown; it does not become known.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.force_open(&7)?;
    /// assert!(registry.reset(&7));
    /// assert!(registry.acquire(&7).is_ok());
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn reset(&self, peer: &K) -> bool {
        while let Some(entry) = self.known(peer) {
            if self.controlled(&entry, Control::Reset) {
                return true;
            }
        }
        false
    }

    /// Ends the wait of an open circuit, since an operator knows better. Its next call is a probe,
    /// and no more of them go out than after the wait. Does nothing to a peer in any other state;
    /// `true` if the circuit is open and may be probed now.
    ///
    /// For an operator, who may do so as often as seems good. For what anybody can bring about, such
    /// as a call from the peer, there is [`note_reachable`](Self::note_reachable).
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry, SyncError};
    ///
    /// let config = HealthConfig::default().with_failure_threshold(1).with_success_threshold(1);
    /// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
    /// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
    /// assert!(registry.acquire(&7).is_err());
    /// assert!(registry.end_wait(&7));
    /// let probe = registry.acquire(&7).unwrap();
    /// assert!(probe.is_probe() && registry.acquire(&7).is_err());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn end_wait(&self, peer: &K) -> bool {
        self.known(peer).is_some_and(|entry| {
            let (may_be_probed, emitted) = entry.tracker.end_wait(&self.inner.shared.context);
            entry.tell(&emitted);
            may_be_probed
        })
    }

    /// Takes good news of a peer, which has called us, say, or whose address is new: an open circuit
    /// may be probed early. `true` if it is open and may be probed now.
    ///
    /// The first news since the circuit was closed ends its wait at once. After n half-open phases
    /// that news caused and that failed, the next is heeded min(open_timeout * open_multiplier^n,
    /// open_max) after the last of them began: until then it is deferred, and not dropped, so that a
    /// bad peer cannot end its own wait by calling us. No wait becomes longer by this. News that
    /// comes while the peer is probed is heeded if the probes fail. A circuit that closes, or is
    /// overridden or reset, begins anew with this.
    ///
    /// ```
    /// use peer_health::{Clock, HealthConfig, HealthRegistry, SyncError};
    /// use std::time::Duration;
    ///
    /// let config = HealthConfig::default()
    ///     .with_failure_threshold(1)
    ///     .with_open_timeout(Duration::from_secs(60))
    ///     .with_open_jitter(0.0);
    /// let (clock, hand) = Clock::manual();
    /// let registry = HealthRegistry::<u32>::builder().config(config).clock(clock).build()?;
    /// let reset = || SyncError::Network("reset".into());
    /// registry.acquire(&7).unwrap().failure(reset());
    /// assert!(registry.note_reachable(&7));
    /// registry.acquire(&7).unwrap().failure(reset()); // it has called us, and does not answer
    /// assert!(!registry.note_reachable(&7));
    /// hand.advance(Duration::from_secs(120)); // twice the wait since that probe
    /// assert!(registry.note_reachable(&7));
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn note_reachable(&self, peer: &K) -> bool {
        self.known(peer).is_some_and(|entry| {
            let (may_be_probed, emitted) = entry.tracker.note_reachable(&self.inner.shared.context);
            entry.tell(&emitted);
            may_be_probed
        })
    }

    /// Forgets a peer, whatever its circuit is. Permits of it are late from now on; a handle on it
    /// looks it up again. `false` if it was unknown.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// let permit = registry.acquire(&7).unwrap();
    /// assert!(registry.remove(&7));
    /// assert_eq!(permit.success(), peer_health::Recorded::Late);
    /// assert!(!registry.contains(&7));
    /// ```
    pub fn remove(&self, peer: &K) -> bool {
        self.inner.table.remove(&self.inner.shared, peer)
    }

    /// Forgets the peers that are idle: held by nobody, not used between two sweeps at least
    /// `idle_timeout` apart, and clean, or in trouble but out of use for `forget_after`; and so many
    /// others that may go as there are more than `max_peers`. How many they were. Insertions do the same,
    /// a few peers at a time; this does it for all, and its work is proportional to the table.
    ///
    /// ```
    /// use peer_health::{Clock, HealthRegistry};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual();
    /// let registry = HealthRegistry::<u32>::builder().clock(clock).build()?;
    /// registry.acquire(&7).unwrap().success();
    /// assert_eq!(registry.sweep(), 0);
    /// hand.advance(Duration::from_secs(600));
    /// assert_eq!(registry.sweep(), 1);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn sweep(&self) -> usize {
        self.inner.table.sweep(&self.inner.shared)
    }

    fn control(&self, peer: &K, control: Control) -> Result<(), TableFull> {
        loop {
            // A ban is not refused by chance: room is looked for until all were looked at (R26).
            let entry = self.inner.table.entry(&self.inner.shared, peer, true).ok_or(TableFull)?;
            if self.controlled(&entry, control) {
                return Ok(());
            }
        }
    }

    /// Imposes the control; `false` if the tracker was removed meanwhile.
    fn controlled(&self, entry: &PeerEntry<K>, control: Control) -> bool {
        let (done, emitted) = entry.tracker.control(&self.inner.shared.context, control);
        entry.tell(&emitted);
        done.is_some()
    }
}
