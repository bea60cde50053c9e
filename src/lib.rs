//! stub
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod answer;
mod backoff;
mod circuit;
mod config;
mod error;
mod event;
mod handler;
mod health;
#[cfg(feature = "iroh")]
pub mod iroh;
mod permit;
mod registry;
mod retry;
mod rules;
mod seat;
mod snapshot;
mod sync;
mod time;
#[cfg(feature = "tokio")]
mod tokio_time;
mod tracker;
mod window;

pub use answer::{NextAdmission, Reason, Recorded, Refused, Status, Untracked};
pub use backoff::{Jitter, RetryPolicy};
pub use config::{CircuitBreakerConfig, ConfigError, HalfOpenMode, HealthConfig, Window};
pub use error::{ErrorSeverity, Failure, Fault, SyncError};
pub use event::{Event, EventKind};
pub use handler::ErrorHandler;
#[cfg(feature = "endpoint-id")]
pub use handler::SyncErrorHandler;
pub use health::{CircuitState, PeerHealthTracker};
pub use permit::{OwnedPermit, Permit};
pub use registry::{CallError, HealthRegistry, PeerHandle, PeerKey, RegistryBuilder};
pub use retry::Backoff;
pub use snapshot::{PeerTotals, Snapshot, Totals};
pub use time::{Clock, ManualClock};
pub use window::WindowCounts;
