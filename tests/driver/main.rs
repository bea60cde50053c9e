//! The coordinator and its driver: operations that are tried again, and peers that are called when
//! their circuits let them.
//!
//! One test is ignored, and wants the process to itself: `many` measures its memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod peers;
#[path = "../support/mod.rs"]
mod support;

mod aborts;
mod circuits;
mod coordinator;
mod driver;
mod endings;
mod keys;
mod link;
mod many;
mod news;
mod ours;
mod places;
mod restart;
mod suspend;
