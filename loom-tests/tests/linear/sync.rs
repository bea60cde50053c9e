//! The library's door to shared memory, opened on shuttle: the same names as `src/sync.rs`.
//!
//! [`Swap`] is an index into a list of values that only grows. A load and a compare-and-swap are one access
//! to the index each, as they are one access to a pointer in `arc-swap`; every value stays alive, so that
//! two indices are equal exactly if the pointers are. A lock around the `Arc` would be stronger than
//! `arc-swap`.
//!
//! An atomic access is a scheduling point unless it is `Relaxed`. In this library `Relaxed` marks words
//! without an order with the circuit: totals, and notes of use. Each such access is one read-modify-write or
//! one read, so the order of threads makes no difference, and the models are small enough to run whole.

use std::cell::Cell as Flag;
use std::sync::{Mutex, PoisonError};

use shuttle::sync::atomic::AtomicBool;

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;

/// No thread decides by what it reads, so a model leaves it out.
pub(crate) fn prefetch(_: &AtomicU64) {}

pub(crate) use crossbeam_utils::CachePadded;

pub(crate) fn thread_number() -> usize {
    0
}

thread_local! {
    /// Whether the model never replaces the configuration.
    static SETTINGS_STAY: Flag<bool> = const { Flag::new(false) };
}

/// Runs a model that never replaces the configuration: reads of it have no order with anything, and are no
/// scheduling points. All threads of a model are one thread of the system.
pub(crate) fn while_settings_stay<R>(model: impl FnOnce() -> R) -> R {
    SETTINGS_STAY.set(true);
    let result = model();
    SETTINGS_STAY.set(false);
    result
}

/// A scheduling point, at which another thread may run.
#[derive(Debug, Default)]
pub(crate) struct Point(AtomicBool);

impl Point {
    pub(crate) fn pass(&self) {
        // Some files bring unit tests along, which run outside of a model.
        if shuttle::current::try_get_current_task().is_some() {
            self.0.load(Ordering::SeqCst);
        }
    }
}

macro_rules! atomics {
    ($($name:ident: $int:ty),+) => {$(
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            value: std::sync::atomic::$name,
            point: Point,
        }

        #[allow(dead_code, reason = "each type is used for a part of this")]
        impl $name {
            pub(crate) fn new(value: $int) -> Self {
                Self { value: value.into(), point: Point::default() }
            }

            /// Lets other threads run first, and then accesses the value in one step.
            fn at(&self, order: Ordering) -> &std::sync::atomic::$name {
                if order != Ordering::Relaxed {
                    self.point.pass();
                }
                &self.value
            }

            pub(crate) fn load(&self, order: Ordering) -> $int {
                self.at(order).load(order)
            }

            pub(crate) fn store(&self, value: $int, order: Ordering) {
                self.at(order).store(value, order);
            }

            pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                self.at(order).swap(value, order)
            }

            pub(crate) fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                self.at(order).fetch_add(value, order)
            }

            pub(crate) fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                self.at(order).fetch_sub(value, order)
            }

            pub(crate) fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                self.at(order).fetch_or(value, order)
            }

            pub(crate) fn fetch_max(&self, value: $int, order: Ordering) -> $int {
                self.at(order).fetch_max(value, order)
            }

            pub(crate) fn compare_exchange(
                &self,
                seen: $int,
                next: $int,
                order: Ordering,
                failed: Ordering,
            ) -> Result<$int, $int> {
                self.at(order).compare_exchange(seen, next, order, failed)
            }

            pub(crate) fn fetch_update(
                &self,
                order: Ordering,
                failed: Ordering,
                f: impl FnMut($int) -> Option<$int>,
            ) -> Result<$int, $int> {
                self.at(order).fetch_update(order, failed, f)
            }
        }
    )+};
}

atomics!(AtomicU8: u8, AtomicU32: u32, AtomicU64: u64, AtomicUsize: usize);

/// A read of the time is no scheduling point: it lies between two (see `subject::Time`).
pub(crate) type TimeWord = std::sync::atomic::AtomicU64;

/// A count or a note beside the circuit is no step of a model.
pub(crate) type Total = std::sync::atomic::AtomicU64;

/// The first thread to need it makes it; which of several at once makes no difference.
#[derive(Debug)]
pub(crate) struct Once<T>(std::sync::OnceLock<Box<T>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    pub(crate) fn new() -> Self {
        Self(std::sync::OnceLock::new())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get().map(|value| &**value)
    }

    pub(crate) fn get_or_make(&self) -> &T
    where
        T: Default,
    {
        self.0.get_or_init(Box::default)
    }
}

/// The cell is for display, and no step of a model.
pub(crate) struct Cell<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Cell<T> {
    pub(crate) fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        std::mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), value)
    }
}

/// A shared `Arc` that is replaced as a whole.
#[derive(Debug)]
pub(crate) struct Swap<T> {
    index: shuttle::sync::atomic::AtomicUsize,
    /// No thread holds this lock across a scheduling point.
    values: Mutex<Vec<Arc<T>>>,
}

/// A loaded value, kept alive while this exists.
pub(crate) type Loaded<T> = Arc<T>;

impl<T> Swap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        let index = shuttle::sync::atomic::AtomicUsize::new(0);
        Self { index, values: Mutex::new(vec![value]) }
    }

    pub(crate) fn load(&self) -> Loaded<T> {
        if SETTINGS_STAY.get() && std::any::type_name::<T>().ends_with("rules::Rules") {
            let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            return Arc::clone(values.last().expect("never empty"));
        }
        self.value(self.index.load(Ordering::SeqCst))
    }

    pub(crate) fn compare_and_swap(&self, seen: &Arc<T>, next: Arc<T>) -> Result<(), Loaded<T>> {
        let (seen, next) = (self.index_of(seen), self.index_of(&next));
        match self.index.compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(()),
            Err(found) => Err(self.value(found)),
        }
    }

    pub(crate) fn replace(&self, next: Arc<T>) {
        assert!(!SETTINGS_STAY.get(), "a model has said that nobody replaces it");
        self.index.store(self.index_of(&next), Ordering::SeqCst);
    }

    fn value(&self, index: usize) -> Arc<T> {
        Arc::clone(&self.values.lock().unwrap_or_else(PoisonError::into_inner)[index])
    }

    /// Returns the index of the value, which is kept from now on.
    fn index_of(&self, value: &Arc<T>) -> usize {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.iter().position(|known| Arc::ptr_eq(known, value)).unwrap_or_else(|| {
            values.push(Arc::clone(value));
            values.len() - 1
        })
    }
}
