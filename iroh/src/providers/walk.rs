//! The way of one part through the providers.

use std::sync::Arc;
use std::vec::IntoIter;

use iroh::EndpointId;
use iroh_blobs::HashAndFormat;
use peer_health::Reason;

use super::Shared;
use super::attempt::{Attempt, Book};

/// The downloader asks for the next provider when the last one has failed: so this hears of each failure,
/// even where the downloader keeps its progress to itself.
pub(super) struct Walk {
    shared: Arc<Shared>,
    content: HashAndFormat,
    book: Arc<Book>,
    ranked: IntoIter<EndpointId>,
    /// The providers that the registry refused. They are asked when no other is left.
    refused: Vec<EndpointId>,
    /// The provider that is being asked.
    asked: Option<EndpointId>,
}

impl Walk {
    pub(super) fn new(
        shared: Arc<Shared>,
        providers: &[EndpointId],
        content: HashAndFormat,
        book: Arc<Book>,
    ) -> Self {
        let ranked: Vec<EndpointId> = shared.monitor.rank(providers).into_iter().copied().collect();
        let (ranked, refused) = (ranked.into_iter(), Vec::new());
        Self { shared, content, book, ranked, refused, asked: None }
    }

    /// Returns the next provider, with its attempt: those that are admitted first.
    fn attempt(&mut self) -> Option<(EndpointId, Attempt)> {
        let begin = |provider, permit| {
            Some((provider, Attempt::new(&self.shared, provider, self.content, permit)))
        };
        for provider in self.ranked.by_ref() {
            match self.shared.monitor.registry().acquire(&provider) {
                Ok(permit) => return begin(provider, Some(permit)),
                Err(refused) if refused.reason == Reason::ForcedOpen => {}
                Err(_) => self.refused.push(provider),
            }
        }
        if self.refused.is_empty() { None } else { begin(self.refused.remove(0), None) }
    }
}

impl Iterator for Walk {
    type Item = EndpointId;

    fn next(&mut self) -> Option<EndpointId> {
        if let Some(provider) = self.asked.take() {
            self.book.failed(&self.shared, provider, self.content);
        }
        let (provider, attempt) = self.attempt()?;
        self.book.began(attempt);
        self.asked = Some(provider);
        Some(provider)
    }
}
