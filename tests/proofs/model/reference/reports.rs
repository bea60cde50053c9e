//! Outcomes without a permit, and the question that comes before them.

use super::{Reference, Reply, Reported, State};

impl Reference {
    pub(crate) fn report_success(&mut self) {
        let now = self.now;
        self.lift();
        let peer = self.known();
        peer.counts.reported_successes += 1;
        match peer.state {
            State::Open { until } if now >= until => self.half_open(),
            State::Disabled => {
                peer.successes = None;
                return;
            }
            _ => {}
        }
        self.known().succeeded();
        self.verdict(false, false, None);
    }

    pub(crate) fn report_error(&mut self, reported: Reported) -> Reply {
        let now = self.now;
        self.lift();
        let peer = self.known();
        peer.counts.reported_errors += 1;
        let start = peer.announced.filter(|_| peer.streak > 0).unwrap_or(now);
        if !matches!(peer.state, State::Disabled) {
            peer.error();
        }
        if matches!(reported, Reported::Network | Reported::Protocol) {
            match peer.state {
                State::Open { until } if now >= until => {
                    self.half_open();
                    return Reply::Now;
                }
                State::Closed | State::MetricsOnly => {
                    self.failed_call(Some(start));
                    if self.verdict(true, false, None).is_some() {
                        return Reply::CircuitOpen;
                    }
                }
                State::HalfOpen(_) => {
                    self.reopen(None);
                    return Reply::CircuitOpen;
                }
                _ => {}
            }
        }
        if self.says_open() {
            return Reply::CircuitOpen;
        }
        let peer = self.known();
        // Disabled records nothing; the answer is about this attempt nonetheless.
        let unrecorded = u32::from(matches!(peer.state, State::Disabled));
        let attempts = peer.attempts + unrecorded;
        let again = match reported {
            Reported::Network => attempts < 5,
            Reported::Quota => attempts < 10,
            Reported::Protocol | Reported::Document => false,
        };
        if again { Reply::Later } else { Reply::Never }
    }

    fn says_open(&self) -> bool {
        match self.peer.as_ref().map(|peer| &peer.state) {
            Some(State::Open { until }) => self.now < *until,
            Some(State::ForcedOpen { until }) => until.is_none_or(|until| self.now < until),
            _ => false,
        }
    }

    /// `is_circuit_open`.
    pub(crate) fn ask(&mut self) -> bool {
        let (now, open) = (self.now, self.says_open());
        if let Some(peer) = self.peer.as_mut().filter(|peer| !open && peer.streak > 0) {
            peer.announced = Some(now);
        }
        open
    }
}
