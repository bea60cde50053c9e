//! The attempts of a download, from the moment at which a provider is yielded until its outcome is known.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use iroh::EndpointId;
use iroh_blobs::HashAndFormat;
use peer_health::iroh::Codes;
use peer_health::{Failure, Fault, OwnedPermit, SyncError};
use tokio::time::Instant;

use super::Shared;
use super::seen::{Counts, Noted, State};
use crate::blame::{Share, lock};
use crate::blobs::not_found;

/// The amount of data that providers are compared by, in bytes.
const UNIT: u64 = 64 * 1024;

/// One provider, asked for one part.
pub(super) struct Attempt {
    provider: EndpointId,
    content: HashAndFormat,
    /// `None` for a provider that the registry refused, and that is asked since no other had the part.
    permit: Option<OwnedPermit<EndpointId>>,
    share: Share,
    began: Instant,
    /// The newest connection when it began, and what this had received, if it was open.
    before: Option<(Arc<Noted>, Option<Counts>)>,
}

/// What a provider's failure means.
enum Verdict {
    /// Other parts fail by the same event.
    Shared(Failure),
    Own(Failure),
    /// The provider has sent wrong data, or our store is at fault.
    Unknown,
}

/// The attempts of a download whose outcome is not known. Where a provider is asked for several parts of one
/// content, nobody can tell their attempts apart, and nobody has to: each outcome settles one of them.
#[derive(Default)]
pub(super) struct Book {
    running: Mutex<Vec<Attempt>>,
    /// Attempts that failed, of which another provider's success will tell why.
    unclear: Mutex<Vec<Attempt>>,
}

impl Attempt {
    pub(super) fn new(
        shared: &Shared,
        provider: EndpointId,
        content: HashAndFormat,
        permit: Option<OwnedPermit<EndpointId>>,
    ) -> Self {
        let before = shared.seen.newest(provider).map(|noted| {
            let counts = match noted.state() {
                State::Open(counts) => Some(counts),
                State::Ended(_) => None,
            };
            (noted, counts)
        });
        let share = shared.blame.share(provider);
        Self { provider, content, permit, share, began: Instant::now(), before }
    }

    /// Returns what the connection had received when the attempt began; `None` if it had ended by then.
    fn before(&self, noted: &Arc<Noted>) -> Option<Counts> {
        match &self.before {
            Some((before, counts)) if Arc::ptr_eq(before, noted) => *counts,
            _ => Some(Counts::default()),
        }
    }

    /// Judges a failure by what is seen of the provider's connections.
    fn judge(&self, shared: &Shared) -> Verdict {
        let link = |text: &str| {
            Verdict::Shared(Failure::from(SyncError::Network(text.into())).with_fault(Fault::Link))
        };
        let newest = shared.seen.newest(self.provider);
        let Some((noted, before)) =
            newest.and_then(|noted| self.before(&noted).map(|before| (noted, before)))
        else {
            return link("no connection to the provider");
        };
        match noted.state() {
            State::Ended(Some(reason)) => Verdict::Shared(Codes::blobs().judge(&reason)),
            State::Ended(None) => link("the connection to the provider is gone"),
            State::Open(now) if now.resets > before.resets => {
                Verdict::Own(not_found("the provider does not serve the blob"))
            }
            State::Open(_) => Verdict::Unknown,
        }
    }

    /// Returns how many bytes the provider has sent since the attempt began, as far as that is seen.
    fn received(&self, shared: &Shared) -> u64 {
        let newest = shared.seen.newest(self.provider);
        newest.map_or(0, |noted| match (noted.state(), self.before(&noted)) {
            (State::Open(now), Some(before)) => now.bytes.saturating_sub(before.bytes),
            _ => 0,
        })
    }

    /// Returns how long the provider took for the first 64 KiB, if all of them took as long.
    fn cost(&self, shared: &Shared) -> Duration {
        let units = u32::try_from(self.received(shared) / UNIT).unwrap_or(u32::MAX).max(1);
        self.began.elapsed() / units
    }

    fn succeed(mut self, shared: &Shared) {
        let cost = self.cost(shared);
        match self.permit.take() {
            Some(permit) => {
                permit.with_latency(cost).success();
            }
            None => {
                shared.monitor.registry().note_reachable(&self.provider);
            }
        }
    }

    fn fail(mut self, failure: Failure) {
        if let Some(permit) = self.permit.take() {
            permit.failure(failure);
        }
    }
}

impl Book {
    pub(super) fn began(&self, attempt: Attempt) {
        lock(&self.running).push(attempt);
    }

    fn take(&self, provider: EndpointId, content: HashAndFormat) -> Option<Attempt> {
        let mut running = lock(&self.running);
        let found = running
            .iter()
            .position(|attempt| attempt.provider == provider && attempt.content == content)?;
        Some(running.remove(found))
    }

    /// Settles an attempt of a provider that delivered a part, and those that are clear by this.
    pub(super) fn succeeded(&self, shared: &Shared, provider: EndpointId, content: HashAndFormat) {
        if let Some(attempt) = self.take(provider, content) {
            attempt.succeed(shared);
        }
        let clear = lock(&self.unclear)
            .extract_if(.., |attempt| attempt.content == content && attempt.provider != provider)
            .collect::<Vec<_>>();
        for attempt in clear {
            attempt.fail(Failure::remote("wrong data: another provider delivered the same"));
        }
    }

    /// Settles what is left of a download in which no part failed: of these attempts the downloader has not
    /// said that they succeeded. One whose provider has sent nothing was not needed.
    pub(super) fn ended_well(&self, shared: &Shared) {
        let left = std::mem::take(&mut *lock(&self.running));
        for attempt in left {
            if attempt.received(shared) > 0 {
                attempt.succeed(shared);
            }
        }
    }

    /// Settles an attempt of a provider that failed, or keeps it until its reason is clear.
    pub(super) fn failed(&self, shared: &Shared, provider: EndpointId, content: HashAndFormat) {
        let Some(attempt) = self.take(provider, content) else { return };
        match attempt.judge(shared) {
            Verdict::Shared(failure) if failure.counts() && !attempt.share.is_first() => {
                attempt.fail(failure.with_fault(Fault::Nobody));
            }
            Verdict::Shared(failure) | Verdict::Own(failure) => attempt.fail(failure),
            Verdict::Unknown => lock(&self.unclear).push(attempt),
        }
    }
}
