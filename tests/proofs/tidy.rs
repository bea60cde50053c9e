//! The shape of the source: short files, floors, one door to shared memory, reasons for every ordering.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each file or folder of `src`. Imports go down, or stay within a file's own folder.
const FLOORS: [&[&str]; 6] = [
    &["foreign", "serde", "sync", "time"],
    &["budget", "config", "error", "event", "outcome", "retry_policy", "saved", "window", "word"],
    &["circuit"],
    &["outage", "peer", "permit", "snapshot", "tracker"],
    &["registry", "runtime", "wakers"],
    &[
        "backoff",
        "boottime",
        "coordinator",
        "io_error",
        "iroh",
        "metrics",
        "monitor",
        "sync_errors",
        "tokio_time",
    ],
];
/// Modules on one floor that may look at each other: each list is in order, later at earlier.
const ORDER: [&[&str]; 5] = [
    &["sync", "foreign", "time"],
    &["error", "outcome", "event", "config", "window", "word", "retry_policy", "budget"],
    &["snapshot", "outage", "tracker", "peer", "permit"],
    &["wakers", "runtime", "registry"],
    &["iroh", "io_error"],
];
const FLOOR_OF_THE_MODELS: usize = 3;

/// The Rust files in a folder and those below it, but for what was built.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && name != ".git" {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(folder, &mut paths);
    paths.sort();
    paths
}

fn sources() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let module = |path: &Path| {
        let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
        first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_string()
    };
    let with_text = |p: PathBuf| (module(&p), p.clone(), fs::read_to_string(p).unwrap());
    rust_files(&src).into_iter().map(with_text).collect()
}

fn floors() -> BTreeMap<&'static str, usize> {
    let floor = |(n, modules): (usize, &&'static [&'static str])| {
        modules.iter().map(move |module| (*module, n)).collect::<Vec<_>>()
    };
    FLOORS.iter().enumerate().flat_map(floor).collect()
}

/// What stands in code: comments and what follows `#[cfg(test)]` cut off.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The modules that a line imports or names by `crate::`.
fn imported(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
    })
}

#[test]
fn every_file_has_its_floor_and_imports_go_down_only() {
    let floors = floors();
    let mut seen = 0;
    for (module, path, text) in sources().iter().filter(|(module, ..)| module != "lib") {
        let floor = *floors.get(module.as_str()).unwrap_or_else(|| panic!("{path:?} has no floor"));
        for (n, line) in code(text) {
            for import in imported(line).filter(|import| import != module) {
                // Items of the crate's root, such as links in documentation, name no module.
                let Some(other) = floors.get(import) else { continue };
                seen += 1;
                let ordered = ORDER.iter().any(|order| {
                    let place = |name: &str| order.iter().position(|m| *m == name);
                    matches!((place(import), place(module)), (Some(a), Some(b)) if a < b)
                });
                assert!(*other < floor || ordered, "{path:?}:{}: {module} imports {import}", n + 1);
            }
        }
    }
    assert!(seen > 50, "the imports were not found");
}

#[test]
fn the_floors_that_the_models_compile_know_no_outside() {
    let floors = floors();
    let outside = ["dashmap", "rand::", "tokio", "tracing", "iroh", "foldhash", "std::sync"];
    for (module, path, text) in sources() {
        let modelled = floors.get(module.as_str()).is_some_and(|f| *f <= FLOOR_OF_THE_MODELS);
        for (n, line) in code(&text).filter(|_| modelled && module != "sync") {
            let stranger = outside.iter().find(|name| line.contains(*name));
            assert_eq!(stranger, None, "{path:?}:{}: {line}", n + 1);
        }
    }
}

#[test]
fn atomics_and_swaps_come_through_one_door() {
    for (module, path, text) in sources().iter().filter(|(module, ..)| module != "sync") {
        for (n, line) in code(text) {
            let door = !line.contains("std::sync::atomic") && !line.contains("arc_swap::");
            assert!(door, "{path:?}:{}: {module} opens a door of its own: {line}", n + 1);
        }
    }
}

#[test]
fn every_ordering_says_what_it_pairs_with() {
    let mut seen = 0;
    for (_, path, text) in sources() {
        let lines: Vec<_> = text.lines().collect();
        for (n, line) in code(&text).filter(|(_, line)| line.contains("Ordering::")) {
            if line.trim_start().starts_with("use ") || line.contains("pub(crate) use") {
                continue;
            }
            seen += 1;
            let near = lines[n.saturating_sub(8)..=n].join("\n");
            let comments: String =
                near.lines().filter_map(|l| Some(l.split_once("//")?.1)).collect();
            let said = ["Relaxed", "Acquire", "Release", "AcqRel"]
                .iter()
                .filter(|strength| line.contains(&format!("Ordering::{strength}")))
                .all(|strength| comments.contains(strength));
            let paired = ["pairs with", "as above", "as for", "as in"]
                .iter()
                .any(|words| comments.contains(words));
            assert!(said && paired, "{path:?}:{}: no reason given: {line}", n + 1);
        }
    }
    assert!(seen > 20, "the orderings were not found");
}

#[test]
fn no_file_is_too_long_and_none_is_unsafe() {
    let mut tops = BTreeSet::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in rust_files(repository) {
        tops.extend(path.strip_prefix(repository).unwrap().iter().next().map(OsString::from));
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(lines <= 400, "{path:?} has {lines} lines");
        assert!(text.starts_with("//! "), "{path:?} does not say what it is for");
    }
    for top in ["src", "tests", "loom-tests", "benches", "examples", "view", "capi", "iroh", ".ci"]
    {
        assert!(tops.contains(OsStr::new(top)), "the files of {top} were not found");
    }
    for (_, path, text) in sources() {
        for (n, line) in code(&text) {
            let fine = !line.contains("unsafe ") && !line.contains("SeqCst");
            assert!(fine, "{path:?}:{}: {line}", n + 1);
        }
    }
}

#[test]
fn a_rule_that_is_linked_has_an_anchor() {
    let rules = include_str!("../../doc/rules.md");
    let mut seen = 0;
    for (_, path, text) in sources() {
        for rest in text.split("crate::_rules#").skip(1) {
            let name = rest.split(')').next().unwrap();
            seen += 1;
            let anchored = rules.contains(&format!("<a id=\"{name}\"></a>**"));
            assert!(anchored, "{path:?} links to {name}, which has no anchor");
        }
    }
    assert!(seen > 3, "the links were not found");
}

/// The names of the types that a file defines, but for those of tests and the associated ones of traits.
fn types(text: &str) -> impl Iterator<Item = &str> {
    let defines = |line: &str| {
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        let (kind, rest) = line.trim_start_matches("pub ").split_once(' ')?;
        let named = ["struct", "enum", "trait", "type"].contains(&kind);
        named.then(|| rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric()).len())
    };
    code(text).filter_map(move |(_, line)| {
        let length = defines(line)?;
        let (_, rest) = line.split_at(line.find(char::is_uppercase)?);
        Some(&rest[..length])
    })
}

#[test]
fn no_two_types_have_one_name() {
    let sources = sources();
    let mut seen = BTreeMap::new();
    for (_, path, text) in sources.iter().filter(|(_, path, _)| !path.ends_with("tests.rs")) {
        for name in types(text) {
            let other = seen.insert(name, path);
            assert_eq!(other, None, "{name} is defined in {path:?} too");
        }
    }
    assert!(seen.contains_key("Circuit") && seen.len() > 100, "the types were not found");
}

/// Words that once were this library's own for things that have a name in the field.
const RETIRED: [&str; 11] = [
    "seat", "seats", "grip", "grips", "spell", "trial", "verdict", "verdicts", "crowd", "census",
    "whoever",
];

#[test]
fn words_of_our_own_are_not_used_any_more() {
    for (_, path, text) in sources() {
        for (n, line) in text.lines().enumerate() {
            let mut words =
                line.split(|c: char| !c.is_alphabetic() && c != '_').map(str::to_lowercase);
            let retired = words.find(|word| RETIRED.contains(&word.as_str()));
            assert_eq!(retired, None, "{path:?}:{}: {line}", n + 1);
        }
    }
}
