//! The health registry of a peer-to-peer node: one circuit breaker per peer, lock-free, bounded,
//! safe to cancel, and checked by a model checker.
//!
//! A node that syncs with thousands of peers asks the registry before each call, and reports what
//! became of it. Peers that fail are left alone for a while, then probed by a few calls, then
//! called again:
//!
//! ```
//! use peer_health::{HealthRegistry, SyncError};
//!
//! fn sync_with(_peer: &str) -> Result<u32, SyncError> {
//!     Ok(3) // the call
//! }
//!
//! let registry = HealthRegistry::<&str>::new();
//! match registry.acquire(&"alice") {
//!     Ok(permit) => match sync_with("alice") {
//!         Ok(_) => permit.success(),
//!         Err(error) => permit.failure(error),
//!     },
//!     Err(refused) => panic!("not now; again in {:?}", refused.retry_after),
//! };
//! assert_eq!(registry.snapshot(&"alice").unwrap().totals.succeeded, 1);
//! ```
//!
//! # Where to look
//!
//! - [`HealthRegistry`] and [`PeerHandle`] answer before a call, by key or by a handle looked up once.
//! - [`Permit`] is the right to make one call. A permit that is dropped counts as an abandoned call, and
//!   frees its slot.
//! - `SyncCoordinator` and `SyncDriver` (feature `tokio`) make the calls themselves, with deadlines, retries
//!   and limits.
//! - `HealthMonitor` (feature `tokio`) follows the peers, waits for one, and chooses among several.
//! - `HealthMetrics` (feature `metrics`) shows all of it to Prometheus and iroh-services.
//! - [`HealthConfig`] sets what opens a circuit, for how long, and what closes it again.
//! - [`Failure`] and [`Fault`] name whose fault an error was; a fault of this node never counts against a
//!   peer.
//! - [`RetryPolicy`] and [`Backoff`] tell when to try an operation again.
//! - [`AsFailure`] is met by one impl for an error type of the program, and every method then takes it.
//! - [`sync_errors`] has the API of peat-mesh's module of that name, for programs that use it.
//! - [`HealthRegistry::export`] and [`RegistryBuilder::restore`] carry what is known of peers across a restart.
//! - [`Clock`] injects the time, which tests move by hand.
//! - [The guide](crate::_guide) shows all of it, [the rules](crate::_rules) say exactly what it does
//!   (`R2` in these pages is [a rule there](crate::_rules#r2)), [running it](crate::_running)
//!   what to watch and to set, and [the migration](crate::_migrate) leads here from `sync_errors`.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `tracing` | yes | transitions and misconfiguration as log events, target `peer_health` |
//! | `tokio` | no | `SyncCoordinator`: deadlines, retries, limits, and a driver that honours the registry; `HealthMonitor`: events as a stream, waiting for a peer, the state of all, whom to call; `Clock::tokio`, a clock that `tokio::time::pause` stops |
//! | `boottime` | no | `Clock::boottime`, which counts suspend, on Linux and Android; elsewhere nothing; 3 packages |
//! | `metrics` | no | `HealthMetrics`: the group `peer_health` for a registry of iroh-metrics, read when it is scraped; 16 packages, which iroh has too |
//! | `endpoint-id` | no | `SyncErrorHandler`, and fast comparison of iroh's `EndpointId`; 61 packages, most of them cryptography |
//! | `iroh` | no | includes `endpoint-id` and `tokio`: iroh's errors as [`Failure`]s: whose fault each of them is; hooks for its endpoints, which refuse banned peers and infer failed dials; dials with a deadline; `RelayWatch`, by which no peer is blamed for a lost relay |
//! | `serde` | no | configuration read from files and written to them, with durations such as `"5s"`; snapshots, summaries, events and counts written as JSON and the like; [`Saved`] read and written |
//!
//! # What can be used from where
//!
//! | from | what |
//! |---|---|
//! | any thread, with or without a runtime | the registry, permits, handles, [`RetryPolicy`], [`Backoff`] |
//! | a tokio runtime with timers | `SyncCoordinator`, `SyncDriver`, `acquire_when_ready`, and what waits in `HealthMonitor` |
//! | a browser or node (`wasm32-unknown-unknown`) | the same, without tokio's runtime: see [the guide](crate::_guide#in-a-browser) |
//!
//! # Limitations
//!
//! A breaker by peer does not help where the fault is elsewhere. When everything fails at once, it
//! is probably this node that is offline: report such failures with [`Fault::Local`], or switch on
//! the [guard](HealthConfig::with_outage_guard) that keeps half of the peers closed then
//! ([R30](crate::_rules#r30)). One
//! document that poisons every sync is [`Fault::Document`]. And [`ErrorHandler::is_circuit_open`]
//! bounds no probes; [`HealthRegistry::acquire`] does.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
#[cfg(all(feature = "boottime", any(target_os = "linux", target_os = "android")))]
mod boottime;
#[cfg(feature = "tokio")]
mod budget;
mod circuit;
mod config;
#[cfg(feature = "tokio")]
mod coordinator;
mod error;
mod event;
mod foreign;
mod io_error;
#[cfg(feature = "iroh")]
pub mod iroh;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tokio")]
mod monitor;
mod outage;
mod outcome;
mod peer;
mod permit;
mod registry;
mod retry_policy;
#[cfg(feature = "tokio")]
mod runtime;
mod saved;
#[cfg(feature = "serde")]
mod serde;
mod snapshot;
mod sync;
pub mod sync_errors;
mod time;
#[cfg(feature = "tokio")]
mod tokio_time;
mod tracker;
#[cfg(feature = "tokio")]
mod wakers;
mod window;
mod word;

pub use backoff::{Backoff, Delays};
#[cfg(feature = "tokio")]
pub use budget::RetryBudget;
pub use config::{ConfigError, HalfOpenMode, HealthConfig, Window};
#[cfg(feature = "tokio")]
pub use coordinator::{
    BudgetConfig, CoordinatorBuilder, CoordinatorConfig, DriveError, DriverStats, OperationError,
    SyncCoordinator, SyncDriver, WaitReason, Waiting,
};
pub use error::{AsFailure, ErrorSeverity, Failure, Fault, IntoFailure, SyncError};
pub use event::{Event, EventKind};
#[cfg(feature = "metrics")]
pub use metrics::HealthMetrics;
#[cfg(feature = "tokio")]
pub use monitor::{Events, HealthMonitor, MonitorBuilder, Notice, Offender, PeerWatch, Summary};
pub use outcome::{NextAdmission, Reason, Recorded, Refused, Status, TableFull, WindowCounts};
pub use permit::{OwnedPermit, Permit};
pub use registry::{CallError, HealthRegistry, Listening, PeerHandle, PeerKey, RegistryBuilder};
pub use retry_policy::{Jitter, RetryPolicy};
pub use saved::{Saved, SavedState};
pub use snapshot::{PeerTotals, Refusals, Snapshot, Totals};
#[cfg(feature = "endpoint-id")]
pub use sync_errors::SyncErrorHandler;
pub use sync_errors::{CircuitBreakerConfig, CircuitState, ErrorHandler, PeerHealthTracker};
pub use time::{Clock, ManualClock};

/// The examples of the README, kept true.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;

// Pages of the documentation, which no program sees. A definition of a link that stands before the
// file's own takes its place, since what leads from file to file leads nowhere on docs.rs.

/// Says what the registry, the driver and the whole do, rule by rule; other pages cite a rule by its
/// number.
///
#[cfg(doc)]
#[doc = include_str!("../doc/rules.md")]
pub mod _rules {}

/// Shows how to do what a node needs, from one guarded call to a driver for a thousand peers.
///
/// [running]: crate::_running
///
#[cfg(doc)]
#[doc = include_str!("../doc/guide.md")]
pub mod _guide {}

/// Says what to watch when a node runs, what an alert means, how to ban a peer, and what to set.
///
/// [guide]: crate::_guide
/// [permit]: crate::_guide#a-permit-for-each-call
/// [file]: crate::_guide#settings-from-a-file
/// [metrics]: crate::_guide#metrics
/// [view]: crate::_guide#a-live-view
/// [restart]: crate::_guide#across-a-restart
/// [sleep]: crate::_guide#when-the-device-sleeps
/// [rules]: crate::_rules
///
#[cfg(doc)]
#[doc = include_str!("../doc/running.md")]
pub mod _running {}

/// Leads from peat-mesh's `sync_errors` to this crate, one call at a time.
///
/// [guide]: crate::_guide
/// [driver]: crate::_guide#a-driver-for-as-long-as-the-program-runs
///
#[cfg(doc)]
#[doc = include_str!("../doc/migrate.md")]
pub mod _migrate {}
