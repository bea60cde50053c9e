//! Who waits for the next event: one task at a time, which may be another at each poll.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use crate::foreign::{Own, quietly};

/// A waker that is not ours: it is cloned, woken and dropped when nothing is locked (R25).
///
/// Who registers and then looks misses nothing: what happens before the look is found, what happens
/// after it takes this waker.
#[derive(Default)]
pub(super) struct Reader(Mutex<Option<Own<Waker>>>);

impl Reader {
    /// Takes this waker in the place of the one before.
    pub(super) fn register(&self, waker: &Waker) {
        let waker = Some(Own::new(waker.clone()));
        drop(self.replace(waker));
    }

    /// Wakes who waits, if anybody does. Never panics: others are to be woken too.
    pub(super) fn wake(&self) {
        let waker = self.replace(None);
        quietly(|| waker.iter().for_each(|waker| waker.wake_by_ref()));
    }

    fn replace(&self, waker: Option<Own<Waker>>) -> Option<Own<Waker>> {
        mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), waker)
    }
}
