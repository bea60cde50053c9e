//! iroh's errors, its hooks and its dials, between real endpoints on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod endpoints;
#[path = "../support/loopback.rs"]
mod loopback;
#[path = "../support/mod.rs"]
mod support;

mod errors;
mod faults;
mod reunion;
