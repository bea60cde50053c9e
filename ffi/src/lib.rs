//! The health registry `peer-health` for Python, Kotlin and Swift, by UniFFI.
//!
//! `ffi/generate` writes the modules of the three languages; the README beside this crate
//! says how they are installed. A Rust program uses `peer-health` itself.
//!
//! 1. A peer is 1 to 64 bytes. Times are durations of the language, rounded up to a microsecond; what is longer
//!    than a thousand years is shown as that.
//! 2. Every error says field, value and rule, or is a refusal; it is thrown before anything changes.
//! 3. Nothing here calls the program back: events are polled or awaited.
//! 4. A panic becomes the language's internal error, and the registry goes on.
//!
//! ```
//! use peer_health_ffi::{ErrorKind, HealthError, HealthRegistry, Recorded, default_config};
//!
//! let mut config = default_config();
//! config.failure_threshold = Some(1);
//! let registry = HealthRegistry::new(Some(config))?;
//! let permit = registry.acquire(b"alice".to_vec())?;
//! let recorded = permit.failure(ErrorKind::Network, "reset".into(), None, None, None);
//! assert!(matches!(recorded, Recorded::Opened { .. }));
//! assert_eq!(permit.success(None), Recorded::Late);
//! assert!(matches!(registry.acquire(b"alice".to_vec()), Err(HealthError::Refused { .. })));
//! # Ok::<(), HealthError>(())
//! ```

mod backoff;
mod config;
mod error;
mod event;
mod failure;
mod peer;
mod permit;
mod registry;
mod snapshot;
#[cfg(feature = "testing")]
mod testing;
mod time;

pub use backoff::{Backoff, Jitter, RetryPolicy, default_retry_policy};
pub use config::{HalfOpenMode, HealthConfig, Window, check_config, default_config};
pub use error::{HealthError, RefusalReason};
pub use event::{Event, EventKind, Events};
pub use failure::{Classified, ErrorKind, Fault, classify_iroh_error};
pub use permit::{Permit, Recorded};
pub use registry::HealthRegistry;
pub use snapshot::{LastError, NextAdmission, PeerTotals, PeerView, Snapshot, Status, Totals};
#[cfg(feature = "testing")]
pub use testing::ManualClock;

uniffi::setup_scaffolding!();

/// The number of this interface. It rises when a program that was written for the number before may have to be
/// changed; what is added leaves it as it is.
const API_VERSION: u32 = 1;

/// Returns the number of this interface: a program that needs another refuses to start.
///
/// ```
/// assert_eq!(peer_health_ffi::api_version(), 1);
/// ```
#[uniffi::export]
pub fn api_version() -> u32 {
    API_VERSION
}

/// Returns the version of the library, for logs and reports.
///
/// ```
/// assert!(peer_health_ffi::library_version().starts_with("0.1."));
/// ```
#[uniffi::export]
pub fn library_version() -> String {
    env!("CARGO_PKG_VERSION").into()
}
