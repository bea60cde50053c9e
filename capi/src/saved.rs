//! What is known of peers, carried across a restart.

use peer_health::Saved;

use crate::codes::*;
use crate::config::{ph_config, time};
use crate::key::Key;
use crate::outcome::{Answer, Problem, guard};
use crate::registry::make;
use crate::{memory, table};

/// What the data begins with; the rest is JSON. A field that a later version adds has a default for older data, and
/// an older version leaves it alone: files outlive versions. Another form gets another number.
const MAGIC: &[u8] = b"peer-health 1\n";

fn written(peers: &[Saved<Key>]) -> Answer<Vec<u8>> {
    let mut data = MAGIC.to_vec();
    let done = serde_json::to_writer(&mut data, peers);
    done.map_err(|error| Problem::new(PH_E_DATA, format!("data cannot be written: {error}")))?;
    Ok(data)
}

fn read(data: &[u8]) -> Answer<Vec<Saved<Key>>> {
    let wrong =
        |rule: String| Problem::new(PH_E_DATA, format!("data of {} bytes {rule}", data.len()));
    let body =
        data.strip_prefix(MAGIC).ok_or_else(|| wrong("does not begin as an export".into()))?;
    serde_json::from_slice(body).map_err(|error| wrong(format!("is damaged: {error}")))
}

/// Writes what is worth keeping of all peers across a restart: waits, bans, latencies, and who ever answered.
/// `length` gets the length of the data. With `PH_E_BUFFER` nothing else was written, and the caller comes
/// again with more room: peers may have been added meanwhile. With a capacity of 0, `buffer` may be null. The
/// work is proportional to the table.
///
/// Returns `PH_OK`, or `PH_E_BUFFER`, `PH_E_NULL`, `PH_E_REGISTRY`.
///
/// # Safety
///
/// `buffer` leads to `capacity` bytes that may be written, `length` to a number.
#[allow(unsafe_code, reason = "writes to the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_export(
    registry: u64,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> i32 {
    guard(|| {
        memory::not_null("length", length)?;
        if capacity > 0 {
            memory::not_null("buffer", buffer)?;
        }
        let data = written(&table::with(registry, |entry| Ok(entry.registry.export()))?)?;
        // SAFETY: not null, and a number of the caller's.
        unsafe { memory::write(length, data.len()) };
        if data.len() > capacity {
            let message = format!("capacity is {capacity}: must be {}", data.len());
            return Err(Problem::new(PH_E_BUFFER, message));
        }
        // SAFETY: the data is no longer than `capacity`.
        unsafe { memory::write_all(buffer, &data) };
        Ok(PH_OK)
    })
}

/// Makes a registry as `ph_registry_new` does, with what `ph_export` wrote. `downtime_ms` is the time since
/// then: waits and bans are shorter by it; `PH_UNKNOWN` if it is not known.
///
/// Returns what `ph_registry_new` does, or `PH_E_DATA`.
///
/// # Safety
///
/// `config` leads to a struct, `data` to `length` bytes, `registry` to a number that may be written.
#[allow(unsafe_code, reason = "reads and writes the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_import(
    config: *const ph_config,
    data: *const u8,
    length: usize,
    downtime_ms: u64,
    registry: *mut u64,
) -> i32 {
    guard(|| {
        memory::not_null("registry", registry)?;
        // SAFETY: not null, and a number of the caller's.
        unsafe { memory::write(registry, 0) };
        // SAFETY: as the caller promises.
        let config = unsafe { memory::read("config", config) }?;
        // SAFETY: as the caller promises.
        let data = unsafe { memory::bytes(data, length) }?;
        let downtime = (downtime_ms != PH_UNKNOWN).then(|| time(downtime_ms));
        let number = make(&config, Some((read(&data)?, downtime)), None)?;
        // SAFETY: as above.
        unsafe { memory::write(registry, number) };
        Ok(PH_OK)
    })
}
