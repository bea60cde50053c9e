//! A registry begins and ends.

use std::ffi::c_char;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use peer_health::{Clock, HealthRegistry, ManualClock, Saved};

use crate::codes::*;
use crate::config::ph_config;
use crate::events::Queue;
use crate::key::Key;
use crate::memory;
use crate::outcome::{Answer, guard, guard_length, last_message};
use crate::table::{self, Entry};

/// The peers that are restored, and for how long the program was down, if that is known.
pub(crate) type Restored = (Vec<Saved<Key>>, Option<Duration>);

/// Makes a registry and returns its number. A clock that is moved by hand is for tests.
pub(crate) fn make(
    config: &ph_config,
    restored: Option<Restored>,
    clock: Option<(Clock, ManualClock)>,
) -> Answer<u64> {
    let events = Arc::new(Queue::new(config.event_capacity));
    let queue = Arc::clone(&events);
    let mut builder =
        HealthRegistry::builder().config(config.health()?).listener(move |event| queue.push(event));
    if let Some((peers, downtime)) = restored {
        builder = builder.restore(peers, downtime);
    }
    #[cfg_attr(not(feature = "testing"), allow(unused_variables, reason = "tests alone have it"))]
    let (clock, hand) = clock.unzip();
    if let Some(clock) = clock {
        builder = builder.clock(clock);
    }
    let registry = builder.build()?;
    table::add(|number| Entry {
        number,
        registry,
        events,
        #[cfg(feature = "testing")]
        hand,
        freed: AtomicBool::new(false),
    })
}

/// Returns the version of the binary interface of this library. A program compares it with `PH_ABI_VERSION`
/// before anything else: a library of another version is another interface.
#[allow(unsafe_code, reason = "a symbol that C calls")]
#[unsafe(no_mangle)]
pub extern "C" fn ph_abi_version() -> u32 {
    PH_ABI_VERSION
}

/// Copies the message of the last error on this thread, with a NUL at its end, and cut off where `capacity`
/// ends. Returns the length of the whole message without the NUL; 0 if there was no error. A call that succeeds
/// leaves the message as it is. With a capacity of 0, `buffer` may be null.
///
/// # Safety
///
/// `buffer` is null or leads to `capacity` bytes that may be written.
#[allow(unsafe_code, reason = "writes to the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_last_error(buffer: *mut c_char, capacity: usize) -> usize {
    guard_length(|| {
        let message = last_message();
        if capacity > 0 && !buffer.is_null() {
            let mut end = message.len().min(capacity - 1);
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            let text = message.get(..end).unwrap_or_default().as_bytes();
            // SAFETY: the text is shorter than `capacity`.
            unsafe { memory::write_all(buffer.cast::<u8>(), text) };
            // SAFETY: `end` is below `capacity`.
            unsafe { memory::write(buffer.cast::<u8>().wrapping_add(end), 0) };
        }
        message.len()
    })
}

/// Makes a registry, and writes its number to `registry`: 0 if there is an error. All functions may be called
/// with the number from any thread, until it is freed. A process has at most 1,024 at a time.
///
/// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`, `PH_E_VALUE` (the message names the field), `PH_E_FULL`.
///
/// # Safety
///
/// `config` leads to a struct, `registry` to a number that may be written.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_registry_new(config: *const ph_config, registry: *mut u64) -> i32 {
    guard(|| {
        memory::not_null("registry", registry)?;
        // SAFETY: not null, and a number of the caller's.
        unsafe { memory::write(registry, 0) };
        // SAFETY: as the caller promises.
        let config = unsafe { memory::read("config", config) }?;
        let number = make(&config, None, None)?;
        // SAFETY: as above.
        unsafe { memory::write(registry, number) };
        Ok(PH_OK)
    })
}

/// Frees a registry. Its permits end as abandoned; calls that are going on in other threads end well, and later
/// ones return `PH_E_REGISTRY`. The work is proportional to the permits that the process holds, and to the peers. Each
/// thread keeps the registry that it asked last, without its peers, until it calls with another or ends.
///
/// Returns `PH_OK`, or `PH_E_REGISTRY`: freeing twice is an error, and harmless.
#[allow(unsafe_code, reason = "a symbol that C calls")]
#[unsafe(no_mangle)]
pub extern "C" fn ph_registry_free(registry: u64) -> i32 {
    guard(|| table::free(registry).map(|()| PH_OK))
}

/// Replaces the configuration while the registry is in use. If it makes no sense, nothing changes.
///
/// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`, `PH_E_VALUE` (the message names the field),
/// `PH_E_REGISTRY`.
///
/// # Safety
///
/// `config` leads to a struct.
#[allow(unsafe_code, reason = "reads the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_configure(registry: u64, config: *const ph_config) -> i32 {
    guard(|| {
        // SAFETY: as the caller promises.
        let config = unsafe { memory::read("config", config) }?.health()?;
        table::with(registry, |entry| Ok(entry.registry.set_config(config)?))?;
        Ok(PH_OK)
    })
}
