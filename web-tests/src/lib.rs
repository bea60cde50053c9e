//! Holds nothing: the tests in `tests` are for `wasm32-unknown-unknown`.
