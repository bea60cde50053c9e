//! The only door to shared memory: atomics, `Arc`, a lock, and a swappable `Arc`.
//!
//! Every other file of the core takes its shared state from here, and from nowhere else; a model checker
//! replaces this one file and sees every shared access of the production code.
//!
//! [`Swap`] has three operations: load, compare-and-swap, and (for values that no thread computes from an
//! earlier load) replace. It promises what `arc-swap` documents: a load acquires, a compare-and-swap that
//! succeeds releases and acquires, one that fails acquires. The caller of a compare-and-swap keeps the value
//! that it expects alive, so no other value can have its address meanwhile: a pointer that compares equal
//! *is* the same value (no ABA).

pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Arc, Weak};
use std::sync::{PoisonError, TryLockError};

pub(crate) use crossbeam_utils::CachePadded;
use crossbeam_utils::atomic::AtomicCell;

/// A lock that ignores poison: what it holds is valid at every moment, also after a panic.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

/// The access to a locked value, until this is dropped.
pub(crate) type Locked<'a, T> = std::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Locked<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `None` if another thread holds the lock.
    pub(crate) fn try_lock(&self) -> Option<Locked<'_, T>> {
        match self.0.try_lock() {
            Ok(locked) => Some(locked),
            Err(TryLockError::Poisoned(locked)) => Some(locked.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Loads a word for its line of cache alone: no thread decides by it, so a model leaves it out.
#[inline]
pub(crate) fn prefetch(word: &AtomicU64) {
    // Relaxed: pairs with nothing; no thread looks at the value.
    let _ = word.load(Ordering::Relaxed);
}

/// Loads the counts of an `Arc` for their line of cache alone: as [`prefetch`].
#[inline]
pub(crate) fn prefetch_counts<T>(value: &Arc<T>) {
    std::hint::black_box(Arc::strong_count(value));
}

/// The same, by a weak reference.
#[inline]
pub(crate) fn prefetch_weak<T>(value: &Weak<T>) {
    std::hint::black_box(value.strong_count());
}

/// The hasher of keys, with a seed of its own for each table. A model needs equal ones in every execution.
pub(crate) use foldhash::quality::RandomState as KeyHasher;

/// A count for display, or what the tracker notes outside a circuit: a model looks at it where it is about the
/// order of these.
pub(crate) type Total = AtomicU64;

/// Returns the number of this thread; no other thread has it.
pub(crate) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Relaxed: pairs with itself in other threads, each of which gets another number.
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.try_with(|number| *number).unwrap_or_default()
}

/// A word of a clock's door. A read of the time is no event of a circuit's history: a checker of histories
/// passes over these words by their type.
pub(crate) type TimeWord = AtomicU64;

/// A value that the first thread to need it makes: of several at once, one is kept.
#[derive(Debug)]
pub(crate) struct Once<T>(once_cell::race::OnceBox<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    pub(crate) fn new() -> Self {
        Self(once_cell::race::OnceBox::new())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }

    pub(crate) fn get_or_make(&self) -> &T
    where
        T: Default,
    {
        self.0.get_or_init(Box::default)
    }
}

/// A cell for an `Arc`, without a lock: a thread that puts an `Arc` or none there takes what was there. A
/// swap acquires and releases.
pub(crate) struct Cell<T>(AtomicCell<Option<Arc<T>>>);

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self(AtomicCell::new(None))
    }
}

impl<T> Cell<T> {
    pub(crate) fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        self.0.swap(value)
    }
}

/// A shared `Arc` that is replaced as a whole.
#[derive(Debug)]
pub(crate) struct Swap<T>(arc_swap::ArcSwap<T>);

/// A loaded value, kept alive while this exists.
pub(crate) type Loaded<T> = arc_swap::Guard<Arc<T>>;

impl<T> Swap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(arc_swap::ArcSwap::new(value))
    }

    /// Returns the value as it is now (an Acquire load: pairs with the Release of the thread that put it
    /// there).
    pub(crate) fn load(&self) -> Loaded<T> {
        self.0.load()
    }

    /// Puts `next` in the place of `seen`; returns the value that it finds if that is another one.
    pub(crate) fn compare_and_swap(&self, seen: &Arc<T>, next: Arc<T>) -> Result<(), Loaded<T>> {
        let found = self.0.compare_and_swap(seen, next);
        if Arc::ptr_eq(&found, seen) { Ok(()) } else { Err(found) }
    }

    /// Puts `next` there whatever was there: only for values that no thread computes from what they replace.
    #[allow(clippy::disallowed_methods, reason = "the one place that may store")]
    pub(crate) fn replace(&self, next: Arc<T>) {
        self.0.store(next);
    }
}
