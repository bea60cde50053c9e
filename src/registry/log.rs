//! What is logged (R31): few lines, however many peers fail and however long.
//!
//! - A circuit that opens for the first time since it was closed, of a peer that answered before, is
//!   a warning; that it closed again, information. So are an outage of our own and its end.
//! - Strangers, reopenings, half-open phases, overrides and resets are for debugging: there may be as
//!   many as there are peers, and hours.
//! - That a peer is forgotten is for tracing.

use super::key::PeerKey;
#[cfg(feature = "tracing")]
use super::short;
use crate::event::EventKind;
#[cfg(feature = "tracing")]
use crate::foreign::quietly;
use crate::peer::PeerEntry;

/// Subscribers are foreign, and so is how a key shows itself: what panics there is lost to the log.
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
        Kind::Opened { retry_after, reopened: false } if entry.tracker.successes() > 0 => {
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

/// A listener has panicked, or there was no event to tell it.
#[cfg(feature = "tracing")]
pub(super) fn lost<K: PeerKey>(peer: &K, generation: u64, kind: EventKind) {
    quietly(|| {
        let peer = short(peer);
        tracing::error!(target: "peer_health", peer, generation, ?kind, "listener panicked");
    });
}

#[cfg(not(feature = "tracing"))]
pub(super) fn lost<K>(_: &K, _: u64, _: EventKind) {}

/// A hook is the library's own, but what it does is not all ours.
#[cfg(feature = "tracing")]
pub(super) fn lost_by_hook() {
    quietly(|| tracing::error!(target: "peer_health", "hook panicked"));
}

#[cfg(not(feature = "tracing"))]
pub(super) fn lost_by_hook() {}
