//! The registries of the process, by number.
//!
//! 1. A number is never given twice: its upper bits count, its lower ones name the place in the table.
//! 2. A look-up takes no lock, and writes to no line of cache that threads share: each thread keeps the registry
//!    that it asked last.
//! 3. A registry that is freed loses its peers. What is left of it lives until the last call on it has returned, and
//!    each thread that keeps it has asked for another, or has ended.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use peer_health::HealthRegistry;
#[cfg(feature = "testing")]
use peer_health::ManualClock;

use crate::codes::{PH_E_FULL, PH_E_REGISTRY};
use crate::events::Queue;
use crate::key::Key;
use crate::outcome::{Answer, Problem};
use crate::tokens;

/// The most registries of a process.
const PLACES: usize = 1024;
const PLACE_BITS: u32 = 10;

static TABLE: [ArcSwapOption<Entry>; PLACES] = [const { ArcSwapOption::const_empty() }; PLACES];
/// The number of registries that were ever made; whoever holds it may fill a place.
static MADE: Mutex<u64> = Mutex::new(0);

/// A registry of the caller's.
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) registry: HealthRegistry<Key>,
    pub(crate) events: Arc<Queue>,
    #[cfg(feature = "testing")]
    pub(crate) hand: Option<ManualClock>,
    /// Whether it is freed: no permit of it is kept any more.
    pub(crate) freed: AtomicBool,
}

/// Puts a registry into the table, and returns its number.
pub(crate) fn add(make: impl FnOnce(u64) -> Entry) -> Answer<u64> {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let free = TABLE.iter().position(|place| place.load().is_none());
    let Some(place) = free else {
        let message = format!("there are {PLACES} registries: free one");
        return Err(Problem::new(PH_E_FULL, message));
    };
    *made += 1;
    let number = *made << PLACE_BITS | place as u64;
    TABLE[place].swap(Some(Arc::new(make(number))));
    Ok(number)
}

thread_local! {
    /// The registry that this thread asked last. Empty while it is being asked.
    static RECENT: Cell<Option<Arc<Entry>>> = const { Cell::new(None) };
}

/// Runs with a registry that exists.
#[inline]
pub(crate) fn with<T>(number: u64, run: impl FnOnce(&Entry) -> Answer<T>) -> Answer<T> {
    let entry = match RECENT.try_with(Cell::take) {
        // Relaxed: pairs with the store in `free`. A call that begins after `free` has returned sees it; one
        // that goes on beside it ends well.
        Ok(Some(entry)) if entry.number == number && !entry.freed.load(Ordering::Relaxed) => entry,
        _ => get(number)?,
    };
    let answer = run(&entry);
    // A thread that is ending keeps nothing.
    let _ = RECENT.try_with(|recent| recent.set(Some(entry)));
    answer
}

#[cold]
fn get(number: u64) -> Answer<Arc<Entry>> {
    let entry = TABLE.get(place_of(number)).and_then(ArcSwapOption::load_full);
    entry.filter(|entry| entry.number == number).ok_or_else(|| missing(number))
}

/// Takes a registry out of the table, ends the permits that it gave as abandoned, and removes its peers.
pub(crate) fn free(number: u64) -> Answer<()> {
    let made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = TABLE.get(place_of(number)).ok_or_else(|| missing(number))?;
    let entry = place.load_full().filter(|entry| entry.number == number);
    let entry = entry.ok_or_else(|| missing(number))?;
    place.swap(None);
    drop(made);
    // Relaxed: pairs with the load in `tokens::keep`, which runs under the lock of a shard, as does the
    // removal below: a permit is kept before its shard is emptied, or the flag is seen.
    entry.freed.store(true, Ordering::Relaxed);
    tokens::drop_all_of(number);
    let mut peers = Vec::with_capacity(entry.registry.len());
    entry.registry.for_each(|peer, _| peers.push(*peer));
    for peer in peers {
        entry.registry.remove(&peer);
    }
    let kept = RECENT.try_with(Cell::take).ok().flatten();
    let _ = RECENT.try_with(|recent| recent.set(kept.filter(|kept| kept.number != number)));
    Ok(())
}

#[inline]
fn place_of(number: u64) -> usize {
    usize::try_from(number % PLACES as u64).unwrap_or(PLACES)
}

#[cold]
fn missing(number: u64) -> Problem {
    let message = format!("there is no registry {number}: it was never made, or is freed");
    Problem::new(PH_E_REGISTRY, message)
}
