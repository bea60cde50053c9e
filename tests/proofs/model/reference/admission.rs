//! Who is admitted, and when the next one will be.

use peer_health::{HalfOpenMode, Reason};

use super::windows::{counted, reaches_a_rate};
use super::{Next, No, Peer, Reference, State, Ticket, Trial, nanos};

impl Reference {
    pub(crate) fn acquire(&mut self) -> Result<Ticket, No> {
        let admission = self.admit();
        if let Err(no) = &admission {
            let n = match no.reason {
                Reason::Open => 0,
                Reason::ProbesInFlight => 1,
                _ => 2,
            };
            self.known().counts.refused[n] += 1;
        }
        admission
    }

    fn admit(&mut self) -> Result<Ticket, No> {
        let now = self.now;
        self.known();
        self.lift();
        if let State::Open { until } = self.known().state {
            if now < until {
                return Err(No { reason: Reason::Open, retry_after: Some(until - now) });
            }
            self.half_open();
        }
        if self.is_too_old() {
            match self.last_word() {
                Some(true) => self.close(),
                Some(false) => {
                    let wait = self.reopen(None);
                    return Err(No { reason: Reason::Open, retry_after: Some(nanos(wait)) });
                }
                None => self.half_open(),
            }
        }
        let (number, timed) = (self.number(), self.config.slow_call.is_some());
        let started = timed || self.config.streak_gap.is_some();
        let peer = self.known();
        let mut probe = None;
        match &mut peer.state {
            State::ForcedOpen { until } => {
                let retry_after = until.map(|until| until - now);
                return Err(No { reason: Reason::ForcedOpen, retry_after });
            }
            State::HalfOpen(trial) => {
                if !trial.has_a_slot(now) {
                    return Err(No { reason: Reason::ProbesInFlight, retry_after: None });
                }
                trial.out.push((number, now));
                probe = Some(number);
            }
            _ => {}
        }
        Ok(Ticket { life: peer.life, phase: peer.phase, at: now, timed, started, probe })
    }

    /// Whether a half-open phase has reached its maximum age (R6).
    pub(crate) fn is_too_old(&self) -> bool {
        let Some(Peer { state: State::HalfOpen(trial), .. }) = &self.peer else { return false };
        let max = self.config.half_open_max.map(nanos);
        max.is_some_and(|max| self.now >= trial.since.saturating_add(max))
    }

    /// What is known then: whether it closes, or that there is no verdict (R6). A probe is out until
    /// it ends in time, also if its lease ran out.
    fn last_word(&self) -> Option<bool> {
        let Some(Peer { state: State::HalfOpen(trial), .. }) = &self.peer else { return None };
        let rates_fail = trial.mode == HalfOpenMode::Rate
            && reaches_a_rate(&trial.judged_by, counted(&trial.verdicts));
        if !trial.out.is_empty() || rates_fail {
            return Some(false);
        }
        (!trial.verdicts.is_empty()).then_some(true)
    }

    pub(crate) fn next_admission(&self) -> Next {
        let Some(peer) = &self.peer else { return Next::Now };
        match &peer.state {
            State::Open { until } if self.now < *until => Next::After(until - self.now),
            State::HalfOpen(_) if self.is_too_old() => match self.clone().acquire() {
                Err(No { retry_after: Some(wait), .. }) => Next::After(wait),
                _ => Next::Now,
            },
            State::HalfOpen(trial) if !trial.has_a_slot(self.now) => Next::Unknown,
            State::ForcedOpen { until: None } => Next::Unknown,
            State::ForcedOpen { until: Some(until) } if self.now < *until => {
                Next::After(until - self.now)
            }
            _ => Next::Now,
        }
    }
}

impl Trial {
    pub(super) fn is_out(&self, admitted_at: u64, now: u64) -> bool {
        self.lease.is_none_or(|lease| now < admitted_at.saturating_add(lease))
    }

    /// At most N probes, in flight plus decided (R3); an over-long one is in flight no more (R5).
    fn has_a_slot(&self, now: u64) -> bool {
        let out = self.out.iter().filter(|(_, at)| self.is_out(*at, now)).count();
        out + self.decided < self.n as usize
    }

    /// The probe is in flight no more; whether it still was.
    pub(super) fn take_back(&mut self, ticket: Ticket, now: u64) -> bool {
        let Some(found) = self.out.iter().position(|(n, _)| Some(*n) == ticket.probe) else {
            return false;
        };
        // A late outcome changes nothing, here neither (R9).
        let in_time = self.is_out(self.out[found].1, now);
        if in_time {
            self.out.remove(found);
        }
        in_time
    }
}
