//! What a circuit becomes, how long it waits then, and which news ends the wait.

use std::time::Duration;

use peer_health::EventKind;

use super::{News, Peer, Reference, State, Told, Trial, nanos};

impl Reference {
    /// R16.
    fn wait(&self, failed_spells: i32, wish: Option<u64>) -> u64 {
        let config = &self.config;
        let grown = nanos(config.open_timeout) as f64 * config.open_multiplier.powi(failed_spells);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let grown = grown as u64;
        grown.max(wish.unwrap_or(0)).min(nanos(config.open_max))
    }

    pub(super) fn open(&mut self, wish: Option<u64>) -> Duration {
        let now = self.now;
        let failed_spells = self.known().failed_spells;
        let mut wait = self.wait(failed_spells, wish);
        let mut until = now.saturating_add(wait);
        let heeded_at = self.heeded_at();
        let news = &mut self.known().news;
        if std::mem::take(&mut news.kept) && heeded_at <= until {
            news.ends_wait = true;
            until = heeded_at;
            wait = until - now;
        }
        let retry_after = Duration::from_nanos(wait);
        let reopened = failed_spells > 0;
        let peer = self.begin(State::Open { until }, Told::Opened { retry_after, reopened });
        peer.opened_at = Some(now);
        peer.counts.opened += 1;
        retry_after
    }

    pub(super) fn reopen(&mut self, wish: Option<u64>) -> Duration {
        let peer = self.known();
        peer.failed_spells += 1;
        if let State::HalfOpen(trial) = &peer.state
            && std::mem::take(&mut peer.news.ends_wait)
        {
            peer.news.failed += 1;
            peer.news.began = trial.since;
        }
        self.open(wish)
    }

    pub(super) fn close(&mut self) {
        self.begin(State::Closed, EventKind::Closed);
        self.clear();
    }

    pub(super) fn half_open(&mut self) {
        let trial = Trial {
            since: self.now,
            n: self.config.success_threshold,
            mode: self.config.half_open_mode,
            judged_by: self.config.clone(),
            lease: self.config.probe_lease.map(nanos),
            out: Vec::new(),
            decided: 0,
            verdicts: Vec::new(),
        };
        let peer = self.begin(State::HalfOpen(trial), EventKind::HalfOpened);
        peer.attempts = 0;
    }

    pub(super) fn clear(&mut self) {
        let peer = self.known();
        (peer.streak, peer.failed_spells) = (0, 0);
        (peer.opened_at, peer.announced) = (None, None);
        peer.news = News::default();
    }

    /// When the next is heeded (D6).
    fn heeded_at(&self) -> u64 {
        let news = self.peer.as_ref().map_or(News::default(), |peer| peer.news);
        match news.failed {
            0 => self.now,
            n => news.began.saturating_add(self.wait(n, None)).max(self.now),
        }
    }

    pub(crate) fn note_reachable(&mut self) -> bool {
        let (now, heeded_at) = (self.now, self.heeded_at());
        let Some(peer) = &mut self.peer else { return false };
        match &mut peer.state {
            State::Open { until } if now >= *until => return true,
            State::Open { until } if heeded_at <= *until => {
                *until = heeded_at;
                peer.news.ends_wait = true;
                return heeded_at <= now;
            }
            State::HalfOpen(_) => peer.news.kept = true,
            _ => {}
        }
        false
    }

    pub(crate) fn end_wait(&mut self) -> bool {
        let now = self.now;
        match &mut self.peer {
            Some(Peer { state: State::Open { until }, news, .. }) => {
                if now < *until {
                    *until = now;
                    news.ends_wait = false;
                }
                true
            }
            _ => false,
        }
    }
}
