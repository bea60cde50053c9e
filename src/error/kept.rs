//! What is kept of an error: its text is cut, so that strangers whose errors are long cost no more
//! memory than others.

use super::{Failure, SyncError};

/// So many bytes of an error's text are kept: a kibibyte.
const MOST: usize = 1024;

impl SyncError {
    /// The same with the beginning of its text; `None` if the whole takes no more than [`MOST`].
    fn cut(&self) -> Option<Self> {
        let (kind, text): (fn(String) -> Self, &String) = match self {
            Self::Network(text) => (Self::Network, text),
            Self::Document(text) => (Self::Document, text),
            Self::PeerNotFound(text) => (Self::PeerNotFound, text),
            Self::Protocol(text) => (Self::Protocol, text),
            Self::State(text) => (Self::State, text),
            Self::ResourceExhaustion(text) => (Self::ResourceExhaustion, text),
            Self::BandwidthExhausted(text) => (Self::BandwidthExhausted, text),
            Self::CircuitBreakerOpen => return None,
        };
        let beginning = || text.get(..text.floor_char_boundary(MOST)).unwrap_or_default();
        (text.capacity() > MOST).then(|| kind(beginning().into()))
    }
}

impl Failure {
    /// As it is kept.
    pub(crate) fn kept(self) -> Self {
        match self.error.cut() {
            Some(error) => Self { error, ..self },
            None => self,
        }
    }
}
