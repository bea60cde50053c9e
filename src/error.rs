//! What went wrong, and whose fault it was (R19).

use std::error::Error;
use std::fmt;
use std::time::Duration;

mod as_failure;
mod io;
mod kept;
mod severity;
#[cfg(feature = "serde")]
mod shown;
mod source;

pub use as_failure::{AsFailure, IntoFailure};
pub(crate) use io::of_io;
pub use severity::ErrorSeverity;
use source::Source;

/// Why a sync with a peer failed. Names, payloads and layout are those of peat-mesh's
/// `sync_errors`, so that its users can switch by one `use` line.
///
/// ```
/// use peer_health::{ErrorSeverity, SyncError};
///
/// let error = SyncError::Network("connection lost".into());
/// assert_eq!(error.severity(), ErrorSeverity::Recoverable);
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "network failure: connection lost");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[repr(C)]
pub enum SyncError {
    /// The transport failed: connection lost, deadline passed. Counts against the peer.
    #[error("network failure: {0}")]
    Network(String),
    /// A document is corrupt or refuses a change. The document is bad, not the peer: never counts.
    #[error("document failure: {0}")]
    Document(String),
    /// No way to the peer is known, or somebody else answers there. Counts against the peer.
    #[error("peer not found: {0}")]
    PeerNotFound(String),
    /// The peer sent something that is not of the protocol. Counts against the peer.
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// The state of the sync does not fit together. Counts against the peer unless the
    /// [`Failure`] says that the fault is local.
    #[error("inconsistent state: {0}")]
    State(String),
    /// The peer has run out of something. Counts against the peer unless the [`Failure`] says
    /// that the fault is local.
    #[error("resources exhausted: {0}")]
    ResourceExhaustion(String),
    /// Refused by our own circuit: no call was made, so nothing counts.
    #[error("circuit open: the peer is not called")]
    CircuitBreakerOpen,
    /// Our own quota for a class of traffic is used up: never counts.
    #[error("bandwidth quota exhausted: {0}")]
    BandwidthExhausted(String),
}

impl SyncError {
    /// Whose fault this is when nobody says otherwise (R19).
    fn usual_fault(&self) -> Fault {
        match self {
            Self::Network(_) | Self::PeerNotFound(_) => Fault::Link,
            Self::Protocol(_) | Self::State(_) | Self::ResourceExhaustion(_) => Fault::Peer,
            Self::Document(_) => Fault::Document,
            Self::CircuitBreakerOpen | Self::BandwidthExhausted(_) => Fault::Local,
        }
    }
}

/// Whose fault a [`Failure`] was. Only [`Peer`](Fault::Peer) and [`Link`](Fault::Link) count
/// against the peer's circuit.
///
/// ```
/// use peer_health::{Failure, Fault, SyncError};
/// let failure = Failure::from(SyncError::Network("timed out".into()));
/// assert_eq!(failure.fault(), Fault::Link);
/// assert_eq!(failure.fault().to_string(), "the link's fault");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Fault {
    /// The peer did it. Counts.
    Peer,
    /// The way to the peer: it cannot be reached, by whatever fault. Counts.
    Link,
    /// We did it: our endpoint, our limits, our shutdown. Never counts.
    Local,
    /// The document is bad, from any peer. Never counts.
    Document,
    /// Nobody did: the call ended as it was meant to, or has only to be made again. Never counts.
    Nobody,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Peer => "the peer's fault",
            Self::Link => "the link's fault",
            Self::Local => "our own fault",
            Self::Document => "the document's fault",
            Self::Nobody => "nobody's fault",
        })
    }
}

/// What became of a call that failed: the error, whose fault it was, and how long the peer asked
/// us to stay away.
///
/// Made from a [`SyncError`] (`error.into()`), or from an error of your own by implementing
/// `From<&YourError> for Failure`: see [`AsFailure`].
///
/// It is an error itself: it reads as its [`SyncError`], and its [`source`](std::error::Error::source) is
/// what [`with_sources_of`](Self::with_sources_of) has kept.
///
/// ```
/// use peer_health::{Failure, Fault, SyncError};
/// use std::time::Duration;
///
/// let busy = Failure::from(SyncError::ResourceExhaustion("over its limit".into()))
///     .with_retry_after(Duration::from_secs(30));
/// assert!(busy.counts());
/// assert_eq!(busy.retry_after(), Some(Duration::from_secs(30)));
///
/// let ours = Failure::from(SyncError::State("endpoint closed".into())).with_fault(Fault::Local);
/// assert!(!ours.counts());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    error: SyncError,
    fault: Option<Fault>,
    /// What few failures have, beside: each peer that ever failed keeps one.
    extra: Option<Box<Extra>>,
}

/// The parts of a failure that few have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Extra {
    retry_after: Option<Duration>,
    source: Option<Box<Source>>,
}

impl Failure {
    /// A failure by what came from the peer: a message that does not decode, a body that is
    /// corrupt ([`SyncError::Protocol`], [`Fault::Peer`]). Counts.
    ///
    /// ```
    /// use peer_health::{Failure, Fault};
    /// let failure = Failure::remote("bad checksum in a received message");
    /// assert_eq!(failure.fault(), Fault::Peer);
    /// ```
    pub fn remote(error: impl fmt::Display) -> Self {
        Self::from(SyncError::Protocol(error.to_string())).with_fault(Fault::Peer)
    }

    /// A failure of this node ([`SyncError::State`], [`Fault::Local`]): the disk is full, the
    /// endpoint is closed, a limit of our own is reached. Never counts, and a driver takes it for
    /// trouble of our own.
    ///
    /// ```
    /// use peer_health::{Failure, Fault};
    /// let failure = Failure::local("disk full");
    /// assert_eq!(failure.fault(), Fault::Local);
    /// assert!(!failure.counts());
    /// ```
    pub fn local(error: impl fmt::Display) -> Self {
        Self::from(SyncError::State(error.to_string())).with_fault(Fault::Local)
    }

    /// A failure of the document ([`SyncError::Document`], [`Fault::Document`]): what is stored
    /// cannot be read, or cannot take the change, from any peer. Never counts.
    ///
    /// ```
    /// use peer_health::{Failure, Fault};
    /// let failure = Failure::document("our copy does not load");
    /// assert_eq!(failure.fault(), Fault::Document);
    /// assert!(!failure.counts());
    /// ```
    pub fn document(error: impl fmt::Display) -> Self {
        Self::from(SyncError::Document(error.to_string()))
    }

    /// Of an error whose conversion has panicked.
    pub(crate) fn unknown() -> Self {
        let error = SyncError::State("the conversion of the error panicked".into());
        Self::from(error).with_fault(Fault::Nobody)
    }

    /// States whose fault it was, which wins over what the error suggests.
    ///
    /// ```
    /// use peer_health::{Failure, Fault, SyncError};
    /// let failure = Failure::from(SyncError::Network("we went offline".into()));
    /// assert!(!failure.with_fault(Fault::Local).counts());
    /// ```
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// States how long the peer asked to be left alone. If this failure opens the circuit, the
    /// wait is at least this long (up to `open_max`); it never makes a wait shorter (R16).
    ///
    /// ```
    /// use peer_health::Failure;
    /// use std::time::Duration;
    /// let failure = Failure::remote("busy").with_retry_after(Duration::from_secs(9));
    /// assert_eq!(failure.retry_after(), Some(Duration::from_secs(9)));
    /// ```
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.extra.get_or_insert_default().retry_after = Some(wait);
        self
    }

    /// Keeps what lay beneath an error: what its [sources](std::error::Error::source) say, as far as
    /// eight links and a kibibyte of text. For a conversion, whose text is that of the error itself.
    /// Nothing is kept of an error without sources.
    ///
    /// ```
    /// use peer_health::Failure;
    /// use std::{error::Error, fmt, io};
    ///
    /// #[derive(Debug)]
    /// struct NoDocument(io::Error);
    ///
    /// impl fmt::Display for NoDocument {
    ///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    ///         f.write_str("no document")
    ///     }
    /// }
    ///
    /// impl Error for NoDocument {
    ///     fn source(&self) -> Option<&(dyn Error + 'static)> {
    ///         Some(&self.0)
    ///     }
    /// }
    ///
    /// let error = NoDocument(io::Error::other("disk gone"));
    /// let failure = Failure::local(&error).with_sources_of(&error);
    /// assert_eq!(failure.to_string(), "inconsistent state: no document");
    /// assert_eq!(failure.source().unwrap().to_string(), "disk gone");
    /// ```
    #[must_use]
    pub fn with_sources_of(mut self, error: &dyn Error) -> Self {
        let source = Source::beneath(error);
        if source.is_some() || self.extra.is_some() {
            self.extra.get_or_insert_default().source = source;
        }
        self
    }

    /// The error.
    ///
    /// ```
    /// use peer_health::{Failure, SyncError};
    /// let failure = Failure::from(SyncError::Network("reset".into()));
    /// assert_eq!(failure.error(), &SyncError::Network("reset".into()));
    /// ```
    pub fn error(&self) -> &SyncError {
        &self.error
    }

    /// Whose fault it was.
    ///
    /// ```
    /// use peer_health::{Failure, Fault, SyncError};
    /// assert_eq!(Failure::from(SyncError::State("?".into())).fault(), Fault::Peer);
    /// ```
    pub fn fault(&self) -> Fault {
        self.fault.unwrap_or_else(|| self.error.usual_fault())
    }

    /// How long the peer asked to be left alone, if it did.
    ///
    /// ```
    /// assert_eq!(peer_health::Failure::remote("garbage").retry_after(), None);
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        self.extra.as_ref()?.retry_after
    }

    /// Whether this counts against the peer (R19). What does not count is neutral for the circuit
    /// and kept as the last error.
    ///
    /// ```
    /// use peer_health::{Failure, SyncError};
    /// assert!(Failure::from(SyncError::Network("timed out".into())).counts());
    /// assert!(!Failure::from(SyncError::CircuitBreakerOpen).counts());
    /// ```
    pub fn counts(&self) -> bool {
        matches!(self.fault(), Fault::Peer | Fault::Link)
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        Self { error, fault: None, extra: None }
    }
}

impl From<&SyncError> for Failure {
    fn from(error: &SyncError) -> Self {
        error.clone().into()
    }
}

impl From<&Failure> for Failure {
    fn from(failure: &Failure) -> Self {
        failure.clone()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.extra.as_ref()?.source.as_deref().map(|source| source as _)
    }
}
