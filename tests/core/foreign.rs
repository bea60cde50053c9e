//! Foreign code that panics (R25), place by place, as `CONTRIBUTING.md` lists them: no place in the
//! table is lost, later listeners hear, the monitor stays in step, the driver goes on, and no outcome
//! of a permit unwinds.

mod calls;
#[cfg(feature = "tokio")]
mod driving;
mod keys;
mod listeners;
mod restart;
#[cfg(feature = "tokio")]
mod watching;

use std::hash::{Hash, Hasher};
use std::mem;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use peer_health::{HealthConfig, HealthRegistry, SyncError};

#[cfg(feature = "tracing")]
use crate::support::log;
use crate::support::{self, ends, network};

/// What a panic leaves: something that panics when it is dropped, and leaves the same.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        panics();
    }
}

/// Panics without a message, and leaves something that panics when it is dropped.
fn panics() -> ! {
    resume_unwind(Box::new(Loud))
}

/// What happens to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum What {
    Hash = 1,
    Eq,
    Clone,
    Debug,
    Drop,
}

const ALL: [What; 5] = [What::Hash, What::Eq, What::Clone, What::Debug, What::Drop];

/// Whether each kind of code was met more often than that; keys are printed for the log alone.
fn were_met(sprung: [u64; ALL.len()], times: u64) -> bool {
    let runs = |what| what != What::Debug || cfg!(feature = "tracing");
    ALL.into_iter().zip(sprung).all(|(what, sprung)| sprung > times || !runs(what))
}

/// Springs when something has happened to its keys so many times.
#[derive(Default)]
struct Trap {
    what: AtomicU8,
    left: AtomicI64,
    sprung: AtomicU64,
}

impl Trap {
    /// Springs at the nth time, and at each after that if it is said so.
    fn arm(&self, what: What, nth: i64, for_ever: bool) {
        self.left.store(if for_ever { i64::MIN / 2 + nth } else { nth }, Ordering::Relaxed);
        self.what.store(what as u8, Ordering::Relaxed);
    }

    /// How often it has sprung since it was last asked.
    fn disarm(&self) -> u64 {
        self.what.store(0, Ordering::Relaxed);
        self.sprung.swap(0, Ordering::Relaxed)
    }

    fn happens(&self, what: What) {
        if self.what.load(Ordering::Relaxed) != what as u8 {
            return;
        }
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        if left == 1 || left <= i64::MIN / 2 + 1 {
            self.sprung.fetch_add(1, Ordering::Relaxed);
            panics();
        }
    }
}

/// A key with a trap. Of four one hash, so that they are compared.
struct Key(u32, Arc<Trap>);

impl Key {
    fn of(trap: &Arc<Trap>) -> impl Fn(u32) -> Self + Clone + Send + Sync + 'static {
        let trap = Arc::clone(trap);
        move |id| Self(id, Arc::clone(&trap))
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        self.1.happens(What::Clone);
        Self(self.0, Arc::clone(&self.1))
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.happens(What::Hash);
        (self.0 / 4).hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.1.happens(What::Eq);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.1.happens(What::Debug);
        write!(f, "{}", self.0)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.1.happens(What::Drop);
    }
}

type Registry = HealthRegistry<Key>;

const PLACES: u32 = 8;

/// One failure opens, one success closes.
fn config() -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_max_peers(PLACES as usize)
}

/// Does it while everything is logged, where there is a log.
fn logged<R>(run: impl FnOnce() -> R) -> R {
    #[cfg(feature = "tracing")]
    return log::logged_to(log::Printing, run);
    #[cfg(not(feature = "tracing"))]
    run()
}

/// R25, R26: as many peers are there as are counted; when they are gone there is room for as many as
/// ever, and no lock is held.
#[track_caller]
fn assert_sound(registry: &Registry, key: impl Fn(u32) -> Key) {
    let mut known = Vec::new();
    registry.for_each(|peer, _| known.push(peer.0));
    assert_eq!(registry.len(), known.len(), "places and peers");
    known.iter().for_each(|peer| assert!(registry.remove(&key(*peer)), "{peer} is not found"));
    assert!(registry.is_empty(), "a place is lost");
    let permits: Vec<_> = (0..=PLACES).map(|n| registry.acquire(&key(1000 + n))).collect();
    let tracked = permits.iter().filter(|permit| permit.as_ref().unwrap().is_tracked()).count();
    assert_eq!(tracked, PLACES as usize);
    for permit in permits {
        permit.unwrap().success();
    }
}
