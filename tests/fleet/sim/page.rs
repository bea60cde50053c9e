//! The figures of doc/running.md: each line of its tables is what a cell gives, and nobody writes one by
//! hand.

use std::fs;
use std::io;

use super::cell::Cell;
use super::judge::{Broken, Glance, Rule};
use super::record::Report;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/running.md");

/// The page as it is now.
pub(crate) fn text() -> String {
    fs::read_to_string(PAGE).expect("doc/running.md")
}

/// Puts these lines in the place of those of the same cells.
pub(crate) fn rewrite(lines: &[String]) -> io::Result<()> {
    let page = text();
    let new = |line: &str| lines.iter().find(|new| of(new) == of(line) && of(line).is_some());
    let page = page.lines().map(|line| new(line).map_or(line, String::as_str));
    fs::write(PAGE, page.map(|line| format!("{line}\n")).collect::<String>())
}

/// The cell of which a line tells.
fn of(line: &str) -> Option<&str> {
    Some(line.strip_prefix("| ")?.split_once(" | ")?.0)
}

/// Whether the page shows another line for this cell.
pub(crate) fn differs(line: &str) -> bool {
    text().lines().any(|shown| of(shown) == of(line) && shown != line)
}

/// What the page shows of a cell.
pub(crate) fn line(cell: &Cell, report: &Report, broken: &[Broken]) -> String {
    let Glance { served, an_hour, last_open, back, first } = Glance::of(cell, report);
    let dead = cell.groups.iter().any(|group| group.behaviour.is_dead());
    let never = if dead { "never" } else { "" };
    let mut rules: Vec<Rule> = broken.iter().map(|broken| broken.rule).collect();
    rules.dedup();
    let rules: Vec<_> = rules.iter().map(|rule| format!("{rule:?}")).collect();
    let columns = [
        cell.name(),
        report.calls.to_string(),
        served.map_or(String::new(), |share| format!("{:.1} %", 100.0 * share)),
        an_hour.map_or(String::new(), |calls| format!("{calls:.1}")),
        first.map_or(String::new(), |minutes| time(60.0 * minutes)),
        last_open.map_or(never.to_string(), |minutes| {
            if dead { time(60.0 * minutes) } else { String::new() }
        }),
        back.map_or(String::new(), time),
        report.healthy_open.to_string(),
        if rules.is_empty() { "kept".to_string() } else { format!("{} broken", rules.join(", ")) },
    ];
    format!("| {} |", columns.join(" | "))
}

/// Seconds up to two minutes, then minutes.
fn time(seconds: f64) -> String {
    match seconds {
        few if few < 9.95 => format!("{few:.1} s"),
        few if few < 119.5 => format!("{few:.0} s"),
        many => format!("{:.0} min", many / 60.0),
    }
}
