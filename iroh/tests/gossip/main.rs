//! Protocols that know nothing of the registry, as they are released, beside its hooks: iroh-gossip,
//! iroh-docs, and the downloader of iroh-blobs. Real endpoints on loopback; whatever is waited for has a
//! deadline.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod closes;
mod docs;
mod node;
mod swarm;
