//! The stand-in for DashMap: the part of it that the table of peers uses, on shards with locks that loom
//! sees.
//!
//! There are two shards, so that models have peers of one shard and of different ones: a peer's shard
//! follows from its key's hash, the same in every execution. A read or write guard lives exactly as long as
//! with DashMap.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use loom::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

type Shard<K, V> = Vec<(K, V)>;

pub(crate) struct ShardLock<K, V>(RwLock<Shard<K, V>>);

pub(crate) struct DashMap<K, V, S> {
    shards: [ShardLock<K, V>; 2],
    hasher: S,
}

impl<K, V> ShardLock<K, V> {
    pub(crate) fn read(&self) -> ShardGuard<'_, K, V> {
        ShardGuard(self.0.read().unwrap())
    }
}

/// A shard that is read, as the raw interface of DashMap shows it.
pub(crate) struct ShardGuard<'a, K, V>(RwLockReadGuard<'a, Shard<K, V>>);

impl<K, V> ShardGuard<'_, K, V> {
    pub(crate) fn get(&self, _: u64, is_it: impl FnMut(&&(K, V)) -> bool) -> Option<&(K, V)> {
        self.0.iter().find(is_it)
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> DashMap<K, V, S> {
    pub(crate) fn with_hasher_and_shard_amount(hasher: S, _: usize) -> Self {
        let [a, b] = [Shard::new(), Shard::new()].map(RwLock::new).map(ShardLock);
        Self { shards: [a, b], hasher }
    }

    pub(crate) fn shards(&self) -> &[ShardLock<K, V>] {
        &self.shards
    }

    pub(crate) fn determine_shard(&self, hash: usize) -> usize {
        hash % 2
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<Shard<K, V>> {
        &self.shards[usize::from(self.hasher.hash_one(key) % 2 == 1)].0
    }

    pub(crate) fn entry(&self, key: K) -> Entry<'_, K, V> {
        let guard = self.shard(&key).write().unwrap();
        match guard.iter().position(|(k, _)| *k == key) {
            Some(place) => Entry::Occupied(OccupiedEntry { guard, place }),
            None => Entry::Vacant(VacantEntry { guard, key }),
        }
    }

    pub(crate) fn remove_if<Q: Hash + Eq + ?Sized>(
        &self,
        key: &Q,
        goes: impl FnOnce(&K, &V) -> bool,
    ) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let mut guard = self.shard(key).write().unwrap();
        let place = guard.iter().position(|(k, _)| k.borrow() == key)?;
        let (k, v) = &guard[place];
        goes(k, v).then(|| guard.remove(place))
    }

    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        self.into_iter()
    }
}

pub(crate) mod mapref {
    pub(crate) mod entry {
        pub(crate) use super::super::Entry;
    }
}

pub(crate) enum Entry<'a, K, V> {
    Occupied(OccupiedEntry<'a, K, V>),
    Vacant(VacantEntry<'a, K, V>),
}

pub(crate) struct OccupiedEntry<'a, K, V> {
    guard: RwLockWriteGuard<'a, Shard<K, V>>,
    place: usize,
}

impl<K, V> OccupiedEntry<'_, K, V> {
    pub(crate) fn key(&self) -> &K {
        &self.guard[self.place].0
    }
}

pub(crate) struct VacantEntry<'a, K, V> {
    guard: RwLockWriteGuard<'a, Shard<K, V>>,
    key: K,
}

impl<'a, K, V> VacantEntry<'a, K, V> {
    /// This is the guard, as DashMap's reference to the new value would keep it.
    pub(crate) fn insert(mut self, value: V) -> RwLockWriteGuard<'a, Shard<K, V>> {
        self.guard.push((self.key, value));
        self.guard
    }
}

/// One entry, and the lock of its shard with it.
pub(crate) struct RefMulti<'a, K, V>(std::rc::Rc<RwLockReadGuard<'a, Shard<K, V>>>, usize);

impl<K, V> RefMulti<'_, K, V> {
    pub(crate) fn key(&self) -> &K {
        &self.0[self.1].0
    }
}

/// A read guard of a shard, for as long as a thread holds an entry of it.
type Locked<'a, K, V> = std::rc::Rc<RwLockReadGuard<'a, Shard<K, V>>>;

pub(crate) struct Iter<'a, K, V> {
    shards: std::slice::Iter<'a, ShardLock<K, V>>,
    current: Option<(Locked<'a, K, V>, usize)>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = RefMulti<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((guard, next)) = &mut self.current
                && *next < guard.len()
            {
                *next += 1;
                return Some(RefMulti(std::rc::Rc::clone(guard), *next - 1));
            }
            // One shard is locked at a time: the last one's lock goes first.
            self.current = None;
            let shard = self.shards.next()?;
            self.current = Some((std::rc::Rc::new(shard.0.read().unwrap()), 0));
        }
    }
}

impl<'a, K, V, S> IntoIterator for &'a DashMap<K, V, S> {
    type Item = RefMulti<'a, K, V>;
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        Iter { shards: self.shards.iter(), current: None }
    }
}
