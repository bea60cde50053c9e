//! The rows of the group `peer_health`. A field is a metric by its name, and the first line of its
//! documentation is the help that a scrape shows.

use iroh_metrics::iterable::Iterable;
use iroh_metrics::{Counter, EncodeLabelSet, Family, Gauge, LabelPair};

use super::{Look, Transitions};
use crate::snapshot::{Refusals, Totals};

/// A label and its value. Each row has at most one, and its values are listed below, so that all series are
/// there from the first scrape on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OneLabel {
    name: &'static str,
    value: &'static str,
}

impl EncodeLabelSet for OneLabel {
    fn encode_label_pairs(&self) -> Vec<LabelPair<'_>> {
        vec![(self.name, self.value.into())]
    }
}

const TO: [&str; 6] = ["open", "reopened", "half_open", "closed", "overridden", "reset"];
/// In the order of `STATUSES`.
const STATES: [&str; 6] =
    ["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"];

#[derive(Debug, Default, Iterable)]
pub(super) struct Rows {
    /// Calls that had a permit, by how they ended
    calls: Family<OneLabel, Counter>,
    /// Outcomes that were reported without a permit
    reports: Family<OneLabel, Counter>,
    /// Calls that a circuit refused, by the reason
    refused: Family<OneLabel, Counter>,
    /// Transitions of circuits, by what they led to
    transitions: Family<OneLabel, Counter>,
    /// Peers that were forgotten to make room, or because they were idle
    evicted: Counter,
    /// Peers that the program removed
    removed: Counter,
    /// Calls, reports and controls of new peers for which the table had no room
    untracked: Counter,
    /// Outages of this node, by the guard that holds circuits closed
    local_outages: Counter,
    /// Attempts after the first of an operation
    retries: Counter,
    /// Attempts that no retry budget allowed
    retries_refused: Counter,
    /// Known peers, by the state of their circuit
    peers: Family<OneLabel, Gauge>,
    /// Probes of half-open circuits that are out
    probes_in_flight: Gauge,
    /// Whether this node itself is probably cut off, by the guard that holds circuits closed
    local_outage: Gauge,
    /// Peers that drivers wait to call
    driver_waiting: Gauge,
    /// Peers that drivers are calling
    driver_running: Gauge,
    /// Drivers whose calls fail for a reason of this node
    driver_local_trouble: Gauge,
}

impl Rows {
    pub(super) fn show(&self, look: &Look, counted: &Transitions) {
        let Look { peers, drivers, local_outage } = look;
        let Totals { all, untracked, evicted, removed, retries, retries_refused } = peers.totals;
        let ends = [
            ("succeeded", all.succeeded),
            ("failed", all.failed),
            ("neutral", all.neutral),
            ("abandoned", all.abandoned),
            ("late", all.late),
        ];
        raise_each(&self.calls, "outcome", ends);
        let reports = [("succeeded", all.reported_successes), ("failed", all.reported_errors)];
        raise_each(&self.reports, "outcome", reports);
        let Refusals { open, probes_in_flight, forced_open } = all.refused;
        let reasons =
            [("open", open), ("probes_in_flight", probes_in_flight), ("forced_open", forced_open)];
        raise_each(&self.refused, "reason", reasons);
        let to = TO.iter().zip(&counted.to).map(|(to, count)| (*to, Transitions::read(count)));
        raise_each(&self.transitions, "to", to);
        raise(&self.evicted, evicted);
        raise(&self.removed, removed);
        raise(&self.untracked, untracked);
        raise(&self.local_outages, Transitions::read(&counted.local_outages));
        raise(&self.retries, retries);
        raise(&self.retries_refused, retries_refused);
        for (value, count) in STATES.into_iter().zip(peers.peers) {
            set(&self.peers.get_or_create(&OneLabel { name: "state", value }), count);
        }
        set(&self.probes_in_flight, peers.probes);
        set(&self.local_outage, usize::from(*local_outage));
        set(&self.driver_waiting, drivers.waiting);
        set(&self.driver_running, drivers.running);
        set(&self.driver_local_trouble, drivers.in_trouble);
    }
}

fn raise_each(
    row: &Family<OneLabel, Counter>,
    name: &'static str,
    values: impl IntoIterator<Item = (&'static str, u64)>,
) {
    for (value, count) in values {
        raise(&row.get_or_create(&OneLabel { name, value }), count);
    }
}

/// Sets a counter, which never falls.
fn raise(counter: &Counter, to: u64) {
    counter.set(counter.get().max(to));
}

fn set(gauge: &Gauge, to: usize) {
    gauge.set(i64::try_from(to).unwrap_or(i64::MAX));
}
