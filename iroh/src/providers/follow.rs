//! What the downloader says of a download, taken to the book of its attempts.

use std::sync::Arc;
use std::time::Duration;

use iroh::EndpointId;
use iroh_blobs::api::downloader::DownloadProgressItem;
use iroh_blobs::protocol::GetRequest;

use n0_future::{Stream, StreamExt};
use tokio::time::{Instant, timeout};

use super::Shared;
use super::attempt::{Book, Look};

/// A silence is looked for so many times in the time of a stall.
const LOOKS: u32 = 8;

/// One download that is followed.
pub(super) struct Follower<S> {
    shared: Arc<Shared>,
    book: Arc<Book>,
    items: S,
    stall: Duration,
    looked: Instant,
    /// The provider that each part is being fetched from. The downloader runs 32 parts at a time.
    tried: Vec<(Arc<GetRequest>, EndpointId)>,
    has_failed: bool,
}

impl<S: Stream<Item = DownloadProgressItem> + Unpin> Follower<S> {
    pub(super) fn new(shared: Arc<Shared>, book: Arc<Book>, items: S, stall: Duration) -> Self {
        let looked = Instant::now();
        Self { shared, book, items, stall, looked, tried: Vec::new(), has_failed: false }
    }

    /// Returns the next item; meanwhile it looks whether a provider has fallen silent.
    pub(super) async fn next(&mut self) -> Option<DownloadProgressItem> {
        loop {
            let item = timeout(self.stall / LOOKS, self.items.next()).await;
            if self.looked.elapsed() >= self.stall / LOOKS {
                let look = self.look();
                self.looked = look.at;
                self.book.close_silent(&self.shared, look);
            }
            if let Ok(item) = item {
                self.hear(item.as_ref());
                return item;
            }
        }
    }

    /// Hears the next item; `None` at the end.
    fn hear(&mut self, item: Option<&DownloadProgressItem>) {
        match item {
            Some(DownloadProgressItem::TryProvider { id, request }) => {
                self.tried.retain(|(part, _)| part != request);
                self.tried.push((Arc::clone(request), *id));
            }
            Some(DownloadProgressItem::PartComplete { request }) => {
                if let Some(found) = self.tried.iter().position(|(part, _)| part == request) {
                    let (part, provider) = self.tried.swap_remove(found);
                    self.book.succeeded(&self.shared, provider, part.content());
                }
            }
            Some(DownloadProgressItem::Error(_) | DownloadProgressItem::DownloadError) => {
                self.has_failed = true;
            }
            // The walk through the providers knows of failures first.
            Some(
                DownloadProgressItem::ProviderFailed { .. } | DownloadProgressItem::Progress(_),
            ) => {}
            None if self.has_failed => {}
            None => self.book.ended_well(&self.shared),
        }
    }
}

impl<S> Follower<S> {
    /// Whoever reads no items for the time of a stall may have kept the providers from sending.
    fn look(&self) -> Look {
        let at = Instant::now();
        let is_late = at.duration_since(self.looked) >= self.stall;
        Look { at, stall: self.stall, is_late }
    }
}

impl<S> Drop for Follower<S> {
    fn drop(&mut self) {
        self.book.dropped(&self.shared, self.look());
    }
}
