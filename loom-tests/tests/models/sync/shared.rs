//! What threads share: counted references, and the pointer that is swapped from one to the next.

use std::fmt;
use std::ops::Deref;
use std::sync::PoisonError;

use loom::cell::UnsafeCell;
use loom::sync::atomic as model;

use super::{AtomicUsize, COUNTED, MODELLING, Ordering, is_fixed, note_race, unwinding};

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
