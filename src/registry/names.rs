//! Names of peers: each stands for one key for as long as a holder has it, and is cloned, hashed, compared
//! and dropped without any code of the key.
//!
//! Code that keeps peers in several maps under a mutex keeps them by name. Foreign code runs when a key
//! becomes a name, while no lock is held and nothing has changed; it may panic there and then, and leaves no
//! map halfway (R25).

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use super::key::{PeerKey, same};
use crate::foreign::Own;
use crate::sync::{Arc, KeyHasher, Weak};

/// A name for a peer's key.
pub(crate) struct Name<K>(Arc<Named<K>>);

struct Named<K> {
    key: Own<K>,
    hash: u64,
}

/// The names that are in use.
pub(crate) struct Names<K> {
    hasher: KeyHasher,
    used: Mutex<Used<K>>,
}

struct Used<K> {
    /// The names by hash, and by the order of their making.
    names: BTreeMap<(u64, u64), Weak<Named<K>>>,
    made: u64,
    /// The number of names at which those without a holder go.
    most: usize,
}

/// The number of names that are kept at least, with or without a holder.
const FEW: usize = 64;

impl<K> Default for Names<K> {
    fn default() -> Self {
        let used = Used { names: BTreeMap::new(), made: 0, most: FEW };
        Self { hasher: KeyHasher::default(), used: Mutex::new(used) }
    }
}

impl<K: PeerKey> Names<K> {
    /// Returns the name of a peer, a new one if the peer has none.
    ///
    /// A panic of the key reaches the caller, and has changed nothing.
    pub(crate) fn name(&self, peer: &K) -> Name<K> {
        let hash = self.hasher.hash_one(peer);
        self.find(peer, hash, 0).unwrap_or_else(|from| {
            let fresh = Name(Arc::new(Named { key: Own::new(peer.clone()), hash }));
            let mut from = from;
            loop {
                match self.add(&fresh, from) {
                    Ok(()) => return fresh,
                    // Other threads added names with this hash meanwhile.
                    Err(()) => match self.find(peer, hash, from) {
                        Ok(name) => return name,
                        Err(next) => from = next,
                    },
                }
            }
        })
    }

    /// Returns the name of a peer, if it has one: without a name no map knows the peer.
    ///
    /// A panic of the key reaches the caller, and has changed nothing.
    pub(crate) fn known(&self, peer: &K) -> Option<Name<K>> {
        self.find(peer, self.hasher.hash_one(peer), 0).ok()
    }

    /// Looks among the names made from number `from` on; returns the number of the next name as the error.
    fn find(&self, peer: &K, hash: u64, from: u64) -> Result<Name<K>, u64> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let made = used.made;
        let range = used.names.range((hash, from)..=(hash, u64::MAX));
        let alike: Vec<Name<K>> = range.filter_map(|(_, name)| name.upgrade().map(Name)).collect();
        drop(used);
        // The names are compared and dropped while no lock is held.
        alike.into_iter().find(|name| same(&**name, peer)).ok_or(made)
    }

    /// Adds a name, unless another with its hash was made from number `from` on.
    fn add(&self, fresh: &Name<K>, from: u64) -> Result<(), ()> {
        let hash = fresh.0.hash;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.names.range((hash, from)..=(hash, u64::MAX)).next().is_some() {
            return Err(());
        }
        if used.names.len() >= used.most {
            used.names.retain(|_, name| name.strong_count() > 0);
            used.most = (2 * used.names.len()).max(FEW);
        }
        let made = used.made;
        used.made += 1;
        used.names.insert((hash, made), Arc::downgrade(&fresh.0));
        Ok(())
    }
}

impl<K> Clone for Name<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Deref for Name<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.0.key
    }
}

impl<K> PartialEq for Name<K> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<K> Eq for Name<K> {}

impl<K> Hash for Name<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl<K> fmt::Debug for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Name").field("hash", &self.0.hash).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A key that has the same hash as all others.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Alike(u32);

    impl Hash for Alike {
        fn hash<H: Hasher>(&self, _: &mut H) {}
    }

    #[test]
    fn a_peer_has_one_name_whoever_asks_for_it() {
        let names = Names::default();
        let all: Vec<_> = std::thread::scope(|scope| {
            let ask = || (0..200).map(|n| names.name(&Alike(n % 20))).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().cloned().collect::<HashSet<_>>().len(), 20);
        assert!(all.iter().all(|name| names.known(name).as_ref() == Some(name)));
        assert_eq!(names.known(&Alike(20)), None);
    }

    #[test]
    fn names_that_nobody_has_any_more_are_forgotten() {
        let names = Names::default();
        let kept: Vec<_> = (0..100).map(|n| names.name(&n)).collect();
        (100..10_000).for_each(|n| drop(names.name(&n)));
        assert!(names.used.lock().unwrap().names.len() <= 2 * kept.len());
        assert!(kept.iter().all(|name| names.known(name).as_ref() == Some(name)));
        assert_eq!(names.known(&5000), None);
    }
}
