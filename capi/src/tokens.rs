//! The permits that callers hold, by number: a slab whose places count their uses.
//!
//! 1. A token names a shard, a place in it and the use of that place; another use is another token, so a
//!    permit that has ended is never ended again, and no token is given twice.
//! 2. A shard is locked while a permit is put in or taken out, and never while a permit ends.
//! 3. A thread keeps to one shard, so threads seldom meet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use peer_health::OwnedPermit;

use crate::codes::{PH_E_FULL, PH_E_TOKEN};
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
    held: Option<Held>,
}

struct Held {
    registry: u64,
    permit: OwnedPermit<Key>,
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
    let problem = if entry.freed.load(Ordering::Relaxed) {
        let message = format!("registry {} was freed meanwhile", entry.number);
        Problem::new(crate::codes::PH_E_REGISTRY, message)
    } else if let Some(place) = places.take_place() {
        let held = Held { registry: entry.number, permit };
        let uses = places.fill(place, held);
        return Ok(uses << (SHARD_BITS + PLACE_BITS) | (place << SHARD_BITS | shard) as u64);
    } else {
        Problem::new(PH_E_FULL, format!("{PLACES} permits are held: settle them"))
    };
    drop(places);
    drop(permit);
    Err(problem)
}

/// Takes the permit of a token; `None` if it has ended.
#[inline]
pub(crate) fn take(registry: u64, token: u64) -> Answer<Option<OwnedPermit<Key>>> {
    look(registry, token, |places, place| {
        let held = places.places.get_mut(place).and_then(|place| place.held.take());
        places.free_place(place);
        held.map(|held| held.permit)
    })
}

/// Returns whether the registry keeps the peer of this token; `None` if the permit has ended.
#[cfg(feature = "testing")]
pub(crate) fn is_tracked(registry: u64, token: u64) -> Answer<Option<bool>> {
    look(registry, token, |places, place| {
        places.places.get(place)?.held.as_ref().map(|held| held.permit.is_tracked())
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
    match &place.held {
        Some(held) if place.uses == uses && held.registry != registry => {
            Err(foreign("a permit of another registry has it"))
        }
        Some(_) if place.uses == uses => Ok(run(&mut places, number)),
        _ => Ok(None),
    }
}

/// Drops the permits of a registry.
pub(crate) fn drop_all_of(registry: u64) {
    for shard in &SHARDS_OF_ALL {
        let mut places = lock(shard);
        let of_it =
            |(n, place): (usize, &Place)| (place.held.as_ref()?.registry == registry).then_some(n);
        let numbers: Vec<usize> = places.places.iter().enumerate().filter_map(of_it).collect();
        let mut permits = Vec::with_capacity(numbers.len());
        for number in numbers {
            permits.extend(places.places.get_mut(number).and_then(|place| place.held.take()));
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
        self.places.push(Place { uses: 0, held: None });
        Some(place)
    }

    /// Fills a place, and returns the number of this use, from 1.
    #[inline]
    fn fill(&mut self, place: usize, held: Held) -> u64 {
        let Some(place) = self.places.get_mut(place) else { return 0 };
        place.uses += 1;
        place.held = Some(held);
        place.uses
    }

    #[inline]
    fn free_place(&mut self, number: usize) {
        if self.places.get(number).is_some_and(|place| place.uses + 1 < USES) {
            self.free.push(number);
        }
    }
}
