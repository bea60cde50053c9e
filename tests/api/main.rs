//! The public surface, where it is not a rule's: errors on their way in, what is printed, what is asked
//! of a registry.
#![allow(clippy::unwrap_used, reason = "tests")]

mod errors;
