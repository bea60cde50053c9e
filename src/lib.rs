//! stub
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod answer;
mod circuit;
mod config;
mod error;
mod event;
mod permit;
mod registry;
mod rules;
mod seat;
mod snapshot;
mod sync;
mod time;
mod tracker;
mod window;

pub use answer::{NextAdmission, Reason, Recorded, Refused, Status, Untracked};
pub use config::{CircuitBreakerConfig, ConfigError, HalfOpenMode, HealthConfig, Window};
pub use error::{ErrorSeverity, Failure, Fault, SyncError};
pub use event::{Event, EventKind};
pub use permit::{OwnedPermit, Permit};
pub use registry::{CallError, HealthRegistry, PeerHandle, PeerKey, RegistryBuilder};
pub use snapshot::{PeerTotals, Snapshot, Totals};
pub use time::{Clock, ManualClock};
pub use window::WindowCounts;
