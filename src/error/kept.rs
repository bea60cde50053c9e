//! What is kept of an error: its text and those of its sources are cut, so that strangers whose errors
//! are long cost no more memory than others.

use super::source::start;
use super::{Failure, SyncError};

/// So many bytes of an error's text are kept: a kibibyte. What the text leaves of it is for its sources.
pub(super) const MOST: usize = 1024;

/// What makes an error of a kind from its text.
type Kind = fn(String) -> SyncError;

impl SyncError {
    /// The text, and what makes an error of this kind from another.
    fn text(&self) -> Option<(Kind, &String)> {
        Some(match self {
            Self::Network(text) => (Self::Network, text),
            Self::Document(text) => (Self::Document, text),
            Self::PeerNotFound(text) => (Self::PeerNotFound, text),
            Self::Protocol(text) => (Self::Protocol, text),
            Self::State(text) => (Self::State, text),
            Self::ResourceExhaustion(text) => (Self::ResourceExhaustion, text),
            Self::BandwidthExhausted(text) => (Self::BandwidthExhausted, text),
            Self::CircuitBreakerOpen => return None,
        })
    }
}

impl Failure {
    /// Cuts this to what is kept.
    pub(crate) fn cut(&mut self) {
        if let Some((kind, text)) = self.error.text().filter(|(_, text)| text.capacity() > MOST) {
            self.error = kind(start(text, MOST).into());
        }
        if let Some(extra) = &mut self.extra
            && let Some(source) = extra.source.take()
        {
            let text = self.error.text().map_or(0, |(_, text)| text.len());
            extra.source = source.within(MOST - text);
        }
    }
}
