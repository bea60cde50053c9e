//! An attempt of an operation, and what is known of the operation by then.

use crate::time::Tick;

/// What makes a peer that waits be called earlier than it would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::coordinator) enum Push {
    #[default]
    None,
    /// There was good news of it (D6).
    News,
    /// Somebody said so, and ends its circuit's wait too (D8).
    Kick,
}

impl Push {
    /// The stronger of two.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Kick, _) | (_, Self::None) => self,
            _ => other,
        }
    }
}

/// What a peer's operation has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::coordinator) struct Operation {
    /// Since when it came by good news alone, by number; zero if it was requested.
    pub(super) uninvited: u64,
    /// How many attempts have failed.
    pub(in crate::coordinator) attempts: u32,
    /// How many endings of other kinds there had been when one last failed for a reason of our own.
    pub(in crate::coordinator) otherwise: u32,
    /// How many failed in a row for a reason of our own, which are no attempts.
    pub(in crate::coordinator) local: u16,
    /// How many calls of this half-open phase there were.
    pub(in crate::coordinator) probes: u16,
    pub(in crate::coordinator) push: Push,
    /// Whether no success was recorded of the peer, as far as was known when it was looked at.
    pub(in crate::coordinator) stranger: bool,
}

impl Operation {
    /// What it says if the peer's call fails for a reason of our own: see
    /// [`KINDS`](crate::coordinator::local_outage::KINDS).
    pub(in crate::coordinator) fn kind(self) -> usize {
        match (self.local, self.stranger) {
            (0, false) => 0,
            (0, true) => 1,
            _ => 2,
        }
    }

    /// The operation begins anew. That the peer's calls fail for a reason of our own is no matter of
    /// the operation.
    pub(super) fn anew(self, push: Push) -> Self {
        Self { attempts: 0, probes: 0, push, ..self }
    }
}

/// An attempt that was taken: what is told of an earlier one is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coordinator) struct Attempt {
    pub(in crate::coordinator) number: u64,
    /// From when on it was due.
    pub(in crate::coordinator) due: Tick,
    pub(in crate::coordinator) operation: Operation,
}

impl Attempt {
    /// The attempt has ended, not for a reason of our own.
    pub(in crate::coordinator) fn ended(self) -> Self {
        self.with(|operation| Operation { local: 0, push: Push::None, ..operation })
    }

    /// The attempt has failed.
    pub(in crate::coordinator) fn failed(self) -> Self {
        let attempts = self.operation.attempts.saturating_add(1);
        self.ended().with(|operation| Operation { attempts, probes: 0, ..operation })
    }

    /// The attempt was a good probe, after which another is to be made.
    pub(in crate::coordinator) fn probed(self) -> Self {
        let probes = self.operation.probes.saturating_add(1);
        self.ended().with(|operation| Operation { attempts: 0, probes, ..operation })
    }

    /// The attempt has failed for a reason of our own, after so many that ended otherwise.
    pub(in crate::coordinator) fn failed_locally(self, otherwise: u32) -> Self {
        let local = self.operation.local.saturating_add(1);
        let push = Push::None;
        self.with(|operation| Operation { local, otherwise, push, ..operation })
    }

    /// The attempt is not made after all: what pushed it has had its effect, except good news, which
    /// may have been deferred.
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
        assert_eq!(counts(first.failed().failed()), (2, 0));
        assert_eq!(counts(first.failed().probed().probed()), (0, 2));
        assert_eq!(counts(first.probed().probed().failed()), (1, 0));
        let kicked = |attempt: Attempt| attempt.with(|operation| operation.anew(Push::Kick));
        assert_eq!(counts(kicked(first.failed())), (0, 0));
        assert_eq!(counts(kicked(first.probed())), (0, 0));
    }
}
