//! The public surface, where it is not a rule's: errors on their way in, what is printed, what is asked
//! of a registry, waiting for a permit, how calls are timed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod asking;
mod errors;
mod modules;
#[cfg(feature = "tokio")]
mod timing;
#[cfg(feature = "tokio")]
mod waiting;
