//! The module `sync_errors` of peat-mesh: what its users and its caller rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod caller;
#[cfg(feature = "endpoint-id")]
mod drop_in;
