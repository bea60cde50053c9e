//! An Automerge document that several tasks sync.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use automerge::sync::{ChunkList, Message, State, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, AutomergeError, ROOT, ReadDoc};
use peer_health::{Failure, SyncError};

pub(crate) struct Document(Mutex<AutoCommit>);

impl Document {
    pub(crate) fn new(actor: &[u8]) -> Self {
        Self(Mutex::new(AutoCommit::new().with_actor(ActorId::from(actor))))
    }

    /// # Errors
    ///
    /// If the bytes are damaged.
    pub(crate) fn load(stored: &[u8], actor: &[u8]) -> Result<Self, AutomergeError> {
        Ok(Self(Mutex::new(AutoCommit::load(stored)?.with_actor(ActorId::from(actor)))))
    }

    pub(crate) fn save(&self) -> Vec<u8> {
        self.lock().save()
    }

    pub(crate) fn write(&self, key: &str) -> Result<(), AutomergeError> {
        let mut document = self.lock();
        document.put(ROOT, key, "written")?;
        document.commit();
        Ok(())
    }

    /// How many of the keys it holds.
    pub(crate) fn holds(&self, keys: &HashSet<String>) -> usize {
        self.lock().keys(ROOT).filter(|key| keys.contains(key)).count()
    }

    /// The next thing to tell the other side; empty if there is nothing.
    pub(crate) fn say(&self, state: &mut State) -> Vec<u8> {
        let message = self.lock().sync().generate_sync_message(state);
        message.map(Message::encode).unwrap_or_default()
    }

    /// Takes what the other side said. What does not decode is the sender's fault; what does not
    /// apply, the document's.
    pub(crate) fn hear(&self, state: &mut State, said: &[u8]) -> Result<(), Failure> {
        let message = Message::decode(said).map_err(Failure::remote)?;
        let heard = self.lock().sync().receive_sync_message(state, message);
        heard.map_err(|error| SyncError::Document(error.to_string()).into())
    }

    /// Fails unless all has arrived that the other side says it has.
    pub(crate) fn has_all(&self, state: &State) -> Result<(), Failure> {
        let document = self.lock();
        let theirs: Vec<_> = state.their_heads.iter().flatten().copied().collect();
        // Quick, and if not: what is missing may be of others.
        if document.get_missing_deps(&theirs).is_empty()
            || theirs.iter().all(|head| document.get_change_by_hash(head).is_some())
        {
            return Ok(());
        }
        Err(SyncError::Document("what the other side has does not arrive".into()).into())
    }

    // No panic is possible while it is held that would leave the document half changed.
    fn lock(&self) -> MutexGuard<'_, AutoCommit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bit of each of the changes that a message carries is turned: it decodes, and its checksums do
/// not fit. `None` for a message that carries none.
pub(crate) fn damage(body: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::decode(body).ok().filter(|message| !message.changes.is_empty())?;
    let mut chunks: Vec<Vec<u8>> = message.changes.iter().map(<[u8]>::to_vec).collect();
    for chunk in &mut chunks {
        let middle = chunk.len() / 2;
        chunk.get_mut(middle).into_iter().for_each(|byte| *byte ^= 1);
    }
    message.changes = ChunkList::from(chunks);
    Some(message.encode())
}
