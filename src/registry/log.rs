//! The log of transitions (R31): few lines, however many peers fail and however long.
//!
//! - WARN: a circuit of a peer that answered opens for the first time since it was closed; an outage of our
//!   own begins. INFO: such a circuit is closed again; such an outage ends.
//! - DEBUG: all other transitions and those of strangers, as many as there are peers, and hours.
//! - TRACE: a peer is forgotten.

use super::key::PeerKey;
#[cfg(feature = "tracing")]
use super::short;
use crate::config::ConfigError;
use crate::event::EventKind;
#[cfg(feature = "tracing")]
use crate::foreign::quietly;
use crate::peer::PeerEntry;

/// Logs a transition. Subscribers are foreign code, as is a key's `Debug`: if one panics, the line is lost.
#[cfg(feature = "tracing")]
pub(super) fn transition<K: PeerKey>(entry: &PeerEntry<K>, generation: u64, kind: EventKind) {
    quietly(|| write(entry, generation, kind));
}

#[cfg(feature = "tracing")]
fn write<K: PeerKey>(entry: &PeerEntry<K>, generation: u64, kind: EventKind) {
    use EventKind as Kind;
    use tracing::{debug, info, trace, warn};
    let peer = || short(&*entry.key);
    match kind {
        Kind::Opened { retry_after, reopened: false } if entry.tracker.has_answered() => {
            let last = entry.tracker.errors(&entry.tracker.circuit()).last;
            let error = last.as_ref().map(|last| last.failure.error());
            let error = error.map(tracing::field::display);
            warn!(target: "peer_health", peer = peer(), generation, ?retry_after, error, "circuit opened");
        }
        Kind::Opened { retry_after, reopened } => {
            debug!(target: "peer_health", peer = peer(), generation, ?retry_after, reopened, "circuit opened");
        }
        Kind::HalfOpened => {
            debug!(target: "peer_health", peer = peer(), generation, "circuit half-open");
        }
        Kind::Closed => {
            info!(target: "peer_health", peer = peer(), generation, "circuit closed");
        }
        Kind::Overridden(status) => {
            debug!(target: "peer_health", peer = peer(), generation, ?status, "circuit overridden");
        }
        Kind::Reset => {
            debug!(target: "peer_health", peer = peer(), generation, "circuit reset");
        }
        Kind::LocalOutage => {
            warn!(target: "peer_health", peer = peer(), generation, "outage of our own: trip held back");
        }
        Kind::LocalRecovered => {
            info!(target: "peer_health", peer = peer(), generation, "outage of our own is over");
        }
        Kind::Evicted | Kind::Removed => {
            trace!(target: "peer_health", peer = peer(), generation, ?kind, "peer forgotten");
        }
    }
}

#[cfg(not(feature = "tracing"))]
pub(super) fn transition<K: PeerKey>(_: &PeerEntry<K>, _: u64, _: EventKind) {}

/// Logs that a listener has panicked, or that there was no event to tell it.
#[cfg(feature = "tracing")]
pub(super) fn lost<K: PeerKey>(peer: &K, generation: u64, kind: EventKind) {
    quietly(|| {
        let peer = short(peer);
        tracing::error!(target: "peer_health", peer, generation, ?kind, "listener panicked");
    });
}

#[cfg(not(feature = "tracing"))]
pub(super) fn lost<K>(_: &K, _: u64, _: EventKind) {}

/// Logs that a hook has panicked: it is the library's own, but it calls foreign code.
#[cfg(feature = "tracing")]
pub(super) fn lost_by_hook() {
    quietly(|| tracing::error!(target: "peer_health", "hook panicked"));
}

#[cfg(not(feature = "tracing"))]
pub(super) fn lost_by_hook() {}

/// Of a configuration: what can hardly be meant.
#[cfg(feature = "tracing")]
pub(super) fn doubtful(doubt: &ConfigError) {
    quietly(|| tracing::warn!(target: "peer_health", %doubt, "configuration is doubtful"));
}

/// Logs that saved peers are ignored, since they have another version than this library's.
#[cfg(feature = "tracing")]
pub(super) fn unknown_version(version: u32, peers: usize) {
    quietly(|| {
        tracing::warn!(target: "peer_health", version, peers, "saved peers of an unknown version ignored");
    });
}

#[cfg(not(feature = "tracing"))]
pub(super) fn unknown_version(_: u32, _: usize) {}

/// Logs that the table has no room for all saved peers, or that a key panicked.
#[cfg(feature = "tracing")]
pub(super) fn not_restored(peers: usize, overrides: usize) {
    quietly(|| tracing::warn!(target: "peer_health", peers, overrides, "saved peers not restored"));
}

#[cfg(not(feature = "tracing"))]
pub(super) fn not_restored(_: usize, _: usize) {}

#[cfg(not(feature = "tracing"))]
pub(super) fn doubtful(_: &ConfigError) {}
