//! A file of scenarios, read strictly: a key, a name or a type that the format does not have is an
//! error that says so by name. Nothing is skipped.

use std::time::Duration;

use peer_health::{HalfOpenMode, HealthConfig, Window};
use serde_json::{Map, Value};

pub(crate) type Read<T> = Result<T, String>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Breaker,
    Registry,
}

pub(crate) struct Scenario {
    pub(crate) kind: Kind,
    pub(crate) config: HealthConfig,
    pub(crate) steps: Vec<Step>,
}

pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) peer: Option<String>,
    pub(crate) op: Op,
    pub(crate) expect: Vec<Expectation>,
}

pub(crate) enum Op {
    Acquire { id: String },
    Settle { id: String, end: End },
    Call { end: End, repeat: u32 },
    Report(Outcome),
    Ask,
    Control(Action),
    Configure(HealthConfig),
    Observe,
    Sweep,
    Remove,
}

/// How a permit ends.
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) latency: Option<Duration>,
    pub(crate) retry_after: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure,
    Neutral,
    FatalDocument,
    Drop,
}

pub(crate) enum Action {
    ForceOpen,
    Disable,
    MetricsOnly,
    Reset,
}

/// One value that must be seen after a step: `field`, or `field.of` where it has several.
pub(crate) struct Expectation {
    pub(crate) field: &'static str,
    pub(crate) of: Option<String>,
    pub(crate) value: Value,
}

/// The scenarios of a document, unread; at least one.
pub(crate) fn scenarios(text: &str) -> Read<Vec<Value>> {
    let document: Value = serde_json::from_str(text).map_err(|e| format!("not readable: {e}"))?;
    let document = Object::new("document", &document, &["format", "scenarios"])?;
    match document.text("format")? {
        "breaker-conformance/1" => {}
        other => return Err(format!("unknown format `{other}`")),
    }
    match document.need("scenarios")? {
        Value::Array(list) if list.is_empty() => Err("`scenarios` is empty".into()),
        Value::Array(list) => Ok(list.clone()),
        other => Err(format!("`scenarios` must be a list, not {other}")),
    }
}

pub(crate) fn scenario(value: &Value) -> Read<Scenario> {
    let known = ["id", "kind", "title", "config", "steps", "notes"];
    let scenario = Object::new("scenario", value, &known)?;
    scenario.text("id")?;
    let kind = match scenario.text("kind")? {
        "breaker" => Kind::Breaker,
        "registry" => Kind::Registry,
        other => return Err(format!("unknown kind `{other}`")),
    };
    let config = match kind {
        Kind::Breaker => breaker(scenario.need("config")?, HealthConfig::default())?,
        Kind::Registry => many(scenario.need("config")?)?,
    };
    let steps = match scenario.need("steps")? {
        Value::Array(steps) if !steps.is_empty() => steps,
        other => return Err(format!("`steps` must be a list with something in it, not {other}")),
    };
    let mut latest = config.clone();
    let mut read = Vec::new();
    for (number, value) in steps.iter().enumerate() {
        let step = step(kind, value, &latest).map_err(|e| format!("step {number}: {e}"))?;
        if let Op::Configure(config) = &step.op {
            latest = config.clone();
        }
        read.push(step);
    }
    Ok(Scenario { kind, config, steps: read })
}

fn step(kind: Kind, value: &Value, latest: &HealthConfig) -> Read<Step> {
    let name = value.get("op").and_then(Value::as_str).ok_or("`op` is missing")?;
    let of_op: &[&'static str] = match name {
        "acquire" => &["id"],
        "settle" => &["id", "outcome", "latency_ms", "retry_after_ms"],
        "call" => &["outcome", "repeat", "latency_ms", "retry_after_ms"],
        "report" => &["outcome"],
        "control" => &["action"],
        "configure" => &["config"],
        "ask" | "observe" => &[],
        "sweep" | "remove" if kind == Kind::Registry => &[],
        other => return Err(format!("unknown operation `{other}`")),
    };
    let of_kind: &[&'static str] = if kind == Kind::Registry { &["peer"] } else { &[] };
    let known = [&["t", "op", "expect"], of_op, of_kind].concat();
    let step = Object::new(name, value, &known)?;
    let op = match name {
        "acquire" => Op::Acquire { id: step.text("id")?.into() },
        "settle" => Op::Settle { id: step.text("id")?.into(), end: end(&step)? },
        "call" => Op::Call { end: end(&step)?, repeat: step.count("repeat")?.unwrap_or(1) },
        "report" => Op::Report(match outcome(step.text("outcome")?)? {
            Outcome::Neutral | Outcome::Drop => {
                return Err(format!("unknown outcome of a report {}", step.need("outcome")?));
            }
            outcome => outcome,
        }),
        "control" => Op::Control(action(step.text("action")?)?),
        "configure" => Op::Configure(replacement(kind, step.need("config")?, latest)?),
        "ask" => Op::Ask,
        "sweep" => Op::Sweep,
        "remove" => Op::Remove,
        _ => Op::Observe,
    };
    let peer = step.value("peer").map(|_| step.text("peer")).transpose()?.map(String::from);
    let at = step.millis("t")?.ok_or("`t` is missing")?;
    let expect = step.value("expect").map_or(Ok(Vec::new()), |value| expectations(kind, value))?;
    Ok(Step { at, peer, op, expect })
}

fn end(step: &Object<'_>) -> Read<End> {
    let outcome = outcome(step.text("outcome")?)?;
    let retry_after = step.millis("retry_after_ms")?;
    if retry_after.is_some() && !matches!(outcome, Outcome::Failure | Outcome::FatalDocument) {
        return Err("`retry_after_ms` belongs to a failure".into());
    }
    Ok(End { outcome, latency: step.millis("latency_ms")?, retry_after })
}

fn outcome(name: &str) -> Read<Outcome> {
    Ok(match name {
        "success" => Outcome::Success,
        "failure" => Outcome::Failure,
        "neutral" => Outcome::Neutral,
        "fatal_document" => Outcome::FatalDocument,
        "drop" => Outcome::Drop,
        other => return Err(format!("unknown outcome `{other}`")),
    })
}

fn action(name: &str) -> Read<Action> {
    Ok(match name {
        "force_open" => Action::ForceOpen,
        "disable" => Action::Disable,
        "metrics_only" => Action::MetricsOnly,
        "reset" => Action::Reset,
        other => return Err(format!("unknown action `{other}`")),
    })
}

/// A configuration of many peers. What is absent has the library's default.
fn many(value: &Value) -> Read<HealthConfig> {
    let config = Object::new("config", value, &["capacity", "idle_ms", "breaker"])?;
    let mut base = HealthConfig::default();
    if let Some(capacity) = config.count("capacity")? {
        base = base.with_max_peers(usize::try_from(capacity).map_err(|e| e.to_string())?);
    }
    if let Some(idle) = config.millis("idle_ms")? {
        base = base.with_idle_timeout(idle);
    }
    breaker(config.value("breaker").unwrap_or(&Value::Object(Map::new())), base)
}

/// A configuration that replaces the latest: among many peers a whole one, or that of the breaker.
fn replacement(kind: Kind, value: &Value, latest: &HealthConfig) -> Read<HealthConfig> {
    let has = |key| value.get(key).is_some();
    match kind {
        Kind::Registry if has("breaker") || has("capacity") || has("idle_ms") => many(value),
        _ => breaker(value, latest.clone()),
    }
}

/// What is absent or null is off; what has a default here has it whatever the library's is.
fn breaker(value: &Value, base: HealthConfig) -> Read<HealthConfig> {
    let known = [
        "consecutive_failures",
        "failure_window_ms",
        "window",
        "min_calls",
        "failure_rate",
        "slow_call_ms",
        "slow_rate",
        "open_ms",
        "open_multiplier",
        "open_max_ms",
        "half_open_permits",
        "half_open_mode",
        "half_open_max_ms",
        "probe_lease_ms",
    ];
    let config = Object::new("config", value, &known)?;
    let mode = match config.value("half_open_mode") {
        None => HalfOpenMode::All,
        Some(Value::String(mode)) if mode == "all" => HalfOpenMode::All,
        Some(Value::String(mode)) if mode == "rate" => HalfOpenMode::Rate,
        Some(other) => return Err(format!("unknown half_open_mode {other}")),
    };
    Ok(base
        .with_failure_threshold(config.count("consecutive_failures")?)
        // Zero is off there.
        .with_streak_gap(config.millis("failure_window_ms")?.filter(|gap| !gap.is_zero()))
        .with_window(config.value("window").map(window).transpose()?)
        .with_min_calls(config.count("min_calls")?.unwrap_or(1))
        .with_failure_rate(config.fraction("failure_rate")?)
        .with_slow_call(config.millis("slow_call_ms")?)
        .with_slow_rate(config.fraction("slow_rate")?)
        .with_open_timeout(config.millis("open_ms")?.unwrap_or(Duration::from_secs(60)))
        .with_open_multiplier(config.fraction("open_multiplier")?.unwrap_or(1.0))
        .with_open_max(config.millis("open_max_ms")?.unwrap_or(Duration::MAX))
        .with_open_jitter(0.0)
        .with_success_threshold(config.count("half_open_permits")?.unwrap_or(1))
        .with_half_open_mode(mode)
        .with_half_open_max(config.millis("half_open_max_ms")?)
        .with_probe_lease(config.millis("probe_lease_ms")?))
}

fn window(value: &Value) -> Read<Window> {
    let kind = value.get("kind").and_then(Value::as_str).ok_or("`window.kind` is missing")?;
    match kind {
        "count" => {
            let window = Object::new("window", value, &["kind", "size"])?;
            Ok(Window::count(window.count("size")?.ok_or("`window.size` is missing")?))
        }
        "time" => {
            let window = Object::new("window", value, &["kind", "ms", "buckets"])?;
            let length = window.millis("ms")?.ok_or("`window.ms` is missing")?;
            let buckets = window.count("buckets")?.ok_or("`window.buckets` is missing")?;
            Ok(Window::time(length, buckets))
        }
        other => Err(format!("unknown window kind `{other}`")),
    }
}

/// The leaves of `expect`, each known and of its type. Null is a value.
fn expectations(kind: Kind, value: &Value) -> Read<Vec<Expectation>> {
    const STATES: [&str; 6] =
        ["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"];
    let of_breaker =
        ["admit", "reply", "state", "retry_after_ms", "streak", "counts", "late_results", "opens"];
    let of_registry = ["tracked", "len", "contains", "states", "streaks"];
    let known = match kind {
        Kind::Breaker => of_breaker.to_vec(),
        Kind::Registry => [&of_breaker[..], &of_registry[..]].concat(),
    };
    let expect = Object::new("expect", value, &known)?;
    let is_one_of = |names: &[&str], v: &Value| v.as_str().is_some_and(|v| names.contains(&v));
    let mut leaves = Vec::new();
    for field in known.iter().copied() {
        let Some(value) = expect.map.get(field) else { continue };
        let parts: Vec<(Option<String>, Value)> = match (field, value) {
            ("counts", value) => {
                let counts = Object::new("counts", value, &["total", "failures", "slow"])?;
                counts.map.iter().map(|(of, v)| (Some(of.clone()), v.clone())).collect()
            }
            ("contains" | "states" | "streaks", Value::Object(map)) => {
                map.iter().map(|(of, v)| (Some(of.clone()), v.clone())).collect()
            }
            ("contains" | "states" | "streaks", other) => {
                return Err(format!("`{field}` must be an object, not {other}"));
            }
            (_, value) => vec![(None, value.clone())],
        };
        for (of, value) in parts {
            let fits = match field {
                _ if value.is_null() => true,
                "admit" | "tracked" | "contains" => value.is_boolean(),
                "reply" => is_one_of(&["open", "now", "other", "closed"], &value),
                "state" | "states" => is_one_of(&STATES, &value),
                _ => value.is_number(),
            };
            if !fits {
                return Err(format!("unknown value {value} of expectation `{field}`"));
            }
            leaves.push(Expectation { field, of, value });
        }
    }
    Ok(leaves)
}

/// An object with none but known keys.
struct Object<'v> {
    map: &'v Map<String, Value>,
}

impl<'v> Object<'v> {
    fn new(what: &str, value: &'v Value, known: &[&'static str]) -> Read<Self> {
        let map = value.as_object().ok_or(format!("{what} must be an object, not {value}"))?;
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(format!("unknown key `{key}` in {what}")),
            None => Ok(Self { map }),
        }
    }

    /// What is there and not null.
    fn value(&self, key: &str) -> Option<&'v Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn need(&self, key: &str) -> Read<&'v Value> {
        self.value(key).ok_or(format!("`{key}` is missing"))
    }

    fn text(&self, key: &str) -> Read<&'v str> {
        let value = self.need(key)?;
        value.as_str().ok_or(format!("`{key}` must be a string, not {value}"))
    }

    fn read<T>(&self, key: &str, read: impl Fn(&Value) -> Option<T>) -> Read<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or(format!("`{key}` cannot be {value}"))
    }

    fn count(&self, key: &str) -> Read<Option<u32>> {
        self.read(key, |value| value.as_u64().and_then(|n| u32::try_from(n).ok()))
    }

    fn fraction(&self, key: &str) -> Read<Option<f64>> {
        self.read(key, Value::as_f64)
    }

    fn millis(&self, key: &str) -> Read<Option<Duration>> {
        self.read(key, millis)
    }
}

/// Milliseconds; more than a `Duration` can hold is the longest there is.
pub(crate) fn millis(value: &Value) -> Option<Duration> {
    if let Some(whole) = value.as_u64() {
        return Some(Duration::from_millis(whole));
    }
    let parts = value.as_f64().filter(|ms| *ms >= 0.0)?;
    Some(Duration::try_from_secs_f64(parts / 1000.0).unwrap_or(Duration::MAX))
}
