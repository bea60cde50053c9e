//! Measures the goals of speed: one line for each, and all of them in `goals.json`.
//!
//! `cargo bench --features endpoint-id --bench goals`; with `-- --quick` in a minute or two, with less
//! care; with `-- G1 G5` these only. What the ratios are made of is told on the way, to the standard error.
//! Fails only if something cannot be measured.

#[allow(dead_code, unused_imports, reason = "shared with another program: each uses its part")]
#[path = "../baseline/mod.rs"]
mod baseline;
mod calls;
mod counted;
mod eviction;
#[allow(dead_code, unused_imports, reason = "shared with another program: each uses its part")]
#[path = "../measure/mod.rs"]
mod measure;
mod million;
mod newcomers;
mod report;
mod storms;
mod tasks;
mod valgrind;

use std::env;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use calls::Effort;
use measure::Trouble;
use report::{GOALS, Measured};

/// Goals that are measured together.
type Group = (&'static [&'static str], fn(Effort) -> Result<Vec<Measured>, Trouble>);

const GROUPS: &[Group] = &[
    (&["G1", "G3", "G16"], calls::hot_alone),
    (&["G2"], calls::hot_pair),
    (&["G4"], calls::uniform_alone),
    (&["G5", "G6"], calls::hot_crowd),
    (&["G7"], calls::zipf_crowd),
    (&["G8", "G9", "G12", "G24", "G30h", "G30f"], |_| counted::counted()),
    (&["G10h", "G10i"], calls::hot_tails),
    (&["G11h", "G11i"], calls::reads),
    (&["G13", "G14"], million::snapshots),
    (&["G15"], eviction::eviction),
    (&["G17"], calls::failures),
    (&["G18"], tasks::tasks),
    (&["G19", "G20"], newcomers::newcomers),
    (&["G21h", "G21i"], newcomers::honest_calls),
    (&["G22"], newcomers::worst),
    (&["G23"], newcomers::crowds),
    (&["G25a", "G25b", "G25c", "G25d"], storms::hot),
    (&["G26a", "G26d"], storms::without_trips),
    (&["G27a", "G27c", "G27d"], storms::with_long_waits),
    (&["G28a", "G28c", "G28d"], storms::with_short_waits),
    (&["G29f", "G29q"], storms::after_a_burst),
];

const QUICK: &str = "--quick";
/// The word by which this program knows that it is to measure the group of a goal.
const GROUP: &str = "--group";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let (flags, wanted): (Vec<&str>, Vec<&str>) =
        args.iter().map(String::as_str).partition(|arg| *arg == QUICK);
    let done = match wanted[..] {
        [valgrind::CHILD, what, count] => valgrind::child(what, count),
        [GROUP, id] => group(id, !flags.is_empty()),
        _ => run(&flags, &wanted),
    };
    done.map_or_else(
        |trouble| {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// Measures, group by group; then tells, goal by goal.
fn run(flags: &[&str], wanted: &[&str]) -> Result<(), Trouble> {
    if let Some(stranger) = wanted.iter().find(|id| !GOALS.iter().any(|goal| goal.id == **id)) {
        return Err(format!("{stranger} is not a goal").into());
    }
    let is_wanted = |id: &str| wanted.is_empty() || wanted.contains(&id);
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for (ids, _) in GROUPS.iter().filter(|(ids, _)| ids.iter().any(|id| is_wanted(id))) {
        match apart(flags, ids[0]) {
            Ok(measured) => found.extend(measured),
            Err(trouble) => failed.push(format!("{}: {trouble}", ids.join(", "))),
        }
    }
    let mut all = Vec::new();
    for goal in GOALS.iter().filter(|goal| is_wanted(goal.id)) {
        let Some(at) = found.iter().position(|measured| measured.id == goal.id) else { continue };
        let measured = found.swap_remove(at);
        println!("{}", goal.line(&measured));
        if let Some(but) = &measured.but {
            eprintln!("{}: {but}", goal.id);
        }
        all.push((goal, measured));
    }
    report::write(&all)?;
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

/// Measures a group in a process of its own: some designs feel how many threads there ever were.
fn apart(flags: &[&str], id: &str) -> Result<Vec<Measured>, Trouble> {
    let mut child = Command::new(env::current_exe()?);
    let output = child.args(flags).args([GROUP, id]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("cannot be measured: see above".into());
    }
    String::from_utf8(output.stdout)?.lines().map(str::parse).collect()
}

/// In that process.
fn group(id: &str, quick: bool) -> Result<(), Trouble> {
    let effort = if quick {
        Effort { quick, rounds: 4, time: Duration::from_millis(60) }
    } else {
        Effort { quick, rounds: 25, time: Duration::from_millis(200) }
    };
    let group = GROUPS.iter().find(|(ids, _)| ids.contains(&id));
    let (ids, measure) = group.ok_or_else(|| format!("{id} is not a goal"))?;
    eprintln!("{}", ids.join(", "));
    measure(effort)?.iter().for_each(|measured| println!("{measured}"));
    Ok(())
}
