//! Code of the program, such as a key's: it may panic, and costs nobody else anything.

use std::any::Any;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::mem;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs foreign code; a panic of it gives `None`. What the panic leaves may panic too when it is dropped.
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code)).map_err(dispose_of).ok()
}

fn dispose_of(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        mem::forget(another);
    }
}

/// A value whose destructor is foreign: its panic ends here. Two that panic in one list, or one while
/// another panic unwinds, would end the process.
pub(crate) struct Own<T>(Option<T>);

impl<T> Own<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            // Only `drop` empties it.
            None => unreachable!("a value is there for as long as its owner"),
        }
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            let _ = guarded(move || drop(value));
        }
    }
}

// A map of these is asked with a bare key.
impl<T> Borrow<T> for Own<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: Hash> Hash for Own<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: PartialEq> PartialEq for Own<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Own<T> {}
