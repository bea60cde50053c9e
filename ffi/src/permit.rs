//! The right to make one call. Whatever order a garbage collector chooses, a permit counts once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peer_health::{OwnedPermit, Recorded as CoreRecorded};

use crate::failure::{ErrorKind, Fault, failure};
use crate::peer::PeerId;
use crate::time::wait;

/// The right to make one call, from `acquire` to the first of `success`, `failure`, `neutral` and `abandon`.
/// A second settles nothing and returns `Late`.
///
/// An object that is freed unsettled counts as an abandoned call. A garbage collector frees late, so a caller
/// settles in every case: `with registry.permit(peer)` in Python, `use` in Kotlin.
#[derive(Debug, uniffi::Object)]
pub struct Permit {
    held: Mutex<Option<OwnedPermit<PeerId>>>,
    is_probe: bool,
    is_tracked: bool,
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum Recorded {
    /// It counts.
    Counted,
    /// It counts neither for nor against the peer.
    Neutral,
    /// It has opened the circuit.
    Opened {
        /// For how long.
        retry_after: Duration,
    },
    /// It came too late: the permit was settled before, or the circuit has changed since.
    Late,
}

impl From<CoreRecorded> for Recorded {
    fn from(recorded: CoreRecorded) -> Self {
        match recorded {
            CoreRecorded::Counted => Self::Counted,
            CoreRecorded::Opened { retry_after } => Self::Opened { retry_after: wait(retry_after) },
            CoreRecorded::Late => Self::Late,
            _ => Self::Neutral,
        }
    }
}

impl From<Recorded> for CoreRecorded {
    fn from(recorded: Recorded) -> Self {
        match recorded {
            Recorded::Counted => Self::Counted,
            Recorded::Neutral => Self::Neutral,
            Recorded::Opened { retry_after } => Self::Opened { retry_after },
            Recorded::Late => Self::Late,
        }
    }
}

impl Permit {
    pub(crate) fn new(permit: OwnedPermit<PeerId>) -> Arc<Self> {
        let (is_probe, is_tracked) = (permit.is_probe(), permit.is_tracked());
        Arc::new(Self { held: Mutex::new(Some(permit)), is_probe, is_tracked })
    }

    /// Takes the permit out; the lock is free again when it is settled.
    fn take(&self) -> Option<OwnedPermit<PeerId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn settle(
        &self,
        latency: Option<Duration>,
        settle: impl FnOnce(OwnedPermit<PeerId>) -> CoreRecorded,
    ) -> Recorded {
        let Some(permit) = self.take() else { return Recorded::Late };
        settle(match latency {
            Some(latency) => permit.with_latency(latency),
            None => permit,
        })
        .into()
    }
}

#[uniffi::export]
impl Permit {
    /// Reports that the call succeeded. `latency` is how long it took, where that is known and wanted.
    #[uniffi::method(default(latency = None))]
    pub fn success(&self, latency: Option<Duration>) -> Recorded {
        self.settle(latency, OwnedPermit::success)
    }

    /// Reports that the call failed. The fault is the usual one of its kind unless it is given; `retry_after` is
    /// what the peer asked for.
    #[uniffi::method(default(message = "", fault = None, retry_after = None, latency = None))]
    pub fn failure(
        &self,
        kind: ErrorKind,
        message: String,
        fault: Option<Fault>,
        retry_after: Option<Duration>,
        latency: Option<Duration>,
    ) -> Recorded {
        self.settle(latency, |permit| permit.failure(failure(kind, message, fault, retry_after)))
    }

    /// Reports an outcome that says nothing about the peer.
    #[uniffi::method(default(latency = None))]
    pub fn neutral(&self, latency: Option<Duration>) -> Recorded {
        self.settle(latency, OwnedPermit::neutral)
    }

    /// Gives the permit back unused, as an abandoned call; returns whether it was still held.
    pub fn abandon(&self) -> bool {
        self.take().is_some()
    }

    /// Returns whether the call is a probe of a half-open circuit: its outcome decides.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Returns whether the registry tracks the peer. It tracks no newcomer while it is full of peers in trouble.
    pub fn is_tracked(&self) -> bool {
        self.is_tracked
    }
}
