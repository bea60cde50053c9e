//! A local outage: calls fail for a reason that is this node's, so no peer is to blame and no peer can
//! be reached (D2). While it lasts, the driver makes one call now and then, the probe, until one ends
//! otherwise.
//!
//! Calls that began before the outage say nothing about it: sixty-four calls that fail together are one
//! outage, and one of them that was lucky ends none. Of the calls that began since, the first that ends
//! otherwise ends the outage, whichever it is and however long it took.

use std::time::Duration;

use crate::retry_policy::{Jitter, RetryPolicy};
use crate::time::{Tick, nanos};

/// The number of kinds of peers, by what a local failure of their calls says: most if they answered
/// before, less if they never did, next to nothing if their last call failed locally too.
pub(super) const KINDS: usize = 3;

/// The kind of peers that never answered, and whose last call did not fail locally.
pub(super) const NEW: usize = 1;

/// The outage that is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalOutage {
    /// Attempts with a higher number began since.
    since: u64,
    pauses: [Pauses; KINDS],
    /// The last probe, and when it began.
    probe: Option<(u64, Tick)>,
}

/// No peer of this kind is probed before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pauses {
    until: Tick,
    /// The number of probes that failed locally, and of the failure that began the outage.
    failures: u32,
}

impl Pauses {
    fn failed(&mut self, now: Tick, u: f64) {
        self.failures = self.failures.saturating_add(1);
        self.until = now.plus(nanos(pause(self.failures, u)));
    }
}

/// How long a probe may take before another is made beside it: a call that fails locally fails soon,
/// and a silent peer says nothing.
const SOON: u64 = 1_000_000_000;

/// For this long after a call that ended otherwise amid an outage, a new peer's local failure is its
/// own. Without this rule, many new peers that no call can reach would hold up for minutes those that
/// could be called.
pub(super) const AMID: u64 = 300_000_000_000;

/// Returns how long no call is begun after `failures` local failures in a row, with `u` from [0, 1) for
/// the jitter: a tenth of a second, doubled with each failure up to half a minute, whatever the peers'
/// own policy is.
pub(super) fn pause(failures: u32, u: f64) -> Duration {
    let policy =
        RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(30), u32::MAX, 2.0);
    policy.delay(failures, Jitter::Factor, Duration::ZERO, u)
}

impl LocalOutage {
    /// Begins an outage after `latest`, the attempt with the highest number so far.
    pub(super) fn begin(latest: u64, now: Tick, u: f64) -> Self {
        let pauses = Pauses { until: now.plus(nanos(pause(1, u))), failures: 1 };
        Self { since: latest, pauses: [pauses; KINDS], probe: None }
    }

    /// Returns when a peer of this kind that is due at `due` may be called. Peers that say little are
    /// probed ever more seldom, and keep no others waiting for that.
    pub(super) fn not_before(&self, due: Tick, kind: usize) -> Tick {
        due.max(self.pauses[kind].until)
    }

    /// Whether this attempt is the probe that may be made.
    pub(super) fn is_probe(&self, attempt: u64) -> bool {
        self.probe.is_some_and(|(probe, _)| probe == attempt)
    }

    /// Makes this attempt the probe; the next is made when it has ended, or after a while if it does not.
    pub(super) fn probe_started(&mut self, attempt: u64, now: Tick) {
        self.probe = Some((attempt, now));
        for pauses in &mut self.pauses {
            let least = now.plus(nanos(pause(pauses.failures, 0.0)).max(SOON));
            pauses.until = pauses.until.max(least);
        }
    }

    /// Notes that the probe is not made, or was abandoned: another may be made at once.
    pub(super) fn probe_cancelled(&mut self, attempt: u64) {
        if self.is_probe(attempt) {
            self.probe = None;
            self.pauses.iter_mut().for_each(|pauses| pauses.until = Tick::default());
        }
    }

    /// Lets a probe be made at once, after good news, though not within a second of the last one.
    pub(super) fn retry_now(&mut self) {
        let earliest = self.probe.map_or(Tick::default(), |(_, began)| began.plus(SOON));
        for pauses in &mut self.pauses {
            pauses.until = pauses.until.min(earliest);
        }
    }

    /// Notes that this attempt, with a peer of this kind, has failed locally.
    pub(super) fn failed(&mut self, attempt: u64, kind: usize, now: Tick, u: f64) {
        if attempt <= self.since {
            return;
        }
        for (other, pauses) in self.pauses.iter_mut().enumerate() {
            if other >= kind {
                pauses.failed(now, u);
            } else {
                pauses.until = now.plus(nanos(pause(pauses.failures, u)));
            }
        }
    }

    /// Notes that this attempt has failed locally for a reason of its peer alone: the next probe may be
    /// made after the shortest pause.
    pub(super) fn failed_by_itself(&mut self, attempt: u64, now: Tick, u: f64) {
        if self.is_probe(attempt) {
            for pauses in &mut self.pauses[..=NEW] {
                pauses.until = now.plus(nanos(pause(1, u)));
            }
        }
    }

    /// Whether the outage is over, now that this attempt has ended otherwise.
    pub(super) fn is_ended_by(&self, attempt: u64) -> bool {
        attempt > self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn begun() -> LocalOutage {
        LocalOutage::begin(64, Tick(0), 0.0)
    }

    #[test]
    fn calls_that_fail_together_are_one_outage() {
        let mut outage = begun();
        assert_eq!(outage.not_before(Tick(0), 0), Tick(100 * MS));
        for attempt in 1..=64 {
            outage.failed(attempt, 0, Tick(50 * MS), 0.0);
            assert!(outage == begun() && !outage.is_ended_by(attempt));
        }
    }

    #[test]
    fn pauses_grow_with_each_try_and_any_call_that_was_begun_since_ends_it() {
        let mut outage = begun();
        for n in 2..=9 {
            let attempt = 68 + u64::from(n);
            outage.probe_started(attempt, Tick(5));
            assert!(outage.is_probe(attempt) && !outage.is_probe(attempt - 1));
            let next = outage.not_before(Tick(0), 0);
            assert!(next >= Tick(SOON + 5), "one at a time, if it ends");
            outage.failed(attempt, 0, Tick(0), 0.0);
            assert_eq!(outage.not_before(Tick(0), 0), Tick(nanos(pause(n, 0.0))));
            assert_eq!(outage.not_before(Tick(0), 2), Tick(nanos(pause(n, 0.0))));
        }
        outage.probe_started(78, Tick(5));
        let next = outage.not_before(Tick(0), 0);
        assert_eq!(next, Tick(nanos(pause(9, 0.0)) + 5), "the pause, if it is longer");
        assert!(outage.is_ended_by(70) && outage.is_ended_by(78) && !outage.is_ended_by(64));
        let all = [1, 2, 3, 9].map(|n| pause(n, 0.0).as_millis());
        assert_eq!(all, [100, 200, 400, 25_600]);
        assert_eq!(pause(u32::MAX, 0.9).as_secs(), 29);
    }

    #[test]
    fn peers_that_fail_so_again_and_again_keep_only_their_like_waiting() {
        let mut outage = begun();
        for n in 2..=4 {
            let attempt = 68 + u64::from(n);
            outage.probe_started(attempt, Tick(0));
            assert_eq!(outage.not_before(Tick(0), 0), Tick(SOON), "while it is probed");
            outage.failed(attempt, 2, Tick(5), 0.0);
            assert_eq!(outage.not_before(Tick(0), 2), Tick(nanos(pause(n, 0.0)) + 5));
            assert_eq!(outage.not_before(Tick(0), 0), Tick(100 * MS + 5));
            assert_eq!(outage.not_before(Tick(0), 1), Tick(100 * MS + 5));
        }
    }

    #[test]
    fn new_peers_that_fail_by_themselves_make_no_pause_longer() {
        let mut outage = begun();
        outage.probe_started(70, Tick(0));
        outage.failed_by_itself(69, Tick(5), 0.0);
        assert_eq!(outage.not_before(Tick(0), 0), Tick(SOON), "no probe");
        for attempt in 70..90 {
            outage.probe_started(attempt, Tick(0));
            outage.failed_by_itself(attempt, Tick(5), 0.0);
            assert_eq!([0, NEW].map(|kind| outage.not_before(Tick(0), kind).0), [100 * MS + 5; 2]);
            assert_eq!(outage.not_before(Tick(0), 2), Tick(SOON), "they say nothing of others");
        }
        assert!(!outage.is_ended_by(64) && outage.is_ended_by(65));
    }

    #[test]
    fn a_call_that_was_taken_back_leaves_it_to_another() {
        let mut outage = begun();
        outage.probe_started(65, Tick(0));
        outage.probe_cancelled(64);
        assert_eq!(outage.not_before(Tick(0), 0), Tick(SOON));
        outage.probe_cancelled(65);
        assert_eq!(outage.not_before(Tick(3), 2), Tick(3));
    }

    #[test]
    fn good_news_makes_one_try_a_second_at_most() {
        let mut outage = begun();
        outage.retry_now();
        assert_eq!(outage.not_before(Tick(3), 0), Tick(3));
        outage.probe_started(65, Tick(10));
        (0..20).for_each(|_| outage.failed(65, 0, Tick(11), 0.0));
        outage.retry_now();
        assert_eq!(outage.not_before(Tick(3), 2), Tick(SOON + 10));
    }
}
