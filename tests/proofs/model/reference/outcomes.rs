//! How a call ends, and what that does to the circuit.

use std::time::Duration;

use peer_health::{HalfOpenMode, Recorded};

use super::windows::{counted, min_calls, reaches_a_rate};
use super::{Call, End, How, Peer, Reference, State, Ticket, nanos};

impl Reference {
    fn slow_call(&self) -> Option<u64> {
        match &self.peer {
            Some(Peer { state: State::HalfOpen(trial), .. }) => {
                trial.judged_by.slow_call.map(nanos)
            }
            _ => self.config.slow_call.map(nanos),
        }
    }

    /// A call that began before anybody asked for slow calls may not know how long it took (the
    /// healthy path reads no clock, R1): its latency is stated.
    pub(crate) fn known_latency(&self, ticket: Ticket, end: End) -> End {
        let took = Duration::from_nanos(self.now - ticket.at);
        let latency = end.latency.or((!ticket.timed).then_some(took));
        End { latency, ..end }
    }

    pub(crate) fn settle(&mut self, ticket: Ticket, end: End) -> Recorded {
        let now = self.now;
        let took = end.latency.map_or(now.saturating_sub(ticket.at), nanos);
        let slow = self.slow_call().is_some_and(|slow| took >= slow);
        let wish = end.wish.map(nanos);

        let peer = match &mut self.peer {
            Some(peer) if peer.life == ticket.life => peer,
            _ => {
                self.gone.late += 1;
                return Recorded::Late;
            }
        };
        let in_time = match &mut peer.state {
            State::HalfOpen(trial) => trial.take_back(ticket, now),
            _ => true,
        };
        if peer.phase != ticket.phase || !in_time {
            peer.counts.late += 1;
            return Recorded::Late;
        }
        match end.how {
            How::Success => peer.counts.succeeded += 1,
            How::Failure => peer.counts.failed += 1,
            How::Document | How::Neutral => peer.counts.neutral += 1,
            How::Drop => peer.counts.abandoned += 1,
        }
        if matches!(peer.state, State::Disabled) {
            if end.how == How::Success {
                peer.successes = None;
            }
            return Recorded::Neutral;
        }
        match end.how {
            How::Success => peer.succeeded(),
            How::Failure | How::Document => peer.error(),
            How::Neutral | How::Drop => {}
        }
        if let (State::HalfOpen(trial), How::Success | How::Failure) = (&mut peer.state, end.how) {
            trial.decided += 1;
        }
        let opened = match end.how {
            How::Success => self.verdict(false, slow, None),
            How::Failure => {
                self.failed_call(ticket.started.then_some(ticket.at));
                self.verdict(true, slow, wish)
            }
            _ => return Recorded::Neutral,
        };
        opened.map_or(Recorded::Counted, |retry_after| Recorded::Opened { retry_after })
    }

    /// The streak after a failure whose call began at `start`, if that is known (R14).
    pub(super) fn failed_call(&mut self, start: Option<u64>) {
        let now = self.now;
        let window = self.config.streak_gap.map_or(0, nanos);
        let peer = self.known();
        if matches!(peer.state, State::Closed | State::MetricsOnly) {
            let quiet = start.map_or(0, |start| start.saturating_sub(peer.last_failure));
            let broken = window > 0 && quiet > window;
            peer.streak = if broken { 1 } else { peer.streak.saturating_add(1) };
            peer.last_failure = now;
            peer.announced = None;
        }
    }

    /// A success or a failure, wherever it counts; the wait if it opened the circuit.
    pub(super) fn verdict(
        &mut self,
        failed: bool,
        slow: bool,
        wish: Option<u64>,
    ) -> Option<Duration> {
        let call = Call { at: self.now, failed, slow };
        let (now, config) = (self.now, self.config.clone());
        let peer = self.known();
        match &mut peer.state {
            State::Closed | State::MetricsOnly => {
                if !failed {
                    peer.streak = 0;
                }
                if peer.shape != config.window {
                    peer.calls.clear();
                    peer.shape = config.window;
                }
                peer.calls.push(call);
                let streak = failed && config.failure_threshold.is_some_and(|t| peer.streak >= t);
                let counts = peer.window(now);
                let enough = counts.0 >= min_calls(&config);
                let trips = streak || (enough && reaches_a_rate(&config, counts));
                let never = matches!(peer.state, State::MetricsOnly);
                (trips && !never).then(|| self.open(wish))
            }
            State::HalfOpen(trial) => {
                trial.verdicts.push(call);
                let counts = counted(&trial.verdicts);
                let all_in = trial.verdicts.len() >= trial.n as usize;
                let bad = match trial.mode {
                    HalfOpenMode::Rate => all_in && reaches_a_rate(&trial.judged_by, counts),
                    _ => failed || (slow && trial.judged_by.slow_rate.is_some()),
                };
                if bad {
                    return Some(self.reopen(wish));
                }
                if all_in {
                    self.close();
                }
                None
            }
            _ => None,
        }
    }
}

impl Peer {
    pub(super) fn error(&mut self) {
        self.errors += 1;
        self.attempts += 1;
        self.successes = Some(0);
    }

    pub(super) fn succeeded(&mut self) {
        self.attempts = 0;
        self.successes = self.successes.map(|n| n + 1);
    }
}
