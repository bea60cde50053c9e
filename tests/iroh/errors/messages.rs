//! Automerge's errors: what a peer sends, and what our own store holds.

use automerge::sync::{Message, ReadMessageError, State as SyncState, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{AutoCommit, AutomergeError, ROOT};
use peer_health::Failure;
use peer_health::Fault::{Document, Peer};
use peer_health::SyncError::{self, Protocol};

use crate::endpoints::{Pair, assert_counts, assert_neutral, in_time};

const VALUE: &str = "a value that is easy to find";

fn document_of(writer: &str) -> AutoCommit {
    let mut document = AutoCommit::new();
    document.put(ROOT, writer, VALUE).unwrap();
    document.commit();
    document
}

/// A message with the changes of a document, for a peer that lacks them.
fn message_for(document: &mut AutoCommit) -> Vec<u8> {
    let mut lacking = SyncState::new();
    let hello = AutoCommit::new().sync().generate_sync_message(&mut SyncState::new()).unwrap();
    document.sync().receive_sync_message(&mut lacking, hello).unwrap();
    document.sync().generate_sync_message(&mut lacking).unwrap().encode()
}

/// Takes a received message in, as a sync task does.
fn take_in(document: &mut AutoCommit, bytes: &[u8]) -> Result<(), Failure> {
    let message = Message::decode(bytes).map_err(Failure::remote)?;
    let mut state = SyncState::new();
    document.sync().receive_sync_message(&mut state, message).map_err(Failure::remote)
}

/// What arrives when the peer sends this.
async fn sent(message: &[u8]) -> Vec<u8> {
    let pair = Pair::new().await;
    let (mut ours, mut theirs) = pair.stream().await;
    in_time(theirs.send.write_all(message)).await.unwrap();
    theirs.send.finish().unwrap();
    in_time(ours.recv.read_to_end(1024)).await.unwrap()
}

#[tokio::test]
async fn garbage_instead_of_a_message_is_a_protocol_error_of_the_peer() {
    let body = sent(b"this is not automerge").await;
    assert!(matches!(Message::decode(&body), Err(ReadMessageError::WrongType { .. })));
    assert_counts(Protocol, Peer, take_in(&mut document_of("ours"), &body).expect_err("garbage"));
}

/// The message, broken in the last byte of the text that its change carries: it decodes, its
/// checksum does not fit.
fn broken(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let text = message.windows(VALUE.len()).rposition(|bytes| bytes == VALUE.as_bytes());
    message[text.expect("the change carries it") + VALUE.len() - 1] ^= 0xff;
    message
}

#[tokio::test]
async fn a_message_with_a_broken_change_is_a_protocol_error_of_the_peer() {
    let good = message_for(&mut document_of("theirs"));
    assert_eq!(take_in(&mut AutoCommit::new(), &sent(&good).await), Ok(()));

    let message = Message::decode(&sent(&broken(&good)).await).unwrap();
    let mut state = SyncState::new();
    let error = AutoCommit::new().sync().receive_sync_message(&mut state, message).unwrap_err();
    assert!(matches!(error, AutomergeError::Load(_)), "{error:?}");
    assert_counts(Protocol, Peer, Failure::remote(error));
}

/// So a peer that only ever sends broken changes is seen by the progress that it does not make, and
/// not by an error.
#[test]
fn automerge_skips_a_broken_change_in_silence_where_the_document_has_a_history() {
    let message = broken(&message_for(&mut document_of("theirs")));
    let mut ours = document_of("ours");
    let heads = ours.get_heads();
    assert_eq!(take_in(&mut ours, &message), Ok(()));
    assert_eq!(ours.get_heads(), heads);
}

#[test]
fn a_broken_document_of_our_own_store_blames_no_peer() {
    let mut stored = document_of("ours").save();
    *stored.last_mut().unwrap() ^= 0xff;
    let error = AutoCommit::load(&stored).expect_err("a broken store");
    assert_neutral(SyncError::Document, Document, Failure::document(error));

    let id = automerge::ActorId::random();
    let error = AutomergeError::DuplicateSeqNumber(1, id.clone());
    assert_neutral(SyncError::Document, Document, Failure::document(error));
    let error = AutomergeError::DuplicateActorId(id);
    assert_neutral(SyncError::Document, Document, Failure::document(error));
}
