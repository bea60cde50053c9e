//! Models of the library's own files, checked by loom.
//!
//! `production` is `src/`, file by file; only two things are replaced. `sync` stands in for `src/sync.rs`,
//! the one door to shared memory, and `map` for the DashMap under the table of peers. No other import of
//! these files exists here, so an import that breaks the floors breaks this build.

#![allow(clippy::unwrap_used, reason = "a model that meets something unexpected has failed")]

// The table asks these crates for a map and for a seed: it gets the map of `map.rs`, and zero.
extern crate self as dashmap;
extern crate self as rand;
pub(crate) use map::{DashMap, mapref};
pub(crate) fn random() -> u64 {
    0
}

#[path = "../../../src"]
#[allow(dead_code, unused_imports, reason = "not every part of the library is modelled")]
mod production {
    pub(crate) mod budget;
    pub(crate) mod circuit;
    pub(crate) mod config;
    pub(crate) mod error;
    pub(crate) mod event;
    pub(crate) mod foreign;
    pub(crate) mod outage;
    pub(crate) mod outcome;
    pub(crate) mod peer;
    pub(crate) mod permit;
    pub(crate) mod registry;
    pub(crate) mod saved;
    pub(crate) mod snapshot;
    pub(crate) mod time;
    pub(crate) mod tracker;
    pub(crate) mod window;
    pub(crate) mod word;
}
pub(crate) use production::{
    budget, circuit, config, error, event, foreign, outage, outcome, peer, permit, registry, saved,
    snapshot, time, tracker, window, word,
};

mod map;
mod stage;
mod sync;
mod town;

mod bans;
mod budgets;
mod clocks;
mod evictions;
mod lasts;
mod late;
mod leases;
mod news;
mod order;
mod outages;
mod peers;
mod permits;
mod probes;
mod quiet;
mod reading;
mod settings;
mod streaks;
mod windows;
mod words;
