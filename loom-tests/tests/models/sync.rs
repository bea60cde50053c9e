//! The stand-in for `src/sync.rs`: the same names, made of types that loom sees.
//!
//! `Swap` is an index, a loom atomic, into a list that only grows, with the orderings that `arc-swap`
//! documents and no more (a load acquires, a compare-and-swap acquires and, if it succeeds, releases). A
//! mutex around an `Arc` would be too strong: models that must fail would pass. Each entry has a cell that
//! its author writes and every reader reads, so a value that a thread reaches without its publication is a
//! data race, which loom reports.
//!
//! Loom does not explore every order of loads against compare-and-swaps; so each model also runs with every
//! load made a read-modify-write (see `stage`).
//!
//! While a panic unwinds nothing here touches loom: a model that fails drops permits, and those would settle
//! in a loom that has failed already and abort the process.

mod atomics;
mod locks;
mod shared;

use std::cell::Cell as Flag;
use std::sync::{PoisonError, atomic};

use loom::sync::atomic as model;

pub(crate) use std::sync::atomic::Ordering;

pub(crate) use atomics::{
    AtomicU8, AtomicU32, AtomicU64, AtomicUsize, TimeWord, Total, totals_count,
};
pub(crate) use locks::Mutex;
pub(crate) use shared::{Arc, Loaded, Swap, Weak};

/// The hasher is the same in every execution.
pub(crate) type KeyHasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// A fence that loom sees.
pub(crate) fn fence(order: Ordering) {
    if MODELLING.get() && !unwinding() {
        model::fence(order);
    }
}

/// No thread decides by what these read, so a model leaves them out.
pub(crate) fn prefetch(_: &AtomicU64) {}

pub(crate) fn prefetch_counts<T>(_: &Arc<T>) {}

pub(crate) fn prefetch_weak<T>(_: &Weak<T>) {}

pub(crate) use crossbeam_utils::CachePadded;

/// All threads raise one stripe.
pub(crate) fn thread_number() -> usize {
    0
}

thread_local! {
    /// Whether a model runs: always on one system thread. Outside of a model, `std`'s types do all this.
    static MODELLING: Flag<bool> = const { Flag::new(false) };
    /// Whether a load is a read-modify-write.
    static LOADS_ARE_RMW: Flag<bool> = const { Flag::new(false) };
    /// Whether loom sees the reference counts of new entries.
    static COUNTED: Flag<bool> = const { Flag::new(false) };
    /// Whether new cells are steps of the model.
    static CELLS_COUNT: Flag<bool> = const { Flag::new(false) };
    /// Whether new totals are steps of the model.
    static TOTALS_COUNT: Flag<bool> = const { Flag::new(false) };
    /// Whether the model may replace the configuration.
    static SETTINGS_CHANGE: Flag<bool> = const { Flag::new(false) };
    /// The compare-and-swaps of this execution, of a `Swap` and of words: won, lost.
    static RACES: Flag<(usize, usize)> = const { Flag::new((0, 0)) };
}

/// Runs a model's executions.
pub(crate) fn modelling(loads_are_rmw: bool, run: impl FnOnce()) {
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            MODELLING.set(false);
        }
    }
    let _over = Over;
    LOADS_ARE_RMW.set(loads_are_rmw);
    MODELLING.set(true);
    run();
}

pub(crate) fn loads_are_rmw() -> bool {
    LOADS_ARE_RMW.get()
}

pub(crate) fn begin_execution() {
    COUNTED.set(false);
    CELLS_COUNT.set(false);
    TOTALS_COUNT.set(false);
    SETTINGS_CHANGE.set(false);
    RACES.set((0, 0));
}

fn note_race(is_won: bool) {
    let (won, lost) = RACES.get();
    RACES.set(if is_won { (won + 1, lost) } else { (won, lost + 1) });
}

/// Returns how many compare-and-swaps this execution has won and lost.
pub(crate) fn races() -> (usize, usize) {
    RACES.get()
}

/// Lets loom see the reference counts of the entries that are made from now on.
pub(crate) fn count_references(yes: bool) {
    COUNTED.set(yes);
}

/// Sets whether the model may replace the configuration from now on. While no thread writes it, reads of it
/// have no order with anything: they stay loads in the second pass, which would otherwise explore all their
/// orders.
pub(crate) fn settings_change(yes: bool) {
    SETTINGS_CHANGE.set(yes);
}

/// Returns whether this is the configuration, and stays as it is.
fn is_fixed<T>() -> bool {
    !SETTINGS_CHANGE.get() && std::any::type_name::<T>().ends_with("rules::Rules")
}

fn unwinding() -> bool {
    std::thread::panicking()
}

/// The value is made at once, so that all threads know its atomics; it shows from when a thread first asks
/// for it. It makes no difference which one does.
#[derive(Debug, Default)]
pub(crate) struct Once<T> {
    value: Box<T>,
    is_made: atomic::AtomicBool,
}

impl<T: Default> Once<T> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.is_made.load(Ordering::SeqCst).then_some(&*self.value)
    }

    pub(crate) fn get_or_make(&self) -> &T {
        self.is_made.store(true, Ordering::SeqCst);
        &self.value
    }
}

/// A swapped cell; it is a step of a model that says so ([`cells_count`]), and of no other.
pub(crate) struct Cell<T> {
    value: std::sync::Mutex<Option<Arc<T>>>,
    point: Option<model::AtomicUsize>,
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        let counts = MODELLING.get() && CELLS_COUNT.get() && !unwinding();
        Self {
            value: std::sync::Mutex::default(),
            point: counts.then(|| model::AtomicUsize::new(0)),
        }
    }
}

impl<T> Cell<T> {
    pub(crate) fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        if let Some(point) = self.point.as_ref().filter(|_| !unwinding()) {
            point.fetch_add(1, Ordering::AcqRel);
        }
        std::mem::replace(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner), value)
    }
}

/// Makes new cells steps of the model from now on.
pub(crate) fn cells_count(yes: bool) {
    CELLS_COUNT.set(yes);
}
