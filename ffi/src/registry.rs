//! The registry, by names of bytes.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use peer_health::{HealthRegistry as Core, Saved};

use crate::config::{HealthConfig, default_config};
use crate::error::HealthError;
use crate::event::{Events, Queue};
use crate::peer::PeerId;
use crate::permit::Permit;
use crate::snapshot::{NextAdmission, PeerView, Snapshot, Status, Totals};

/// One circuit breaker for each peer of a node. Every method may be called from every thread, and none blocks.
///
/// A peer is named by 1 to 64 bytes, such as the 32 of an `EndpointId`. Methods that name one throw `Invalid`
/// with the field `peer` for any other number.
#[derive(Debug, uniffi::Object)]
pub struct HealthRegistry {
    pub(crate) core: Core<PeerId>,
    /// Streams that are to end with this registry: nobody else would wake those who await them.
    streams: Mutex<Vec<Weak<Queue>>>,
}

impl HealthRegistry {
    pub(crate) fn of(core: Core<PeerId>) -> Arc<Self> {
        Arc::new(Self { core, streams: Mutex::default() })
    }
}

impl Drop for HealthRegistry {
    fn drop(&mut self) {
        let streams = self.streams.get_mut().unwrap_or_else(PoisonError::into_inner);
        streams.iter().filter_map(Weak::upgrade).for_each(|queue| queue.close());
    }
}

#[uniffi::export]
impl HealthRegistry {
    /// Makes a registry with these settings, or with those of `default_config`.
    ///
    /// # Errors
    ///
    /// `Invalid` names the field of the settings that breaks a rule.
    #[uniffi::constructor(default(config = None))]
    pub fn new(config: Option<HealthConfig>) -> Result<Arc<Self>, HealthError> {
        let config = config.unwrap_or_else(default_config).into_core();
        Ok(Self::of(Core::builder().config(config).build()?))
    }

    /// Makes a registry that begins with what `export` of an earlier one returned. `downtime` is how long ago that
    /// was, by the wall clock: waits are shorter by it. Nothing, if it is not known or negative, ends them all.
    ///
    /// # Errors
    ///
    /// `Invalid` with the field `saved` where the bytes are not of an export: a program then begins with none.
    #[uniffi::constructor(default(downtime = None, config = None))]
    pub fn restored(
        saved: Vec<u8>,
        downtime: Option<Duration>,
        config: Option<HealthConfig>,
    ) -> Result<Arc<Self>, HealthError> {
        let config = config.unwrap_or_else(default_config).into_core();
        let peers: Vec<Saved<PeerId>> = serde_json::from_slice(&saved).map_err(|error| {
            let value = format!("{} bytes that cannot be read", saved.len());
            HealthError::invalid("saved", value, format!("must be of an export: {error}"))
        })?;
        let core = Core::builder().config(config).restore(peers, downtime).build()?;
        Ok(Self::of(core))
    }

    /// Asks whether the peer may be called, and takes the right to one call.
    ///
    /// # Errors
    ///
    /// `Refused` says why, and when to ask again.
    pub fn acquire(&self, peer: Vec<u8>) -> Result<Arc<Permit>, HealthError> {
        Ok(Permit::new(self.core.acquire(&PeerId::new(peer)?)?))
    }

    /// Returns the state of the peer's circuit; closed for a peer that is not known.
    pub fn status(&self, peer: Vec<u8>) -> Result<Status, HealthError> {
        Ok(self.core.status(&PeerId::new(peer)?).into())
    }

    /// Returns whether a call would be refused now. It takes no right to call: see `acquire`.
    pub fn is_circuit_open(&self, peer: Vec<u8>) -> Result<bool, HealthError> {
        Ok(self.core.is_circuit_open(&PeerId::new(peer)?))
    }

    /// Returns when the peer may be called next.
    pub fn next_admission(&self, peer: Vec<u8>) -> Result<NextAdmission, HealthError> {
        Ok(self.core.next_admission(&PeerId::new(peer)?).into())
    }

    /// Returns a view of the peer; nothing if it is not known.
    pub fn snapshot(&self, peer: Vec<u8>) -> Result<Option<Snapshot>, HealthError> {
        Ok(self.core.snapshot(&PeerId::new(peer)?).map(Into::into))
    }

    /// Returns whether the registry keeps anything about the peer.
    pub fn contains(&self, peer: Vec<u8>) -> Result<bool, HealthError> {
        Ok(self.core.contains(&PeerId::new(peer)?))
    }

    /// Returns a view of every peer. Its work and its memory are proportional to the number of peers.
    pub fn peers(&self) -> Vec<PeerView> {
        let mut peers = Vec::with_capacity(self.core.len());
        self.core.for_each(|peer, seen| {
            peers.push(PeerView { peer: peer.to_bytes(), snapshot: seen.into() });
        });
        peers
    }

    /// Returns how many peers are known.
    pub fn len(&self) -> u64 {
        self.core.len() as u64
    }

    /// Returns whether no peer is known.
    pub fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// Returns counts of all peers of all time. Its work is proportional to the number of peers.
    pub fn totals(&self) -> Totals {
        self.core.totals().into()
    }

    /// Returns whether the outage guard holds circuits back now.
    pub fn local_outage(&self) -> bool {
        self.core.local_outage()
    }

    /// Returns the settings.
    pub fn config(&self) -> HealthConfig {
        self.core.config().into()
    }

    /// Replaces the settings, `max_peers` too. Where it is lowered, newcomers make the table smaller step by step, and
    /// `sweep` does at once; peers in trouble stay.
    ///
    /// # Errors
    ///
    /// `Invalid` names the field that breaks a rule.
    pub fn set_config(&self, config: HealthConfig) -> Result<(), HealthError> {
        Ok(self.core.set_config(config.into_core())?)
    }

    /// Refuses all calls to the peer: for `duration`, or until `reset`.
    ///
    /// # Errors
    ///
    /// `Invalid` where `duration` is 0, which would ban nobody. `TableFull` where nothing can be kept about the peer.
    #[uniffi::method(default(duration = None))]
    pub fn force_open(&self, peer: Vec<u8>, duration: Option<Duration>) -> Result<(), HealthError> {
        let peer = PeerId::new(peer)?;
        if let Some(none @ Duration::ZERO) = duration {
            let rule = "must be longer than 0; `reset` ends a ban";
            return Err(HealthError::invalid("duration", format!("{none:?}"), rule));
        }
        match duration {
            Some(duration) => self.core.force_open_for(&peer, duration)?,
            None => self.core.force_open(&peer)?,
        }
        Ok(())
    }

    /// Admits all calls to the peer, and counts nothing, until `reset`.
    ///
    /// # Errors
    ///
    /// `TableFull`, as for `force_open`.
    pub fn disable(&self, peer: Vec<u8>) -> Result<(), HealthError> {
        Ok(self.core.disable(&PeerId::new(peer)?)?)
    }

    /// Admits all calls to the peer, and counts their outcomes, until `reset`.
    ///
    /// # Errors
    ///
    /// `TableFull`, as for `force_open`.
    pub fn metrics_only(&self, peer: Vec<u8>) -> Result<(), HealthError> {
        Ok(self.core.metrics_only(&PeerId::new(peer)?)?)
    }

    /// Closes the peer's circuit and ends what an operator had set; returns whether the peer is known.
    pub fn reset(&self, peer: Vec<u8>) -> Result<bool, HealthError> {
        Ok(self.core.reset(&PeerId::new(peer)?))
    }

    /// Ends the wait of an open circuit, so that the next call is a probe; returns whether one may be made.
    pub fn end_wait(&self, peer: Vec<u8>) -> Result<bool, HealthError> {
        Ok(self.core.end_wait(&PeerId::new(peer)?))
    }

    /// Tells that the peer has called this node, or that a push message says so: good news ends a wait, within
    /// limits that a peer which only calls cannot misuse. Returns whether a probe may be made.
    pub fn note_reachable(&self, peer: Vec<u8>) -> Result<bool, HealthError> {
        Ok(self.core.note_reachable(&PeerId::new(peer)?))
    }

    /// Forgets the peer; returns whether it was known.
    pub fn remove(&self, peer: Vec<u8>) -> Result<bool, HealthError> {
        Ok(self.core.remove(&PeerId::new(peer)?))
    }

    /// Forgets peers that were not used for long; returns how many. Its work is proportional to the table.
    pub fn sweep(&self) -> u64 {
        self.core.sweep() as u64
    }

    /// Begins a stream of events that holds up to `capacity` of them; further ones are counted as missed.
    /// It ends with `stop`, or when the program lets go of the registry.
    ///
    /// # Errors
    ///
    /// `Invalid` where `capacity` is 0.
    #[uniffi::method(default(capacity = 1024))]
    pub fn events(&self, capacity: u32) -> Result<Arc<Events>, HealthError> {
        let room = usize::try_from(capacity).unwrap_or(usize::MAX);
        if room == 0 {
            return Err(HealthError::invalid("capacity", "0".into(), "must be at least 1"));
        }
        let queue = Queue::new(room);
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&queue));
        drop(streams);
        let told = Arc::clone(&queue);
        let listening = self.core.listen(move |event| told.push(event.into()));
        Ok(Events::new(queue, listening))
    }

    /// Returns what is worth keeping across a restart, as JSON, for `restored`. The program writes it to a file
    /// beside the time, every half minute and when it goes to the background. Its work is proportional to the table.
    ///
    /// # Errors
    ///
    /// `Invalid` where it cannot be written, which does not happen with the names that this registry takes.
    pub fn export(&self) -> Result<Vec<u8>, HealthError> {
        serde_json::to_vec(&self.core.export())
            .map_err(|error| HealthError::invalid("export", "not writable".into(), error))
    }
}
