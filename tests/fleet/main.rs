//! The whole (W1 to W6): a node on paused time with a thousand peers, of whom most may be dead, and
//! the judge of it. These are the quick cells; `examples/fleet` runs all of them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod broken;
mod expected;
mod running;
mod sim;

use std::collections::BTreeSet;

use sim::cell::{Cell, Cut, HOUR, MINUTE, Rhythm, SECOND, Told};
use sim::judge::judge;
use sim::peer::{Behaviour, Failing};
use sim::run::run;
use sim::{page, quick, table};

/// Runs every `n`th of the quick cells; those that break a rule are the expected ones.
fn quick_cells(part: usize) {
    let mut wrong = Vec::new();
    for cell in quick::cells().into_iter().skip(part).step_by(PARTS) {
        let (name, report) = (cell.name(), run(&cell));
        let broken = judge(&cell, &report);
        let line = page::line(&cell, &report, &broken);
        if page::differs(&line) {
            wrong.push(format!("doc/running.md (see examples/fleet --page): {line}"));
        }
        let expected = expected::FAILING.contains(&name.as_str());
        for broken in &broken {
            println!("{name}\n    {broken}");
        }
        if expected == broken.is_empty() {
            wrong.push(format!("{name}: {broken:?}"));
        }
    }
    assert!(wrong.is_empty(), "not as expected: {wrong:#?}");
}

/// Tests run side by side.
const PARTS: usize = 2;

#[test]
fn a_node_with_dead_peers_keeps_the_rules_of_the_whole() {
    quick_cells(0);
}

#[test]
fn a_node_in_all_kinds_of_trouble_keeps_the_rules_of_the_whole() {
    quick_cells(1);
}

#[test]
fn a_cell_that_runs_twice_gives_the_same_report() {
    let flaps = Behaviour::Flaps { how: Failing::Silent, down: MINUTE, up: 5 * MINUTE };
    let cell = Cell::of(30, 60, Behaviour::Dead(Failing::Silent), Rhythm::Every(20 * SECOND))
        .and(20, flaps, Rhythm::Change(5 * MINUTE))
        .strangers(2000)
        .outage(HOUR, 10 * MINUTE, Cut::Local, Told::Kicked)
        .hours(2);
    assert_eq!(run(&cell), run(&cell));
    let other = run(&cell.clone().seed(2));
    assert_ne!(other, run(&cell), "another seed, another run");
}

#[test]
fn each_cell_has_a_name_of_its_own_and_is_not_too_large() {
    let (quick, all) = (quick::cells(), table::cells());
    for cells in [&quick, &all] {
        let names: BTreeSet<_> = cells.iter().map(Cell::name).collect();
        assert_eq!(names.len(), cells.len());
        let largest = cells.iter().max_by_key(|cell| cell.requests()).unwrap();
        assert!(largest.requests() < 2_000_000, "{}: {}", largest.name(), largest.requests());
    }
    let sum = quick.iter().map(Cell::requests).sum::<u64>();
    assert!(sum < 1_600_000, "{sum}");
    let unknown = |name: &&&str| !all.iter().chain(&quick).any(|cell| cell.name() == **name);
    assert_eq!(expected::FAILING.iter().find(unknown), None, "no cell has this name");
}
