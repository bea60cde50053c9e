//! What can be seen of a peer, and when time alone changes it.

use std::time::Duration;

use peer_health::{HealthConfig, Status, Window};

use super::windows::counted;
use super::{Peer, Reference, State, nanos};

impl Reference {
    /// Which tracker of the peer this is.
    pub(crate) fn life(&self) -> Option<u64> {
        self.peer.as_ref().map(|peer| peer.life)
    }

    /// The moments at which something changes by time alone, or may: for tests to go there.
    pub(crate) fn moments(&self) -> Vec<u64> {
        let config = &self.config;
        let Some(peer) = &self.peer else { return vec![self.now] };
        let mut moments = Vec::new();
        match &peer.state {
            State::Open { until } => moments.push(*until),
            State::ForcedOpen { until } => moments.extend(*until),
            State::HalfOpen(trial) => {
                moments
                    .extend(config.half_open_max.map(|max| trial.since.saturating_add(nanos(max))));
                let lease = trial.lease.unwrap_or(0);
                moments.extend(trial.out.iter().map(|(_, at)| at.saturating_add(lease)));
            }
            _ => {
                moments.push(peer.last_failure.saturating_add(config.streak_gap.map_or(0, nanos)));
                if let Some(Window::Time { length, buckets }) = config.window {
                    let width = nanos(length) / u64::from(buckets);
                    let border = self.now / width * width;
                    moments.extend([
                        border.saturating_add(width),
                        border.saturating_add(nanos(length)),
                    ]);
                }
            }
        }
        moments
    }
}

impl Peer {
    /// Total, failures, slow; `None` where the window is to begin anew and may have or not.
    pub(crate) fn shown_window(&self, config: &HealthConfig, now: u64) -> Option<(u64, u64, u64)> {
        match &self.state {
            State::HalfOpen(trial) => Some(counted(&trial.verdicts)),
            _ if self.calls.is_empty() => Some((0, 0, 0)),
            _ => (self.shape == config.window).then(|| self.window(now)),
        }
    }

    /// `None` where the time of a status is up: it may be shown as over or not yet.
    pub(crate) fn shown_status(&self, now: u64) -> Option<Status> {
        Some(match self.state {
            State::Closed => Status::Closed,
            State::Open { until } if now >= until => return None,
            State::Open { .. } => Status::Open,
            State::HalfOpen(_) => Status::HalfOpen,
            State::ForcedOpen { .. } => Status::ForcedOpen,
            State::Disabled => Status::Disabled,
            State::MetricsOnly => Status::MetricsOnly,
        })
    }

    pub(crate) fn open_for(&self, now: u64) -> Option<Duration> {
        self.opened_at.map(|at| Duration::from_nanos(now - at))
    }

    /// `None` where one has outlived its lease: it may be counted or not.
    pub(crate) fn probes_in_flight(&self, now: u64) -> Option<usize> {
        let State::HalfOpen(trial) = &self.state else { return Some(0) };
        trial.out.iter().all(|(_, at)| trial.is_out(*at, now)).then_some(trial.out.len())
    }
}
