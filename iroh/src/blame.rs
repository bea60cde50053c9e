//! One event counts once. The calls that share a dial or a connection all fail when it does; the first of
//! them blames the peer, and the others blame nobody.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iroh::EndpointId;

/// Locks what no code that may panic holds.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The peers that are being called, each with whether one of these calls has blamed it. An entry lives as
/// long as a call does, so there are never more of them than calls.
#[derive(Default)]
pub(crate) struct Blame {
    called: Mutex<HashMap<EndpointId, Arc<AtomicBool>>>,
}

impl Blame {
    /// Returns the share of a call that begins now, in whatever happens to the peer while it lasts.
    pub(crate) fn share(self: &Arc<Self>, peer: EndpointId) -> Share {
        let blamed = Arc::clone(lock(&self.called).entry(peer).or_default());
        Share { blame: Arc::clone(self), peer, blamed: Some(blamed) }
    }
}

/// A call's share: dropped when the call ends.
pub(crate) struct Share {
    blame: Arc<Blame>,
    peer: EndpointId,
    /// `None` only while the share is dropped.
    blamed: Option<Arc<AtomicBool>>,
}

impl Share {
    /// Returns whether this is the first of the calls that overlap to blame the peer. Calls that begin later
    /// share another event.
    pub(crate) fn is_first(&self) -> bool {
        let Some(blamed) = &self.blamed else { return false };
        // Relaxed: the swap alone decides, and publishes nothing.
        let first = !blamed.swap(true, Ordering::Relaxed);
        if first
            && let Entry::Occupied(entry) = lock(&self.blame.called).entry(self.peer)
            && Arc::ptr_eq(entry.get(), blamed)
        {
            entry.remove();
        }
        first
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut called = lock(&self.blame.called);
        // Under the lock: of two shares that are dropped at once, the second sees that it is the last.
        drop(self.blamed.take());
        if let Entry::Occupied(entry) = called.entry(self.peer)
            && Arc::strong_count(entry.get()) == 1
        {
            entry.remove();
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("blamed", &self.blamed).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use iroh::SecretKey;

    use super::*;

    #[test]
    fn the_first_of_the_calls_that_overlap_blames_and_nothing_is_left_behind() {
        let (blame, peer) = (Arc::new(Blame::default()), SecretKey::generate().public());
        let (one, two) = (blame.share(peer), blame.share(peer));
        assert!(two.is_first());
        let later = blame.share(peer);
        assert!(!one.is_first() && !two.is_first());
        assert!(later.is_first(), "it shares another event");
        let last = blame.share(peer);
        drop((one, two, later));
        assert_eq!(lock(&blame.called).len(), 1, "the last call goes on");
        drop(last);
        assert!(lock(&blame.called).is_empty());
    }

    #[test]
    fn shares_that_are_dropped_at_once_leave_nothing_behind() {
        let blame = Arc::new(Blame::default());
        let peers: Vec<_> = (0..10_000).map(|_| SecretKey::generate().public()).collect();
        for _ in 0..20 {
            let arrived = AtomicUsize::new(0);
            let call = || {
                for (round, peer) in peers.iter().enumerate() {
                    let share = blame.share(*peer);
                    arrived.fetch_add(1, Ordering::SeqCst);
                    let mut spins = 0;
                    while arrived.load(Ordering::SeqCst) < 2 * (round + 1) {
                        spins += 1;
                        if spins % 1_000 == 0 {
                            std::thread::yield_now();
                        }
                    }
                    drop(share);
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(call);
                scope.spawn(call);
            });
            assert!(lock(&blame.called).is_empty());
        }
    }
}
