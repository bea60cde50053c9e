//! A whole node on paused time, with up to ten thousand peers, most of them dead; and whether it
//! keeps the rules of the whole, W1 to W6.
//!
//! ```text
//! cargo run --release --features endpoint-id,tokio --example fleet
//! cargo run --release --features endpoint-id,tokio --example fleet -- --third 2 --only "own outage"
//! cargo run --release --features endpoint-id,tokio --example fleet -- --page
//! cargo run --release --features endpoint-id,tokio --example fleet -- --draw
//! cargo run --release --features endpoint-id,tokio --example fleet -- --figure
//! ```
//!
//! Registry, coordinator, driver and monitor are real, the network is made up: see
//! `tests/fleet/sim`. Each cell of the table is one node that runs for hours of paused time, which
//! take a second or two. The example ends with an error if a cell breaks a rule that is not
//! expected to, or keeps all of them though it is expected not to, or if doc/running.md shows other figures
//! for it.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is drawn is small"
)]

mod draw;
#[path = "../../tests/fleet/expected.rs"]
mod expected;
mod figure;
mod options;
#[path = "../../tests/fleet/sim/mod.rs"]
mod sim;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use options::{Options, Wanted};
use sim::cell::Cell;
use sim::judge::{Broken, Glance, RULES, applies, judge};
use sim::table;

/// What anything here may fail with.
type Trouble = Box<dyn std::error::Error>;

/// A cell that was run.
struct Row {
    number: usize,
    name: String,
    calls: u64,
    glance: Glance,
    broken: Vec<Broken>,
    marks: String,
    /// What doc/running.md shows of the cell, if it is there.
    line: String,
    took: Duration,
}

fn main() -> ExitCode {
    let options = match options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("{wrong}\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    let done = match options.wanted {
        Wanted::Cells => return cells(&options),
        Wanted::List => {
            for cell in options.cells() {
                println!("{:>8} requests: {}", cell.requests(), cell.name());
            }
            Ok(())
        }
        Wanted::Page => page(&options),
        Wanted::Draw => draw::all(&options),
        Wanted::Figure => {
            figure::print();
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "how long the simulation takes, for display")]
fn row(number: usize, cell: &Cell) -> Row {
    let began = std::time::Instant::now();
    let report = sim::run::run(cell);
    let broken = judge(cell, &report);
    let mark = |rule| match applies(cell, rule) {
        _ if broken.iter().any(|broken| broken.rule == rule) => "FAIL",
        true => "ok",
        false => "",
    };
    let marks = RULES.map(|rule| format!("{:<5}", mark(rule))).concat();
    let (glance, calls) = (Glance::of(cell, &report), report.calls);
    let (line, took) = (sim::page::line(cell, &report, &broken), began.elapsed());
    Row { number, name: cell.name(), calls, glance, broken, marks, line, took }
}

/// Runs each of these on as many threads as there are processors; `done` is told of each.
fn on_all_processors<T: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
    done: impl FnMut(&T) + Send,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new((Vec::new(), done));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        break;
                    }
                    let one = work(n);
                    let mut all = all.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    let (rows, done) = &mut *all;
                    done(&one);
                    rows.push(one);
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).0
}

fn cells(options: &Options) -> ExitCode {
    let cells = options.cells();
    let (all, mut count) = (cells.len(), 0);
    let progress = |row: &Row| {
        count += 1;
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{count} of {all}: {}", row.name);
        } else {
            eprintln!("{count} of {all}: {:.1} s: {}", row.took.as_secs_f64(), row.name);
            row.broken.iter().for_each(|broken| eprintln!("    {broken}"));
        }
        let _ = std::io::stderr().flush();
    };
    let mut rows = on_all_processors(all, options.threads, |n| row(n, &cells[n]), progress);
    rows.sort_by_key(|row| row.number);
    print(&rows);
    let wrong = rows.iter().filter(|row| row.is_unexpected()).count();
    println!("\n{all} cells, {wrong} not as expected");
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Puts the figures of its cells into doc/running.md.
fn page(options: &Options) -> Result<(), Trouble> {
    let cells = options.only(sim::running::cells());
    let told = |row: &Row| eprintln!("{}", row.line);
    let rows = on_all_processors(cells.len(), options.threads, |n| row(n, &cells[n]), told);
    sim::page::rewrite(&rows.into_iter().map(|row| row.line).collect::<Vec<_>>())?;
    Ok(())
}

impl Row {
    fn is_expected_to_fail(&self) -> bool {
        expected::FAILING.contains(&self.name.as_str())
    }

    fn is_unexpected(&self) -> bool {
        self.is_expected_to_fail() == self.broken.is_empty() || sim::page::differs(&self.line)
    }
}

fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
    println!(
        "\n{:<width$} {:>8} {:>6} {:>7} {:>6} {:>6} {:>6} W1   W2   W3   W4   W5   W6",
        "", "calls", "served", "an hour", "first", "open", "back"
    );
    for row in rows {
        let Glance { served, an_hour, last_open, back, first } = row.glance;
        let served = served.map_or(String::new(), |served| format!("{:.1} %", 100.0 * served));
        let an_hour = an_hour.map_or(String::new(), |calls| format!("{calls:.1}"));
        let minutes = |time: Option<f64>| time.map_or(String::new(), |m| format!("{m:.0} m"));
        let (first, open) = (minutes(first), minutes(last_open));
        let back = back.map_or(String::new(), |seconds| format!("{seconds:.0} s"));
        println!(
            "{:<width$} {:>8} {served:>6} {an_hour:>7} {first:>6} {open:>6} {back:>6} {}",
            row.name, row.calls, row.marks
        );
    }
    println!();
    for row in rows.iter().filter(|row| row.is_unexpected()) {
        println!("{}", row.name);
        row.broken.iter().for_each(|broken| println!("    {broken}"));
        if row.is_expected_to_fail() && row.broken.is_empty() {
            println!("    keeps all rules, and is expected to fail");
        }
        if sim::page::differs(&row.line) {
            println!(
                "    doc/running.md shows other figures; with --page it would show\n    {}",
                row.line
            );
        }
    }
}

impl Options {
    fn cells(&self) -> Vec<Cell> {
        let cells = table::cells().into_iter().enumerate();
        let third = |n| self.third.is_none_or(|third| n % 3 + 1 == third);
        self.only(cells.filter(|(n, _)| third(*n)).map(|(_, cell)| cell).collect())
    }

    fn only(&self, mut cells: Vec<Cell>) -> Vec<Cell> {
        cells.retain(|cell| {
            self.only.as_ref().is_none_or(|only| cell.name().contains(only.as_str()))
        });
        cells
    }
}
