//! The door for foreign code: code of users and of other crates, which may panic (R25).
//!
//! Listeners, log subscribers, clocks, conversions of errors, wakers, keys and the destructors of all of
//! them run inside [`guarded`] wherever their panic would reach a thread or task that did not cause it.
//! `CONTRIBUTING.md` lists the places.
//!
//! 1. A caught panic leaves nothing behind: this file drops its payload, which may panic too.
//! 2. The library keeps each value with a foreign destructor that it drops in an [`Own`]. So no destructor
//!    panics while another panic unwinds, which would end the process.

use std::any::Any;
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs foreign code; returns `None` if that panicked.
#[inline]
pub(crate) fn guarded<R>(run: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(payload) => {
            dispose_of(payload);
            None
        }
    }
}

/// Drops the payload of a panic. A payload that panics in its destructor leaves another, which this function
/// forgets: it may be of the same kind.
#[cold]
pub(crate) fn dispose_of(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        mem::forget(another);
    }
}

/// Runs foreign code without a result: a line for a log, a drop of a value.
pub(crate) fn quietly(run: impl FnOnce()) {
    let _ = guarded(run);
}

/// A value with a foreign destructor: a panic of the destructor ends here.
pub(crate) struct Own<T>(Option<T>);

impl<T> Own<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Returns the value to a caller that guards its destructor.
    pub(crate) fn take(mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            // Only `take` and `drop` empty it, and both consume it.
            None => unreachable!("a value is there for as long as its owner"),
        }
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        if let (true, Some(value)) = (mem::needs_drop::<T>(), self.0.take()) {
            quietly(move || drop(value));
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Own<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{panic_any, resume_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    static DROPPED: AtomicU32 = AtomicU32::new(0);

    /// A payload that panics with another of its kind when it is dropped.
    struct Nested(u32);

    impl Drop for Nested {
        fn drop(&mut self) {
            // Relaxed: pairs with the load in the test; it runs on one thread.
            DROPPED.fetch_add(1, Ordering::Relaxed);
            if self.0 > 0 {
                resume_unwind(Box::new(Self(self.0 - 1)));
            }
        }
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_gets_no_further() {
        for depth in [0, 1, 5, u32::MAX] {
            assert_eq!(guarded(|| -> u32 { panic_any(Nested(depth)) }), None);
        }
        assert_eq!(guarded(|| 7), Some(7));
        assert!(DROPPED.load(Ordering::Relaxed) >= 4); // Relaxed: pairs with the add; one thread
    }

    #[test]
    fn a_destructor_that_panics_while_another_panic_unwinds_ends_nothing() {
        let owner = Own::new(Nested(3));
        let unwound = guarded(move || {
            let _owner = owner;
            panic!("another");
        });
        assert_eq!(unwound, None::<()>);
        assert!(Own::new(Nested(0)).take().is_some_and(|nested| nested.0 == 0));
    }
}
