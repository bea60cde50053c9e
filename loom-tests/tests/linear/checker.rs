//! A search for a sequential order that explains a history: that of Wing and Gong ("Testing and Verifying
//! Concurrent Objects", 1993), which remembers where it has been in vain (Lowe, "Testing for
//! Linearizability", 2017).

use std::collections::HashSet;
use std::fmt::Write;

use crate::circuit::Circuit;
use crate::config::HealthConfig;
use crate::config::rules::Rules;
use crate::program::{Act, Entry, print};
use crate::specification::apply;
use crate::sync::Arc;

/// The result of the search.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The first order that was tried explains it.
    Plain,
    /// An order explains it that the search had to look for.
    Found,
    /// The history is not linearizable.
    None,
}

/// Looks for an order that explains the history.
pub(crate) fn search(entries: &[Entry], rules: &[HealthConfig]) -> Finding {
    assert!(entries.len() < 64, "one bit for each operation");
    let rules: Vec<_> = rules.iter().map(|config| Arc::new(config.rules())).collect();
    let in_force = entries.iter().map(|entry| in_force(entries, entry, &rules)).collect();
    let mut search = Search { entries, in_force, vain: HashSet::new() };
    let configured = entries.iter().enumerate().filter(|(_, e)| configures(e).is_some());
    let done = configured.fold(0, |done, (index, _)| done | 1 << index);
    match search.explains(done, &Circuit::new(0)) {
        true if search.vain.is_empty() => Finding::Plain,
        true => Finding::Found,
        false => Finding::None,
    }
}

fn configures(entry: &Entry) -> Option<usize> {
    match entry.act {
        Act::Configure(number) => Some(number),
        _ => None,
    }
}

/// Returns the configurations that were in force at some moment of an operation. The configuration is
/// another object than the circuit: an operation takes one that was in force while it ran (R18), not
/// necessarily the one at the very moment at which it changed the circuit.
fn in_force(entries: &[Entry], entry: &Entry, rules: &[Arc<Rules>]) -> Vec<Arc<Rules>> {
    let changes = entries.iter().filter_map(|e| Some((configures(e)?, e.began, e.ended)));
    let replaced = |ended| changes.clone().any(|(_, b, e)| b > ended && e < entry.began);
    let changed = changes.clone().filter(|(_, b, e)| *b < entry.ended && !replaced(*e));
    let unchanged = (!changes.clone().any(|(_, _, ended)| ended < entry.began)).then_some(0);
    let numbers = unchanged.into_iter().chain(changed.map(|(number, ..)| number));
    numbers.map(|number| Arc::clone(&rules[number])).collect()
}

/// The state of a search.
struct Search<'a> {
    entries: &'a [Entry],
    /// The configurations that were in force for each operation.
    in_force: Vec<Vec<Arc<Rules>>>,
    /// The sets of operations that were done, with the circuit they led to, from which no order explains the
    /// rest.
    vain: HashSet<(u64, String)>,
}

impl Search<'_> {
    /// Returns whether the operations that are not in `done` can follow this state in some order.
    fn explains(&mut self, done: u64, circuit: &Circuit) -> bool {
        let waits = |index: usize| done & (1 << index) == 0;
        // An operation that ended before another began comes before it: only those can be next that began
        // before any waiting one has ended.
        let waiting = self.entries.iter().enumerate().filter(|(index, _)| waits(*index));
        let Some(horizon) = waiting.map(|(_, entry)| entry.ended).min() else { return true };
        if !self.vain.is_empty() && self.vain.contains(&(done, print(circuit))) {
            return false;
        }
        for index in (0..self.entries.len()).filter(|index| waits(*index)) {
            let entry = &self.entries[index];
            if entry.began > horizon {
                continue;
            }
            for choice in 0..self.in_force[index].len() {
                if let Some((next, answer)) = apply(circuit, entry, &self.in_force[index][choice])
                    && answer == entry.answer
                    && self.explains(done | 1 << index, &next)
                {
                    return true;
                }
            }
        }
        self.vain.insert((done, print(circuit)));
        false
    }
}

/// Prints a history for people.
pub(crate) fn tell(entries: &[Entry], rules: &[HealthConfig]) -> String {
    let mut text = String::new();
    for entry in entries {
        let Entry { thread, act, now, answer, began, ended } = entry;
        let now = now.map_or("-".into(), |now| now.0.to_string());
        let _ = writeln!(text, "{began:>3}..{ended:<3} thread {thread}, time {now:>2}: {act:?}");
        let _ = writeln!(text, "         -> {answer:?}");
    }
    for config in rules {
        let _ = writeln!(text, "{config:?}");
    }
    text
}
