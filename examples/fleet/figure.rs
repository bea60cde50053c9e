//! The figure of the README: one hour of a node with a hundred healthy and nine hundred dead peers,
//! and ten that were away for a minute, with three designs.

use std::sync::Arc;
use std::time::Duration;

use peer_health::SyncError;

use crate::sim::cell::{Cell, MINUTE, Rhythm, SECOND};
use crate::sim::network::Network;
use crate::sim::node::{Node, Ours};
use crate::sim::peer::{Behaviour, Failing};
use crate::sim::plain::{Gate, Open, Plain};
use crate::sim::record::Report;
use crate::sim::run::run_with;

#[path = "../../benches/baseline/mod.rs"]
#[allow(dead_code, unused_imports, reason = "one of its designs is shown here")]
mod baseline;

/// `sync_errors` as its caller uses it: asks before a call, reports afterwards. An open circuit
/// becomes half-open by an error that comes late enough; nobody who asks first makes that call.
struct SyncErrors(baseline::SyncErrors<u32>);

impl Gate for SyncErrors {
    fn is_open(&self, peer: u32) -> bool {
        self.0.is_circuit_open(&peer)
    }

    fn succeeded(&self, peer: u32) {
        self.0.record_success(&peer);
    }

    fn failed(&self, peer: u32, error: SyncError) {
        let _ = self.0.handle_error(&peer, error);
    }
}

/// Ten healthy peers are away for a minute, twenty minutes after the begin.
fn cell() -> Cell {
    let (from, to) = (20 * MINUTE, 21 * MINUTE);
    let away = Behaviour::Away { how: Failing::Refuses, from, to, news: false };
    let rhythm = Rhythm::Every(30 * SECOND);
    let silent = Behaviour::Dead(Failing::Silent);
    Cell::of(100, 900, silent, rhythm).and(10, away, Rhythm::Every(10 * SECOND)).hours(1)
}

struct Line {
    what: &'static str,
    of: fn(&Cell, &Report) -> String,
}

fn sum(
    cell: &Cell,
    report: &Report,
    of: fn(&Report, usize) -> u64,
    is: fn(Behaviour) -> bool,
) -> u64 {
    let keys = cell.peers().enumerate().filter(|(_, (peer, _))| is(peer.behaviour));
    keys.map(|(key, _)| of(report, key)).sum()
}

fn back(cell: &Cell, report: &Report) -> (u64, u64) {
    let served = |report: &Report, key: usize| {
        let returns = report.peers[key].returns.values();
        returns.map(|returns| u64::from(returns.count - returns.late)).sum()
    };
    let all = |behaviour| matches!(behaviour, Behaviour::Away { .. });
    (sum(cell, report, served, all), sum(cell, report, |_, _| 1, all))
}

const LINES: [Line; 6] = [
    Line {
        what: "rounds of healthy peers that were served",
        of: |cell, report| {
            let rounds = sum(cell, report, |r, k| r.peers[k].rounds.into(), Behaviour::is_healthy);
            let served = sum(cell, report, |r, k| r.peers[k].served.into(), Behaviour::is_healthy);
            format!("{:.1} %", 100.0 * served as f64 / rounds as f64)
        },
    },
    Line {
        what: "calls to each dead peer",
        of: |cell, report| {
            let calls = sum(cell, report, |r, k| r.peers[k].calls.into(), Behaviour::is_dead);
            let dead = sum(cell, report, |_, _| 1, Behaviour::is_dead);
            format!("{:.1}", calls as f64 / dead as f64)
        },
    },
    Line {
        what: "dead peers whose circuit is open at the end, of 900",
        of: |_, report| report.dead_open.to_string(),
    },
    Line {
        what: "peers that were away for a minute, and are served again, of 10",
        of: |cell, report| back(cell, report).0.to_string(),
    },
    Line {
        what: "peers that answer and are shut out at the end, of 110",
        of: |_, report| report.healthy_open.to_string(),
    },
    Line { what: "calls in all", of: |_, report| report.calls.to_string() },
];

/// Prints the table.
pub(crate) fn print() {
    let cell = cell();
    let run = |node: &dyn Fn(&Arc<Network>) -> Box<dyn Node>| run_with(&cell, node);
    let reports = [
        run(&|network| Box::new(Plain::new(&cell, network, Open))),
        run(&|network| {
            let gate = SyncErrors(baseline::SyncErrors::new(Duration::from_secs(5)));
            Box::new(Plain::new(&cell, network, gate))
        }),
        run(&|network| Box::new(Ours::new(&cell, network))),
    ];
    println!("| in the first hour | a plain loop | `sync_errors` | `SyncDriver` |");
    println!("|---|---|---|---|");
    for line in &LINES {
        let cells = reports.iter().map(|report| (line.of)(&cell, report));
        println!("| {} | {} |", line.what, cells.collect::<Vec<_>>().join(" | "));
    }
}
