//! The latest of several values, for display and without a lock. A writer swaps its value in; a reader takes
//! the value out and puts it back. A put that finds a newer value there gives way, so the newest value is
//! there when no thread is at work.

use crate::sync::{Arc, Cell};

/// The number of times a reader looks for a value that another reader has taken out.
const TRIES: u32 = 64;

/// A value with a number that says whether it is newer than another.
pub(super) trait Dated {
    fn number(&self) -> u64;
    fn is_newer(one: u64, other: u64) -> bool;
}

pub(super) struct Latest<T>(Cell<T>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Cell::default())
    }
}

impl<T> std::fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Latest")
    }
}

impl<T: Dated> Latest<T> {
    /// Puts a value there, unless a newer one is there.
    pub(super) fn put(&self, mut value: Arc<T>) {
        loop {
            let number = value.number();
            match self.0.swap(Some(value)) {
                Some(found) if T::is_newer(found.number(), number) => value = found,
                _ => return,
            }
        }
    }

    /// Returns the value; `None` if none is there, or other threads read it again and again at this moment.
    pub(super) fn get(&self) -> Option<Arc<T>> {
        let found = (0..TRIES).find_map(|_| {
            std::hint::spin_loop();
            self.0.swap(None)
        })?;
        self.put(Arc::clone(&found));
        Some(found)
    }
}
