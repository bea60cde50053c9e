//! The closes that say more than "the peer has gone": our own, and those of iroh's crates.
//!
//! Most of iroh's crates close with code 0, which a dropped connection has too. So their reason decides.

use std::time::Duration;

use ::iroh::endpoint::{ApplicationClose, ConnectionError, VarInt};

use super::row;
use crate::error::Failure;
use crate::error::Fault::{Nobody, Peer};
use crate::error::SyncError::{Network, ResourceExhaustion};

/// The code with which [`HealthHooks`](super::HealthHooks) close a connection of a peer that is banned, by
/// [`force_open`](crate::HealthRegistry::force_open) or
/// [`force_open_for`](crate::HealthRegistry::force_open_for): 0x70656572, which no crate of iroh uses. The
/// reason is `banned`.
///
/// To the banned node this is a failure of the peer that asks for a wait of [`BANNED_RETRY_AFTER`]: its
/// calls reach nobody who would answer, and it stays away. [`Codes`](super::Codes) override that.
///
/// ```
/// use peer_health::iroh::{BANNED, BANNED_RETRY_AFTER, Codes};
/// use iroh::endpoint::ReadError;
///
/// assert_eq!(BANNED.into_inner(), 0x7065_6572);
/// let failure = Codes::default().judge(&ReadError::Reset(BANNED));
/// assert_eq!(failure.retry_after(), None); // a ban closes a connection, and resets no stream
/// assert!(failure.counts() && BANNED_RETRY_AFTER.as_secs() == 3_600);
/// ```
pub const BANNED: VarInt = VarInt::from_u32(0x7065_6572);

/// The wait that a failure asks for which a ban has caused: one hour. The registry of the banned node shortens
/// it to its own [`open_max`](crate::HealthConfig::open_max).
///
/// ```
/// use peer_health::{HealthConfig, iroh::BANNED_RETRY_AFTER};
/// assert!(BANNED_RETRY_AFTER > HealthConfig::default().open_max);
/// ```
pub const BANNED_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The reason that goes with [`BANNED`].
pub(super) const BANNED_REASON: &[u8] = b"banned";

/// The reasons, with code 0, by which iroh-gossip and the pool of iroh-util close a connection that they no
/// longer need.
const NOT_NEEDED: [&[u8]; 4] = [b"close from disconnect", b"unused", b"drop", b"discarded"];

/// The reason, with code 0, by which the `AccessLimit` of iroh-util refuses a peer.
const NOT_ALLOWED: &[u8] = b"not allowed";

/// Returns whether the peer closed a connection that it did not need any longer.
pub(super) fn is_not_needed(close: &ApplicationClose) -> bool {
    close.error_code == VarInt::from_u32(0) && NOT_NEEDED.contains(&&*close.reason)
}

/// Returns whether the peer refuses this node for good.
pub(super) fn is_ban(close: &ApplicationClose) -> bool {
    close.error_code == BANNED
        || close.error_code == VarInt::from_u32(0) && close.reason == NOT_ALLOWED
}

/// Judges a connection that the peer's application has closed or dropped.
pub(super) fn closed_by_peer(close: &ApplicationClose, error: &ConnectionError) -> Failure {
    if is_not_needed(close) {
        row(Network, Nobody, error)
    } else if is_ban(close) {
        row(ResourceExhaustion, Peer, error).with_retry_after(BANNED_RETRY_AFTER)
    } else {
        row(Network, Peer, error)
    }
}
