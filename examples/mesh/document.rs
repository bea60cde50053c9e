//! A node's Automerge document.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use automerge::sync::{Message, State, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, AutomergeError, ROOT, ReadDoc};
use peer_health::Failure;

pub(crate) struct Document(Mutex<AutoCommit>);

impl Document {
    pub(crate) fn new(actor: &[u8]) -> Self {
        Self(Mutex::new(AutoCommit::new().with_actor(ActorId::from(actor))))
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

    /// Takes what the other side said. What does not decode or apply is the sender's fault.
    pub(crate) fn hear(&self, state: &mut State, said: &[u8]) -> Result<(), Failure> {
        let message = Message::decode(said).map_err(Failure::remote)?;
        self.lock().sync().receive_sync_message(state, message).map_err(Failure::remote)
    }

    // No panic is possible while it is held that would leave the document half changed.
    fn lock(&self) -> MutexGuard<'_, AutoCommit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
