//! A list of those who are told something, which changes at run time.
//!
//! The list is an immutable value that is swapped as a whole. Whoever tells takes the list as it is
//! and holds nothing else: who is told may add others, remove itself, or take its time.
//!
//! Who begins to listen and then looks misses nothing: a step is told to it, or was made before it
//! looks. See [`Audience::now`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sync::{Arc, AtomicU64, Ordering, Swap};

type List<F> = Vec<Arc<F>>;

pub(super) struct Audience<F> {
    list: Swap<List<F>>,
    /// Where those who tell and those who begin to listen meet.
    meeting: AtomicU64,
}

impl<F> Audience<F> {
    pub(super) fn new(first: Option<F>) -> Self {
        let list = first.into_iter().map(Arc::new).collect();
        Self { list: Swap::new(Arc::new(list)), meeting: AtomicU64::new(0) }
    }

    /// The list for who has made a step.
    pub(super) fn now(&self) -> Arc<List<F>> {
        // AcqRel: pairs with the one in `add`. Of two read-modify-writes one comes first: if it is
        // this, who begins to listen finds the step that was made before; if it is that, the list
        // that is loaded next has the new one.
        self.meeting.fetch_add(1, Ordering::AcqRel);
        // No guard of the swap lives while anybody is told.
        Arc::clone(&self.list.load())
    }

    pub(super) fn add(&self, new: &Arc<F>) {
        self.change(|list| list.iter().chain([new]).map(Arc::clone).collect());
        // AcqRel: pairs with the one in `now`; see there.
        self.meeting.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn remove(&self, one: &Arc<F>) {
        let others = |other: &&Arc<F>| !Arc::ptr_eq(other, one);
        self.change(|list| list.iter().filter(others).map(Arc::clone).collect());
    }

    fn change(&self, next: impl Fn(&List<F>) -> List<F>) {
        let mut seen = self.list.load();
        while let Err(found) = self.list.compare_and_swap(&seen, Arc::new(next(&seen))) {
            seen = found;
        }
    }
}

/// Tells everybody on the list, with no lock held. One that panics loses this, nobody else.
pub(super) fn tell_each<F>(list: Arc<List<F>>, tell: impl Fn(&F), lost: impl Fn()) {
    for one in &*list {
        if catch_unwind(AssertUnwindSafe(|| tell(one))).is_err() {
            lost();
        }
    }
    // The last to let go of one that was removed meanwhile drops what it holds.
    if catch_unwind(AssertUnwindSafe(move || drop(list))).is_err() {
        lost();
    }
}

/// Does something when it is dropped: takes somebody off a list.
pub(super) struct Stop(pub(super) Box<dyn Fn() + Send + Sync>);

impl Drop for Stop {
    fn drop(&mut self) {
        (self.0)();
    }
}
