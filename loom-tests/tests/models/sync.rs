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

use std::cell::Cell as Flag;
use std::fmt;
use std::ops::Deref;
use std::sync::{PoisonError, atomic};

use loom::cell::UnsafeCell;
use loom::sync::atomic as model;

pub(crate) use std::sync::atomic::Ordering;

/// The hasher is the same in every execution.
pub(crate) type KeyHasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// A fence that loom sees.
pub(crate) fn fence(order: Ordering) {
    if MODELLING.get() && !unwinding() {
        model::fence(order);
    }
}

/// No thread decides by what it reads, so a model leaves it out.
pub(crate) fn prefetch(_: &AtomicU64) {}

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

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        #[derive(Debug)]
        pub(crate) enum $name {
            Model(model::$name),
            Std(atomic::$name),
        }

        #[allow(dead_code, reason = "the same for each type")]
        impl $name {
            #[track_caller]
            pub(crate) fn new(value: $int) -> Self {
                if MODELLING.get() && !unwinding() {
                    Self::Model(model::$name::new(value))
                } else {
                    Self::Std(atomic::$name::new(value))
                }
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $int {
                match self {
                    Self::Model(it) if LOADS_ARE_RMW.get() && !unwinding() => {
                        it.fetch_or(0, order)
                    }
                    _ => self.plain_load(order),
                }
            }

            #[track_caller]
            fn plain_load(&self, order: Ordering) -> $int {
                match self {
                    Self::Std(it) => it.load(order),
                    Self::Model(_) if unwinding() => 0,
                    Self::Model(it) => it.load(order),
                }
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $int, order: Ordering) {
                match self {
                    Self::Std(it) => it.store(value, order),
                    Self::Model(_) if unwinding() => {}
                    // Otherwise loom lets a read-modify-write find what another has overwritten.
                    Self::Model(it) if LOADS_ARE_RMW.get() => drop(it.swap(value, order)),
                    Self::Model(it) => it.store(value, order),
                }
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                seen: $int,
                next: $int,
                won: Ordering,
                lost: Ordering,
            ) -> Result<$int, $int> {
                match self {
                    Self::Std(it) => it.compare_exchange(seen, next, won, lost),
                    Self::Model(_) if unwinding() => Ok(seen),
                    Self::Model(it) => {
                        let swapped = it.compare_exchange(seen, next, won, lost);
                        note_race(swapped.is_ok());
                        swapped
                    }
                }
            }

            #[track_caller]
            pub(crate) fn fetch_update(
                &self,
                won: Ordering,
                lost: Ordering,
                mut next: impl FnMut($int) -> Option<$int>,
            ) -> Result<$int, $int> {
                let mut seen = self.load(lost);
                while let Some(next) = next(seen) {
                    match self.compare_exchange(seen, next, won, lost) {
                        Ok(seen) => return Ok(seen),
                        Err(found) => seen = found,
                    }
                }
                Err(seen)
            }

            atomic!(rmw $int: swap fetch_add fetch_sub fetch_max fetch_or);
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }
    };
    (rmw $int:ty: $($op:ident)+) => {
        $(#[track_caller]
        pub(crate) fn $op(&self, value: $int, order: Ordering) -> $int {
            match self {
                Self::Std(it) => it.$op(value, order),
                Self::Model(_) if unwinding() => 0,
                Self::Model(it) => it.$op(value, order),
            }
        })+
    };
}

pub(crate) type TimeWord = AtomicU64;

/// A number beside a circuit: a step of a model that says so ([`totals_count`]), of no other.
#[derive(Debug)]
pub(crate) struct Total(AtomicU64);

impl Total {
    #[track_caller]
    pub(crate) fn new(value: u64) -> Self {
        Self(match TOTALS_COUNT.get() {
            true => AtomicU64::new(value),
            false => AtomicU64::Std(atomic::AtomicU64::new(value)),
        })
    }
}

impl Default for Total {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Deref for Total {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        &self.0
    }
}

/// Makes new totals steps of the model.
pub(crate) fn totals_count(yes: bool) {
    TOTALS_COUNT.set(yes);
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

atomic!(AtomicU8, u8);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);

/// `std`'s `Arc`; for entries, where a model asks for it, with a reference count that loom sees, and with
/// the orderings of `std`.
pub(crate) struct Arc<T>(std::sync::Arc<Counted<T>>);

struct Counted<T> {
    strong: Option<model::AtomicUsize>,
    value: T,
}

impl<T> Arc<T> {
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        let entry = std::any::type_name::<T>().contains("peer::PeerEntry<");
        let counted = entry && MODELLING.get() && COUNTED.get() && !unwinding();
        let strong = counted.then(|| model::AtomicUsize::new(1));
        Self(std::sync::Arc::new(Counted { strong, value }))
    }

    pub(crate) fn new_cyclic(value: impl FnOnce(&Weak<T>) -> T) -> Self {
        Self(std::sync::Arc::new_cyclic(|weak| Counted {
            strong: None,
            value: value(&Weak(weak.clone())),
        }))
    }

    fn strong(&self) -> Option<&model::AtomicUsize> {
        self.0.strong.as_ref().filter(|_| !unwinding())
    }

    pub(crate) fn downgrade(this: &Self) -> Weak<T> {
        Weak(std::sync::Arc::downgrade(&this.0))
    }

    pub(crate) fn ptr_eq(this: &Self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&this.0, &other.0)
    }

    #[track_caller]
    pub(crate) fn strong_count(this: &Self) -> usize {
        match this.strong() {
            Some(strong) => strong.load(Ordering::Relaxed),
            None => std::sync::Arc::strong_count(&this.0),
        }
    }
}

/// `std`'s `Weak`, with the orderings of `std`.
pub(crate) struct Weak<T>(std::sync::Weak<Counted<T>>);

impl<T> Weak<T> {
    #[track_caller]
    pub(crate) fn upgrade(&self) -> Option<Arc<T>> {
        let found = self.0.upgrade()?;
        let more = |count| (count > 0).then_some(count + 1);
        let counted = found.strong.as_ref().filter(|_| !unwinding());
        let going = counted.is_some_and(|strong| {
            strong.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_err()
        });
        (!going).then(|| Arc(found))
    }
}

/// A lock that loom sees.
pub(crate) enum Mutex<T> {
    Model(loom::sync::Mutex<T>),
    Std(std::sync::Mutex<T>),
}

pub(crate) enum Locked<'a, T> {
    Model(loom::sync::MutexGuard<'a, T>),
    Std(std::sync::MutexGuard<'a, T>),
}

impl<T> Mutex<T> {
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        if MODELLING.get() && !unwinding() {
            Self::Model(loom::sync::Mutex::new(value))
        } else {
            Self::Std(std::sync::Mutex::new(value))
        }
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> Locked<'_, T> {
        match self {
            Self::Model(it) => Locked::Model(it.lock().unwrap()),
            Self::Std(it) => Locked::Std(it.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    #[track_caller]
    pub(crate) fn try_lock(&self) -> Option<Locked<'_, T>> {
        match self {
            Self::Model(it) => it.try_lock().ok().map(Locked::Model),
            Self::Std(it) => it.try_lock().ok().map(Locked::Std),
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Model(it) => it,
            Self::Std(it) => it,
        }
    }
}

impl<T> std::ops::DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Model(it) => it,
            Self::Std(it) => it,
        }
    }
}

impl<T> Clone for Weak<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for Arc<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        if let Some(strong) = self.strong() {
            strong.fetch_add(1, Ordering::Relaxed);
        }
        Self(std::sync::Arc::clone(&self.0))
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        if let Some(strong) = self.strong()
            && strong.fetch_sub(1, Ordering::Release) == 1
        {
            model::fence(Ordering::Acquire);
        }
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Arc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Arc<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

pub(crate) struct Swap<T> {
    at: AtomicUsize,
    /// All values that were ever here. No thread holds this lock while loom may switch threads.
    arena: std::sync::Mutex<Vec<Entry<T>>>,
}

struct Entry<T> {
    value: Arc<T>,
    published: Option<UnsafeCell<()>>,
}

pub(crate) type Loaded<T> = Arc<T>;

impl<T> Swap<T> {
    #[track_caller]
    pub(crate) fn new(value: Arc<T>) -> Self {
        let swap = Self { at: AtomicUsize::new(0), arena: std::sync::Mutex::default() };
        swap.push(value);
        swap
    }

    #[track_caller]
    pub(crate) fn load(&self) -> Loaded<T> {
        self.get(self.index(Ordering::Acquire))
    }

    #[track_caller]
    fn index(&self, order: Ordering) -> usize {
        if is_fixed::<T>() { self.at.plain_load(order) } else { self.at.load(order) }
    }

    #[track_caller]
    pub(crate) fn compare_and_swap(&self, seen: &Arc<T>, next: Arc<T>) -> Result<(), Loaded<T>> {
        let seen = self.arena(|all| all.iter().position(|e| Arc::ptr_eq(&e.value, seen)).unwrap());
        let next = self.push(next);
        let swapped = self.at.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire);
        note_race(swapped.is_ok());
        swapped.map(drop).map_err(|found| self.get(found))
    }

    #[track_caller]
    pub(crate) fn replace(&self, next: Arc<T>) {
        assert!(!is_fixed::<T>(), "a model that replaces the configuration has to say so");
        let next = self.push(next);
        // This does as arc-swap, which stores by an exchange.
        self.at.swap(next, Ordering::AcqRel);
    }

    fn push(&self, value: Arc<T>) -> usize {
        let published = (MODELLING.get() && !unwinding()).then(|| UnsafeCell::new(()));
        if let Some(cell) = &published {
            cell.with_mut(|_| ());
        }
        self.arena(|all| {
            assert!(all.iter().all(|e| !Arc::ptr_eq(&e.value, &value)), "a value came back");
            all.push(Entry { value, published });
            all.len() - 1
        })
    }

    fn get(&self, index: usize) -> Arc<T> {
        self.arena(|all| {
            if let Some(cell) = all[index].published.as_ref().filter(|_| !unwinding()) {
                cell.with(|_| ());
            }
            Arc(std::sync::Arc::clone(&all[index].value.0))
        })
    }

    fn arena<R>(&self, f: impl FnOnce(&mut Vec<Entry<T>>) -> R) -> R {
        f(&mut self.arena.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: fmt::Debug> fmt::Debug for Swap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Swap")
    }
}
