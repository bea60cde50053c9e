//! The goals, and how their figures are told.

use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::str::FromStr;

use serde_json::json;

use crate::measure::Trouble;

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A goal; the rest of its name says what is measured, and in what.
pub(crate) struct Goal {
    pub(crate) id: &'static str,
    name: &'static str,
    bound: Bound,
}

const fn at_most(id: &'static str, name: &'static str, bound: f64) -> Goal {
    Goal { id, name, bound: Bound::AtMost(bound) }
}

const fn at_least(id: &'static str, name: &'static str, bound: f64) -> Goal {
    Goal { id, name, bound: Bound::AtLeast(bound) }
}

pub(crate) const GOALS: [Goal; 43] = [
    at_most("G1", "handle_hot_1t_vs_fetch_add", 1.75),
    at_most("G2", "handle_hot_2t_vs_fetch_add", 1.1),
    at_most("G3", "id_hot_1t_vs_map_floor", 2.0),
    at_most("G4", "id_uniform_10k_1t_vs_map_floor", 2.3),
    at_least("G5", "sync_errors_hot_16t_cpu_vs_handle", 15.0),
    at_least("G6", "sync_errors_hot_16t_cpu_vs_id", 4.0),
    at_least("G7", "sync_errors_zipf_100k_16t_cpu_vs_id", 2.0),
    at_most("G8", "handle_instructions", 80.0),
    at_most("G9", "id_instructions_vs_map_floor", 2.0),
    at_least("G10h", "sync_errors_hot_64t_p9999_vs_handle", 100.0),
    at_least("G10i", "sync_errors_hot_64t_p9999_vs_id", 100.0),
    at_least("G11h", "sync_errors_is_open_vs_handle", 15.0),
    at_least("G11i", "sync_errors_is_open_vs_id", 2.0),
    at_most("G12", "million_bytes_per_peer_vs_sync_errors", 0.85),
    at_most("G13", "million_snapshot_vs_sync_errors", 2.0),
    at_least("G14", "million_snapshot_insert_p99_sync_errors_vs_ours", 50.0),
    at_most("G15", "million_eviction_us_each", 1.5),
    at_least("G16", "failsafe_and_recloser_1t_vs_handle", 2.5),
    at_most("G17", "handle_failure_2t_vs_sync_errors", 1.0),
    at_most("G18", "tasks_10k_registry_p9999_ms", 1.0),
    at_most("G19", "newcomer_full_65k_us", 20.0),
    at_most("G20", "newcomer_full_million_us", 20.0),
    at_least("G21h", "honest_with_handle_vs_beside_1k_strangers_per_s", 0.9),
    at_least("G21i", "honest_by_id_alone_vs_beside_1k_strangers_per_s", 0.9),
    at_most("G22", "insertions_million_third_worst_ms", 1.0),
    at_most("G23", "newcomers_32t_cpu_vs_1t", 2.0),
    at_most("G24", "empty_registry_kib", 16.0),
    at_most("G25a", "half_fail_handle_hot_1t_vs_failsafe", 1.4),
    at_most("G25b", "half_fail_handle_hot_2t_vs_failsafe", 0.8),
    at_most("G25c", "half_fail_handle_hot_16t_vs_failsafe", 0.8),
    at_most("G25d", "half_fail_handle_hot_64t_vs_failsafe", 0.8),
    at_most("G26a", "half_fail_id_10k_1t_vs_mutexes", 1.2),
    at_most("G26d", "half_fail_id_10k_64t_vs_mutexes", 1.2),
    at_most("G27a", "storm_waits_5s_id_10k_1t_vs_mutexes", 1.5),
    at_most("G27c", "storm_waits_5s_id_10k_16t_vs_mutexes", 1.5),
    at_most("G27d", "storm_waits_5s_id_10k_64t_vs_mutexes", 1.5),
    at_most("G28a", "storm_waits_100us_id_10k_1t_vs_mutexes", 1.9),
    at_most("G28c", "storm_waits_100us_id_10k_16t_vs_mutexes", 2.5),
    at_most("G28d", "storm_waits_100us_id_10k_64t_vs_mutexes", 5.0),
    at_most("G29f", "failure_after_512_threads_vs_before", 1.2),
    at_most("G29q", "question_in_a_streak_after_512_threads_vs_before", 1.2),
    at_most("G30h", "million_bytes_healthy", 176.0),
    at_most("G30f", "million_bytes_failed_once", 350.0),
];

/// A goal that was measured.
pub(crate) struct Measured {
    pub(crate) id: &'static str,
    pub(crate) value: f64,
    /// A second condition of the goal that does not hold, if there is one.
    pub(crate) but: Option<String>,
}

impl Measured {
    pub(crate) fn new(id: &'static str, value: f64) -> Self {
        Self { id, value, but: None }
    }
}

/// As it is told by one process to another.
impl Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let but = self.but.as_deref().unwrap_or_default();
        write!(f, "{}\t{}\t{but}", self.id, self.value)
    }
}

impl FromStr for Measured {
    type Err = Trouble;

    fn from_str(line: &str) -> Result<Self, Trouble> {
        let mut parts = line.splitn(3, '\t');
        let (Some(id), Some(value)) = (parts.next(), parts.next()) else {
            return Err(format!("not a figure: {line}").into());
        };
        let goal = GOALS.iter().find(|goal| goal.id == id).ok_or("not a goal")?;
        let but = parts.next().filter(|but| !but.is_empty()).map(String::from);
        Ok(Self { id: goal.id, value: value.parse()?, but })
    }
}

impl Goal {
    fn is_met(&self, measured: &Measured) -> bool {
        let within = match self.bound {
            Bound::AtMost(bound) => measured.value <= bound,
            Bound::AtLeast(bound) => measured.value >= bound,
        };
        within && measured.but.is_none()
    }

    /// `G2 handle_hot_2t_vs_fetch_add 1.11 <= 1.25 ok`
    pub(crate) fn line(&self, measured: &Measured) -> String {
        let verdict = if self.is_met(measured) { "ok" } else { "MISSED" };
        format!("{} {} {:.2} {} {verdict}", self.id, self.name, measured.value, self.bound)
    }

    fn json(&self, measured: &Measured) -> serde_json::Value {
        let (op, goal) = self.bound.parts();
        let ok = self.is_met(measured);
        json!({
            "id": self.id, "name": self.name, "value": measured.value, "op": op, "goal": goal,
            "ok": ok,
        })
    }
}

impl Bound {
    fn parts(self) -> (&'static str, f64) {
        match self {
            Self::AtMost(bound) => ("<=", bound),
            Self::AtLeast(bound) => (">=", bound),
        }
    }
}

impl Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op, goal) = self.parts();
        write!(f, "{op} {goal}")
    }
}

/// Writes `goals.json` into cargo's target folder.
pub(crate) fn write(all: &[(&Goal, Measured)]) -> Result<(), Trouble> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target folder")?;
    let list: Vec<_> = all.iter().map(|(goal, measured)| goal.json(measured)).collect();
    fs::write(folder.join("goals.json"), serde_json::to_string_pretty(&list)?)?;
    Ok(())
}
