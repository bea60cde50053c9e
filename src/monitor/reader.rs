//! Who waits for the next event: one task at a time, which may be another at each poll.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// A waker that is not ours: it is cloned, woken and dropped when nothing is locked (R25).
///
/// Who registers and then looks misses nothing: what happens before the look is found, what happens
/// after it takes this waker.
#[derive(Default)]
pub(super) struct Reader(Mutex<Option<Waker>>);

impl Reader {
    /// Takes this waker in the place of the one before.
    pub(super) fn register(&self, waker: &Waker) {
        let waker = Some(waker.clone());
        drop(self.replace(waker));
    }

    /// Wakes who waits, if anybody does. Never panics: others are to be woken too.
    pub(super) fn wake(&self) {
        let Some(waker) = self.replace(None) else { return };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            // It may panic when it is dropped.
            mem::forget(payload);
        }
    }

    fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), waker)
    }
}
