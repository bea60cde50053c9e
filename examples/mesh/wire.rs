//! Frames on a stream: a length, four bytes, and a message; and the sync that is made of them.

use automerge::sync::State;
use iroh::endpoint::{ReadExactError, RecvStream, SendStream};
use peer_health::{Failure, SyncError};

use crate::node::Node;

/// No message is longer.
const LIMIT: usize = 1 << 20;

/// A sync, as the one who asks for it: it is over when neither side has anything left to say. The
/// two say so to each other even if they knew before: no answer, no success.
pub(crate) async fn ask(
    node: &Node,
    state: &mut State,
    mut out: SendStream,
    mut back: RecvStream,
) -> Result<(), Failure> {
    loop {
        let ours = node.document.say(state);
        send(node, &mut out, &ours).await?;
        let Some(theirs) = receive(&mut back).await? else {
            return Err(Failure::remote("the peer ended the sync"));
        };
        if !theirs.is_empty() {
            node.document.hear(state, &theirs)?;
        } else if ours.is_empty() {
            return Ok(());
        }
    }
}

/// A sync, as the one who is asked.
pub(crate) async fn answer(
    node: &Node,
    state: &mut State,
    mut out: SendStream,
    mut back: RecvStream,
) -> Result<(), Failure> {
    while let Some(theirs) = receive(&mut back).await? {
        if !theirs.is_empty() {
            node.document.hear(state, &theirs)?;
        }
        send(node, &mut out, &node.document.say(state)).await?;
    }
    Ok(())
}

async fn send(node: &Node, out: &mut SendStream, body: &[u8]) -> Result<(), Failure> {
    let (length, body) = match node.fault_now().and_then(|fault| fault.tamper(body)) {
        Some(tampered) => tampered,
        None if body.len() > LIMIT => return Err(Failure::local("message over the limit")),
        None => (u32::try_from(body.len()).map_err(Failure::local)?, body.to_vec()),
    };
    let frame = [&length.to_be_bytes()[..], &body].concat();
    Ok(out.write_all(&frame).await?)
}

/// The next message; `None` if the stream ends before one begins.
async fn receive(back: &mut RecvStream) -> Result<Option<Vec<u8>>, Failure> {
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
