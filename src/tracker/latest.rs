//! The latest of several values, for display, without a lock: who writes swaps; who reads takes the value
//! out and puts it back. Whatever is put back finds its way behind what is newer, so at rest the newest
//! is there.

use crate::sync::{Arc, Cell};

/// So often does a reader look for a value that another reader has taken out.
const TRIES: u32 = 64;

/// A value that is newer than others.
pub(super) trait Dated {
    fn is_newer(&self, other: &Self) -> bool;
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
    /// Puts a value there, unless what is there is newer.
    pub(super) fn put(&self, mut value: Arc<T>) {
        while let Some(found) = self.0.swap(Some(Arc::clone(&value))) {
            if !found.is_newer(&value) {
                return;
            }
            value = found;
        }
    }

    /// What is there; none if others read it again and again at this moment.
    pub(super) fn get(&self) -> Option<Arc<T>> {
        let found = (0..TRIES).find_map(|_| {
            std::hint::spin_loop();
            self.0.swap(None)
        })?;
        self.put(Arc::clone(&found));
        Some(found)
    }
}
