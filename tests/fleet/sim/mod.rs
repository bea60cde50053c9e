//! A whole node on paused time, and the judge of how it treats its peers (W1 to W6 of the rules).
//!
//! Registry, coordinator, driver and monitor are those of the library; only the network is made up.
//! A [`Cell`](cell::Cell) says who the peers are, how they behave, when they are requested, what is
//! configured and what happens to the node. [`run`](run::run) plays it and keeps a
//! [`Report`](record::Report); [`judge`](judge::judge) holds the report against the
//! [`limits`]. Everything is a function of the cell, its seed included.
#![allow(dead_code, reason = "the tests and the example each use their part")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    reason = "times and counts of a simulation are small, and its cells are sound"
)]

pub(crate) mod cell;
pub(crate) mod judge;
pub(crate) mod limits;
mod logs;
mod name;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod page;
pub(crate) mod peer;
pub(crate) mod plain;
pub(crate) mod quick;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod running;
pub(crate) mod table;
