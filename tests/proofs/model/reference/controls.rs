//! What an operator does to a peer, and the end of a ban.

use peer_health::{EventKind, Status};

use super::{Control, Peer, Reference, State, nanos};

impl Reference {
    /// Whether the peer is forced open for a time that is over (R17).
    fn ban_is_over(&self) -> bool {
        match self.peer.as_ref().map(|peer| &peer.state) {
            Some(State::ForcedOpen { until: Some(until) }) => self.now >= *until,
            _ => false,
        }
    }

    /// The first step after a ban that had an end.
    pub(super) fn lift(&mut self) {
        if self.ban_is_over() {
            self.control(Control::Reset);
        }
    }

    /// The peer as it reads now.
    pub(crate) fn seen(&self) -> Option<Peer> {
        let mut seen = self.clone();
        seen.lift();
        seen.peer
    }

    pub(crate) fn control(&mut self, control: Control) {
        let (state, event) = match control {
            Control::ForceOpen | Control::ForceOpenFor(_) => {
                let until = match control {
                    Control::ForceOpenFor(time) => Some(self.now.saturating_add(nanos(time))),
                    _ => None,
                };
                (State::ForcedOpen { until }, EventKind::Overridden(Status::ForcedOpen))
            }
            Control::Disable => (State::Disabled, EventKind::Overridden(Status::Disabled)),
            Control::MetricsOnly => {
                (State::MetricsOnly, EventKind::Overridden(Status::MetricsOnly))
            }
            Control::Reset if self.peer.is_none() => return,
            Control::Reset => (State::Closed, EventKind::Reset),
        };
        let peer = self.begin(state, event);
        if matches!(control, Control::Reset) {
            // Reads as default (R24).
            (peer.errors, peer.attempts, peer.successes) = (0, 0, Some(0));
        }
        self.clear();
    }

    pub(crate) fn remove(&mut self) {
        if let Some(peer) = self.peer.take() {
            self.gone = self.gone.and(peer.counts);
            self.events.push(EventKind::Removed.into());
        }
    }
}
