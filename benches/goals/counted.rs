//! The goals that are counted and not timed: instructions for each call, bytes for each peer.

use super::million::PEERS;
use super::report::Measured;
use super::valgrind::{RESIDENT, Run};
use crate::measure::Trouble;

/// Stretches of a hundred calls. Two runs, and the difference divided: what is counted around the
/// calls is the same in both.
const FEW: u32 = 20;
const MANY: u32 = 220;

/// Empty registries, beside one.
const EMPTY: u64 = 50;

const MILLION: [&str; 2] = ["million-ours", "million-theirs"];

/// All at once: the cores are shared, the counts are not.
pub(crate) fn counted() -> Result<Vec<Measured>, Trouble> {
    let memory = MILLION.map(|whose| Run::memory(whose, PEERS));
    let start = |whose| [FEW, MANY].map(|stretches| Run::instructions(whose, stretches.into()));
    let failed = Run::memory("million-failed", PEERS);
    let empty = [1, EMPTY + 1].map(|count| Run::memory("empty", count));
    let mut calls = [0.0; 3];
    for (each, runs) in calls.iter_mut().zip(["handle", "id", "map-floor"].map(start)) {
        let [few, many] = runs.map(|run| run?.number("Collected :"));
        *each = (many? - few?) / f64::from(100 * (MANY - FEW));
    }
    let [ours, theirs] = memory.map(|run| run?.number("in use at exit:"));
    let (ours, theirs) = (ours? / 1e6, theirs? / 1e6);
    let failed = failed?.number("in use at exit:")? / 1e6;
    let [one, more] = empty.map(|run| run?.number("in use at exit:"));
    let empty = (more? - one?) / f64::from(u32::try_from(EMPTY)?);
    let taken = MILLION.map(|whose| Run::bare(whose, PEERS)?.number(RESIDENT));
    let [our_taken, their_taken] = taken.map(|kib| kib.map_or(f64::NAN, |kib| kib * 1024.0 / 1e6));
    let [handle, id, floor] = calls;
    eprintln!("  instructions: handle {handle:.1}, id {id:.1}, map floor {floor:.1}");
    eprintln!("  bytes asked for, for each peer: ours {ours:.1}, sync_errors {theirs:.1}");
    eprintln!("  of a peer that failed once: {failed:.1}; an empty registry: {empty:.0}");
    eprintln!("  that the process takes: ours {our_taken:.1}, sync_errors {their_taken:.1}");
    Ok(vec![
        Measured::new("G8", handle),
        Measured::new("G9", id / floor),
        Measured::new("G12", ours / theirs),
        Measured::new("G24", empty / 1024.0),
        Measured::new("G30h", ours),
        Measured::new("G30f", failed),
    ])
}
