//! The way of one part through the providers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::vec::IntoIter;

use iroh::EndpointId;
use iroh_blobs::HashAndFormat;
use peer_health::Reason;

use super::Shared;
use super::attempt::{Attempt, Book};

/// One part in this many first asks a provider that [`pick`](peer_health::HealthMonitor::pick) chooses.
const EXPLORING: u64 = 8;

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
        let (ranked, refused) = (in_order(&shared, providers).into_iter(), Vec::new());
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

/// Returns the providers as they are asked: ranked, those that deliver before those of which nothing is known,
/// and now and then another one in front.
fn in_order(shared: &Shared, providers: &[EndpointId]) -> Vec<EndpointId> {
    let registry = shared.monitor.registry();
    let known = |provider: &EndpointId| {
        registry.snapshot(provider).map(|known| (known.consecutive_failures, known.latency))
    };
    let delivers = |provider: &EndpointId| matches!(known(provider), Some((0, Some(_))));
    let mut ranked: Vec<EndpointId> = shared.monitor.rank(providers).into_iter().copied().collect();
    ranked.sort_by_cached_key(|provider| !delivers(provider));
    // Relaxed: pairs with itself in other threads; each part has a number of its own.
    let number = shared.parts.fetch_add(1, Ordering::Relaxed);
    if number % EXPLORING == EXPLORING - 1 && ranked.first().is_some_and(delivers) {
        let calm = |provider: &&EndpointId| known(provider).is_none_or(|(streak, _)| streak == 0);
        let calm: Vec<EndpointId> = ranked.iter().filter(calm).copied().collect();
        if let Some(found) = shared.monitor.pick(&calm)
            && let Some(place) = ranked.iter().position(|provider| provider == found)
        {
            ranked[..=place].rotate_right(1);
        }
    }
    ranked
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

/// The downloader is through with the part.
impl Drop for Walk {
    fn drop(&mut self) {
        if let Some(provider) = self.asked.take() {
            self.book.over(provider, self.content);
        }
    }
}
