//! What an operator may do, and good news.

use peer_health::HealthRegistry;

use crate::codes::*;
use crate::config::time;
use crate::key::Key;
use crate::outcome::{Answer, Problem, guard};
use crate::{memory, table};

/// Runs a control on a peer.
///
/// # Safety
///
/// `peer` is null or leads to `peer_len` bytes that may be read.
#[allow(unsafe_code, reason = "reads the caller's memory")]
pub(crate) unsafe fn control(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    run: impl FnOnce(&HealthRegistry<Key>, &Key) -> Answer<bool>,
) -> i32 {
    guard(|| {
        let mut key = Key::empty();
        // SAFETY: as the caller of this function promises.
        unsafe { memory::key(peer, peer_len, &mut key) }?;
        let done = table::with(registry, |entry| run(&entry.registry, &key))?;
        Ok(if done { PH_OK } else { PH_NOTHING })
    })
}

pub(crate) fn full(_: peer_health::TableFull) -> Problem {
    Problem::new(PH_E_FULL, "the table has no room for this peer, and none can be forgotten")
}

/// Bans a peer: every call is refused for `duration_ms`, or with `PH_UNKNOWN` until `ph_reset`. 0 is an error: a
/// field that nobody filled in bans nobody.
///
/// Returns `PH_OK`, or `PH_E_VALUE`, `PH_E_FULL`, `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes.
#[allow(unsafe_code, reason = "reads the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_force_open(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    duration_ms: u64,
) -> i32 {
    let run = |registry: &HealthRegistry<Key>, peer: &Key| {
        let done = match duration_ms {
            0 => {
                let known = "1 and above, PH_UNKNOWN (until ph_reset)";
                return Err(Problem::number("duration_ms", 0, known));
            }
            PH_UNKNOWN => registry.force_open(peer),
            ms => registry.force_open_for(peer, time(ms)),
        };
        done.map(|()| true).map_err(full)
    };
    // SAFETY: as the caller promises.
    unsafe { control(registry, peer, peer_len, run) }
}

/// Closes a circuit, and clears what was held against the peer.
///
/// Returns `PH_OK`; `PH_NOTHING` if the peer is not known; or `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes.
#[allow(unsafe_code, reason = "reads the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_reset(registry: u64, peer: *const u8, peer_len: usize) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { control(registry, peer, peer_len, |registry, peer| Ok(registry.reset(peer))) }
}

/// Ends the wait of an open circuit: the next call may be a probe.
///
/// Returns `PH_OK`; `PH_NOTHING` if the circuit does not wait; or `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes.
#[allow(unsafe_code, reason = "reads the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_end_wait(registry: u64, peer: *const u8, peer_len: usize) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { control(registry, peer, peer_len, |registry, peer| Ok(registry.end_wait(peer))) }
}

/// Tells that a peer has called us: its wait ends, unless it has told so too often and then failed.
///
/// Returns `PH_OK`; `PH_NOTHING` if nothing changed; or `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes.
#[allow(unsafe_code, reason = "reads the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_note_reachable(registry: u64, peer: *const u8, peer_len: usize) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { control(registry, peer, peer_len, |registry, peer| Ok(registry.note_reachable(peer))) }
}
