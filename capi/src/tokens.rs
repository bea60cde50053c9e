//! The permits that callers hold, by number: a slab whose places count their uses.
//!
//! 1. A token names a shard, a place in it and the use of that place; another use is another token, so a
//!    permit that has ended is never ended again, and no token is given twice.
//! 2. A shard is locked while a permit is put in or taken out, and never while a permit ends.
//! 3. A thread keeps to one shard, so threads seldom meet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use peer_health::OwnedPermit;

use crate::codes::{PH_E_FULL, PH_E_REGISTRY, PH_E_TOKEN};
use crate::key::Key;
use crate::outcome::{Answer, Problem};
use crate::table::Entry;

const SHARD_BITS: u32 = 4;
const PLACE_BITS: u32 = 24;
const SHARDS: usize = 1 << SHARD_BITS;
const PLACES: usize = 1 << PLACE_BITS;
/// A place that was used so often is not used again.
const USES: u64 = 1 << (64 - SHARD_BITS - PLACE_BITS);

/// Shards lie apart, so that threads share no line of cache.
#[repr(align(128))]
struct Shard(Mutex<Places>);

struct Places {
    places: Vec<Place>,
    free: Vec<usize>,
}

struct Place {
    uses: u64,
    /// The registry that gave the permit.
    registry: u64,
    permit: Option<OwnedPermit<Key>>,
}

static SHARDS_OF_ALL: [Shard; SHARDS] =
    [const { Shard(Mutex::new(Places { places: Vec::new(), free: Vec::new() })) }; SHARDS];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The shard of this thread. Relaxed: pairs with nothing, any spread will do.
    static MINE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// Keeps a permit, and returns its token. Without room, or after the registry is freed, the permit is
/// dropped and counts as abandoned.
#[inline]
pub(crate) fn keep(entry: &Entry, permit: OwnedPermit<Key>) -> Answer<u64> {
    let shard = MINE.try_with(|mine| *mine).unwrap_or_default();
    let mut places = lock(&SHARDS_OF_ALL[shard]);
    // Relaxed: pairs with the store in `table::free`, as said there.
    let freed = entry.freed.load(Ordering::Relaxed);
    if let Some(number) = if freed { None } else { places.take_place() }
        && let Some(place) = places.places.get_mut(number)
    {
        place.uses += 1;
        place.registry = entry.number;
        place.permit = Some(permit);
        let low = (number << SHARD_BITS | shard) as u64;
        return Ok(place.uses << (SHARD_BITS + PLACE_BITS) | low);
    }
    drop(places);
    drop(permit);
    Err(match freed {
        true => {
            Problem::new(PH_E_REGISTRY, format!("registry {} was freed meanwhile", entry.number))
        }
        false => Problem::new(PH_E_FULL, format!("{PLACES} permits are held: settle them")),
    })
}

/// Takes the permit of a token; `None` if it has ended.
#[inline]
pub(crate) fn take(registry: u64, token: u64) -> Answer<Option<OwnedPermit<Key>>> {
    look(registry, token, |places, place| {
        let permit = places.places.get_mut(place).and_then(|place| place.permit.take());
        places.free_place(place);
        permit
    })
}

/// Returns whether the registry keeps the peer of this token; `None` if the permit has ended.
#[cfg(feature = "testing")]
pub(crate) fn is_tracked(registry: u64, token: u64) -> Answer<Option<bool>> {
    look(registry, token, |places, place| {
        places.places.get(place)?.permit.as_ref().map(OwnedPermit::is_tracked)
    })
}

/// Finds the permit of a token, if it belongs to the registry and has not ended.
#[inline]
fn look<T>(
    registry: u64,
    token: u64,
    run: impl FnOnce(&mut Places, usize) -> Option<T>,
) -> Answer<Option<T>> {
    let low = usize::try_from(token % (1 << (SHARD_BITS + PLACE_BITS))).unwrap_or(usize::MAX);
    let (uses, number) = (token >> (SHARD_BITS + PLACE_BITS), low >> SHARD_BITS);
    let mut places = lock(&SHARDS_OF_ALL[low % SHARDS]);
    let foreign = |rule: &str| Problem::new(PH_E_TOKEN, format!("token is {token}: {rule}"));
    let Some(place) = places.places.get(number).filter(|place| (1..=place.uses).contains(&uses))
    else {
        return Err(foreign("no permit has it"));
    };
    if place.uses != uses || place.permit.is_none() {
        return Ok(None);
    }
    if place.registry != registry {
        return Err(foreign("a permit of another registry has it"));
    }
    Ok(run(&mut places, number))
}

/// Drops the permits of a registry.
pub(crate) fn drop_all_of(registry: u64) {
    for shard in &SHARDS_OF_ALL {
        let mut places = lock(shard);
        let of_it = |(n, place): (usize, &Place)| {
            (place.registry == registry && place.permit.is_some()).then_some(n)
        };
        let numbers: Vec<usize> = places.places.iter().enumerate().filter_map(of_it).collect();
        let mut permits = Vec::with_capacity(numbers.len());
        for number in numbers {
            permits.extend(places.places.get_mut(number).and_then(|place| place.permit.take()));
            places.free_place(number);
        }
        drop(places);
        drop(permits);
    }
}

#[inline]
fn lock(shard: &Shard) -> MutexGuard<'_, Places> {
    // Nothing under the lock panics half-way.
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    #[inline]
    fn take_place(&mut self) -> Option<usize> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        let place = self.places.len();
        if place == PLACES {
            return None;
        }
        self.places.push(Place { uses: 0, registry: 0, permit: None });
        Some(place)
    }

    #[inline]
    fn free_place(&mut self, number: usize) {
        if self.places.get(number).is_some_and(|place| place.uses + 1 < USES) {
            self.free.push(number);
        }
    }
}
