//! Frames on a stream: a length, four bytes, and that many bytes.

use iroh::endpoint::{ReadExactError, RecvStream, SendStream};
use peer_health::{Failure, SyncError};

/// No frame is longer.
pub(crate) const LIMIT: usize = 1 << 20;

pub(crate) async fn send(out: &mut SendStream, body: &[u8]) -> Result<(), Failure> {
    if body.len() > LIMIT {
        return Err(Failure::document("message over the limit"));
    }
    Ok(out.write_all(&frame(body)).await?)
}

pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

/// The next frame; `None` if the stream ends before one begins.
pub(crate) async fn receive(back: &mut RecvStream) -> Result<Option<Vec<u8>>, Failure> {
    let mut length = [0; 4];
    match back.read_exact(&mut length).await {
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        result => result?,
    }
    let length = u32::from_be_bytes(length) as usize;
    // Before anything is allocated: the length is only what a stranger says.
    if length > LIMIT {
        let error = SyncError::Protocol(format!("frame of {length} bytes, the limit is {LIMIT}"));
        return Err(error.into());
    }
    let mut body = vec![0; length];
    back.read_exact(&mut body).await?;
    Ok(Some(body))
}
