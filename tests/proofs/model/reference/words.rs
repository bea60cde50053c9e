//! What is done to a peer, what it answers, and what a listener is told of it.

use std::time::Duration;

use peer_health::{EventKind, Reason};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Success,
    /// One that counts.
    Failure,
    /// One that does not: the document's.
    Document,
    Neutral,
    Drop,
}

/// How a permit ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) how: How,
    /// Stated; else the clock's.
    pub(crate) latency: Option<Duration>,
    /// How long the peer asks to be left alone.
    pub(crate) wish: Option<Duration>,
}

/// An error that is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported {
    /// Counts, and is retried.
    Network,
    /// Counts, and is not retried.
    Protocol,
    /// Neutral, and not retried.
    Document,
    /// Neutral, and retried.
    Quota,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    CircuitOpen,
    Now,
    /// `Ok(Some(delay))`, above zero.
    Later,
    /// `Ok(None)`.
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Control {
    ForceOpen,
    ForceOpenFor(Duration),
    Disable,
    MetricsOnly,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct No {
    pub(crate) reason: Reason,
    pub(crate) retry_after: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Now,
    After(u64),
    Unknown,
}

/// What a listener is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Opened { retry_after: Duration, reopened: bool },
    Other(EventKind),
}

impl From<EventKind> for Told {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Opened { retry_after, reopened, .. } => {
                Self::Opened { retry_after, reopened }
            }
            other => Self::Other(other),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) neutral: u64,
    pub(crate) abandoned: u64,
    pub(crate) late: u64,
    pub(crate) opened: u64,
    pub(crate) reported_successes: u64,
    pub(crate) reported_errors: u64,
    /// Calls refused: open, probes in flight, forced open.
    pub(crate) refused: [u64; 3],
}

impl Counts {
    pub(crate) fn and(self, more: Self) -> Self {
        Self {
            succeeded: self.succeeded + more.succeeded,
            failed: self.failed + more.failed,
            neutral: self.neutral + more.neutral,
            abandoned: self.abandoned + more.abandoned,
            late: self.late + more.late,
            opened: self.opened + more.opened,
            reported_successes: self.reported_successes + more.reported_successes,
            reported_errors: self.reported_errors + more.reported_errors,
            refused: [0, 1, 2].map(|n| self.refused[n] + more.refused[n]),
        }
    }
}
