//! How bad an error is, and whether a retry makes sense (R20).

use std::fmt;

use super::SyncError;

/// How bad a [`SyncError`] is.
///
/// ```
/// use peer_health::ErrorSeverity;
/// assert!(ErrorSeverity::Transient < ErrorSeverity::Fatal);
/// assert_eq!(ErrorSeverity::Severe as i32, 3);
/// assert_eq!(ErrorSeverity::Severe.to_string(), "severe");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub enum ErrorSeverity {
    /// Passes by itself; retry soon.
    Transient = 1,
    /// Retry with exponential backoff.
    Recoverable = 2,
    /// Not retried unless asked for.
    Severe = 3,
    /// A retry cannot help.
    Fatal = 4,
}

impl fmt::Display for ErrorSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Transient => "transient",
            Self::Recoverable => "recoverable",
            Self::Severe => "severe",
            Self::Fatal => "fatal",
        })
    }
}

impl SyncError {
    /// How bad this is; decides which retry policy applies.
    ///
    /// ```
    /// use peer_health::{ErrorSeverity, SyncError};
    /// assert_eq!(SyncError::Protocol("bad frame".into()).severity(), ErrorSeverity::Severe);
    /// ```
    pub fn severity(&self) -> ErrorSeverity {
        match self {
            Self::PeerNotFound(_) | Self::CircuitBreakerOpen | Self::BandwidthExhausted(_) => {
                ErrorSeverity::Transient
            }
            Self::Network(_) => ErrorSeverity::Recoverable,
            Self::Protocol(_) | Self::State(_) | Self::ResourceExhaustion(_) => {
                ErrorSeverity::Severe
            }
            Self::Document(_) => ErrorSeverity::Fatal,
        }
    }

    /// Whether a retry makes sense by itself: [`Transient`](ErrorSeverity::Transient) and
    /// [`Recoverable`](ErrorSeverity::Recoverable) errors.
    ///
    /// ```
    /// use peer_health::SyncError;
    /// assert!(SyncError::PeerNotFound("no address".into()).is_retryable());
    /// assert!(!SyncError::Document("bad checksum".into()).is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        self.severity() <= ErrorSeverity::Recoverable
    }
}
