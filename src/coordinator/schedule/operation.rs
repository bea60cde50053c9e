//! An attempt that a driver makes, and what it knows of the attempt's operation.

use crate::time::Tick;

/// What makes a peer due earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::coordinator) enum Push {
    #[default]
    None,
    /// There was good news of the peer (D6).
    News,
    /// The program kicked the peer, which ends its circuit's wait too (D8).
    Kick,
}

impl Push {
    /// Returns the stronger of two pushes.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Kick, _) | (_, Self::None) => self,
            _ => other,
        }
    }
}

/// How far a peer's operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::coordinator) struct Operation {
    /// The number under which the peer came by good news alone; zero if it was requested.
    pub(super) uninvited: u64,
    /// The number of attempts that have failed.
    pub(in crate::coordinator) attempts: u32,
    /// The driver's count of other ends when a call of this peer last failed locally.
    pub(in crate::coordinator) other_ends: u32,
    /// The number of calls in a row that failed locally, which are no attempts.
    pub(in crate::coordinator) local: u16,
    /// The number of calls in a row that our own link cut, which are no attempts (R33).
    pub(in crate::coordinator) cut: u16,
    /// The number of calls that were made in this half-open phase.
    pub(in crate::coordinator) probes: u16,
    pub(in crate::coordinator) push: Push,
    /// Set if no success of the peer was recorded when it was last checked.
    pub(in crate::coordinator) stranger: bool,
}

impl Operation {
    /// Returns the kind of the peer, by what a local failure of its call would say: see
    /// [`KINDS`](crate::coordinator::local_outage::KINDS).
    pub(in crate::coordinator) fn kind(self) -> usize {
        match (self.local, self.stranger) {
            (0, false) => 0,
            (0, true) => 1,
            _ => 2,
        }
    }

    /// Begins the operation anew. The count of local failures goes on, since it is the peer's.
    pub(super) fn anew(self, push: Push) -> Self {
        Self { attempts: 0, cut: 0, probes: 0, push, ..self }
    }
}

/// An attempt that was taken. Its number tells it from earlier attempts with the same peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coordinator) struct Attempt {
    pub(in crate::coordinator) number: u64,
    /// When the attempt was due.
    pub(in crate::coordinator) due: Tick,
    pub(in crate::coordinator) operation: Operation,
}

impl Attempt {
    /// Notes that the attempt has ended otherwise than by a local failure.
    pub(in crate::coordinator) fn ended(self) -> Self {
        self.with(|operation| Operation { local: 0, cut: 0, push: Push::None, ..operation })
    }

    /// Notes that the attempt has failed.
    pub(in crate::coordinator) fn after_failure(self) -> Self {
        let attempts = self.operation.attempts.saturating_add(1);
        self.ended().with(|operation| Operation { attempts, probes: 0, ..operation })
    }

    /// Notes that the attempt was a good probe, after which another is made.
    pub(in crate::coordinator) fn probed(self) -> Self {
        let probes = self.operation.probes.saturating_add(1);
        self.ended().with(|operation| Operation { attempts: 0, probes, ..operation })
    }

    /// Notes that the attempt has failed locally, at this count of other ends.
    pub(in crate::coordinator) fn failed_locally(self, other_ends: u32) -> Self {
        let local = self.operation.local.saturating_add(1);
        let push = Push::None;
        self.with(|operation| Operation { local, other_ends, push, ..operation })
    }

    /// Notes that our own link cut the attempt.
    pub(in crate::coordinator) fn cut(self) -> Self {
        let cut = self.operation.cut.saturating_add(1);
        self.with(|operation| Operation { cut, push: Push::None, ..operation })
    }

    /// Notes that the circuit refused the attempt. A kick has had its effect; good news stays, since the
    /// registry may have deferred it.
    pub(in crate::coordinator) fn refused(self) -> Self {
        self.with(|operation| match operation.push {
            Push::Kick => Operation { push: Push::None, ..operation },
            _ => operation,
        })
    }

    fn with(self, change: impl FnOnce(Operation) -> Operation) -> Self {
        Self { operation: change(self.operation), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D10: the calls of a half-open phase are counted, and so are the attempts of an operation; where
    /// one count goes on, the other begins anew.
    #[test]
    fn attempts_and_probes_are_counted_from_the_last_that_was_of_the_other_kind() {
        let first = Attempt { number: 1, due: Tick(0), operation: Operation::default() };
        let counts = |attempt: Attempt| (attempt.operation.attempts, attempt.operation.probes);
        assert_eq!(counts(first.after_failure().after_failure()), (2, 0));
        assert_eq!(counts(first.after_failure().probed().probed()), (0, 2));
        assert_eq!(counts(first.probed().probed().after_failure()), (1, 0));
        let kicked = |attempt: Attempt| attempt.with(|operation| operation.anew(Push::Kick));
        assert_eq!(counts(kicked(first.after_failure())), (0, 0));
        assert_eq!(counts(kicked(first.probed())), (0, 0));
    }
}
