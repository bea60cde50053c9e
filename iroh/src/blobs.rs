//! Whose fault it was that a provider did not give a blob.

use iroh_blobs::get::GetError;
use iroh_blobs::get::fsm::{
    AtBlobHeaderNextError, AtClosingNextError, ConnectedNextError, DecodeError, InitialNextError,
};
use iroh_blobs::protocol::{ERR_INTERNAL, ERR_LIMIT, ERR_PERMISSION};
use peer_health::iroh::Coded;
use peer_health::{Failure, Fault, SyncError};
use std::io;

/// Returns the failure that an error of iroh-blobs' get requests stands for.
///
/// | error | [`SyncError`] | [`Fault`] | counts |
/// |---|---|---|---|
/// | wrong data: a hash does not match | `Protocol` | `Peer` | yes |
/// | not found: the provider ended the stream before the data | `Document` | `Nobody` | no |
/// | reset or closed with `ERR_INTERNAL` (a provider that lacks the blob) or `ERR_PERMISSION` | `Document` | `Nobody` | no |
/// | reset or closed with `ERR_LIMIT` | `ResourceExhaustion` | `Peer` | yes |
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
/// use peer_health::Fault;
/// use peer_health_iroh::get_failure;
///
/// let missing = GetError::from(n0_error::e!(AtBlobHeaderNextError::NotFound));
/// assert_eq!(get_failure(&missing).fault(), Fault::Nobody);
/// let busy = ReadError::Reset(ERR_LIMIT).into();
/// let busy = GetError::from(n0_error::e!(DecodeError::Read, busy));
/// assert_eq!(get_failure(&busy).fault(), Fault::Peer);
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
    match error.code() {
        Some(ERR_LIMIT) => SyncError::ResourceExhaustion(error.to_string()).into(),
        Some(ERR_INTERNAL | ERR_PERMISSION) => not_found(error),
        _ => error.into(),
    }
}

/// Returns the failure of a request that the provider cannot serve, or may not.
pub(crate) fn not_found(error: impl std::fmt::Display) -> Failure {
    Failure::from(SyncError::Document(error.to_string())).with_fault(Fault::Nobody)
}
