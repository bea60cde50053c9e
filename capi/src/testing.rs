//! What the tests need beside the interface. No library that is installed has these functions.

use std::time::Duration;

use peer_health::{Clock, ErrorHandler, HealthRegistry, NextAdmission, SyncError};

use crate::codes::*;
use crate::config::ph_config;
use crate::control::{control, full};
use crate::key::Key;
use crate::outcome::{Answer, Problem, guard};
use crate::permit::error;
use crate::registry::make;
use crate::{memory, table, tokens};

/// Control: forced open until a reset.
pub const PH_TEST_FORCE_OPEN: i32 = 0;
/// Control: disabled.
pub const PH_TEST_DISABLE: i32 = 1;
/// Control: metrics only.
pub const PH_TEST_METRICS_ONLY: i32 = 2;
/// Control: forgotten.
pub const PH_TEST_REMOVE: i32 = 3;
/// Control: a whole pass over the table, whatever the peer.
pub const PH_TEST_SWEEP: i32 = 4;

/// Reply: the call may be made at once, or the circuit is closed.
pub const PH_TEST_NOW: i32 = 0;
/// Reply: the circuit is open.
pub const PH_TEST_OPEN: i32 = 1;
/// Reply: after a while, or never.
pub const PH_TEST_OTHER: i32 = 2;
/// Reply: nothing, to a success.
pub const PH_TEST_NONE: i32 = 3;

/// Makes a registry whose time stands still: `ph_test_set_clock` moves it.
///
/// # Safety
///
/// As `ph_registry_new`.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_test_registry_new(config: *const ph_config, registry: *mut u64) -> i32 {
    guard(|| {
        memory::not_null("registry", registry)?;
        // SAFETY: as the caller promises.
        let config = unsafe { memory::read("config", config) }?;
        let number = make(&config, None, Some(Clock::manual()))?;
        // SAFETY: not null, and a number of the caller's.
        unsafe { memory::write(registry, number) };
        Ok(PH_OK)
    })
}

/// Sets the time since the registry was made.
#[allow(unsafe_code, reason = "a symbol that C calls")]
#[unsafe(no_mangle)]
pub extern "C" fn ph_test_set_clock(registry: u64, elapsed_ms: u64) -> i32 {
    guard(|| {
        table::with(registry, |entry| match &entry.hand {
            Some(hand) => {
                hand.set(Duration::from_millis(elapsed_ms));
                Ok(PH_OK)
            }
            None => Err(Problem::new(PH_E_VALUE, "the registry has the system's clock")),
        })
    })
}

/// Reports without a permit: an error of this kind, or with `PH_ERROR_NONE` a success.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes, `reply` to a number that may be written.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_test_report(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    kind: i32,
    reply: *mut i32,
) -> i32 {
    let run = |registry: &HealthRegistry<Key>, peer: &Key| {
        let handler = ErrorHandler::with_registry(registry.clone());
        if kind == PH_ERROR_NONE {
            handler.record_success(peer);
            return Ok(PH_TEST_NONE);
        }
        Ok(match handler.handle_error(peer, error(kind, "reported".into())?) {
            Err(SyncError::CircuitBreakerOpen) => PH_TEST_OPEN,
            Ok(Some(delay)) if delay.is_zero() => PH_TEST_NOW,
            _ => PH_TEST_OTHER,
        })
    };
    // SAFETY: as the caller promises.
    unsafe { replied(registry, peer, peer_len, reply, run) }
}

/// Asks `is_circuit_open`: `PH_TEST_OPEN` or `PH_TEST_NOW`.
///
/// # Safety
///
/// As `ph_test_report`.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_test_ask(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    reply: *mut i32,
) -> i32 {
    let run = |registry: &HealthRegistry<Key>, peer: &Key| {
        let open = ErrorHandler::with_registry(registry.clone()).is_circuit_open(peer);
        Ok(if open { PH_TEST_OPEN } else { PH_TEST_NOW })
    };
    // SAFETY: as the caller promises.
    unsafe { replied(registry, peer, peer_len, reply, run) }
}

/// Runs a question, and writes its answer.
///
/// # Safety
///
/// As `ph_test_report`.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
unsafe fn replied(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    reply: *mut i32,
    ask: impl FnOnce(&HealthRegistry<Key>, &Key) -> Answer,
) -> i32 {
    let run = |registry: &HealthRegistry<Key>, peer: &Key| {
        let said = ask(registry, peer)?;
        // SAFETY: as the caller of this function promises.
        unsafe { memory::write(reply, said) };
        Ok(true)
    };
    // SAFETY: as the caller of this function promises.
    unsafe { control(registry, peer, peer_len, run) }
}

/// Runs a control: `PH_TEST_DISABLE` and so on.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes.
#[allow(unsafe_code, reason = "reads the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_test_control(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    action: i32,
) -> i32 {
    let run = |registry: &HealthRegistry<Key>, peer: &Key| {
        let done = match action {
            PH_TEST_FORCE_OPEN => registry.force_open(peer),
            PH_TEST_DISABLE => registry.disable(peer),
            PH_TEST_METRICS_ONLY => registry.metrics_only(peer),
            PH_TEST_REMOVE => return Ok(registry.remove(peer)),
            PH_TEST_SWEEP => return Ok(registry.sweep() > 0),
            other => return Err(Problem::number("action", other, "PH_TEST_FORCE_OPEN and so on")),
        };
        done.map(|()| true).map_err(full)
    };
    // SAFETY: as the caller promises.
    unsafe { control(registry, peer, peer_len, run) }
}

/// Tells the next admission in nanoseconds: 0 now, `PH_UNKNOWN`.
///
/// # Safety
///
/// `peer` leads to `peer_len` bytes, `nanos` to a number that may be written.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_test_next_admission(
    registry: u64,
    peer: *const u8,
    peer_len: usize,
    nanos: *mut u64,
) -> i32 {
    let run = |registry: &HealthRegistry<Key>, peer: &Key| {
        let next = match registry.next_admission(peer) {
            NextAdmission::Now => 0,
            NextAdmission::After(wait) => u64::try_from(wait.as_nanos()).unwrap_or(PH_UNKNOWN - 1),
            _ => PH_UNKNOWN,
        };
        // SAFETY: as the caller promises.
        unsafe { memory::write(nanos, next) };
        Ok(true)
    };
    // SAFETY: as the caller promises.
    unsafe { control(registry, peer, peer_len, run) }
}

/// Returns `PH_OK` if the registry keeps the peer of this permit, and `PH_NOTHING` if not.
#[allow(unsafe_code, reason = "a symbol that C calls")]
#[unsafe(no_mangle)]
pub extern "C" fn ph_test_is_tracked(registry: u64, token: u64) -> i32 {
    guard(|| {
        let tracked = table::with(registry, |_| tokens::is_tracked(registry, token))?;
        Ok(if tracked == Some(true) { PH_OK } else { PH_NOTHING })
    })
}

/// Panics inside, as a defect of the library would, while permits are out.
#[allow(unsafe_code, reason = "a symbol that C calls")]
#[unsafe(no_mangle)]
pub extern "C" fn ph_test_panic(registry: u64) -> i32 {
    #[allow(clippy::panic, reason = "a test asks for it")]
    guard(|| table::with(registry, |_| panic!("asked to")))
}
