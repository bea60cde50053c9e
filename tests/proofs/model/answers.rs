//! The answers of the library in the words of the reference, and the operations of the reference as calls.

use peer_health::{Failure, NextAdmission, PeerTotals, Permit, Recorded, Refused, SyncError};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::reference::{Counts, End, How, Next, No, Reported, Ticket, nanos};

/// Both admitted, or both refused for the same reason and time.
pub(super) fn admitted<'h>(
    got: Result<Permit<'h, u32>, Refused>,
    expected: Result<Ticket, No>,
) -> Result<Option<(Permit<'h, u32>, Ticket)>, TestCaseError> {
    match (got, expected) {
        (Ok(permit), Ok(ticket)) => {
            prop_assert!(permit.is_tracked());
            prop_assert_eq!(permit.is_probe(), ticket.probe.is_some(), "is_probe");
            Ok(Some((permit, ticket)))
        }
        (Err(got), Err(no)) => {
            prop_assert_eq!((got.reason, got.retry_after.map(nanos)), (no.reason, no.retry_after));
            Ok(None)
        }
        (got, expected) => {
            Err(TestCaseError::fail(format!("admission: got {got:?}, expected {expected:?}")))
        }
    }
}

/// `None` for a permit that was dropped: it tells nobody.
pub(super) fn settled(got: Option<Recorded>, expected: Recorded) -> TestCaseResult {
    if let Some(got) = got {
        prop_assert_eq!(got, expected, "recorded");
    }
    Ok(())
}

pub(super) fn finish(permit: Permit<'_, u32>, end: End) -> Option<Recorded> {
    let permit = match end.latency {
        Some(latency) => permit.with_latency(latency),
        None => permit,
    };
    let failure = |error: SyncError| match end.wish {
        Some(wish) => Failure::from(error).with_retry_after(wish),
        None => Failure::from(error),
    };
    Some(match end.how {
        How::Success => permit.success(),
        How::Failure => permit.failure(failure(error(Reported::Network))),
        How::Document => permit.failure(failure(error(Reported::Document))),
        How::Neutral => permit.neutral(),
        How::Drop => {
            drop(permit);
            return None;
        }
    })
}

pub(super) fn error(reported: Reported) -> SyncError {
    match reported {
        Reported::Network => SyncError::Network("reset".into()),
        Reported::Protocol => SyncError::Protocol("garbage".into()),
        Reported::Document => SyncError::Document("corrupt".into()),
        Reported::Quota => SyncError::BandwidthExhausted("bulk".into()),
    }
}

pub(super) fn next(next: NextAdmission) -> Next {
    match next {
        NextAdmission::Now => Next::Now,
        NextAdmission::After(wait) => Next::After(nanos(wait)),
        _ => Next::Unknown,
    }
}

pub(super) fn counts(totals: &PeerTotals) -> Counts {
    Counts {
        succeeded: totals.succeeded,
        failed: totals.failed,
        neutral: totals.neutral,
        abandoned: totals.abandoned,
        late: totals.late,
        opened: totals.opened,
        reported_successes: totals.reported_successes,
        reported_errors: totals.reported_errors,
        refused: [totals.refused.open, totals.refused.probes_in_flight, totals.refused.forced_open],
    }
}
