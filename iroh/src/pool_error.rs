//! Whose fault it was that a call over the pool gave no result.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use iroh_util::connection_pool::PoolConnectError;
use peer_health::{AsFailure, Failure, Fault, Refused, SyncError};

/// Why a call over a [`HealthPool`](crate::HealthPool) gave no result.
///
/// It is an [`AsFailure`], so that another registry may be told of it. The registry of the pool knows it
/// already: an operation of a coordinator on that one makes its call by
/// [`call_admitted`](crate::HealthPool::call_admitted), whose error is a [`Failure`].
///
/// ```
/// use peer_health::{Failure, Fault, SyncError};
/// use peer_health_iroh::PoolError;
/// use std::time::Duration;
///
/// let late = PoolError::<SyncError>::TimedOut(Duration::from_secs(10));
/// assert_eq!(late.to_string(), "no answer within 10s");
/// assert_eq!(Failure::from(&late).fault(), Fault::Link);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PoolError<E> {
    /// The registry refused the call: nothing was dialled.
    Refused(Refused),
    /// The pool gave no connection; reported.
    Connect(PoolConnectError),
    /// The deadline passed, and with it went the connection; reported.
    TimedOut(Duration),
    /// The call failed; reported.
    Failed(E),
}

impl<E> PoolError<E> {
    /// Returns the failure that this stands for; `classify` judges the error of the call.
    pub(crate) fn judge(&self, classify: impl FnOnce(&E) -> Failure) -> Failure {
        match self {
            Self::Refused(_) => SyncError::CircuitBreakerOpen.into(),
            Self::Connect(error) => connect_failure(error),
            Self::TimedOut(Duration::ZERO) => Failure::local("the deadline of a call is 0 s"),
            Self::TimedOut(deadline) => {
                let late = SyncError::Network(format!("no answer within {deadline:?}"));
                Failure::from(late).with_fault(Fault::Link)
            }
            Self::Failed(error) => classify(error),
        }
    }
}

impl<E: AsFailure> From<&PoolError<E>> for Failure {
    fn from(error: &PoolError<E>) -> Self {
        error.judge(E::as_failure)
    }
}

impl<E: fmt::Display> fmt::Display for PoolError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Connect(error) => write!(f, "not connected: {error}"),
            Self::TimedOut(deadline) => write!(f, "no answer within {deadline:?}"),
            Self::Failed(error) => write!(f, "call failed: {error}"),
        }
    }
}

/// The source is what lies beneath the error that the message quotes.
impl<E: Error> Error for PoolError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(_) | Self::TimedOut(_) => None,
            Self::Connect(error) => error.source(),
            Self::Failed(error) => error.source(),
        }
    }
}

/// Returns the failure that an error of iroh-util's pool stands for.
///
/// | error | [`SyncError`] | [`Fault`] | counts |
/// |---|---|---|---|
/// | `Timeout` | `Network` | `Link` | yes |
/// | `ConnectError` | as [the error that it wraps](peer_health::iroh) | | |
/// | `OnConnectError` | as [its `io::Error`](peer_health::iroh) | | |
/// | `TooManyConnections`, `TooManyPendingConnections` | `ResourceExhaustion` | `Local` | no |
/// | `Shutdown`, `Closed` | `State` | `Local` | no |
/// | a variant that a newer iroh-util adds | `Network` | `Link` | yes |
///
/// Never panics.
///
/// ```
/// use iroh::endpoint::{ConnectError, ConnectionError};
/// use iroh_util::connection_pool::PoolConnectError;
/// use peer_health::{Fault, SyncError};
/// use peer_health_iroh::connect_failure;
///
/// let lost: ConnectError = ConnectionError::Reset.into();
/// let failure = connect_failure(&PoolConnectError::from(lost));
/// assert_eq!(failure.fault(), Fault::Peer);
/// assert!(matches!(failure.error(), SyncError::Network(_)));
/// ```
pub fn connect_failure(error: &PoolConnectError) -> Failure {
    use PoolConnectError as E;
    let row = |kind: fn(String) -> SyncError, fault| {
        Failure::from(kind(error.to_string())).with_fault(fault)
    };
    match error {
        E::ConnectError { source, .. } => Failure::from(&**source),
        E::OnConnectError { source, .. } => Failure::from(&**source),
        E::TooManyConnections { .. } | E::TooManyPendingConnections { .. } => {
            row(SyncError::ResourceExhaustion, Fault::Local)
        }
        E::Shutdown { .. } | E::Closed { .. } => row(SyncError::State, Fault::Local),
        // `Timeout`, and what is unknown.
        _ => row(SyncError::Network, Fault::Link),
    }
}
