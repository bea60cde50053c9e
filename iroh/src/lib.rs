//! The crates around iroh, served by the health registry of [`peer_health`]:
//!
//! - [`HealthPool`] gives calls a connection of iroh-util's pool, inside a permit.
//! - [`HealthyProviders`] tells the downloader of iroh-blobs which provider to try next, and the registry
//!   what became of it.
//! - [`connect_failure`] and [`get_failure`] say whose fault the errors of the two crates are.
//!
//! iroh-gossip and iroh-docs dial by themselves and need none of this:
//! [`HealthHooks`](peer_health::iroh::HealthHooks) serve them.

mod blame;
mod blobs;
mod pool;
mod pool_error;
mod providers;

pub use blobs::get_failure;
pub use pool::HealthPool;
pub use pool_error::{PoolError, connect_failure};
pub use providers::HealthyProviders;

/// The examples of the README, kept true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
