//! The registry and what it is made of, peer by peer and rule by rule.
//!
//! All of it runs in one process. What belongs to a process is shared with care: panics that are meant
//! pass the hook by (`support::panics`), tests that read the log keep lines from being switched off
//! (`support::log::subscribed`), and those that set environment variables set them for a child
//! (`environment`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod backoff;
mod bans;
mod bounded;
mod cancellation;
mod clocks;
mod config;
mod environment;
mod events;
mod foreign;
mod forgetting;
mod io_errors;
mod kept;
mod latency;
mod link;
mod listening;
#[cfg(feature = "tracing")]
mod logging;
mod news;
mod outage;
mod permits;
#[cfg(all(feature = "serde", feature = "tokio"))]
mod reloading;
mod saved;
#[cfg(feature = "serde")]
mod settings;
#[cfg(feature = "serde")]
mod shown;
mod windows;
