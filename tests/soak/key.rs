//! A key that panics in what is done to it by a thread that has armed it.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::resume_unwind;

/// What happens to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Hash,
    Eq,
    Clone,
    Debug,
    Drop,
}

pub(crate) const ALL: [What; 5] = [What::Hash, What::Eq, What::Clone, What::Debug, What::Drop];

thread_local! {
    /// What this thread's keys panic in, and at which time from now on.
    static TRAP: Cell<Option<(What, u64)>> = const { Cell::new(None) };
}

/// Panics without a message.
pub(crate) fn panics() -> ! {
    resume_unwind(Box::new(()))
}

/// This thread's keys panic, once, at the nth time that this happens to one of them.
pub(crate) fn arm(what: What, nth: u64) {
    TRAP.set(Some((what, nth)));
}

/// Whether one has panicked.
pub(crate) fn disarm() -> bool {
    matches!(TRAP.take(), Some((_, 0)))
}

fn happens(what: What) {
    match TRAP.get() {
        Some((armed, left)) if armed == what && left > 0 => {
            TRAP.set(Some((armed, left - 1)));
            if left == 1 {
                panics();
            }
        }
        _ => {}
    }
}

/// Of two one hash, so that they are compared.
pub(crate) struct Key(pub(crate) u64);

impl Clone for Key {
    fn clone(&self) -> Self {
        happens(What::Clone);
        Self(self.0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        happens(What::Hash);
        (self.0 / 2).hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        happens(What::Eq);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        happens(What::Debug);
        write!(f, "{}", self.0)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        happens(What::Drop);
    }
}
