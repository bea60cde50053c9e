//! A live view of a [`peer_health`] registry: what a person who runs a node needs to see of its peers.
//!
//! [`router`] returns an [`axum::Router`] with one page, the JSON and the events behind it, and controls for
//! whoever has a token. [`ViewBuilder`] makes the same with choices.
//!
//! ```no_run
//! use peer_health::{HealthMonitor, HealthRegistry};
//! use peer_health_view::axum;
//!
//! # async fn run() -> std::io::Result<()> {
//! let registry = HealthRegistry::<u32>::new();
//! let view = peer_health_view::router(HealthMonitor::new(registry));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, view).await
//! # }
//! ```
//!
//! # Routes
//!
//! | route | what it gives |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /api/summary` | how many peers are in which state, the worst, the driver, the counts of calls |
//! | `GET /api/peers?state=&q=&after=&limit=` | the peers, the worst first, in pages of up to 500: `next` is the next page's `after` |
//! | `GET /api/peers/{id}` | one peer: its snapshot, what the driver waits for, its latest events |
//! | `GET /events` | server-sent events: `transition`, `missed` with their number, and `summary`, the heartbeat |
//! | `POST /api/peers/{id}/{control}` | `reset`, `force_open` (`{"seconds": 60}`, or for ever), `disable`, `metrics_only`, `end_wait`, `remove`; of the driver `kick`, `request` |
//! | `POST /api/driver/{control}` | `pause`, `resume`, `kick_all` |
//!
//! `state` is `all`, `trouble` (open, half-open, or a running streak), `open`, `half_open`, `closed`,
//! `forced_open`, `metrics_only` or `disabled`. `q` is looked for in ids and names. Durations are seconds, and
//! times of day texts of RFC 3339. An error is a status and `{"error": "a sentence"}`.
//!
//! # Cost
//!
//! While nobody asks, a view costs a mutex for each transition, and keeps the latest 4096 of them and the last
//! sample. A list is
//! a choice from a sample of all peers, which is taken beside the answers on a thread that may block: at
//! most once a second, and at most a twentieth of that thread's time. A stream looks for new events ten
//! times a second and holds no queue, so a client that does not read holds nothing but its place, and that for
//! a minute. A healthy call pays nothing.
//!
//! # Safety of the node
//!
//! Bind to loopback. The view answers only to the names of loopback and those that were
//! [allowed](ViewBuilder::allow_host), so no name of another site leads to it; it sends no CORS header and
//! refuses what another site asks. Who can reach the address can read what is shown: another user of the
//! machine, too. Controls need a [token](ViewBuilder::token), and are off without one.
//!
//! A stream does not end by itself: a graceful shutdown of the server waits for it, unless it has a limit.

#![cfg_attr(docsrs, feature(doc_cfg))]

/// The example of the README, kept true.
#[cfg(all(doctest, feature = "page"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "page")]
mod api;
#[cfg(feature = "page")]
mod board;
#[cfg(feature = "page")]
mod builder;
#[cfg(feature = "page")]
mod control;
#[cfg(feature = "page")]
mod foreign;
#[cfg(feature = "page")]
mod guard;
#[cfg(feature = "page")]
mod history;
#[cfg(feature = "page")]
mod names;
#[cfg(feature = "page")]
mod page;
#[cfg(feature = "page")]
mod problem;
#[cfg(feature = "page")]
mod sample;
#[cfg(feature = "page")]
mod select;
#[cfg(feature = "page")]
mod shown;
#[cfg(feature = "page")]
mod stream;

/// The version of axum whose router this is.
#[cfg(feature = "page")]
pub use axum;
#[cfg(feature = "page")]
pub use builder::{ViewBuilder, ViewError};

/// Makes the router of a view with the defaults of [`ViewBuilder`]: without a driver and without controls.
///
/// ```
/// use peer_health::{HealthMonitor, HealthRegistry};
/// let view = peer_health_view::router(HealthMonitor::new(HealthRegistry::<u32>::new()));
/// assert!(view.has_routes());
/// ```
#[cfg(feature = "page")]
pub fn router<K: peer_health::PeerKey>(monitor: peer_health::HealthMonitor<K>) -> axum::Router {
    ViewBuilder::new(monitor).routes()
}
