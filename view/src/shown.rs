//! The shapes of the JSON. Durations are seconds, times of day are RFC 3339, as in peer-health's own.

use std::collections::BTreeMap;

use peer_health::{DriverStats, EventKind, Failure, Snapshot, Status, Totals};
use serde::Serialize;

use crate::board::Link;

#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    pub(crate) title: &'a str,
    pub(crate) links: &'a [Link],
    pub(crate) now: String,
    pub(crate) known: usize,
    pub(crate) closed: usize,
    pub(crate) open: usize,
    pub(crate) half_open: usize,
    pub(crate) overridden: usize,
    pub(crate) worst: Vec<Offender>,
    pub(crate) local_outage: bool,
    pub(crate) driver: Option<Driver>,
    pub(crate) budget: Option<Budget>,
    /// Of the latest sample, if there is one.
    pub(crate) totals: Option<Totals>,
    /// How many seconds a stream is silent at most.
    pub(crate) heartbeat: f64,
    /// Whether there is a token, so that controls may work.
    pub(crate) controls: bool,
}

#[derive(Serialize)]
pub(crate) struct Offender {
    pub(crate) id: String,
    pub(crate) label: Option<String>,
    pub(crate) openings: u64,
    pub(crate) status: Status,
}

#[derive(Serialize)]
pub(crate) struct Driver {
    #[serde(flatten)]
    pub(crate) stats: DriverStats,
    /// How many peers wait for which reason.
    pub(crate) reasons: BTreeMap<&'static str, usize>,
}

#[derive(Serialize)]
pub(crate) struct Budget {
    pub(crate) tokens: f64,
    pub(crate) allows_retry: bool,
}

/// A page of the list.
#[derive(Serialize)]
pub(crate) struct Page {
    pub(crate) peers: Vec<Peer>,
    /// The next page's `after`.
    pub(crate) next: Option<String>,
    pub(crate) matching: usize,
    /// How many peers each filter would show.
    pub(crate) counts: BTreeMap<&'static str, usize>,
    /// How many seconds ago the order, the counts and the choice were true.
    pub(crate) age: f64,
}

#[derive(Serialize)]
pub(crate) struct Peer {
    pub(crate) id: String,
    pub(crate) label: Option<String>,
    #[serde(flatten)]
    pub(crate) snapshot: Snapshot,
}

/// One peer's page.
#[derive(Serialize)]
pub(crate) struct Detail<'a> {
    #[serde(flatten)]
    pub(crate) peer: Peer,
    /// What the driver waits for, if it waits for this peer.
    pub(crate) waiting: Option<Wait>,
    /// The latest events, the last one first.
    pub(crate) story: Vec<Story<'a>>,
}

#[derive(Serialize)]
pub(crate) struct Wait {
    pub(crate) until: f64,
    pub(crate) reason: &'static str,
    pub(crate) text: String,
}

/// An event of a peer.
#[derive(Serialize)]
pub(crate) struct Story<'a> {
    pub(crate) number: u64,
    pub(crate) at: String,
    pub(crate) peer: String,
    pub(crate) label: Option<String>,
    pub(crate) generation: u64,
    #[serde(flatten)]
    pub(crate) kind: EventKind,
    pub(crate) text: String,
    /// The error that opened the circuit.
    pub(crate) error: Option<&'a Failure>,
}

/// An event in the stream, and what the peer is now.
#[derive(Serialize)]
pub(crate) struct Change<'a> {
    #[serde(flatten)]
    pub(crate) story: Story<'a>,
    /// `None` if the peer is not known any more.
    pub(crate) now: Option<Peer>,
}
