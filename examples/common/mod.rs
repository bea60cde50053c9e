//! What the examples have in common.
#![allow(dead_code, reason = "no example uses all of it")]

pub(crate) mod args;
pub(crate) mod document;
pub(crate) mod exchange;
pub(crate) mod frames;
pub(crate) mod loopback;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
