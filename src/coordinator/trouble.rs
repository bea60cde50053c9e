//! Trouble of our own: when calls fail for a reason that is this node's, no peer is to blame and no
//! peer can be reached. Then one call is made now and then, whose end tells whether it is over.
//!
//! Calls that were begun before say nothing: sixty-four that fail together are one trouble, and one
//! that was lucky ends none.

use std::time::Duration;

use super::agenda::Run;
use crate::backoff::{Jitter, RetryPolicy};
use crate::time::{Tick, nanos};

/// No call is made until then, and one after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trouble {
    until: Tick,
    /// How often we were sure that it is not over.
    tries: u32,
    /// The call that finds out, and when it began.
    probe: Option<(u64, Tick)>,
}

/// How long a call finds out before another may: what fails for a reason of our own fails soon, and
/// a peer that is silent says nothing.
const SOON: u64 = 1_000_000_000;

/// How long no call is made after so many that failed in a row for a reason of our own: a tenth of
/// a second, growing twofold up to half a minute, whatever the peers' own policy is.
pub(super) fn pause(tries: u32, u: f64) -> Duration {
    let policy =
        RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(30), u32::MAX, 2.0);
    policy.delay(tries, Jitter::Factor, Duration::ZERO, u)
}

impl Trouble {
    /// When one may be called who is due at that time.
    pub(super) fn not_before(&self, due: Tick) -> Tick {
        due.max(self.probe.map_or(self.until, |(_, began)| began.plus(SOON)))
    }

    /// This call finds out.
    pub(super) fn probed_by(&mut self, run: u64, now: Tick) {
        self.probe = Some((run, now));
    }

    fn is_probed_by(&self, run: u64) -> bool {
        self.probe.is_some_and(|(probe, _)| probe == run)
    }

    /// This call is not made, or was taken back: another has to find out.
    pub(super) fn not_probed_by(&mut self, run: u64) {
        self.probe = self.probe.filter(|(probe, _)| *probe != run);
    }

    /// Another call may find out at once.
    pub(super) fn hope(&mut self) {
        self.until = Tick::default();
    }

    /// What trouble there is when this call has ended, with `u` from [0, 1) for the jitter. That a
    /// peer whose last call failed for a reason of our own does so again makes nothing surer.
    pub(super) fn after(
        before: Option<Self>,
        run: Run,
        local: bool,
        now: Tick,
        u: f64,
    ) -> Option<Self> {
        let tries = match before {
            Some(trouble) if !trouble.is_probed_by(run.number) => return before,
            _ if !local => return None,
            Some(trouble) => trouble.tries.saturating_add(u32::from(run.local == 0)),
            None => 1,
        };
        Some(Self { until: now.plus(nanos(pause(tries, u))), tries, probe: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn run(number: u64, local: u16) -> Run {
        Run { number, attempts: 0, local, eager: false }
    }

    fn begun() -> Trouble {
        Trouble::after(None, run(1, 0), true, Tick(0), 0.0).unwrap()
    }

    #[test]
    fn calls_that_fail_together_are_one_trouble() {
        let trouble = begun();
        assert_eq!(trouble.not_before(Tick(0)), Tick(100 * MS));
        for n in 2..64 {
            let after = |local| Trouble::after(Some(trouble), run(n, 0), local, Tick(0), 0.0);
            assert_eq!((after(true), after(false)), (Some(trouble), Some(trouble)));
        }
    }

    #[test]
    fn one_call_finds_out_whether_it_is_over_and_waits_grow() {
        let mut trouble = Some(begun());
        for (n, local, wait) in [(70, 0, 200), (71, 0, 400), (72, 0, 800), (73, 1, 800)] {
            let mut probed = trouble.unwrap();
            probed.probed_by(n, Tick(5));
            assert_eq!(
                probed.not_before(Tick(0)),
                Tick(SOON + 5),
                "one at a time, if it is not silent"
            );
            trouble = Trouble::after(Some(probed), run(n, local), true, Tick(0), 0.0);
            assert_eq!(trouble.unwrap().not_before(Tick(0)), Tick(wait * MS));
        }
        let mut probed = trouble.unwrap();
        probed.probed_by(74, Tick(5));
        assert_eq!(Trouble::after(Some(probed), run(74, 0), false, Tick(0), 0.0), None);
        assert_eq!(pause(u32::MAX, 0.9).as_secs(), 29);
    }

    #[test]
    fn a_call_that_was_taken_back_leaves_it_to_another() {
        let mut trouble = begun();
        trouble.probed_by(5, Tick(0));
        trouble.not_probed_by(4);
        assert_eq!(trouble.not_before(Tick(0)), Tick(SOON));
        trouble.not_probed_by(5);
        trouble.hope();
        assert_eq!(trouble.not_before(Tick(3)), Tick(3));
    }
}
