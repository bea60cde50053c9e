//! Tests that the circuit is linearizable, and that every interleaving of two calls ends as the rules say.
//!
//! This crate compiles the library's own files, from the swappable pointer up to the permit,
//! against a stand-in for `src/sync.rs` in which every shared access that matters is a scheduling
//! point of [shuttle]. Three kinds of tests follow:
//!
//! * [`interleavings`]: models of two threads, run depth first through *every* interleaving; the
//!   test compares the results with the complete set of those allowed.
//! * [`histories`]: random programs on three threads under a random scheduler. The test records what
//!   each call answered, and which calls overlapped; [`checker`] then looks for an order of the
//!   calls in which the sequential specification, the pure steps of the circuit taken one at a time,
//!   gives the very same answers.
//! * [`flawed`]: trackers with a known flaw, put to the same check, which must find each of them.
//!
//! Shuttle is sequentially consistent: the loom models cover what weaker orderings allow.
//!
//! ```text
//! cargo test --release -p loom-tests --test linear -- --nocapture
//! LINEAR_HISTORIES=1000000 SHUTTLE_RANDOM_SEED=7 cargo test ...    more of them, others
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[allow(dead_code, unused_imports, unreachable_pub, reason = "a part of the library is used here")]
#[path = "../../src"]
mod production {
    pub(crate) mod circuit;
    pub(crate) mod config;
    pub(crate) mod error;
    pub(crate) mod event;
    pub(crate) mod foreign;
    pub(crate) mod outage;
    pub(crate) mod outcome;
    pub(crate) mod peer;
    pub(crate) mod permit;
    pub(crate) mod saved;
    pub(crate) mod snapshot;
    pub(crate) mod time;
    pub(crate) mod tracker;
    pub(crate) mod window;
    pub(crate) mod word;
}

pub(crate) use production::{
    circuit, config, error, event, foreign, outage, outcome, peer, permit, saved, snapshot, time,
    tracker, window, word,
};

#[path = "linear/checker.rs"]
mod checker;
#[path = "linear/flawed.rs"]
mod flawed;
#[path = "linear/histories.rs"]
mod histories;
#[path = "linear/interleavings.rs"]
mod interleavings;
#[path = "linear/program.rs"]
mod program;
#[path = "linear/scene.rs"]
mod scene;
#[path = "linear/specification.rs"]
mod specification;
#[path = "linear/subject.rs"]
mod subject;
#[path = "linear/sync.rs"]
mod sync;
