//! What runs where `std` has no clock, no randomness and no threads, and tokio neither tasks nor timers: in
//! node, and in a browser with `WASM_BINDGEN_USE_BROWSER=1`.
#![cfg(all(target_family = "wasm", target_os = "unknown"))]

mod driver;
mod guide;
mod registry;

#[wasm_bindgen_test::wasm_bindgen_test]
fn the_guide_shows_the_code_that_is_run() {
    let shown = include_str!("guide.rs").split("// [guide]\n").nth(1).unwrap();
    assert!(include_str!("../../../doc/guide.md").contains(shown));
}
