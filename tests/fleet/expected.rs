//! Cells that break a rule today. One that keeps all of them must leave this list.

/// Their names.
pub(crate) const FAILING: &[&str] = &[
    // Unknown peers that all fail for a reason of our own are tried one at a time (D2).
    "30 healthy + 300 local fault, 10 min, 6 h",
    "30 healthy + 300 local fault, bursts of 1 min",
];
