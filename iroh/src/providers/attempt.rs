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
    /// How many frames with data had come, and since when none has: as far as somebody has looked.
    heard: Option<(u64, Instant)>,
    /// The downloader has what it asked for, or asks no longer.
    is_over: bool,
}

/// One look at how long the providers have said nothing.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) stall: Duration,
    /// Nobody has looked for so long that the silence before it may be our own.
    pub(super) is_late: bool,
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
        Self {
            provider,
            content,
            permit,
            share,
            began: Instant::now(),
            before,
            heard: None,
            is_over: false,
        }
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
        if noted.was_silent() {
            return Verdict::Shared(silent());
        }
        match noted.state() {
            State::Ended(Some(reason)) => Verdict::Shared(Codes::blobs().judge(&reason)),
            State::Ended(None) => link("the connection to the provider is gone"),
            State::Open(now) if now.resets > before.resets => {
                Verdict::Own(not_found("the provider does not serve the blob"))
            }
            State::Open(_) => Verdict::Unknown,
        }
    }

    /// Returns how much the provider has sent since the attempt began, as far as that is seen.
    fn received(&self, shared: &Shared) -> Counts {
        let newest = shared.seen.newest(self.provider);
        newest.map_or_else(Counts::default, |noted| match (noted.state(), self.before(&noted)) {
            (State::Open(now), Some(before)) => now.since(before),
            _ => Counts::default(),
        })
    }

    /// Returns the connection on which the provider has said nothing for the time of a stall. While it is
    /// dialled there is none.
    fn silent(&mut self, shared: &Shared, look: Look) -> Option<Arc<Noted>> {
        let noted = shared.seen.newest(self.provider)?;
        let (State::Open(now), Some(_)) = (noted.state(), self.before(&noted)) else {
            self.heard = None;
            return None;
        };
        match self.heard {
            Some((frames, since)) if frames == now.frames && !look.is_late => {
                (look.at.duration_since(since) >= look.stall).then_some(noted)
            }
            _ => {
                self.heard = Some((now.frames, look.at));
                None
            }
        }
    }

    /// Returns how long the provider took for the first 64 KiB, if all of them took as long.
    fn cost(&self, shared: &Shared) -> Duration {
        let units = u32::try_from(self.received(shared).bytes / UNIT).unwrap_or(u32::MAX).max(1);
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
            if attempt.received(shared).frames > 0 {
                attempt.succeed(shared);
            }
        }
    }

    /// Settles an attempt of a provider that failed, or keeps it until its reason is clear.
    pub(super) fn failed(&self, shared: &Shared, provider: EndpointId, content: HashAndFormat) {
        if let Some(attempt) = self.take(provider, content) {
            self.judged(attempt.judge(shared), attempt);
        }
    }

    fn judged(&self, verdict: Verdict, attempt: Attempt) {
        match verdict {
            Verdict::Shared(failure) if failure.counts() && !attempt.share.is_first() => {
                attempt.fail(failure.with_fault(Fault::Nobody));
            }
            Verdict::Shared(failure) | Verdict::Own(failure) => attempt.fail(failure),
            Verdict::Unknown => lock(&self.unclear).push(attempt),
        }
    }

    /// Notes that a part is through with the providers, the last of which it has asked is this one.
    pub(super) fn over(&self, provider: EndpointId, content: HashAndFormat) {
        let mut running = lock(&self.running);
        let same = |attempt: &&mut Attempt| {
            attempt.provider == provider && attempt.content == content && !attempt.is_over
        };
        if let Some(attempt) = running.iter_mut().find(same) {
            attempt.is_over = true;
        }
    }

    /// Closes the connections of the providers that have said nothing for the time of a stall: their attempts
    /// fail when the downloader goes on.
    pub(super) fn close_silent(&self, shared: &Shared, look: Look) {
        let silent = lock(&self.running)
            .iter_mut()
            .filter(|attempt| !attempt.is_over)
            .filter_map(|attempt| attempt.silent(shared, look))
            .collect::<Vec<_>>();
        silent.iter().for_each(|noted| noted.close_silent());
    }

    /// Settles the attempts of a download that nobody wants any longer: a provider that had said nothing for
    /// the time of a stall has failed.
    pub(super) fn dropped(&self, shared: &Shared, look: Look) {
        let left = std::mem::take(&mut *lock(&self.running));
        for mut attempt in left {
            if !attempt.is_over && attempt.silent(shared, look).is_some() {
                self.judged(Verdict::Shared(silent()), attempt);
            }
        }
    }
}

/// Returns the failure of a provider that is connected and says nothing.
fn silent() -> Failure {
    let error = SyncError::Network("the provider says nothing".into());
    Failure::from(error).with_fault(Fault::Link)
}
