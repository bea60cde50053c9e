//! What holds for all inputs, all threads and all files: a reference model under random operations,
//! storms of real threads, and the shape of the source.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod model;
mod stress;
mod tidy;
