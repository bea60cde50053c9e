//! The module that stands for the one of peat-mesh: what is there is what is at the root.

use std::any::TypeId;

use peer_health::sync_errors;

#[test]
fn the_types_of_sync_errors_are_those_at_the_root() {
    fn is<A: 'static, B: 'static>() {
        assert_eq!(TypeId::of::<A>(), TypeId::of::<B>());
    }
    is::<sync_errors::SyncError, peer_health::SyncError>();
    is::<sync_errors::ErrorSeverity, peer_health::ErrorSeverity>();
    is::<sync_errors::RetryPolicy, peer_health::RetryPolicy>();
    is::<sync_errors::CircuitState, peer_health::CircuitState>();
    is::<sync_errors::CircuitBreakerConfig, peer_health::CircuitBreakerConfig>();
    is::<sync_errors::PeerHealthTracker, peer_health::PeerHealthTracker>();
    is::<sync_errors::ErrorHandler<u32>, peer_health::ErrorHandler<u32>>();
    #[cfg(feature = "endpoint-id")]
    is::<sync_errors::SyncErrorHandler, peer_health::SyncErrorHandler>();
}
