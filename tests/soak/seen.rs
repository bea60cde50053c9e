//! What a thread saw of its permits and reports, and that the registry has counted the same.

use std::fmt;

use peer_health::{Failure, PeerTotals, Permit, Recorded, Refusals, SyncError};

use super::Key;

#[derive(Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) who: &'static str,
    pub(crate) ended: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) neutral: u64,
    pub(crate) late: u64,
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
    pub(crate) untracked: u64,
    pub(crate) reported_errors: u64,
    pub(crate) reported_successes: u64,
}

impl Seen {
    pub(crate) fn by(who: &'static str) -> Self {
        Self { who, ..Self::default() }
    }

    pub(crate) fn success(&mut self, permit: Permit<'_, Key>) {
        self.untracked += u64::from(!permit.is_tracked());
        self.note(permit.success(), |seen| &mut seen.succeeded);
    }

    /// `failure` is one that counts.
    pub(crate) fn failure(&mut self, permit: Permit<'_, Key>, failure: SyncError) {
        self.untracked += u64::from(!permit.is_tracked());
        self.note(permit.failure(failure), |seen| &mut seen.failed);
    }

    /// Drops the permit, and so is not told whether it was late.
    pub(crate) fn abandon(&mut self, permit: Permit<'_, Key>) {
        self.untracked += u64::from(!permit.is_tracked());
        self.ended += 1;
        self.dropped += 1;
        drop(permit);
    }

    /// Ends the permit in the way that has this number.
    pub(crate) fn settle(&mut self, permit: Permit<'_, Key>, way: u64) {
        match way % 8 {
            0..3 => self.success(permit),
            3..5 => self.failure(permit, network()),
            5 => self.note(permit.neutral(), |seen| &mut seen.neutral),
            6 => self.note(permit.failure(Failure::local("disk full")), |seen| &mut seen.neutral),
            _ => self.abandon(permit),
        }
    }

    fn note(&mut self, recorded: Recorded, counter: fn(&mut Self) -> &mut u64) {
        self.ended += 1;
        match recorded {
            Recorded::Late => self.late += 1,
            _ => *counter(self) += 1,
        }
    }

    /// R9: each permit has ended once, in one way, and no other was counted. What became of those
    /// of the driver is its own affair, but not their number.
    pub(crate) fn check(all: &[Self], totals: PeerTotals, driven: u64) {
        let sum = |part: fn(&Self) -> u64| all.iter().map(part).sum::<u64>();
        assert_eq!(totals.settled(), sum(|seen| seen.ended) + driven, "permits");
        assert!(totals.succeeded >= sum(|seen| seen.succeeded), "successes");
        assert!(totals.failed >= sum(|seen| seen.failed), "failures");
        assert!(totals.neutral >= sum(|seen| seen.neutral), "neutral outcomes");
        assert!(totals.late >= sum(|seen| seen.late), "late outcomes");
        let taken_back = totals.abandoned + totals.late;
        assert!(taken_back >= sum(|seen| seen.late + seen.dropped), "abandoned calls");
        assert_eq!(totals.reported_errors, sum(|seen| seen.reported_errors), "reports");
        assert_eq!(totals.reported_successes, sum(|seen| seen.reported_successes), "reports");
        let Refusals { open, probes_in_flight, forced_open, .. } = totals.refused;
        assert!(open + probes_in_flight + forced_open >= sum(|seen| seen.refused), "refusals");
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, ended, succeeded, failed, neutral, late, dropped, .. } = self;
        write!(f, "{who}: {ended} permits, {succeeded} succeeded, {failed} failed, ")?;
        write!(f, "{neutral} neutral, {late} late, {dropped} dropped, ")?;
        let Self { refused, untracked, reported_errors, reported_successes, .. } = self;
        let reports = reported_errors + reported_successes;
        write!(f, "{untracked} untracked; {refused} refusals, {reports} reports")
    }
}

/// With a text, which the peer keeps.
pub(crate) fn network() -> SyncError {
    SyncError::Network("connection reset by peer, errno 104".into())
}
