//! The meaning of the application's own close, reset and stop codes.

use std::error::Error;
use std::{fmt, io};

use ::iroh::endpoint::{
    AlpnError, ConnectError, ConnectingError, ConnectionError, ReadError, ReadExactError,
    ReadToEndError, ResetError, SendDatagramError, StoppedError, VarInt, WriteError,
};

use super::closes::{BANNED_RETRY_AFTER, is_not_needed};
use super::{REFUSED_RETRY_AFTER, is_endpoint_gone, row};
use crate::error::{AsFailure, Failure, Fault, SyncError};
use crate::foreign::{Own, guarded};
use crate::sync::Arc;

/// The end of a connection or a stream.
///
/// ```
/// use peer_health::Failure;
/// use peer_health::iroh::Ending;
///
/// let ending = Ending::Failed(Failure::remote("garbage"));
/// assert_ne!(ending, Ending::Planned);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It ended as planned: this side closed it, or the peer did with a code that says so.
    Planned,
    /// It ended by this failure, which says whether it counts against the peer.
    Failed(Failure),
}

type Meaning = Own<Box<dyn Fn(VarInt) -> Option<Ending> + Send + Sync>>;

/// The meaning of your protocol's codes, where they mean more than "the peer has gone".
///
/// An application gives a code when it closes a connection, resets a stream or stops one, and in QUIC these
/// are one space of codes (RFC 9000, 20.2). Your function says what a code means; for a code without a
/// meaning (`None`), and for every error without a code, the classification is that of `From<&E> for
/// Failure`. [`Codes::default`] gives no code a meaning, and is right for iroh-gossip and for the pool of
/// iroh-util; for iroh-docs and iroh-blobs there are [`docs`](Self::docs) and [`blobs`](Self::blobs).
///
/// # What iroh's crates say
///
/// A peer that drops its connection closes it with 0 and no reason, and so does one whose endpoint is closed:
/// nothing tells these from each other, or a planned end from a crash. With 0 and a reason of this list the
/// meaning is that of the reason, unless your function gives 0 a meaning; `not allowed` is a refusal of this
/// node even then.
///
/// | crate | what it does | when | default |
/// |---|---|---|---|
/// | iroh 1.4 | close 0, no reason | an endpoint closed, a connection dropped | `Peer` |
/// | | stop 0 | a receiving stream dropped | `Peer` |
/// | iroh-gossip 0.101 | close 0 `close from disconnect` | it can neither read nor write on the connection; those of peers that left, and all but the newest, it leaves open | `Nobody`, planned |
/// | | close 0, no reason (the connection dropped) | gossip shut down | `Peer` |
/// | iroh-docs 0.101 | close 0, no reason (the connection dropped) | after each sync | `Peer`; planned with [`docs`](Self::docs) |
/// | iroh-util 0.7, pool | close 0 `unused`, `drop`, `discarded` | idle; closed by its owner; came too late | `Nobody`, planned |
/// | | close 0 `on_connected failed` | its owner's check has failed | `Peer` |
/// | iroh-util 0.7, access limit | close 0 `not allowed` | the peer refuses us | `Peer`, a long wait |
/// | iroh-blobs 0.104, provider | close or reset 1 (permission) | the owner's events refuse us, or the request | `Peer`; a longer wait with [`blobs`](Self::blobs) |
/// | | close or reset 2 (limit) | the owner's events limit us | `Peer`; a wait with [`blobs`](Self::blobs) |
/// | | close or reset 3 (internal) | the blob is not there, or the store fails | `Peer`; about the blob with [`blobs`](Self::blobs) |
/// | iroh-blobs 0.104, requester | stop 0 | it has seen enough | `Peer` |
/// | [`HealthHooks`](super::HealthHooks) | close [`BANNED`](super::BANNED) | this node is banned | `Peer`, a long wait |
///
/// ```
/// use iroh::endpoint::{ReadError, VarInt};
/// use peer_health::iroh::{Codes, Ending};
/// use peer_health::{Failure, SyncError};
/// use std::time::Duration;
///
/// let codes = Codes::new(|code| match code.into_inner() {
///     1 => Some(Ending::Planned), // the peer shuts down, and says so
///     17 => Some(Ending::Failed(
///         Failure::from(SyncError::ResourceExhaustion("busy".into()))
///             .with_retry_after(Duration::from_secs(60)),
///     )),
///     _ => None,
/// });
/// let reset = |code| ReadError::Reset(VarInt::from_u32(code));
/// assert!(!codes.judge(&reset(1)).counts());
/// assert_eq!(codes.judge(&reset(17)).retry_after(), Some(Duration::from_secs(60)));
/// assert_eq!(codes.judge(&reset(2)), Failure::from(reset(2)));
/// ```
#[derive(Clone)]
pub struct Codes {
    meaning: Arc<Meaning>,
}

impl Codes {
    /// Returns codes with the meaning that `meaning` gives them. A code at which it panics has none.
    ///
    /// ```
    /// use iroh::endpoint::{ConnectionError, ReadError, VarInt};
    /// use peer_health::Failure;
    /// use peer_health::iroh::{Codes, Ending};
    ///
    /// let codes = Codes::new(|code| {
    ///     (code == VarInt::from_u32(1)).then(|| Ending::Failed(Failure::document("unknown")))
    /// });
    /// assert!(!codes.judge(&ReadError::Reset(VarInt::from_u32(1))).counts());
    /// assert!(codes.judge(&ConnectionError::TimedOut).counts());
    /// ```
    pub fn new(meaning: impl Fn(VarInt) -> Option<Ending> + Send + Sync + 'static) -> Self {
        Self { meaning: Arc::new(Own::new(Box::new(meaning))) }
    }

    /// Returns the codes of iroh-docs: a connection that is closed with 0 has ended as planned, since iroh-docs
    /// drops each connection after its sync.
    ///
    /// The end of a connection that a peer lost in the middle of a sync looks the same. A peer that refuses us
    /// by the access limit of iroh-util closes with 0 too, and says so by its reason: that one has failed.
    ///
    /// ```
    /// use iroh::endpoint::{ApplicationClose, ConnectionError};
    /// use peer_health::iroh::{Codes, Ending};
    ///
    /// let close = ApplicationClose { error_code: 0u32.into(), reason: Default::default() };
    /// let dropped = ConnectionError::ApplicationClosed(close);
    /// assert_eq!(Codes::docs().ending(&dropped), Ending::Planned);
    /// assert_ne!(Codes::default().ending(&dropped), Ending::Planned);
    /// ```
    pub fn docs() -> Self {
        Self::new(|code| (code.into_inner() == 0).then_some(Ending::Planned))
    }

    /// Returns the codes of iroh-blobs.
    ///
    /// | code | means | counts |
    /// |---|---|---|
    /// | 1 | the provider permits it not | against the provider, with a wait of [`BANNED_RETRY_AFTER`](super::BANNED_RETRY_AFTER) |
    /// | 2 | the provider limits us | against the provider, with a wait of [`REFUSED_RETRY_AFTER`] |
    /// | 3 | the provider has no such blob, or its store fails | no: the [document](Fault::Document) |
    ///
    /// ```
    /// use iroh::endpoint::ReadError;
    /// use peer_health::Fault;
    /// use peer_health::iroh::{Codes, REFUSED_RETRY_AFTER};
    ///
    /// let judged = |code: u32| Codes::blobs().judge(&ReadError::Reset(code.into()));
    /// assert_eq!(judged(2).retry_after(), Some(REFUSED_RETRY_AFTER));
    /// assert_eq!(judged(3).fault(), Fault::Document);
    /// ```
    pub fn blobs() -> Self {
        let refused = |text: &str, wait| {
            let failure = Failure::from(SyncError::ResourceExhaustion(text.into()));
            Some(Ending::Failed(failure.with_fault(Fault::Peer).with_retry_after(wait)))
        };
        Self::new(move |code| match code.into_inner() {
            1 => refused("not permitted by the provider", BANNED_RETRY_AFTER),
            2 => refused("limited by the provider", REFUSED_RETRY_AFTER),
            3 => Some(Ending::Failed(Failure::document("the provider has no such blob"))),
            _ => None,
        })
    }

    /// Returns the failure of a call that ended with `error`: the one that its code stands for, and
    /// `error.into()` otherwise. A planned end is no answer to the call, but counts against no peer:
    /// [`SyncError::Network`], [`Fault::Nobody`].
    ///
    /// ```
    /// use iroh::endpoint::{VarInt, WriteError};
    /// use peer_health::Fault;
    /// use peer_health::iroh::{Codes, Ending};
    ///
    /// let stopped = WriteError::Stopped(VarInt::from_u32(0));
    /// assert_eq!(Codes::default().judge(&stopped).fault(), Fault::Peer);
    /// let codes = Codes::new(|_| Some(Ending::Planned));
    /// assert_eq!(codes.judge(&stopped).fault(), Fault::Nobody);
    /// ```
    pub fn judge<E: Coded + AsFailure>(&self, error: &E) -> Failure {
        match self.meaning(error) {
            Some(Ending::Failed(failure)) => failure,
            Some(Ending::Planned) => row(SyncError::Network, Fault::Nobody, error),
            None => error.as_failure(),
        }
    }

    /// Returns how a connection ended, from what its `closed()` or `close_reason()` returned. An end is
    /// planned if its code says so, or its reason in the [list](Codes#what-irohs-crates-say), or if this side
    /// closed the connection or the endpoint.
    ///
    /// ```
    /// use iroh::endpoint::ConnectionError;
    /// use peer_health::iroh::{Codes, Ending};
    ///
    /// let codes = Codes::default();
    /// assert_eq!(codes.ending(&ConnectionError::LocallyClosed), Ending::Planned);
    /// let timed_out = Ending::Failed(ConnectionError::TimedOut.into());
    /// assert_eq!(codes.ending(&ConnectionError::TimedOut), timed_out);
    /// ```
    pub fn ending(&self, reason: &ConnectionError) -> Ending {
        match reason {
            ConnectionError::LocallyClosed => Ending::Planned,
            // The endpoint went away under the connection: another sign that this side closed it.
            ConnectionError::TransportError(found) if is_endpoint_gone(found) => Ending::Planned,
            _ => self.meaning(reason).unwrap_or_else(|| match reason {
                ConnectionError::ApplicationClosed(c) if is_not_needed(c) => Ending::Planned,
                _ => Ending::Failed(reason.into()),
            }),
        }
    }

    /// Returns the meaning of an error's code; `None` if the function panics. 0 is the code of a drop, so with
    /// it the reason of a ban decides, which the failure tells by the wait that it asks for.
    fn meaning<E: Coded + AsFailure>(&self, error: &E) -> Option<Ending> {
        let code = error.code()?;
        let is_ban = || error.as_failure().retry_after() == Some(BANNED_RETRY_AFTER);
        if code == VarInt::from_u32(0) && is_ban() {
            return None;
        }
        guarded(|| (self.meaning)(code)).flatten()
    }
}

impl Default for Codes {
    fn default() -> Self {
        Self::new(|_| None)
    }
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codes").finish_non_exhaustive()
    }
}

/// An error that may carry a code of the application: iroh's errors, and yours that wrap them.
///
/// ```
/// use iroh::endpoint::{ReadError, ReadExactError, VarInt};
/// use peer_health::iroh::Coded;
///
/// let error = ReadExactError::ReadError(ReadError::Reset(VarInt::from_u32(7)));
/// assert_eq!(error.code(), Some(VarInt::from_u32(7)));
/// assert_eq!(ReadExactError::FinishedEarly(3).code(), None);
/// ```
pub trait Coded: Error {
    /// Returns the code that the peer's application gave, if the error carries one.
    ///
    /// ```
    /// use iroh::endpoint::{VarInt, WriteError};
    /// use peer_health::iroh::Coded;
    /// let error = WriteError::Stopped(VarInt::from_u32(7));
    /// assert_eq!(error.code(), Some(VarInt::from_u32(7)));
    /// ```
    fn code(&self) -> Option<VarInt>;
}

impl Coded for ConnectionError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::ApplicationClosed(close) => Some(close.error_code),
            _ => None,
        }
    }
}

impl Coded for ConnectError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::Connecting { source, .. } => source.code(),
            Self::Connection { source, .. } => source.code(),
            _ => None,
        }
    }
}

impl Coded for ConnectingError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::ConnectionError { source, .. } => source.code(),
            _ => None,
        }
    }
}

impl Coded for AlpnError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::ConnectionError { source, .. } => source.code(),
            _ => None,
        }
    }
}

impl Coded for ReadError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::Reset(code) => Some(*code),
            Self::ConnectionLost(source) => source.code(),
            Self::ClosedStream | Self::ZeroRttRejected => None,
        }
    }
}

impl Coded for ReadExactError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::ReadError(source) => source.code(),
            Self::FinishedEarly(_) => None,
        }
    }
}

impl Coded for ReadToEndError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::Read(source) => source.code(),
            Self::TooLong => None,
        }
    }
}

impl Coded for WriteError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::Stopped(code) => Some(*code),
            Self::ConnectionLost(source) => source.code(),
            Self::ClosedStream | Self::ZeroRttRejected => None,
        }
    }
}

impl Coded for StoppedError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::ConnectionLost(source) => source.code(),
            Self::ZeroRttRejected => None,
        }
    }
}

impl Coded for ResetError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::ConnectionLost(source) => source.code(),
            Self::ZeroRttRejected => None,
        }
    }
}

impl Coded for SendDatagramError {
    fn code(&self) -> Option<VarInt> {
        match self {
            Self::ConnectionLost(source) => source.code(),
            Self::UnsupportedByPeer | Self::Disabled | Self::TooLarge => None,
        }
    }
}

/// Reads the code of the QUIC error that noq turned into an `io::Error` for tokio's read and write traits.
impl Coded for io::Error {
    fn code(&self) -> Option<VarInt> {
        fn of<E: Coded + 'static>(error: &(dyn Error + Send + Sync + 'static)) -> Option<VarInt> {
            error.downcast_ref::<E>()?.code()
        }
        let inner = self.get_ref()?;
        of::<ReadError>(inner)
            .or_else(|| of::<WriteError>(inner))
            .or_else(|| of::<ConnectionError>(inner))
            .or_else(|| of::<StoppedError>(inner))
            .or_else(|| of::<ResetError>(inner))
    }
}
