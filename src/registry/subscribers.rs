//! A list of subscribers, which changes at run time.
//!
//! The list is an immutable value that is swapped as a whole. A thread that tells takes the list as it is
//! and holds no lock: a subscriber may add others, remove itself, or take its time.
//!
//! A subscriber that is added and then looks misses nothing: a step is told to it, or was made before it
//! looked. See [`Subscribers::now`].

use crate::foreign::{Own, guarded};
use crate::sync::{Arc, AtomicU64, Ordering, Swap};

/// A subscriber is foreign code, and so is its destructor, which runs where the last reference goes.
type List<F> = Vec<Arc<Own<F>>>;

pub(super) struct Subscribers<F> {
    list: Swap<List<F>>,
    /// The word at which threads that tell and threads that add meet.
    meeting: AtomicU64,
}

impl<F> Subscribers<F> {
    pub(super) fn new(first: impl IntoIterator<Item = F>) -> Self {
        let list = first.into_iter().map(|one| Arc::new(Own::new(one))).collect();
        Self { list: Swap::new(Arc::new(list)), meeting: AtomicU64::new(0) }
    }

    /// Returns the list for a thread that has made a step.
    pub(super) fn now(&self) -> Arc<List<F>> {
        // AcqRel: pairs with the one in `add`. Of two read-modify-writes one comes first: if it is this, the
        // new subscriber finds the step that was made before; if it is that, the list that is loaded next
        // has the new one.
        self.meeting.fetch_add(1, Ordering::AcqRel);
        // No guard of the swap lives while a subscriber runs.
        Arc::clone(&self.list.load())
    }

    pub(super) fn add(&self, new: F) -> Arc<Own<F>> {
        let new = Arc::new(Own::new(new));
        self.change(|list| list.iter().chain([&new]).map(Arc::clone).collect());
        // AcqRel: pairs with the one in `now`, as explained there.
        self.meeting.fetch_add(1, Ordering::AcqRel);
        new
    }

    pub(super) fn remove(&self, one: &Arc<Own<F>>) {
        let others = |other: &&Arc<Own<F>>| !Arc::ptr_eq(other, one);
        self.change(|list| list.iter().filter(others).map(Arc::clone).collect());
    }

    fn change(&self, next: impl Fn(&List<F>) -> List<F>) {
        let mut seen = self.list.load();
        while let Err(found) = self.list.compare_and_swap(&seen, Arc::new(next(&seen))) {
            seen = found;
        }
    }
}

/// Tells every subscriber on the list, while no lock is held. A subscriber that panics loses only its own
/// news. Returns how many did.
pub(super) fn tell_each<F>(list: &List<F>, tell: impl Fn(&F)) -> usize {
    list.iter().filter(|one| guarded(|| tell(one)).is_none()).count()
}

/// Runs a function when it is dropped: it takes a subscriber off a list.
pub(super) struct Unsubscribe(pub(super) Box<dyn Fn() + Send + Sync>);

impl Drop for Unsubscribe {
    fn drop(&mut self) {
        (self.0)();
    }
}
