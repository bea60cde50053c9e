//! Looks at one peer and at all of them; a look changes nothing.

use std::time::Duration;

use peer_health::{Failure, NextAdmission, PeerTotals, Status, SyncError};

use crate::codes::*;
use crate::key::Key;
use crate::outcome::guard;
use crate::{memory, table};

/// What is known of a peer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ph_snapshot {
    /// `sizeof(ph_snapshot)`, set by the caller.
    pub struct_size: u32,
    /// `PH_CLOSED` and so on.
    pub status: i32,
    /// Rises with each phase.
    pub generation: u64,
    /// The consecutive failures; while open and half-open, those of the trip.
    pub consecutive_failures: u32,
    /// The errors since the last success.
    pub retry_attempt: u32,
    /// The calls in the window, or in the half-open phase; 0 without a window.
    pub window_total: u64,
    /// Of these, the failures.
    pub window_failures: u64,
    /// Of these, the slow ones.
    pub window_slow: u64,
    /// In how many milliseconds a call may be admitted: 0 is now, `PH_UNKNOWN` not by time alone.
    pub next_admission_ms: u64,
    /// The average latency in microseconds, or `PH_UNKNOWN`.
    pub latency_us: u64,
    /// The probes that are out.
    pub probes_in_flight: u32,
    /// The kind of the last error: `PH_ERROR_NONE` if there was none.
    pub last_error: i32,
    /// The counts of all time.
    pub totals: ph_counts,
    /// The text of the last error, cut off where the field ends, with a NUL at its end.
    pub last_error_text: [u8; PH_ERROR_TEXT],
}

// SAFETY: the struct is `repr(C)`, its first field is a `u32`, and it holds integers.
#[allow(unsafe_code, reason = "any bytes are such a struct")]
unsafe impl memory::Sized32 for ph_snapshot {}

/// Counts of all time. Every permit ends in exactly one of the first five.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ph_counts {
    /// The permits that ended in success.
    pub succeeded: u64,
    /// The permits that ended in a failure that counts.
    pub failed: u64,
    /// The permits that ended in no outcome.
    pub neutral: u64,
    /// The permits that were given up.
    pub abandoned: u64,
    /// The permits whose phase was over when they ended.
    pub late: u64,
    /// The transitions into open.
    pub opened: u64,
    /// The calls refused by an open circuit.
    pub refused_open: u64,
    /// The calls refused by a half-open circuit whose probes were out.
    pub refused_probes: u64,
    /// The calls refused by a circuit that was forced open.
    pub refused_forced: u64,
    /// Zero. This struct lies in the middle of others: what is counted in future takes these places.
    pub reserved: [u64; 4],
}

/// The counts of all peers, forgotten ones included.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ph_totals {
    /// `sizeof(ph_totals)`, set by the caller.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// The sum over all peers.
    pub all: ph_counts,
    /// The peers that are tracked now.
    pub peers: u64,
    /// How often the table had no room for a new peer.
    pub untracked: u64,
    /// The peers that were forgotten.
    pub evicted: u64,
    /// The peers that were removed.
    pub removed: u64,
}

// SAFETY: the struct is `repr(C)`, its first field is a `u32`, and it holds integers.
#[allow(unsafe_code, reason = "any bytes are such a struct")]
unsafe impl memory::Sized32 for ph_totals {}

impl From<PeerTotals> for ph_counts {
    fn from(of: PeerTotals) -> Self {
        Self {
            succeeded: of.succeeded,
            failed: of.failed,
            neutral: of.neutral,
            abandoned: of.abandoned,
            late: of.late,
            opened: of.opened,
            refused_open: of.refused.open,
            refused_probes: of.refused.probes_in_flight,
            refused_forced: of.refused.forced_open,
            reserved: [0; 4],
        }
    }
}

/// Returns a time in milliseconds, rounded up: whoever waits so long has waited long enough.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

pub(crate) fn status_code(status: Status) -> i32 {
    match status {
        Status::Closed => PH_CLOSED,
        Status::Open => PH_OPEN,
        Status::HalfOpen => PH_HALF_OPEN,
        Status::ForcedOpen => PH_FORCED_OPEN,
        Status::Disabled => PH_DISABLED,
        Status::MetricsOnly => PH_METRICS_ONLY,
        _ => PH_STATUS_OTHER,
    }
}

fn wait(next: NextAdmission) -> u64 {
    match next {
        NextAdmission::Now => 0,
        NextAdmission::After(wait) => millis(wait),
        _ => PH_UNKNOWN,
    }
}

fn error_code(failure: &Failure) -> i32 {
    match failure.error() {
        SyncError::Network(_) => PH_ERROR_NETWORK,
        SyncError::Document(_) => PH_ERROR_DOCUMENT,
        SyncError::PeerNotFound(_) => PH_ERROR_PEER_NOT_FOUND,
        SyncError::Protocol(_) => PH_ERROR_PROTOCOL,
        SyncError::State(_) => PH_ERROR_STATE,
        SyncError::ResourceExhaustion(_) => PH_ERROR_RESOURCES,
        SyncError::CircuitBreakerOpen => PH_ERROR_CIRCUIT_OPEN,
        SyncError::BandwidthExhausted(_) => PH_ERROR_BANDWIDTH,
    }
}

/// Returns a text that ends in a NUL, cut off between two characters.
fn cut(text: &str) -> [u8; PH_ERROR_TEXT] {
    let mut end = text.len().min(PH_ERROR_TEXT - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut cut = [0; PH_ERROR_TEXT];
    cut.iter_mut().zip(text.as_bytes().iter().take(end)).for_each(|(to, byte)| *to = *byte);
    cut
}

/// Tells how a peer stands: `status` gets `PH_CLOSED` and so on, `next_admission_ms` the time until a call may
/// be admitted (0 is now, `PH_UNKNOWN` not by time alone). Either may be null. An unknown peer is closed.
///
/// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_PEER`, `PH_E_REGISTRY`.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes, the others to a number each that may be written.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_status(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    status: *mut i32,
    next_admission_ms: *mut u64,
) -> i32 {
    guard(|| {
        let mut key = Key::empty();
        // SAFETY: as the caller promises.
        unsafe { memory::key(peer, peer_len, &mut key) }?;
        let (code, next) = table::with(registry, |entry| {
            let registry = &entry.registry;
            Ok((status_code(registry.status(&key)), wait(registry.next_admission(&key))))
        })?;
        // SAFETY: as the caller promises.
        unsafe { memory::write(status, code) };
        // SAFETY: as the caller promises.
        unsafe { memory::write(next_admission_ms, next) };
        Ok(PH_OK)
    })
}

/// Shows what is known of a peer.
///
/// Returns `PH_OK`; `PH_NOTHING` if the peer is not known, and `snapshot` stays as it is; or `PH_E_NULL`,
/// `PH_E_STRUCT_SIZE`, `PH_E_PEER`, `PH_E_REGISTRY`.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes, `snapshot` to a struct that may be read and written.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_peer_snapshot(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    snapshot: *mut ph_snapshot,
) -> i32 {
    guard(|| {
        // SAFETY: as the caller promises.
        unsafe { memory::size("snapshot", snapshot) }?;
        let mut key = Key::empty();
        // SAFETY: as the caller promises.
        unsafe { memory::key(peer, peer_len, &mut key) }?;
        let seen = table::with(registry, |entry| Ok(entry.registry.snapshot(&key)))?;
        let Some(seen) = seen else { return Ok(PH_NOTHING) };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(PH_UNKNOWN);
        let text = seen.last_error.as_ref().map(|failure| failure.to_string());
        let shown = ph_snapshot {
            struct_size: u32::try_from(size_of::<ph_snapshot>()).unwrap_or_default(),
            status: status_code(seen.status),
            generation: seen.generation,
            consecutive_failures: seen.consecutive_failures,
            retry_attempt: seen.retry_attempt,
            window_total: seen.window.total,
            window_failures: seen.window.failures,
            window_slow: seen.window.slow,
            next_admission_ms: wait(seen.next_admission),
            latency_us: seen.latency.map_or(PH_UNKNOWN, micros),
            probes_in_flight: u32::try_from(seen.probes_in_flight).unwrap_or(u32::MAX),
            last_error: seen.last_error.as_deref().map_or(PH_ERROR_NONE, error_code),
            totals: seen.totals.into(),
            last_error_text: cut(&text.unwrap_or_default()),
        };
        // SAFETY: the struct is as large as ours.
        unsafe { memory::write(snapshot, shown) };
        Ok(PH_OK)
    })
}

/// Counts all peers together. The work is proportional to the table.
///
/// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`, `PH_E_REGISTRY`.
///
/// # Safety
///
/// `totals` leads to a struct that may be read and written.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_all_totals(registry: u64, totals: *mut ph_totals) -> i32 {
    guard(|| {
        // SAFETY: as the caller promises.
        unsafe { memory::size("totals", totals) }?;
        let shown = table::with(registry, |entry| {
            let of = entry.registry.totals();
            Ok(ph_totals {
                struct_size: u32::try_from(size_of::<ph_totals>()).unwrap_or_default(),
                reserved: 0,
                all: of.all.into(),
                peers: entry.registry.len() as u64,
                untracked: of.untracked,
                evicted: of.evicted,
                removed: of.removed,
            })
        })?;
        // SAFETY: the struct is as large as ours.
        unsafe { memory::write(totals, shown) };
        Ok(PH_OK)
    })
}
