//! The crates around iroh, served by the health registry.
