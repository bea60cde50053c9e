//! The conformance scenarios, run through the public API and on the manual clock.
//!
//! `conformance/scenarios.json` is the published set; `conformance/extra.json` holds more, derived
//! from the rules that those do not reach. `CONFORMANCE_SCENARIOS=FILE` runs another file instead:
//!
//! ```text
//! CONFORMANCE_SCENARIOS=$PWD/mine.json cargo test --test conformance -- --nocapture
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "conformance/document.rs"]
mod document;
#[path = "conformance/world.rs"]
mod world;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{env, fs};

use document::{Kind, Read};
use serde_json::{Value, json};
use world::Way;

const PUBLISHED: &str = include_str!("conformance/scenarios.json");
const EXTRA: &str = include_str!("conformance/extra.json");

struct Report {
    passed: usize,
    failed: usize,
    /// Every mismatch and every error, beginning with the scenario.
    lines: Vec<String>,
}

/// Runs a document; an error if it is none.
fn run(text: &str) -> Read<Report> {
    let mut report = Report { passed: 0, failed: 0, lines: Vec::new() };
    for (number, scenario) in document::scenarios(text)?.iter().enumerate() {
        let id = scenario.get("id").and_then(Value::as_str);
        let id = id.map_or_else(|| format!("scenario number {number}"), String::from);
        let lines = catch_unwind(AssertUnwindSafe(|| play(scenario)))
            .unwrap_or_else(|_| Err("panicked".into()))
            .unwrap_or_else(|error| vec![error]);
        if lines.is_empty() {
            report.passed += 1;
        } else {
            report.failed += 1;
        }
        report.lines.extend(lines.iter().map(|line| format!("{id}: {line}")));
    }
    Ok(report)
}

/// One scenario; where there is only one peer, also through its handle.
fn play(scenario: &Value) -> Read<Vec<String>> {
    let scenario = document::scenario(scenario)?;
    let mut lines = world::play(&scenario, Way::ByKey)?;
    if scenario.kind == Kind::Breaker {
        let by_handle = world::play(&scenario, Way::ByHandle)?;
        lines.extend(by_handle.into_iter().map(|line| format!("{line} (through a handle)")));
    }
    Ok(lines)
}

/// The text of the file, or the published scenarios.
fn read(file: Option<OsString>) -> Read<String> {
    let Some(file) = file else { return Ok(PUBLISHED.into()) };
    fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
}

#[test]
fn the_scenarios_pass() {
    let text = read(env::var_os("CONFORMANCE_SCENARIOS"));
    let report = text.and_then(|text| run(&text)).unwrap_or_else(|error| panic!("{error}"));
    let Report { passed, failed, lines } = report;
    // On a line of its own, whatever the harness has begun to write.
    println!("\n{}\nconformance: {passed} passed, {failed} failed", lines.join("\n"));
    assert_eq!(failed, 0, "scenarios failed");
}

#[test]
fn our_own_scenarios_pass() {
    let report = run(EXTRA).unwrap();
    assert_eq!(report.failed, 0, "{}", report.lines.join("\n"));
}

/// The scenarios of a document, each alone in one.
fn each_alone(text: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(text).unwrap();
    let list = document["scenarios"].as_array().unwrap();
    list.iter().map(|s| json!({"format": document["format"], "scenarios": [s]})).collect()
}

/// Another value of the same expectation.
fn falsified(value: &Value) -> Value {
    match value {
        Value::Bool(yes) => json!(!yes),
        Value::Null => json!(0),
        Value::String(name) => {
            let pairs =
                [("open", "closed"), ("closed", "open"), ("now", "other"), ("other", "now")];
            json!(pairs.iter().find(|(from, _)| from == name).map_or("closed", |(_, to)| *to))
        }
        number => json!(number.as_f64().unwrap() + 1.0),
    }
}

#[test]
fn every_falsified_expectation_fails_and_is_named() {
    let mut falsifications = 0;
    for document in [PUBLISHED, EXTRA].into_iter().flat_map(each_alone) {
        let scenario = &document["scenarios"][0];
        for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            for (field, value) in step["expect"].as_object().into_iter().flatten() {
                let path = format!("/scenarios/0/steps/{number}/expect/{field}");
                let leaves: Vec<String> = match value {
                    Value::Object(map) => map.keys().map(|of| format!("/{of}")).collect(),
                    _ => vec![String::new()],
                };
                for of in leaves {
                    let mut false_now = document.clone();
                    let leaf = false_now.pointer_mut(&format!("{path}{of}")).unwrap();
                    let (was, becomes) = (leaf.clone(), falsified(leaf));
                    *leaf = becomes.clone();
                    let report = run(&false_now.to_string()).unwrap();
                    let id = scenario["id"].as_str().unwrap();
                    let named = of.replace('/', ".");
                    let line = format!("{id}: step {number}: {field}{named}: got ");
                    assert_eq!(report.failed, 1, "{line} {was} passed for {becomes}");
                    let told = report.lines.iter().any(|l| l.starts_with(&line));
                    assert!(told, "{line} is not among {:?}", report.lines);
                    falsifications += 1;
                }
            }
        }
    }
    assert!(falsifications > 300, "only {falsifications}");
}

/// A document whose one scenario has one step, with `change` made to it.
fn changed(pointer: &str, change: Value) -> Value {
    let mut document = json!({"format": "breaker-conformance/1", "scenarios": [{
    "id": "X", "kind": "breaker", "title": "", "notes": "",
    "config": {"consecutive_failures": 1, "window": {"kind": "count", "size": 3}},
    "steps": [
        {"t": 0, "op": "call", "outcome": "success",
         "expect": {"admit": true, "counts": {"total": 1}}},
        {"t": 1, "op": "control", "action": "reset", "expect": {"retry_after_ms": 0}}
    ]}]});
    match document.pointer_mut(pointer) {
        Some(place) => *place = change,
        None => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            document.pointer_mut(parent).unwrap()[key] = change;
        }
    }
    document
}

/// What the runner complains about, wherever it does.
fn complaint(document: &Value) -> String {
    match run(&document.to_string()) {
        Err(error) => error,
        Ok(report) => {
            assert_eq!(report.failed > 0, !report.lines.is_empty());
            report.lines.join("\n")
        }
    }
}

#[test]
fn what_is_unknown_fails_with_its_name() {
    assert_eq!(complaint(&changed("/scenarios/0/title", json!("unchanged"))), "");
    for place in [
        "",
        "/scenarios/0",
        "/scenarios/0/config",
        "/scenarios/0/config/window",
        "/scenarios/0/steps/0",
        "/scenarios/0/steps/1",
        "/scenarios/0/steps/0/expect",
        "/scenarios/0/steps/0/expect/counts",
    ] {
        for value in [json!(1), Value::Null] {
            let told = complaint(&changed(&format!("{place}/surprise"), value));
            assert!(told.contains("`surprise`"), "at {place}: {told:?}");
        }
    }
    for place in [
        "/format",
        "/scenarios/0/kind",
        "/scenarios/0/config/window/kind",
        "/scenarios/0/config/half_open_mode",
        "/scenarios/0/steps/0/op",
        "/scenarios/0/steps/0/outcome",
        "/scenarios/0/steps/1/action",
        "/scenarios/0/steps/1/expect/state",
        "/scenarios/0/steps/1/expect/reply",
        "/scenarios/0/steps/1/expect/streak",
    ] {
        let told = complaint(&changed(place, json!("surprise")));
        assert!(told.contains("unknown") && told.contains("surprise"), "at {place}: {told:?}");
    }
}

#[test]
fn what_belongs_to_another_kind_is_unknown() {
    for (place, value) in [
        ("/scenarios/0/steps/0/peer", json!("a")),
        ("/scenarios/0/steps/1/op", json!("sweep")),
        ("/scenarios/0/steps/1/repeat", json!(2)),
        ("/scenarios/0/steps/0/expect/len", json!(1)),
        ("/scenarios/0/config/capacity", json!(4)),
        ("/scenarios/0/kind", json!("registry")),
    ] {
        let told = complaint(&changed(place, value));
        assert!(told.contains("unknown"), "at {place}: {told:?}");
    }
}

#[test]
fn an_empty_document_fails() {
    for text in ["", " ", "{}", "[]", "null", r#"{"format": "breaker-conformance/1"}"#] {
        assert!(run(text).is_err(), "{text:?} passed");
    }
    assert!(complaint(&changed("/scenarios", json!([]))).contains("`scenarios` is empty"));
    assert!(complaint(&changed("/scenarios/0/steps", json!([]))).contains("`steps`"));
}

#[test]
fn a_file_that_cannot_be_read_fails_with_its_name() {
    let told = read(Some("/no/such/file.json".into())).unwrap_err();
    assert!(told.contains("/no/such/file.json"), "{told}");
    let directory = env::temp_dir();
    assert!(
        read(Some(directory.clone().into())).unwrap_err().contains(directory.to_str().unwrap())
    );
}

#[test]
fn a_null_is_expected_and_an_absent_expectation_is_not() {
    let place = "/scenarios/0/steps/1/expect";
    let told = complaint(&changed(place, json!({"retry_after_ms": null})));
    assert_eq!(
        told.lines().next(),
        Some("X: step 1: retry_after_ms: got 0, expected null"),
        "a mismatch tells scenario, step, field, got and expected"
    );
    assert_eq!(complaint(&changed(place, json!({}))), "");
}

#[test]
fn a_permit_that_nobody_holds_cannot_be_settled() {
    let settle = json!({"t": 0, "op": "settle", "id": "ghost", "outcome": "success"});
    let told = complaint(&changed("/scenarios/0/steps/0", settle));
    assert!(told.contains("X: step 0: id `ghost` holds no permit"), "{told}");
}

#[test]
fn a_configuration_that_makes_no_sense_fails_the_scenario() {
    let told = complaint(&changed("/scenarios/0/config/failure_rate", json!(7)));
    assert!(told.starts_with("X: config: failure_rate is 7"), "{told}");
}
