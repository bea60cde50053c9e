//! What the downloader says of a download, taken to the book of its attempts.

use std::sync::Arc;

use iroh::EndpointId;
use iroh_blobs::api::downloader::DownloadProgressItem;
use iroh_blobs::protocol::GetRequest;

use super::Shared;
use super::attempt::Book;

/// The follower of one download.
pub(super) struct Follower {
    shared: Arc<Shared>,
    book: Arc<Book>,
    /// The provider that each part is being fetched from. The downloader runs 32 parts at a time.
    tried: Vec<(Arc<GetRequest>, EndpointId)>,
    has_failed: bool,
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, book: Arc<Book>) -> Self {
        Self { shared, book, tried: Vec::new(), has_failed: false }
    }

    /// Hears the next item; `None` at the end.
    pub(super) fn hear(&mut self, item: Option<&DownloadProgressItem>) {
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
