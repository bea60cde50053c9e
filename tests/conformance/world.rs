//! One scenario, played against the library through its public API, on the manual clock.

use std::collections::HashMap;

use peer_health::{
    Clock, ErrorHandler, Failure, HealthRegistry, ManualClock, NextAdmission, OwnedPermit,
    PeerHandle, Permit, Snapshot, Status, SyncError,
};
use serde_json::{Value, json};

use crate::document::{Action, End, Expectation, Kind, Op, Outcome, Read, Scenario, Step, millis};

/// The peer of a scenario that has only one.
const ONLY: &str = "peer";

/// How a call is made: by the peer's key, or through a handle that was taken at the beginning.
/// Both must be the same to a scenario. (A handle is a hold on its peer, which scenarios of many
/// peers would see.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    ByKey,
    ByHandle,
}

struct World {
    hand: ManualClock,
    registry: HealthRegistry<String>,
    handler: ErrorHandler<String>,
    handle: Option<PeerHandle<String>>,
    /// By id: whose it is, and the permit.
    permits: HashMap<String, (String, OwnedPermit<String>)>,
}

/// What a step itself has shown; nothing where it has nothing to show.
#[derive(Default)]
struct Seen {
    admits: Vec<bool>,
    reply: Option<&'static str>,
    tracked: Option<bool>,
}

/// Plays all steps; every mismatch as a line.
pub(crate) fn play(scenario: &Scenario, way: Way) -> Read<Vec<String>> {
    let (clock, hand) = Clock::manual();
    let builder = HealthRegistry::builder().config(scenario.config.clone()).clock(clock);
    let registry = builder.build().map_err(|e| format!("config: {e}"))?;
    let handler = ErrorHandler::with_registry(registry.clone());
    let handle = (way == Way::ByHandle).then(|| registry.peer(&ONLY.into()));
    let mut world = World { hand, registry, handler, handle, permits: HashMap::new() };
    let mut mismatches = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let at = |e: String| format!("step {number}: {e}");
        let peer = match (scenario.kind, &step.peer) {
            (Kind::Breaker, _) => Some(ONLY.to_owned()),
            (Kind::Registry, peer) => peer.clone(),
        };
        let seen = world.act(step, peer.as_ref()).map_err(at)?;
        for expectation in &step.expect {
            let got = world.look(&seen, expectation, peer.as_ref()).map_err(at)?;
            let Expectation { field, of, value } = expectation;
            if !same(&got, value) {
                let of = of.as_ref().map(|of| format!(".{of}")).unwrap_or_default();
                let line = format!("step {number}: {field}{of}: got {got}, expected {value}");
                mismatches.push(line);
            }
        }
    }
    Ok(mismatches)
}

impl World {
    fn act(&mut self, step: &Step, peer: Option<&String>) -> Read<Seen> {
        self.hand.set(step.at);
        let mut seen = Seen::default();
        let named = || peer.ok_or_else(|| String::from("`peer` is missing"));
        match &step.op {
            Op::Observe => {}
            Op::Sweep => drop(self.registry.sweep()),
            Op::Remove => drop(self.registry.remove(named()?)),
            Op::Acquire { id } => {
                if self.permits.contains_key(id) {
                    return Err(format!("id `{id}` still holds a permit"));
                }
                let permit = self.registry.acquire(named()?).ok();
                seen.admits.push(permit.is_some());
                seen.tracked = Some(permit.as_ref().is_none_or(Permit::is_tracked));
                if let Some(permit) = permit {
                    self.permits.insert(id.clone(), (named()?.clone(), permit));
                }
            }
            Op::Settle { id, end } => {
                let held = self.permits.remove(id);
                let (owner, permit) = held.ok_or(format!("id `{id}` holds no permit"))?;
                if peer.is_some_and(|peer| *peer != owner) {
                    return Err(format!("id `{id}` holds a permit of peer `{owner}`"));
                }
                seen.tracked = Some(permit.is_tracked());
                finish(permit, end);
            }
            Op::Call { end, repeat } => {
                for _ in 0..*repeat {
                    self.call(named()?, end, &mut seen);
                }
            }
            Op::Report(outcome) => {
                let untracked = self.registry.totals().untracked;
                seen.reply = self.report(named()?, *outcome);
                seen.tracked = Some(self.registry.totals().untracked == untracked);
            }
            Op::Ask => {
                let open = self.handler.is_circuit_open(named()?);
                seen.reply = Some(if open { "open" } else { "closed" });
            }
            Op::Control(action) => {
                let (registry, peer) = (&self.registry, named()?);
                let done = match action {
                    Action::ForceOpen => registry.force_open(peer),
                    Action::Disable => registry.disable(peer),
                    Action::MetricsOnly => registry.metrics_only(peer),
                    Action::Reset => {
                        registry.reset(peer);
                        Ok(())
                    }
                };
                seen.tracked = Some(done.is_ok());
            }
            Op::Configure(config) => {
                self.registry.set_config(config.clone()).map_err(|e| format!("config: {e}"))?;
            }
        }
        Ok(seen)
    }

    fn call(&mut self, peer: &String, end: &End, seen: &mut Seen) {
        let (admitted, tracked) = match &mut self.handle {
            Some(handle) => settle_at_once(handle.acquire().ok(), end),
            None => settle_at_once(self.registry.acquire(peer).ok(), end),
        };
        seen.admits.push(admitted);
        seen.tracked = Some(tracked);
    }

    fn report(&self, peer: &String, outcome: Outcome) -> Option<&'static str> {
        let error = match outcome {
            Outcome::FatalDocument => document_error(),
            Outcome::Failure => network_error(),
            _ => {
                self.handler.record_success(peer);
                return None;
            }
        };
        Some(match self.handler.handle_error(peer, error) {
            Err(SyncError::CircuitBreakerOpen) => "open",
            Err(_) => "another error",
            Ok(Some(delay)) if delay.is_zero() => "now",
            Ok(_) => "other",
        })
    }

    /// What is to be seen of one field; null where there is nothing.
    fn look(&self, seen: &Seen, expected: &Expectation, peer: Option<&String>) -> Read<Value> {
        let of = expected.of.as_ref();
        let named = || of.or(peer).ok_or(format!("`{}` needs a `peer`", expected.field));
        let snapshot = |peer: &String| self.registry.snapshot(peer);
        let number = |peer: &String, read: fn(&Snapshot) -> u64| {
            json!(snapshot(peer).as_ref().map_or(0, read))
        };
        Ok(match expected.field {
            "admit" => {
                let wrong =
                    seen.admits.iter().find(|admit| Some(**admit) != expected.value.as_bool());
                json!(wrong.or(seen.admits.last()))
            }
            "reply" => json!(seen.reply),
            "tracked" => json!(seen.tracked),
            "len" => json!(self.registry.len()),
            "state" | "states" => self.state(named()?),
            "contains" => json!(self.registry.contains(named()?)),
            "retry_after_ms" => match self.registry.next_admission(named()?) {
                NextAdmission::Now => json!(0),
                NextAdmission::After(wait) if wait.is_zero() => json!("after no time"),
                NextAdmission::After(wait) if Some(wait) == millis(&expected.value) => {
                    expected.value.clone()
                }
                NextAdmission::After(wait) => json!(wait.as_nanos() as f64 / 1e6),
                NextAdmission::Unknown => Value::Null,
                other => json!(format!("{other:?}")),
            },
            "streak" | "streaks" => number(named()?, |s| s.consecutive_failures.into()),
            "late_results" => number(named()?, |s| s.totals.late),
            "opens" => number(named()?, |s| s.totals.opened),
            "counts" => {
                let window = snapshot(peer.ok_or("`counts` needs a `peer`")?)
                    .map(|s| s.window)
                    .unwrap_or_default();
                match of.map(String::as_str) {
                    Some("total") => json!(window.total),
                    Some("failures") => json!(window.failures),
                    Some("slow") => json!(window.slow),
                    other => return Err(format!("unknown count {other:?}")),
                }
            }
            other => return Err(format!("unknown expectation `{other}`")),
        })
    }

    fn state(&self, peer: &String) -> Value {
        json!(match self.registry.status(peer) {
            Status::Closed => "closed",
            Status::Open => "open",
            Status::HalfOpen => "half_open",
            Status::ForcedOpen => "forced_open",
            Status::Disabled => "disabled",
            Status::MetricsOnly => "metrics_only",
            _ => "a status that this test does not know",
        })
    }
}

/// Whether the call was admitted, and served tracked. If refused, nothing is settled.
fn settle_at_once(permit: Option<Permit<'_, String>>, end: &End) -> (bool, bool) {
    let Some(permit) = permit else { return (false, true) };
    let tracked = permit.is_tracked();
    finish(permit, end);
    (true, tracked)
}

fn finish(permit: Permit<'_, String>, end: &End) {
    let permit = match end.latency {
        Some(latency) => permit.with_latency(latency),
        None => permit,
    };
    let failure = |error: SyncError| match end.retry_after {
        Some(wait) => Failure::from(error).with_retry_after(wait),
        None => Failure::from(error),
    };
    match end.outcome {
        Outcome::Success => drop(permit.success()),
        Outcome::Failure => drop(permit.failure(failure(network_error()))),
        Outcome::Neutral => drop(permit.neutral()),
        Outcome::FatalDocument => drop(permit.failure(failure(document_error()))),
        Outcome::Drop => drop(permit),
    }
}

fn network_error() -> SyncError {
    SyncError::Network("connection reset".into())
}

fn document_error() -> SyncError {
    SyncError::Document("bad checksum".into())
}

/// Equal, where 5 and 5.0 are the same number.
fn same(got: &Value, expected: &Value) -> bool {
    got == expected || (got.is_number() && got.as_f64() == expected.as_f64())
}
