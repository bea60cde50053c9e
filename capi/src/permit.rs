//! A permit for each call.

use std::ffi::c_char;

use peer_health::{Failure, Fault, OwnedPermit, Reason, Recorded, SyncError};

use crate::codes::*;
use crate::config::time;
use crate::key::Key;
use crate::outcome::{Answer, Problem, guard};
use crate::query::millis;
use crate::{memory, table, tokens};

/// How a call ended, where `ph_settle` does not say enough.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ph_outcome {
    /// `sizeof(ph_outcome)`.
    pub struct_size: u32,
    /// `PH_SUCCESS`, `PH_FAILURE`, `PH_IGNORED` or `PH_ABANDONED`.
    pub outcome: i32,
    /// Of a failure: `PH_ERROR_NETWORK` and so on.
    pub kind: i32,
    /// Of a failure: whose fault it was; `PH_FAULT_USUAL` is that of the kind.
    pub fault: i32,
    /// Of a failure: how long the peer asked us to stay away; 0 is not at all.
    pub retry_after_ms: u64,
    /// How long the call took; with 0 and `PH_UNKNOWN` it is measured from the admission on, if
    /// `ph_config.slow_call_ms` asks for it.
    pub latency_ms: u64,
    /// Of a failure: what went wrong, in UTF-8 and with a NUL at the end, or null. The first kibibyte is kept.
    pub message: *const c_char,
}

// SAFETY: the struct is `repr(C)`, its first field is a `u32`, and it holds integers and a raw pointer.
#[allow(unsafe_code, reason = "any bytes are such a struct")]
unsafe impl memory::Sized32 for ph_outcome {}

/// Asks whether a peer may be called now. With `PH_OK`, `token` gets the permit, which is settled once, by any
/// thread: a token that is lost holds the slot of a probe until its lease is over, and its peer in memory. With
/// a refusal, `token` gets 0, and `retry_after_ms`, which may be null, the time after which to ask again: where
/// nobody knows it, a hint of a second at most.
///
/// Returns `PH_OK`, `PH_REFUSED_OPEN`, `PH_REFUSED_PROBES`, `PH_REFUSED_FORCED`, or `PH_E_NULL`, `PH_E_PEER`,
/// `PH_E_REGISTRY`, `PH_E_FULL`.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes, `token` and `retry_after_ms` to a number each that may be written.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_acquire(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    token: *mut u64,
    retry_after_ms: *mut u64,
) -> i32 {
    guard(|| {
        memory::not_null("token", token)?;
        // SAFETY: not null, and a number of the caller's.
        unsafe { memory::write(token, 0) };
        let mut key = Key::empty();
        // SAFETY: as the caller promises.
        unsafe { memory::key(peer, peer_len, &mut key) }?;
        let (code, given, wait) = table::with(registry, |entry| {
            Ok(match entry.registry.acquire(&key) {
                Ok(permit) => (PH_OK, tokens::keep(entry, permit)?, 0),
                Err(refused) => {
                    let code = match refused.reason {
                        Reason::Open => PH_REFUSED_OPEN,
                        Reason::ProbesInFlight => PH_REFUSED_PROBES,
                        _ => PH_REFUSED_FORCED,
                    };
                    (code, 0, millis(refused.ask_again_after()))
                }
            })
        })?;
        // SAFETY: as above.
        unsafe { memory::write(token, given) };
        // SAFETY: as the caller promises.
        unsafe { memory::write(retry_after_ms, wait) };
        Ok(code)
    })
}

/// Says how a call ended, once. `kind` and `message` belong to `PH_FAILURE`: `kind` says what went wrong
/// (`PH_ERROR_NETWORK` and so on), and so whether it counts; `message`, which may be null, is kept for display.
/// For other outcomes they are `PH_ERROR_NONE` and null.
///
/// Returns `PH_OK` (it counts), `PH_NEUTRAL`, `PH_LATE` (the phase is over, or the token was settled before:
/// nothing has changed), or `PH_E_VALUE`, `PH_E_TEXT`, `PH_E_REGISTRY`, `PH_E_TOKEN`: then the permit, if there
/// is one, is still held.
///
/// # Safety
///
/// `message` is null or ends in NUL.
#[allow(unsafe_code, reason = "reads the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_settle(
    registry: u64,
    token: u64,
    outcome: i32,
    kind: i32,
    message: *const c_char,
) -> i32 {
    guard(|| {
        // What happens most often needs no text.
        if outcome == PH_SUCCESS && kind == PH_ERROR_NONE && message.is_null() {
            return settle(registry, token, OwnedPermit::success);
        }
        // SAFETY: as the caller promises.
        let message = unsafe { memory::text("message", message) }?;
        let end = End::new(outcome, kind, PH_FAULT_USUAL, 0, message)?;
        settle(registry, token, |permit| end.of(permit))
    })
}

/// Says how a call ended, with its latency, whose fault it was, and how long the peer asked us to stay away.
///
/// Returns what `ph_settle` does, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`.
///
/// # Safety
///
/// `outcome` leads to a struct, whose message is null or ends in NUL.
#[allow(unsafe_code, reason = "reads the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_settle_with(
    registry: u64,
    token: u64,
    outcome: *const ph_outcome,
) -> i32 {
    guard(|| {
        // SAFETY: as the caller promises.
        let with = unsafe { memory::read("outcome", outcome) }?;
        // SAFETY: as the caller promises.
        let message = unsafe { memory::text("message", with.message) }?;
        let end = End::new(with.outcome, with.kind, with.fault, with.retry_after_ms, message)?;
        let latency = (![0, PH_UNKNOWN].contains(&with.latency_ms)).then(|| time(with.latency_ms));
        settle(registry, token, |permit| match latency {
            Some(latency) => end.of(permit.with_latency(latency)),
            None => end.of(permit),
        })
    })
}

/// The way in which a permit ends.
enum End {
    Success,
    Failure(Failure),
    Ignored,
    Abandoned,
}

impl End {
    fn new(outcome: i32, kind: i32, fault: i32, wait: u64, message: String) -> Answer<Self> {
        Ok(match outcome {
            PH_FAILURE => {
                let failure = Failure::from(error(kind, message)?);
                let failure = match self::fault(fault)? {
                    Some(fault) => failure.with_fault(fault),
                    None => failure,
                };
                Self::Failure(if wait == 0 {
                    failure
                } else {
                    failure.with_retry_after(time(wait))
                })
            }
            _ if kind != PH_ERROR_NONE => {
                return Err(Problem::number("kind", kind, "PH_ERROR_NONE (0): it is no failure"));
            }
            PH_SUCCESS => Self::Success,
            PH_IGNORED => Self::Ignored,
            PH_ABANDONED => Self::Abandoned,
            other => {
                let known = "PH_SUCCESS (0), PH_FAILURE, PH_IGNORED, PH_ABANDONED (3)";
                return Err(Problem::number("outcome", other, known));
            }
        })
    }

    fn of(self, permit: OwnedPermit<Key>) -> Recorded {
        match self {
            Self::Success => permit.success(),
            Self::Failure(failure) => permit.failure(failure),
            Self::Ignored => permit.neutral(),
            Self::Abandoned => {
                drop(permit);
                Recorded::Neutral
            }
        }
    }
}

pub(crate) fn error(kind: i32, text: String) -> Answer<SyncError> {
    Ok(match kind {
        PH_ERROR_NETWORK => SyncError::Network(text),
        PH_ERROR_DOCUMENT => SyncError::Document(text),
        PH_ERROR_PEER_NOT_FOUND => SyncError::PeerNotFound(text),
        PH_ERROR_PROTOCOL => SyncError::Protocol(text),
        PH_ERROR_STATE => SyncError::State(text),
        PH_ERROR_RESOURCES => SyncError::ResourceExhaustion(text),
        PH_ERROR_CIRCUIT_OPEN => SyncError::CircuitBreakerOpen,
        PH_ERROR_BANDWIDTH => SyncError::BandwidthExhausted(text),
        other => {
            let known = "PH_ERROR_NETWORK (1) to PH_ERROR_BANDWIDTH (8)";
            return Err(Problem::number("kind", other, known));
        }
    })
}

fn fault(fault: i32) -> Answer<Option<Fault>> {
    Ok(Some(match fault {
        PH_FAULT_USUAL => return Ok(None),
        PH_FAULT_PEER => Fault::Peer,
        PH_FAULT_LINK => Fault::Link,
        PH_FAULT_LOCAL => Fault::Local,
        PH_FAULT_DOCUMENT => Fault::Document,
        PH_FAULT_NOBODY => Fault::Nobody,
        other => {
            let known = "PH_FAULT_USUAL (0) to PH_FAULT_NOBODY (5)";
            return Err(Problem::number("fault", other, known));
        }
    }))
}

#[inline]
fn settle(registry: u64, token: u64, end: impl FnOnce(OwnedPermit<Key>) -> Recorded) -> Answer {
    // A registry that has permits exists: it is looked up where there is none.
    match tokens::take(registry, token) {
        Ok(Some(permit)) => Ok(match end(permit) {
            Recorded::Late => PH_LATE,
            Recorded::Neutral => PH_NEUTRAL,
            // `Counted`, `Opened`, and what a later core tells apart among what counts.
            _ => PH_OK,
        }),
        other => {
            table::with(registry, |_| Ok(()))?;
            other.map(|_| PH_LATE)
        }
    }
}
