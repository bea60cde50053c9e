//! What went wrong with a call, as other languages say it, and the table for callers of iroh-ffi.

use std::time::Duration;

use peer_health::{Failure, Fault as CoreFault, SyncError};

/// What kind of error ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The dial, the link or the stream failed, or a deadline passed. The link's fault.
    Network,
    /// One document is damaged, whoever serves it. The document's fault: it does not count against the peer.
    Document,
    /// The peer's address is not known. The link's fault.
    PeerNotFound,
    /// The peer broke the protocol. The peer's fault.
    Protocol,
    /// The peer's state does not fit. The peer's fault.
    State,
    /// The peer has no room or no time. The peer's fault.
    ResourceExhaustion,
    /// The quota of this node is used up. This node's own fault: it does not count against the peer.
    BandwidthExhausted,
}

/// Whose fault an error was. Faults of the peer and of the link count, all others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum Fault {
    /// The peer's: it counts.
    Peer,
    /// The link's: it counts.
    Link,
    /// This node's own: it does not count.
    Local,
    /// The document's: it does not count.
    Document,
    /// Nobody's: it does not count.
    Nobody,
}

impl From<Fault> for CoreFault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Peer => Self::Peer,
            Fault::Link => Self::Link,
            Fault::Local => Self::Local,
            Fault::Document => Self::Document,
            Fault::Nobody => Self::Nobody,
        }
    }
}

impl From<CoreFault> for Fault {
    fn from(fault: CoreFault) -> Self {
        match fault {
            CoreFault::Peer => Self::Peer,
            CoreFault::Link => Self::Link,
            CoreFault::Local => Self::Local,
            CoreFault::Document => Self::Document,
            _ => Self::Nobody,
        }
    }
}

pub(crate) fn failure(
    kind: ErrorKind,
    message: String,
    fault: Option<Fault>,
    retry_after: Option<Duration>,
) -> Failure {
    let mut failure = Failure::from(match kind {
        ErrorKind::Network => SyncError::Network(message),
        ErrorKind::Document => SyncError::Document(message),
        ErrorKind::PeerNotFound => SyncError::PeerNotFound(message),
        ErrorKind::Protocol => SyncError::Protocol(message),
        ErrorKind::State => SyncError::State(message),
        ErrorKind::ResourceExhaustion => SyncError::ResourceExhaustion(message),
        ErrorKind::BandwidthExhausted => SyncError::BandwidthExhausted(message),
    });
    if let Some(fault) = fault {
        failure = failure.with_fault(fault.into());
    }
    match retry_after {
        Some(time) => failure.with_retry_after(time),
        None => failure,
    }
}

/// A kind with the side that is to blame: the arguments of `Permit.failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
#[non_exhaustive]
pub struct Classified {
    /// What kind of error it was.
    pub kind: ErrorKind,
    /// Whose fault it was.
    pub fault: Fault,
}

/// Translates the kind of an error of iroh-ffi 1.1, by the name of its enum's variant in any spelling:
/// `Timeout`, `TIMEOUT`, `key_parsing`. Nothing for a name that version does not have.
///
/// A dial or a connection that fails, a timeout and a stream that breaks count against the link; an ALPN that
/// the peer does not speak counts against the peer. A relay that cannot be reached, a socket that cannot be
/// bound, a bad argument, and what this node closed itself count against nobody's peer.
///
/// ```
/// use peer_health_ffi::{ErrorKind, Fault, classify_iroh_error};
/// let timeout = classify_iroh_error("Timeout".into()).unwrap();
/// assert_eq!((timeout.kind, timeout.fault), (ErrorKind::Network, Fault::Link));
/// assert_eq!(classify_iroh_error("INVALID_INPUT".into()).unwrap().fault, Fault::Local);
/// assert_eq!(classify_iroh_error("surprise".into()), None);
/// ```
#[uniffi::export]
pub fn classify_iroh_error(kind: String) -> Option<Classified> {
    let letters: String = kind.chars().filter(|c| *c != '_' && *c != ' ').collect();
    let (kind, fault) = match letters.to_ascii_lowercase().as_str() {
        "connect" | "connection" | "timeout" | "stream" | "datagram" => {
            (ErrorKind::Network, Fault::Link)
        }
        "alpn" => (ErrorKind::Protocol, Fault::Peer),
        "relay" | "bind" => (ErrorKind::Network, Fault::Local),
        // A handler of this program failed, or iroh-ffi itself did.
        "invalidinput" | "keyparsing" | "ticketparsing" | "callback" | "internal" => {
            (ErrorKind::State, Fault::Local)
        }
        // What a program meets once it has closed its own endpoint: no sign of the peer.
        "closed" => (ErrorKind::Network, Fault::Nobody),
        _ => return None,
    };
    Some(Classified { kind, fault })
}
