//! The headers are what cbindgen makes of the source, and `BLESS=1` writes them. The source keeps its two rules:
//! every entry point catches panics, and one file alone works on the caller's memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::{env, fs};

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

/// The modules whose functions and structs a program sees, in the order of the header.
const INTERFACE: [&str; 8] =
    ["codes", "config", "registry", "permit", "query", "control", "events", "saved"];

fn header(modules: &[&str], guard: &str, includes: &[&str], before: &str) -> String {
    let config = Config {
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        documentation_style: DocumentationStyle::C99,
        include_guard: Some(guard.into()),
        no_includes: true,
        line_length: 110,
        sys_includes: ["stddef.h", "stdint.h"].map(String::from).to_vec(),
        includes: includes.iter().map(|name| String::from(*name)).collect(),
        header: Some(before.into()),
        usize_is_size_t: true,
        ..Config::default()
    };
    let source = |module: &&str| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(format!("{module}.rs"))
    };
    let builder = modules.iter().map(source).fold(Builder::new(), Builder::with_src);
    let mut text = Vec::new();
    builder.with_config(config).generate().unwrap().write(&mut text);
    // What Rust calls safety is said by the sentence itself.
    let text = String::from_utf8(text).unwrap().replace("// # Safety\n", "// Memory:\n");
    assert!(!text.contains("/* WARNING"), "{text}");
    text
}

fn compare(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include").join(name);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    let line = committed.lines().zip(made.lines()).position(|(one, other)| one != other);
    assert!(
        committed == made,
        "{path:?} is not what the source says, from line {line:?} on: BLESS=1"
    );
}

#[test]
fn the_header_is_what_the_source_says() {
    let before = "// The health registry of a peer-to-peer node: one circuit breaker for each peer.\n\
                  // README.md of the folder `capi` shows how to use it. Made from the source: do not edit.";
    compare("peer_health.h", &header(&INTERFACE, "PEER_HEALTH_H", &[], before));
}

#[test]
fn the_header_for_tests_is_what_the_source_says() {
    let before = "// What the tests need beside peer_health.h, in a library built with the feature `testing`.\n\
                  // Made from the source: do not edit.";
    let includes = ["peer_health.h"];
    let made = header(&["testing"], "PEER_HEALTH_TESTING_H", &includes, before);
    compare("peer_health_testing.h", &made);
}

fn source(module: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(format!("{module}.rs"));
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_entry_point_catches_panics() {
    let mut seen = 0;
    for module in INTERFACE.iter().chain(&["testing"]) {
        let text = source(module);
        for function in text.split("extern \"C\" fn ").skip(1) {
            let (name, body) = function.split_once('(').unwrap();
            let body = body.split("\n}").next().unwrap();
            let guarded = ["guard(", "guard_length(", "control(", "replied("];
            let caught = guarded.iter().any(|by| body.contains(by)) || name == "ph_abi_version";
            assert!(caught, "{name} in {module}.rs lets a panic out, which ends the process");
            seen += 1;
        }
    }
    assert!(seen > 20, "the entry points were not found");
}

#[test]
fn one_file_works_on_the_memory_of_the_caller() {
    for path in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let path = path.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let door = path.ends_with("memory.rs");
        for word in
            ["ptr::", "from_raw_parts", "CStr::from_ptr", "from_raw(", "transmute", "static mut"]
        {
            assert!(door || !text.contains(word), "{path:?} has {word}: memory.rs is the door");
        }
        assert!(!door || text.contains("ptr::read_unaligned"), "the door was not found");
    }
}
