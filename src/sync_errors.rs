//! The API of peat-mesh's module `sync_errors`, for programs that use it: its handler, and what it calls
//! the health of a peer.

mod handler;
mod health;

pub use handler::ErrorHandler;
#[cfg(feature = "endpoint-id")]
pub use handler::SyncErrorHandler;
pub use health::{CircuitState, PeerHealthTracker};
