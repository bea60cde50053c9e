//! The scenarios of the library, played through the C interface: a program in C makes every call
//! (`driver.c`), this test reads the scenarios and compares what is seen. `CAPI_DRIVER` names the program;
//! `capi/test.sh` builds it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../../tests/conformance/document.rs"]
mod document;

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use document::{Action, End, Expectation, Kind, Op, Outcome, Read, Scenario, Step, millis};
use peer_health::{HalfOpenMode, HealthConfig, Window};
use serde_json::{Value, json};

const PUBLISHED: &str = include_str!("../../tests/conformance/scenarios.json");
const EXTRA: &str = include_str!("../../tests/conformance/extra.json");
const ONLY: &str = "peer";
const UNKNOWN: u64 = u64::MAX;
const STATES: [&str; 6] =
    ["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"];

/// The program in C.
struct Driver {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Driver {
    fn start() -> Self {
        let program = env::var_os("CAPI_DRIVER").expect("CAPI_DRIVER: run capi/test.sh");
        let piped = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = piped.unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { to: child.stdin.take(), from, child }
    }

    /// Makes a call: the code, and what else the driver answers. A negative code is an error.
    fn ask(&mut self, line: &str) -> Read<(i64, Vec<u64>)> {
        writeln!(self.to.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        let (code, rest) = answer.trim_end().split_once(' ').ok_or(format!("{line}: no answer"))?;
        let code: i64 = code.parse().map_err(|error| format!("{line}: {answer}: {error}"))?;
        if code < 0 && code != -8 {
            return Err(format!("{line}: {answer}"));
        }
        Ok((code, rest.split(' ').filter_map(|number| number.parse().ok()).collect()))
    }

    /// The program has to end well: a sanitizer may still complain.
    fn end(mut self) {
        drop(self.to.take());
        assert!(self.child.wait().unwrap().success(), "the driver failed");
    }
}

struct World<'d> {
    driver: &'d mut Driver,
    registry: u64,
    /// By id: whose it is, and the token.
    permits: HashMap<String, (String, u64)>,
    removed: Vec<String>,
}

#[derive(Default)]
struct Seen {
    admits: Vec<bool>,
    reply: Option<&'static str>,
    tracked: Option<bool>,
}

fn ms(time: Duration) -> u64 {
    assert!(
        time == Duration::MAX || time.subsec_nanos().is_multiple_of(1_000_000),
        "no fractions: {time:?}"
    );
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn config(of: &HealthConfig) -> String {
    let some = |time: Option<Duration>| time.map_or(0, ms);
    let (calls, buckets, length) = match of.window {
        Some(Window::Count { size }) => (size, 0, 0),
        Some(Window::Time { length, buckets }) => (0, buckets, ms(length)),
        _ => (0, 0, 0),
    };
    let mode = u32::from(of.half_open_mode == HalfOpenMode::Rate);
    let rates = (of.failure_rate.unwrap_or(0.0), of.slow_rate.unwrap_or(0.0));
    format!(
        "{} {} {calls} {buckets} {length} {} {mode} {} {} {} {} {} {} {} {} {} {} {}",
        of.failure_threshold.unwrap_or(0),
        some(of.streak_gap),
        of.min_calls.unwrap_or(0),
        rates.0,
        some(of.slow_call),
        rates.1,
        ms(of.open_timeout),
        of.open_multiplier,
        ms(of.open_max),
        of.success_threshold,
        some(of.half_open_max),
        some(of.probe_lease),
        of.max_peers,
        ms(of.idle_timeout),
    )
}

/// Plays all steps; every mismatch as a line.
fn play(driver: &mut Driver, scenario: &Scenario) -> Read<Vec<String>> {
    let registry = driver.ask(&format!("new 0 {}", config(&scenario.config)))?.1[0];
    let mut world = World { driver, registry, permits: HashMap::new(), removed: Vec::new() };
    let mut mismatches = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let at = |e: String| format!("step {number}: {e}");
        let only = (scenario.kind == Kind::Breaker).then(|| ONLY.to_owned());
        let peer = only.or_else(|| step.peer.clone());
        let seen = world.act(step, peer.as_ref()).map_err(at)?;
        for expectation in &step.expect {
            let got = world.look(&seen, expectation, peer.as_ref()).map_err(at)?;
            let Expectation { field, of, value } = expectation;
            let same = got == *value || (got.is_number() && got.as_f64() == value.as_f64());
            if !same {
                mismatches
                    .push(format!("step {number}: {field} {of:?}: got {got}, expected {value}"));
            }
        }
    }
    // With permits that no scenario settles: they end with their registry.
    world.driver.ask(&format!("free {registry}"))?;
    Ok(mismatches)
}

impl World<'_> {
    fn ask(&mut self, op: &str, rest: &str) -> Read<(i64, Vec<u64>)> {
        self.driver.ask(&format!("{op} {} {rest}", self.registry))
    }

    fn act(&mut self, step: &Step, peer: Option<&String>) -> Read<Seen> {
        self.ask("clock", &ms(step.at).to_string())?;
        let mut seen = Seen::default();
        let named = || peer.ok_or_else(|| String::from("`peer` is missing"));
        match &step.op {
            Op::Observe => {}
            Op::Sweep => drop(self.ask("control", "any 4")?),
            Op::Remove => {
                self.ask("control", &format!("{} 3", named()?))?;
                self.removed.push(named()?.clone());
            }
            Op::Acquire { id } => {
                let token = self.acquire(named()?, &mut seen)?;
                if let Some(token) = token {
                    self.permits.insert(id.clone(), (named()?.clone(), token));
                }
            }
            Op::Settle { id, end } => {
                let (peer, token) =
                    self.permits.remove(id).ok_or(format!("`{id}` holds no permit"))?;
                seen.tracked = Some(self.ask("tracked", &token.to_string())?.0 == 0);
                self.settle(&peer, token, end)?;
            }
            Op::Call { end, repeat } => {
                for _ in 0..*repeat {
                    if let Some(token) = self.acquire(named()?, &mut seen)? {
                        self.settle(named()?, token, end)?;
                    }
                }
            }
            Op::Report(outcome) => {
                let untracked = self.ask("totals", "")?.1[1];
                let kind = kind(*outcome);
                let reply = self.ask("report", &format!("{} {kind}", named()?))?.1[0];
                seen.reply = [Some("now"), Some("open"), Some("other"), None]
                    [usize::try_from(reply).unwrap()];
                seen.tracked = Some(self.ask("totals", "")?.1[1] == untracked);
            }
            Op::Ask => {
                let reply = self.ask("ask", named()?)?.1[0];
                seen.reply = Some(if reply == 1 { "open" } else { "closed" });
            }
            Op::Control(action) => {
                let number = match action {
                    Action::ForceOpen => 0,
                    Action::Disable => 1,
                    Action::MetricsOnly => 2,
                    Action::Reset => -1,
                };
                let code = self.ask("control", &format!("{} {number}", named()?))?.0;
                seen.tracked = Some(code >= 0);
            }
            Op::Configure(new) => drop(self.ask("configure", &config(new))?),
        }
        Ok(seen)
    }

    fn acquire(&mut self, peer: &str, seen: &mut Seen) -> Read<Option<u64>> {
        let (code, rest) = self.ask("acquire", peer)?;
        let token = (code == 0).then_some(rest[0]);
        if token.is_none() {
            let next = self.ask("look", peer)?.1[1];
            let hint = next == UNKNOWN && (1..=1000).contains(&rest[0]);
            if !hint && rest[0] != whole(next) {
                return Err(format!("ph_acquire says {} ms for {next} ns", rest[0]));
            }
        }
        seen.admits.push(token.is_some());
        seen.tracked = Some(match token {
            Some(token) => self.ask("tracked", &token.to_string())?.0 == 0,
            None => true,
        });
        Ok(token)
    }

    fn settle(&mut self, peer: &str, token: u64, end: &End) -> Read<()> {
        let outcome = match end.outcome {
            Outcome::Success => 0,
            Outcome::Failure | Outcome::FatalDocument => 1,
            Outcome::Neutral => 2,
            Outcome::Drop => 3,
        };
        // The largest number says that the latency is not stated; the next is as long in nanoseconds (R1).
        let latency = end.latency.map_or(UNKNOWN, |latency| ms(latency).min(UNKNOWN - 1));
        let wait = end.retry_after.map_or(0, ms);
        let before = self.ask("look", peer)?.1;
        let how = format!("{token} {outcome} {} {latency} {wait}", kind(end.outcome));
        let code = self.ask("settle", &how)?.0;
        let after = self.ask("look", peer)?.1;
        let disabled = STATES[usize::try_from(before[0]).unwrap()] == "disabled";
        // PH_OK counts, PH_NEUTRAL decides nothing, PH_LATE is what the peer's own count says is late.
        let expected = match end.outcome {
            Outcome::Drop => 4,
            _ if after[6] > before[6] => 5,
            _ if code == 5 && self.removed.iter().any(|gone| gone == peer) => 5, // its count is gone with it
            Outcome::Success | Outcome::Failure if !disabled => 0,
            _ => 4,
        };
        if code != expected {
            return Err(format!("a settle of {how} is {code}: must be {expected}"));
        }
        // Twice is late, whatever the first time was.
        match self.ask("settle", &format!("{token} 0 0 {UNKNOWN} 0"))?.0 {
            5 => Ok(()),
            code => Err(format!("a second settle is {code}")),
        }
    }

    fn look(&mut self, seen: &Seen, expected: &Expectation, peer: Option<&String>) -> Read<Value> {
        let wanted = &expected.value;
        match expected.field {
            "admit" => {
                let wrong = seen.admits.iter().find(|admit| Some(**admit) != wanted.as_bool());
                return Ok(json!(wrong.or(seen.admits.last())));
            }
            "reply" => return Ok(json!(seen.reply)),
            "tracked" => return Ok(json!(seen.tracked)),
            "len" => return Ok(json!(self.ask("totals", "")?.1[0])),
            _ => {}
        }
        let of = expected.of.as_ref().filter(|_| expected.field != "counts");
        let peer = of.or(peer).ok_or("a `peer` is missing")?;
        let (_, of_peer) = self.ask("look", peer)?;
        let [status, next, streak, total, failures, slow, late, opens, known, shown] = of_peer[..]
        else {
            return Err(format!("a look at {peer} shows {of_peer:?}"));
        };
        if shown != whole(next) {
            return Err(format!("ph_status shows {shown} ms for {next} ns"));
        }
        Ok(match expected.field {
            "state" | "states" => json!(STATES[usize::try_from(status).unwrap()]),
            "contains" => json!(known == 1),
            "retry_after_ms" if next == UNKNOWN => Value::Null,
            "retry_after_ms" if millis(wanted) == Some(Duration::from_nanos(next)) => {
                wanted.clone()
            }
            "retry_after_ms" => json!(next as f64 / 1e6),
            "streak" | "streaks" => json!(streak),
            "late_results" => json!(late),
            "opens" => json!(opens),
            "counts" => match expected.of.as_deref() {
                Some("total") => json!(total),
                Some("failures") => json!(failures),
                Some("slow") => json!(slow),
                other => return Err(format!("unknown count {other:?}")),
            },
            other => return Err(format!("unknown expectation `{other}`")),
        })
    }
}

/// The milliseconds that a program sees of a time in nanoseconds: rounded up, so that it waits long enough.
fn whole(nanos: u64) -> u64 {
    if nanos == UNKNOWN { UNKNOWN } else { nanos.div_ceil(1_000_000) }
}

fn kind(outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Failure => 1,
        Outcome::FatalDocument => 2,
        _ => 0,
    }
}

/// Plays a document: how many scenarios pass, and a line for each mismatch.
fn run(driver: &mut Driver, text: &str) -> (usize, Vec<String>) {
    let (mut passed, mut lines) = (0, Vec::new());
    for value in document::scenarios(text).unwrap() {
        let played = document::scenario(&value).and_then(|scenario| play(driver, &scenario));
        let found = played.unwrap_or_else(|error| vec![error]);
        passed += usize::from(found.is_empty());
        lines.extend(found.iter().map(|line| format!("{}: {line}", value["id"])));
    }
    (passed, lines)
}

#[test]
#[ignore = "needs the program in C that capi/test.sh builds"]
fn the_scenarios_pass_through_c() {
    let mut driver = Driver::start();
    for (name, text) in [("published", PUBLISHED), ("our own", EXTRA)] {
        let (passed, lines) = run(&mut driver, text);
        println!("\nthrough C, {name}: {passed} passed, {} lines of failures", lines.len());
        assert!(lines.is_empty(), "{}", lines.join("\n"));
        assert!(passed > 20, "only {passed} scenarios");
    }
    driver.end();
}

#[test]
#[ignore = "needs the program in C that capi/test.sh builds"]
fn a_falsified_scenario_fails_through_c() {
    let mut driver = Driver::start();
    let mut falsified = 0;
    for (from, to) in [
        (r#""state": "open""#, r#""state": "metrics_only""#),
        (r#""admit": true"#, r#""admit": false"#),
        (r#""late_results": 1"#, r#""late_results": 7"#),
        (r#""reply": "open""#, r#""reply": "other""#),
        (r#""retry_after_ms": 1000"#, r#""retry_after_ms": 1001"#),
        (r#""total": 3"#, r#""total": 4"#),
    ] {
        let text = EXTRA.replacen(from, to, 1);
        assert_ne!(text, EXTRA, "{from} is not there");
        falsified += usize::from(!run(&mut driver, &text).1.is_empty());
    }
    assert_eq!(falsified, 6);
    driver.end();
}
