//! The map's comparison of keys: by bytes where the key's own comparison is slow for a reason that does not
//! hold here.
//!
//! `EndpointId == EndpointId` takes constant time, as a comparison of secrets must; ids are public, and a
//! comparison of their bytes is forty times faster.
//!
//! The entries are the map's keys: each holds its peer's key, and the map holds no second one. A caller asks
//! with a borrowed key, which the map does not clone.
//!
//! A key is hashed before the map is asked, and its entry keeps the hash: if a key's `Hash` panicked while
//! the map grows, the map would lose the peers that it was about to move (R25).

use std::borrow::Borrow;
use std::fmt::Debug;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::peer::PeerEntry;
use crate::sync::Arc;

/// A type of keys for peers: any type that can be hashed, compared, cloned, printed and shared. The trait is
/// implemented for all such types.
///
/// `Eq` of a key may run while a shard of the table is locked: it must not call the registry, and neither
/// should `Hash` and `Clone`. If one of the four panics, or the key's `Drop`, only its caller is affected: a
/// call that was given such a key, and has done nothing yet, unwinds; the outcome of a permit never does,
/// nor does what other peers need.
///
/// ```
/// fn is_peer_key<K: peer_health::PeerKey>() {}
/// is_peer_key::<String>();
/// is_peer_key::<[u8; 32]>();
/// ```
pub trait PeerKey: Hash + Eq + Clone + Debug + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Debug + Send + Sync + 'static> PeerKey for K {}

/// An entry in the map, where it stands for its key.
pub(crate) struct Keyed<K>(pub(crate) Arc<PeerEntry<K>>);

impl<K: Eq + 'static> Keyed<K> {
    /// Returns whether this is the entry of a key with that hash. It compares hashes first: the map compares all
    /// whose hashes begin alike, and a key's own `Eq`, which may panic, concerns no other peer (R25).
    #[inline]
    pub(crate) fn is_of(&self, key: &K, hash: u64) -> bool {
        self.0.hash == hash && same::<K>(&self.0.key, key)
    }
}

/// A question to the map: it names a peer by its key or by its entry, and by the hash of its key.
pub(crate) trait AsKey<K> {
    /// Returns the key, if the question holds one.
    fn key(&self) -> Option<&K>;
    /// Returns the address of the peer's entry, if it is known.
    fn lies(&self) -> Option<EntryRef>;
    fn hash(&self) -> u64;
}

impl<K> AsKey<K> for Keyed<K> {
    #[inline]
    fn key(&self) -> Option<&K> {
        Some(&self.0.key)
    }

    fn lies(&self) -> Option<EntryRef> {
        Some(EntryRef::of(&self.0))
    }

    #[inline]
    fn hash(&self) -> u64 {
        self.0.hash
    }
}

/// A borrowed key, and its hash.
pub(crate) struct KeyRef<'a, K>(pub(crate) &'a K, pub(crate) u64);

impl<K> AsKey<K> for KeyRef<'_, K> {
    #[inline]
    fn key(&self) -> Option<&K> {
        Some(self.0)
    }

    fn lies(&self) -> Option<EntryRef> {
        None
    }

    #[inline]
    fn hash(&self) -> u64 {
        self.1
    }
}

/// The address of an entry, past or present, and the hash of its key, which find it again without code of
/// the key. Another entry at this address is of the same peer, or has another hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryRef {
    address: usize,
    hash: u64,
}

impl EntryRef {
    pub(crate) fn of<K>(entry: &PeerEntry<K>) -> Self {
        Self { address: std::ptr::from_ref(entry).addr(), hash: entry.hash }
    }
}

impl<K> AsKey<K> for EntryRef {
    fn key(&self) -> Option<&K> {
        None
    }

    fn lies(&self) -> Option<EntryRef> {
        Some(*self)
    }

    fn hash(&self) -> u64 {
        self.hash
    }
}

impl<'a, K: 'a> Borrow<dyn AsKey<K> + 'a> for Keyed<K> {
    fn borrow(&self) -> &(dyn AsKey<K> + 'a) {
        self
    }
}

impl<K> Hash for dyn AsKey<K> + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(AsKey::hash(self));
    }
}

/// Compares hashes first, as [`Keyed::is_of`].
impl<K: Eq + 'static> PartialEq for dyn AsKey<K> + '_ {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self.key(), other.key()) {
            (Some(a), Some(b)) => self.hash() == other.hash() && same(a, b),
            _ => self.lies() == other.lies(),
        }
    }
}

impl<K: Eq + 'static> Eq for dyn AsKey<K> + '_ {}

impl<K> Hash for Keyed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl<K: Eq + 'static> PartialEq for Keyed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.is_of(&other.0.key, other.0.hash)
    }
}

impl<K: Eq + 'static> Eq for Keyed<K> {}

/// A hasher that returns a hash which was taken before.
#[derive(Clone, Default)]
pub(crate) struct StoredHash(u64);

impl BuildHasher for StoredHash {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for StoredHash {
    fn write(&mut self, bytes: &[u8]) {
        // Keys write nothing but a hash here.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

pub(crate) fn same<K: Eq + 'static>(a: &K, b: &K) -> bool {
    #[cfg(feature = "endpoint-id")]
    if let (Some(a), Some(b)) = (endpoint_id(a), endpoint_id(b)) {
        return a.as_bytes() == b.as_bytes();
    }
    a == b
}

#[cfg(feature = "endpoint-id")]
fn endpoint_id<K: 'static>(key: &K) -> Option<&iroh_base::EndpointId> {
    (key as &dyn std::any::Any).downcast_ref()
}

/// Returns a key as a log shows it; a `Debug` that fails or panics yields "(unprintable)".
#[cfg(any(feature = "tokio", feature = "tracing"))]
pub(crate) fn short<K: PeerKey>(key: &K) -> String {
    #[cfg(feature = "endpoint-id")]
    if let Some(id) = endpoint_id(key) {
        return id.fmt_short().to_string();
    }
    crate::foreign::guarded(|| format!("{key:?}")).unwrap_or_else(|| "(unprintable)".into())
}
