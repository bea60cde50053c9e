//! A sync of one document: frames with messages of automerge, to and fro.

use automerge::sync::State;
use iroh::endpoint::{RecvStream, SendStream};
use peer_health::{Failure, SyncError};

use super::document::Document;
use super::frames;

/// A sync takes a few turns. Damaged changes are asked for again and again.
const TURNS: usize = 100;

/// Puts other bytes on the wire in place of a message: the whole frame. `None` leaves it alone.
pub(crate) type Tamper<'a> = &'a (dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync);

/// As the one who asks: it is over when neither side has anything left to say. The two say so to
/// each other even if they knew before: no answer, no success.
///
/// Changes that arrive damaged may be dropped without an error. So it fails if what the other side
/// has is not here in the end, or if there is no end.
pub(crate) async fn ask(
    document: &Document,
    state: &mut State,
    mut out: SendStream,
    mut back: RecvStream,
    tamper: Tamper<'_>,
) -> Result<(), Failure> {
    for _ in 0..TURNS {
        let ours = document.say(state);
        send(&mut out, &ours, tamper).await?;
        let Some(theirs) = frames::receive(&mut back).await? else {
            return Err(Failure::remote("the peer ended the sync"));
        };
        if !theirs.is_empty() {
            document.hear(state, &theirs)?;
        } else if ours.is_empty() {
            return document.has_all(state);
        }
    }
    Err(SyncError::Document(format!("no end after {TURNS} turns")).into())
}

/// As the one who is asked.
pub(crate) async fn answer(
    document: &Document,
    state: &mut State,
    mut out: SendStream,
    mut back: RecvStream,
    tamper: Tamper<'_>,
) -> Result<(), Failure> {
    while let Some(theirs) = frames::receive(&mut back).await? {
        if !theirs.is_empty() {
            document.hear(state, &theirs)?;
        }
        send(&mut out, &document.say(state), tamper).await?;
    }
    Ok(())
}

async fn send(out: &mut SendStream, body: &[u8], tamper: Tamper<'_>) -> Result<(), Failure> {
    match tamper(body) {
        Some(tampered) => Ok(out.write_all(&tampered).await?),
        None => frames::send(out, body).await,
    }
}
