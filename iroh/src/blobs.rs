//! Whose fault it was that a provider did not give a blob.

use iroh_blobs::get::GetError;
use iroh_blobs::get::fsm::{
    AtBlobHeaderNextError, AtClosingNextError, ConnectedNextError, DecodeError, InitialNextError,
};
use peer_health::iroh::Codes;
use peer_health::{Failure, SyncError};
use std::io;

/// Returns the failure that an error of iroh-blobs' get requests stands for.
///
/// | error | [`SyncError`] | [`Fault`] | counts |
/// |---|---|---|---|
/// | wrong data: a hash does not match | `Protocol` | `Peer` | yes |
/// | not found: the provider ended the stream before the data | `Document` | `Document` | no |
/// | reset or closed with 1 (permission), 2 (limit) or 3 (a provider that lacks the blob) | as [`Codes::blobs`] | | |
/// | any other error of the stream or the connection | as [its `io::Error`](peer_health::iroh) | | |
/// | our store, our request, our program | `State` | `Local` | no |
/// | a variant that a newer iroh-blobs adds | `Network` | `Link` | yes |
///
/// A provider that lacks a blob is well, and may have the next one. iroh-blobs 0.104 says so by the code of
/// its own faults, so a provider whose disk is broken is not blamed either.
///
/// Never panics.
///
/// ```
/// use iroh_blobs::get::GetError;
/// use iroh_blobs::get::fsm::{AtBlobHeaderNextError, DecodeError};
/// use iroh_blobs::protocol::ERR_LIMIT;
/// use iroh::endpoint::ReadError;
/// use peer_health::{Fault, iroh::REFUSED_RETRY_AFTER};
/// use peer_health_iroh::get_failure;
///
/// let missing = GetError::from(n0_error::e!(AtBlobHeaderNextError::NotFound));
/// assert_eq!(get_failure(&missing).fault(), Fault::Document);
/// let busy = ReadError::Reset(ERR_LIMIT).into();
/// let busy = GetError::from(n0_error::e!(DecodeError::Read, busy));
/// assert_eq!(get_failure(&busy).fault(), Fault::Peer);
/// assert_eq!(get_failure(&busy).retry_after(), Some(REFUSED_RETRY_AFTER));
/// ```
pub fn get_failure(error: &GetError) -> Failure {
    use GetError as E;
    let local = || Failure::local(error);
    match error {
        E::InitialNext { source: InitialNextError::Open { source, .. }, .. }
        | E::ConnectedNext { source: ConnectedNextError::Write { source, .. }, .. }
        | E::AtBlobHeaderNext { source: AtBlobHeaderNextError::Read { source, .. }, .. }
        | E::AtClosingNext { source: AtClosingNextError::Read { source, .. }, .. }
        | E::Decode { source: DecodeError::Read { source, .. }, .. } => of_stream(source),
        E::AtBlobHeaderNext { source: AtBlobHeaderNextError::NotFound { .. }, .. } => {
            not_found(error)
        }
        E::Decode { source, .. } => match source {
            DecodeError::ChunkNotFound { .. }
            | DecodeError::ParentNotFound { .. }
            | DecodeError::LeafNotFound { .. } => not_found(error),
            DecodeError::ParentHashMismatch { .. } | DecodeError::LeafHashMismatch { .. } => {
                Failure::remote(error)
            }
            DecodeError::Read { source, .. } => of_stream(source),
            DecodeError::Write { .. } => local(),
            unknown => SyncError::Network(unknown.to_string()).into(),
        },
        E::ConnectedNext {
            source:
                ConnectedNextError::PostcardSer { .. } | ConnectedNextError::RequestTooBig { .. },
            ..
        }
        | E::IrpcSend { .. }
        | E::LocalFailure { .. }
        | E::BadRequest { .. } => local(),
    }
}

/// Judges an error of a stream by the code that the provider gave, as iroh-blobs uses them.
fn of_stream(error: &io::Error) -> Failure {
    Codes::blobs().judge(error)
}

/// Returns the failure of a request that the provider cannot serve.
pub(crate) fn not_found(error: impl std::fmt::Display) -> Failure {
    Failure::document(error.to_string())
}
