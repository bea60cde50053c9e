//! The door to tasks and timers (feature `tokio`): tokio's, and in a browser or in node, where tokio has
//! neither, those of the page.
//!
//! `wasm32-unknown-unknown` has no threads, no clock of `std` and no panic that can be caught. Nothing above
//! this door knows of that: what it imports has tokio's names, and behaves as tokio's does. What of tokio
//! needs neither a reactor nor a timer, such as `Notify`, `oneshot` and `select!`, is the same everywhere.

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod native;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod web;

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use native as system;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use web as system;

pub(crate) use system::{AbortHandle, Elapsed, Instant, JoinSet, Runtime, sleep, timeout, timer};
