//! Prints the public API, one item a line: `api target/doc/peer_health.json`.
//!
//! `.ci/run api` makes that file, and compares what is printed with `doc/api.txt`. What an
//! implementation for all types gives is left out, and so are traits that only the standard library
//! may name: both change with the compiler. The pages of the documentation are no API either.

use std::error::Error;

/// What a line names that is left out: unstable traits that each type implements, and pages.
const LEFT_OUT: [&str; 4] =
    ["::Freeze ", "::StructuralPartialEq ", "::UnsafeUnpin ", "mod peer_health::_"];

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("the path of rustdoc's JSON is missing")?;
    let api = public_api::Builder::from_rustdoc_json(path).omit_blanket_impls(true).build()?;
    let lines = api.items().map(ToString::to_string);
    for line in lines.filter(|line| !LEFT_OUT.iter().any(|name| line.contains(name))) {
        println!("{line}");
    }
    Ok(())
}
