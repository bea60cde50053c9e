//! What runs where `std` has no clock, no randomness and no threads, and tokio neither tasks nor timers: in
//! node, and in a browser with `WASM_BINDGEN_USE_BROWSER=1`.
#![cfg(all(target_family = "wasm", target_os = "unknown"))]

mod driver;
mod registry;
