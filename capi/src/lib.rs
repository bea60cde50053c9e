//! The health registry for C: the functions of `include/peer_health.h`.
//!
//! 1. A registry and a permit are numbers, which this library looks up: a null, freed or foreign one is a
//!    code, and no pointer of the caller lives longer than the call.
//! 2. Every entry point runs in [`guard`](outcome::guard): a panic and a bad argument are a code and a
//!    message, and nothing has changed.
//! 3. The unsafe operations are those of [`memory`], which reads and writes what the caller points at. No
//!    other module dereferences a pointer.
//! 4. Integers and plain structs stand in signatures: an integer of C may hold what no enum of Rust may.
//! 5. Nothing calls back. Events wait in a queue that the caller empties.

#![allow(non_camel_case_types, reason = "the names of structs in C")]

mod codes;
mod config;
mod control;
mod events;
mod key;
mod memory;
mod outcome;
mod permit;
mod query;
mod registry;
mod saved;
mod table;
#[cfg(feature = "testing")]
mod testing;
mod tokens;
