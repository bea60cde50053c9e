//! The workloads, measured.

use std::time::Duration;

use serde_json::{Value, json};

use crate::baseline::Trips;
use crate::cell::{BASELINE, DESIGNS, Design};
use crate::measure::{
    Act, Crowd, Mix, Route, Times, Trouble, Work, burst_of_threads, machine, quantile, rounds_of,
};

#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Of one measurement, in each round.
    pub(crate) time: Duration,
    /// Of each task.
    pub(crate) calls: usize,
}

/// What is done, and its name.
struct Workload {
    name: &'static str,
    work: Work,
    /// In a storm half of the calls fail.
    storm: Option<Trips>,
}

impl Workload {
    fn trips(&self) -> Trips {
        self.storm.unwrap_or(Trips::USUAL)
    }

    fn designs(&self, callers: &str) -> impl Iterator<Item = &'static Design> {
        let stay = callers == TASKS;
        DESIGNS.iter().filter(move |design| design.can(&self.work, self.storm.is_some(), stay))
    }
}

const THREADS: [usize; 5] = [1, 2, 4, 16, 64];
pub(crate) const HOT: &str = "one hot peer, 1 % failures";
pub(crate) const ZIPF: &str = "zipf over 100,000 peers, 1 % failures";
pub(crate) const STORM: &str = "one hot peer, storm";
pub(crate) const WIDE_STORM: &str = "uniform over 10,000 peers, storm";
const WIDE_STORM_LONG: &str = "uniform over 10,000 peers, storm, waits of 5 s";
pub(crate) const HALF: &str = "uniform over 10,000 peers, half of the calls fail, no trips";
pub(crate) const CROWD: &str = "64 threads";
pub(crate) const TASKS: &str = "10,000 tasks";

/// Measures all; what was found, with the machine and the moment.
pub(crate) fn measure(effort: Effort) -> Result<Value, Trouble> {
    let (hot, uniform) = (Route::hot()?, Route::uniform(10_000)?);
    let zipf = Route::zipf(100_000)?;
    let calls = |name, mix: Mix, route: &Route, storm: Option<Trips>| {
        let work = Work { act: Act::Guard, mix, route: route.clone() };
        Workload { name, work, storm }
    };
    let reads = |name, act| {
        let work = Work { act, mix: Mix::healthy(), route: hot.clone() };
        Workload { name, work, storm: None }
    };
    let short = Some(Trips::SHORT);
    let guarded = [
        calls(HOT, Mix::healthy(), &hot, None),
        calls("uniform over 10,000 peers, 1 % failures", Mix::healthy(), &uniform, None),
        calls(ZIPF, Mix::healthy(), &zipf, None),
        calls(STORM, Mix::storm(), &hot, short),
        calls(WIDE_STORM, Mix::storm(), &uniform, short),
        calls("zipf over 100,000 peers, storm", Mix::storm(), &zipf, short),
        calls(WIDE_STORM_LONG, Mix::storm(), &uniform, Some(Trips::USUAL)),
        calls(HALF, Mix::storm(), &uniform, Some(Trips::NEVER)),
    ];
    let read = [
        reads("is_circuit_open of one peer", Act::IsOpen),
        reads("snapshot of one peer", Act::Look),
    ];
    let many = Route::uniform(1_000)?;
    let many = calls("1,000 peers, 1 % failures", Mix::healthy(), &many, None);
    // Few threads first: some designs feel how many there ever were.
    let (mut costs, mut tails) = (Vec::new(), Vec::new());
    for workload in [&guarded[0], &many] {
        tails.extend(tasks(workload, effort)?);
    }
    for threads in THREADS {
        for workload in guarded.iter().chain(&read) {
            costs.extend(cost(workload, Crowd::of(threads, effort.time), effort)?);
        }
        for workload in read.iter().filter(|_| threads == 16) {
            let crowd = Crowd { threads, writers: 2, time: effort.time };
            costs.extend(cost(workload, crowd, effort)?);
        }
    }
    // Last, since it cannot be taken back: what costs more in a process in which many threads once were.
    burst_of_threads(512)?;
    for workload in &guarded {
        let after = Crowd::of(1, effort.time);
        let rows = cost(workload, after, effort)?.into_iter().map(|mut row| {
            row["after_threads"] = json!(512);
            row
        });
        costs.extend(rows);
    }
    for workload in [&guarded[0], &guarded[2], &guarded[3]] {
        tails.extend(tail(workload, effort)?);
    }
    Ok(json!({
        "machine": machine::name(), "date": machine::today(), "commit": machine::commit(),
        "costs": costs, "tails": tails,
    }))
}

/// One row: every design, in interleaved rounds.
fn cost(workload: &Workload, crowd: Crowd, effort: Effort) -> Result<Vec<Value>, Trouble> {
    let designs: Vec<_> = workload.designs("").collect();
    let Crowd { threads, writers, .. } = crowd;
    println!("{}; threads: {threads}, of which only write: {writers}", workload.name);
    let sides = designs
        .iter()
        .map(|design| (design.name, (design.cost)(&workload.work, workload.trips(), crowd)));
    let found = match rounds_of(effort.rounds, sides.collect()) {
        Ok(found) => found,
        // On a busy machine: the rest can be measured all the same.
        Err(trouble) => {
            eprintln!("  left out: {trouble}");
            return Ok(Vec::new());
        }
    };
    let baseline = designs.iter().position(|design| design.name == BASELINE);
    let row = designs.iter().enumerate().map(|(n, design)| {
        let times_better = baseline.map(|baseline| found.ratio(baseline, n));
        println!(
            "  {:<30} {:>10.1} ns {:>8.2}",
            design.name,
            found.of(n),
            times_better.unwrap_or(1.0)
        );
        json!({
            "workload": workload.name, "threads": threads, "writers": writers,
            "design": design.name, "ns": found.of(n), "times_better": times_better,
        })
    });
    Ok(row.collect())
}

fn tail(workload: &Workload, effort: Effort) -> Result<Vec<Value>, Trouble> {
    let crowd = Crowd::of(64, 5 * effort.time);
    told(workload, CROWD, |design| (design.tail)(&workload.work, workload.trips(), crowd))
}

fn tasks(workload: &Workload, effort: Effort) -> Result<Vec<Value>, Trouble> {
    told(workload, TASKS, |design| (design.tasks)(&workload.work, 10_000, effort.calls))
}

fn told(
    workload: &Workload,
    callers: &str,
    measure: impl Fn(&Design) -> Result<Times, Trouble>,
) -> Result<Vec<Value>, Trouble> {
    println!("{}; {callers}", workload.name);
    let one = |design: &'static Design| {
        let times = measure(design)?;
        let at = |part| quantile(&times, part);
        let (p50, p9999, max) = (at(0.5), at(0.9999), at(1.0));
        println!(
            "  {:<30} p50 {p50:>8.0} ns  p99.99 {p9999:>11.0} ns  max {max:>11.0} ns",
            design.name
        );
        Ok(json!({
            "workload": workload.name, "callers": callers, "design": design.name,
            "calls": times.len(), "p50": p50, "p90": at(0.9), "p99": at(0.99),
            "p999": at(0.999), "p9999": p9999, "max": max,
        }))
    };
    workload.designs(callers).map(one).collect()
}
