//! Keys as the map compares them: by bytes where the key's own comparison is slow for a reason
//! that does not hold here.
//!
//! `EndpointId == EndpointId` takes constant time, as comparing secrets must; ids are public, and
//! comparing their bytes is forty times faster.
//!
//! The seats are the map's keys: each holds its peer's key, and the map no second one. It is asked
//! with a borrowed key, which is not cloned.

use std::borrow::Borrow;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use crate::seat::Seat;
use crate::sync::Arc;

/// What a peer may be known by: any value that can be hashed, compared, cloned, printed and shared.
/// Implemented for all such types.
///
/// `Hash`, `Eq` and `Clone` of a key may run while a shard of the table is locked: they must not
/// call the registry.
///
/// ```
/// fn is_peer_key<K: peer_health::PeerKey>() {}
/// is_peer_key::<String>();
/// is_peer_key::<[u8; 32]>();
/// ```
pub trait PeerKey: Hash + Eq + Clone + Debug + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Debug + Send + Sync + 'static> PeerKey for K {}

/// A seat in the map, in the place of its key.
pub(crate) struct Keyed<K>(pub(crate) Arc<Seat<K>>);

/// Anything that holds a key: the map is asked with one of these.
pub(crate) trait AsKey<K> {
    fn key(&self) -> &K;
}

impl<K> AsKey<K> for Keyed<K> {
    fn key(&self) -> &K {
        &self.0.key
    }
}

/// A borrowed key.
pub(crate) struct KeyRef<'a, K>(pub(crate) &'a K);

impl<K> AsKey<K> for KeyRef<'_, K> {
    fn key(&self) -> &K {
        self.0
    }
}

impl<'a, K: 'a> Borrow<dyn AsKey<K> + 'a> for Keyed<K> {
    fn borrow(&self) -> &(dyn AsKey<K> + 'a) {
        self
    }
}

impl<K: Hash> Hash for dyn AsKey<K> + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl<K: Eq + 'static> PartialEq for dyn AsKey<K> + '_ {
    fn eq(&self, other: &Self) -> bool {
        same(self.key(), other.key())
    }
}

impl<K: Eq + 'static> Eq for dyn AsKey<K> + '_ {}

impl<K: Hash> Hash for Keyed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl<K: Eq + 'static> PartialEq for Keyed<K> {
    fn eq(&self, other: &Self) -> bool {
        same(self.key(), other.key())
    }
}

impl<K: Eq + 'static> Eq for Keyed<K> {}

fn same<K: Eq + 'static>(a: &K, b: &K) -> bool {
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

/// A key as a log shows it.
#[cfg(feature = "tracing")]
pub(crate) fn short<K: PeerKey>(key: &K) -> String {
    #[cfg(feature = "endpoint-id")]
    if let Some(id) = endpoint_id(key) {
        return id.fmt_short().to_string();
    }
    format!("{key:?}")
}
