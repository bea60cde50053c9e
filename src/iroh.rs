//! iroh's news for the registry: whose fault each of its errors is (`From<&E> for Failure` and `From<E> for
//! Failure`), which peers call us, and how connections end (feature `iroh`).
//!
//! A node that blames the wrong side isolates innocent peers, or hammers a peer that has asked to be left
//! alone. So this module judges every error that iroh's connect, stream, read and write calls return, and a
//! caller writes no more than `permit.failure(&error)`.
//!
//! | error | [`SyncError`] | [`Fault`] | counts |
//! |---|---|---|---|
//! | no address; an unusable address; another key answers there (TLS alert 48) | `PeerNotFound` | `Link` | yes |
//! | timed out; no viable path; `io::Error` that says so, or anything not listed here | `Network` | `Link` | yes |
//! | reset; closed or dropped by the peer, whatever its code (but see the next two rows, and [`Codes`]) | `Network` | `Peer` | yes |
//! | closed by the peer with [`BANNED`], or by the access limit of iroh-util | `ResourceExhaustion`, [`retry_after`](Failure::retry_after) = [`BANNED_RETRY_AFTER`] | `Peer` | yes |
//! | closed by the peer for it needs the connection no longer, as iroh-gossip and the pool of iroh-util say it ([list](Codes#what-irohs-crates-say)) | `Network` | `Nobody` | no |
//! | refused | `ResourceExhaustion`, [`retry_after`](Failure::retry_after) = [`REFUSED_RETRY_AFTER`] | `Peer` | yes |
//! | no common ALPN (TLS alert 120) or version; any other transport error; handshake without an identity | `Protocol` | `Peer` | yes |
//! | stream reset or stopped; stream too short or too long; `io::Error` of kind `UnexpectedEof` or `InvalidData` | `Protocol` | `Peer` | yes |
//! | datagrams not supported by the peer | `Protocol` | `Peer` | yes |
//! | self connect; `io::Error` ENETDOWN, EADDRNOTAVAIL, EADDRINUSE, EPERM, EACCES; invalid ALPN or server name; endpoint or connection or stream closed by us; internal error; endpoint that does not bind; datagrams disabled | `State` | `Local` | no |
//! | rejected by our own hook | `CircuitBreakerOpen` | `Local` | no |
//! | 0-RTT data not taken: the peer is well, send again | `Network` | `Nobody` | no |
//! | datagram too large for the path or for the peer | `State` | `Nobody` | no |
//! | out of connection ids; `io::Error` EMFILE, ENFILE, ENOMEM, ENOBUFS | `ResourceExhaustion` | `Local` | no |
//! | a variant that a newer iroh adds | `Network` | `Link` | yes |
//!
//! An error that wraps another (`ConnectError`, `ReadExactError`, `ReadError::ConnectionLost`, an
//! `io::Error` made from a QUIC error) is judged by what it wraps. The failure has the text of the error
//! that was judged, and quotes the reason that a peer gave as it came.
//!
//! No type tells whether an `io::Error` or a document's error is about received bytes, about the document,
//! or about this node. Your code says so with [`Failure::remote`], [`Failure::document`] or
//! [`Failure::local`]. And a `read_exact` after our own `stop` looks like a stream that the peer has cut
//! short: do not read on after a stop.
//!
//! Besides the classification there are [`Codes`], for protocols that give their close, reset and stop codes
//! a meaning; [`connect`], a dial with a deadline; and [`HealthHooks`], by which an endpoint refuses dials
//! to peers whose circuit is open and tells the registry which peers are alive. [`RelayWatch`] tells it when the
//! relay is lost, so that no peer is blamed for that. The hooks go with the endpoint:
//!
//! ```no_run
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use iroh::{Endpoint, endpoint::presets};
//! use peer_health::{HealthRegistry, iroh::HealthHooks};
//!
//! let registry = HealthRegistry::new();
//! let hooks = HealthHooks::new(registry.clone()).with_alpns([b"my-sync/1"]);
//! let endpoint = Endpoint::builder(presets::Minimal).hooks(hooks).bind().await?;
//! # Ok(())
//! # }
//! ```

mod closes;
mod codes;
mod connect;
mod hooks;
mod relay_watch;

pub use closes::{BANNED, BANNED_RETRY_AFTER};
pub use codes::{Coded, Codes, Ending};
pub use connect::connect;
pub use hooks::HealthHooks;
pub use relay_watch::RelayWatch;

use std::error::Error;
use std::io;
use std::time::Duration;

use ::iroh::endpoint::{
    AlpnError, AuthenticationError, BindError, ClosedStream, ConnectError, ConnectWithOptsError,
    ConnectingError, ConnectionError, EndpointError, QuicConnectError, ReadError, ReadExactError,
    ReadToEndError, RemoteEndpointIdError, ResetError, SendDatagramError, StoppedError,
    TransportError, TransportErrorCode as Code, WriteError,
};

use crate::error::Fault::{self, Link, Local, Nobody, Peer};
use crate::error::SyncError::{self, Network, PeerNotFound, Protocol, ResourceExhaustion, State};
use crate::error::{Failure, of_io};

/// The least wait after a peer refused a connection: 30 s, after which its idle connections have timed out
/// by iroh's default and it has room again.
///
/// ```
/// use iroh::endpoint::{ConnectionError, TransportError, TransportErrorCode};
/// use peer_health::{Failure, iroh::REFUSED_RETRY_AFTER};
///
/// let refused = TransportError::new(TransportErrorCode::CONNECTION_REFUSED, String::new());
/// let failure = Failure::from(ConnectionError::ConnectionClosed(refused.into()));
/// assert_eq!(failure.retry_after(), Some(REFUSED_RETRY_AFTER));
/// ```
pub const REFUSED_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The TLS alert `unknown_ca`: in iroh, the key that answers is not the one that was called.
const UNKNOWN_CA: u8 = 48;

/// Returns one row of the table: the kind of error, whose fault it was, and the error itself.
fn row(kind: fn(String) -> SyncError, fault: Fault, error: &dyn Error) -> Failure {
    Failure::from(kind(error.to_string())).with_fault(fault).with_sources_of(error)
}

/// Returns the failure of a dial that our own hook refused: no packet left, or we closed the connection.
fn rejected_by_us() -> Failure {
    SyncError::CircuitBreakerOpen.into()
}

impl From<&ConnectError> for Failure {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Connect { source, .. } => source.into(),
            ConnectError::Connecting { source, .. } => source.into(),
            ConnectError::Connection { source, .. } => source.into(),
            unknown => row(Network, Link, unknown),
        }
    }
}

impl From<&ConnectWithOptsError> for Failure {
    fn from(error: &ConnectWithOptsError) -> Self {
        use ConnectWithOptsError as E;
        match error {
            E::NoAddress { .. } => row(PeerNotFound, Link, error),
            E::Noq { source, .. } => source.into(),
            E::LocallyRejected { .. } => rejected_by_us(),
            E::SelfConnect { .. }
            | E::InvalidAlpn { .. }
            | E::EndpointClosed { .. }
            | E::InternalConsistencyError { .. } => row(State, Local, error),
            unknown => row(Network, Link, unknown),
        }
    }
}

impl From<&QuicConnectError> for Failure {
    fn from(error: &QuicConnectError) -> Self {
        use QuicConnectError as E;
        match error {
            E::InvalidRemoteAddress(_) => row(PeerNotFound, Link, error),
            E::CidsExhausted => row(ResourceExhaustion, Local, error),
            E::EndpointStopping
            | E::InvalidServerName(_)
            | E::NoDefaultClientConfig
            | E::UnsupportedVersion => row(State, Local, error),
        }
    }
}

impl From<&ConnectingError> for Failure {
    fn from(error: &ConnectingError) -> Self {
        use ConnectingError as E;
        match error {
            E::ConnectionError { source, .. } => source.into(),
            E::HandshakeFailure { source, .. } => source.into(),
            E::LocallyRejected { .. } => rejected_by_us(),
            E::InternalConsistencyError { .. } => row(State, Local, error),
            unknown => row(Network, Link, unknown),
        }
    }
}

impl From<&AlpnError> for Failure {
    fn from(error: &AlpnError) -> Self {
        use AlpnError as E;
        match error {
            E::ConnectionError { source, .. } => source.into(),
            E::Unavailable { .. } | E::UnknownHandshake { .. } => row(Protocol, Peer, error),
            unknown => row(Network, Link, unknown),
        }
    }
}

impl From<&AuthenticationError> for Failure {
    fn from(error: &AuthenticationError) -> Self {
        use AuthenticationError as E;
        match error {
            E::RemoteId { .. } | E::NoAlpn { .. } => row(Protocol, Peer, error),
            unknown => row(Network, Link, unknown),
        }
    }
}

impl From<&RemoteEndpointIdError> for Failure {
    fn from(error: &RemoteEndpointIdError) -> Self {
        row(Protocol, Peer, error)
    }
}

impl From<&ConnectionError> for Failure {
    fn from(error: &ConnectionError) -> Self {
        use ConnectionError as E;
        match error {
            E::TimedOut => row(Network, Link, error),
            E::Reset => row(Network, Peer, error),
            E::ApplicationClosed(close) => closes::closed_by_peer(close, error),
            E::ConnectionClosed(close) => told_by_peer(close.error_code, error),
            E::TransportError(found) => found_by_us(found, error),
            E::VersionMismatch => row(Protocol, Peer, error),
            E::LocallyClosed => row(State, Local, error),
            E::CidsExhausted => row(ResourceExhaustion, Local, error),
        }
    }
}

/// Judges a connection that the peer's QUIC stack ended with a reason.
fn told_by_peer(code: Code, error: &ConnectionError) -> Failure {
    match code {
        Code::CONNECTION_REFUSED => {
            row(ResourceExhaustion, Peer, error).with_retry_after(REFUSED_RETRY_AFTER)
        }
        // The peer has gone: it shut down, broke inside, or its application gave up in the handshake.
        Code::NO_ERROR | Code::INTERNAL_ERROR | Code::APPLICATION_ERROR => {
            row(Network, Peer, error)
        }
        Code::NO_VIABLE_PATH => row(Network, Link, error),
        // The peer speaks no protocol of ours, or breaks it.
        _ => row(Protocol, Peer, error),
    }
}

/// Judges a connection that our QUIC stack ended for what it saw.
fn found_by_us(found: &TransportError, error: &ConnectionError) -> Failure {
    match found.code {
        alert if alert == Code::crypto(UNKNOWN_CA) => row(PeerNotFound, Link, error),
        Code::NO_VIABLE_PATH => row(Network, Link, error),
        _ if is_endpoint_gone(found) => row(State, Local, error),
        _ => row(Protocol, Peer, error),
    }
}

/// Returns whether the endpoint went away under the connection. noq uses the same code where a peer has sent
/// more pieces, with more gaps between them, than it keeps.
fn is_endpoint_gone(found: &TransportError) -> bool {
    found.code == Code::INTERNAL_ERROR && !found.reason.starts_with("too many gaps")
}

impl From<&ReadError> for Failure {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::Reset(_) => row(Protocol, Peer, error),
            ReadError::ConnectionLost(source) => source.into(),
            ReadError::ClosedStream => row(State, Local, error),
            ReadError::ZeroRttRejected => row(Network, Nobody, error),
        }
    }
}

impl From<&ReadExactError> for Failure {
    fn from(error: &ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => row(Protocol, Peer, error),
            ReadExactError::ReadError(source) => source.into(),
        }
    }
}

impl From<&ReadToEndError> for Failure {
    fn from(error: &ReadToEndError) -> Self {
        match error {
            ReadToEndError::TooLong => row(Protocol, Peer, error),
            ReadToEndError::Read(source) => source.into(),
        }
    }
}

impl From<&WriteError> for Failure {
    fn from(error: &WriteError) -> Self {
        match error {
            WriteError::Stopped(_) => row(Protocol, Peer, error),
            WriteError::ConnectionLost(source) => source.into(),
            WriteError::ClosedStream => row(State, Local, error),
            WriteError::ZeroRttRejected => row(Network, Nobody, error),
        }
    }
}

impl From<&StoppedError> for Failure {
    fn from(error: &StoppedError) -> Self {
        match error {
            StoppedError::ConnectionLost(source) => source.into(),
            StoppedError::ZeroRttRejected => row(Network, Nobody, error),
        }
    }
}

impl From<&ResetError> for Failure {
    fn from(error: &ResetError) -> Self {
        match error {
            ResetError::ConnectionLost(source) => source.into(),
            ResetError::ZeroRttRejected => row(Network, Nobody, error),
        }
    }
}

impl From<&ClosedStream> for Failure {
    fn from(error: &ClosedStream) -> Self {
        row(State, Local, error)
    }
}

impl From<&SendDatagramError> for Failure {
    fn from(error: &SendDatagramError) -> Self {
        use SendDatagramError as E;
        match error {
            E::ConnectionLost(source) => source.into(),
            E::UnsupportedByPeer => row(Protocol, Peer, error),
            E::Disabled => row(State, Local, error),
            // The path and the peer each limit the size.
            E::TooLarge => row(State, Nobody, error),
        }
    }
}

impl From<&EndpointError> for Failure {
    fn from(error: &EndpointError) -> Self {
        match error {
            EndpointError::Closed { .. } => row(State, Local, error),
            unknown => row(Network, Link, unknown),
        }
    }
}

/// No peer has a part in a bind, so no error of it counts, not even an unknown one.
impl From<&BindError> for Failure {
    fn from(error: &BindError) -> Self {
        use BindError as E;
        match error {
            E::Sockets { source, .. } | E::CreateQuicEndpoint { source, .. } => {
                let judged = of_io(source);
                let exhausted = matches!(judged.error(), ResourceExhaustion(_));
                if exhausted { judged } else { row(State, Local, error) }
            }
            other => row(State, Local, other),
        }
    }
}

/// Judges an `io::Error` by the QUIC error it was made from; `None` if it has another origin. noq itself turns
/// these errors into an `io::Error`, for tokio's read and write traits.
pub(crate) fn made_from_quic(error: &io::Error) -> Option<Failure> {
    fn is<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<Failure>
    where
        Failure: From<&'a E>,
    {
        error.downcast_ref::<E>().map(Failure::from)
    }
    let error = error.get_ref()?;
    is::<ReadError>(error)
        .or_else(|| is::<WriteError>(error))
        .or_else(|| is::<ConnectionError>(error))
        .or_else(|| is::<StoppedError>(error))
        .or_else(|| is::<ResetError>(error))
        .or_else(|| is::<ClosedStream>(error))
}

/// Implements the conversions for errors by value, so that `?` and `map_err(Failure::from)` work.
macro_rules! owned {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::from(&error)
            }
        }
    )+};
}

owned! {
    AlpnError, AuthenticationError, BindError, ClosedStream, ConnectError, ConnectWithOptsError,
    ConnectingError, ConnectionError, EndpointError, QuicConnectError, ReadError, ReadExactError,
    ReadToEndError, RemoteEndpointIdError, ResetError, SendDatagramError, StoppedError, WriteError,
}
