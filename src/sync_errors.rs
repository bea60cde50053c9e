//! The API of peat-mesh's module `sync_errors`, for programs that use it: every type of that module, by
//! the name that it has there. They stand at the crate's root too, where most are of use to others.
//!
//! A program switches by one line; `doc/migrate.md` shows the steps from there to permits and deadlines.
//!
//! ```
//! // use crate::storage::sync_errors::{CircuitBreakerConfig, ErrorHandler, RetryPolicy, SyncError};
//! use peer_health::sync_errors::{CircuitBreakerConfig, ErrorHandler, RetryPolicy, SyncError};
//!
//! let circuit = CircuitBreakerConfig { failure_threshold: 1, ..Default::default() };
//! let errors = ErrorHandler::<u32>::with_policies(RetryPolicy::default(), circuit);
//! let error = SyncError::Network("reset".into());
//! assert_eq!(errors.handle_error(&7, error), Err(SyncError::CircuitBreakerOpen));
//! assert!(errors.is_circuit_open(&7));
//! ```

mod config;
mod handler;
mod health;

pub use crate::error::{ErrorSeverity, SyncError};
pub use crate::retry_policy::RetryPolicy;
pub use config::CircuitBreakerConfig;
pub use handler::ErrorHandler;
#[cfg(feature = "endpoint-id")]
pub use handler::SyncErrorHandler;
pub use health::{CircuitState, PeerHealthTracker};
