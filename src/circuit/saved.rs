//! A circuit across a restart: what is saved of it, and the circuit that begins with what was saved.

use std::time::Duration;

use super::control::Ban;
use super::open::unit;
use super::{Circuit, Health, News, Open, Phase, StepContext};
use crate::config::rules::whole;
use crate::saved::SavedState;
use crate::time::{Tick, nanos};

impl Circuit {
    /// Returns what is saved of the circuit at `now`. A half-open circuit is saved as one that is due: its
    /// probes end with the process.
    pub(crate) fn saved(&self, now: Tick) -> SavedState {
        let open = |open: &Open, rest| SavedState::Open {
            rest: Duration::from_nanos(rest),
            failed_half_opens: open.failed_half_opens,
        };
        match &self.phase {
            Phase::Open(phase) => open(phase, phase.ends().since(now)),
            Phase::HalfOpen(phase) => open(&phase.open, 0),
            Phase::ForcedOpen(Some(ban)) if ban.is_over(now) => SavedState::Closed,
            Phase::ForcedOpen(ban) => SavedState::ForcedOpen {
                rest: ban.map(|ban| Duration::from_nanos(ban.ends.since(now))),
            },
            Phase::Disabled => SavedState::Disabled,
            Phase::MetricsOnly(_) => SavedState::MetricsOnly,
            Phase::Closed(_) | Phase::Removed => SavedState::Closed,
        }
    }

    /// Returns the circuit that begins at `at.now` with what was saved, in the generation after this one's. A
    /// wait is at most open_max; one that is over ends within `spread`, so that not all who are due are due
    /// at once.
    pub(crate) fn restored(
        &self,
        state: SavedState,
        answered: bool,
        spread: u64,
        at: StepContext<'_>,
    ) -> Self {
        let phase = match state {
            SavedState::Closed => Phase::Closed(None),
            SavedState::Open { rest, failed_half_opens } => {
                let wait = match nanos(rest).min(at.rules.open_max) {
                    0 => whole(spread as f64 * unit(at.salt, self.generation)),
                    rest => rest,
                };
                let news = News::default();
                Phase::Open(Open { opened_at: at.now, wait, failed_half_opens, news })
            }
            SavedState::ForcedOpen { rest } => {
                Phase::ForcedOpen(rest.map(|rest| Ban::until(at.now.plus(nanos(rest)))))
            }
            SavedState::Disabled => Phase::Disabled,
            SavedState::MetricsOnly => Phase::MetricsOnly(None),
        };
        Self { health: Health { answered, ..Health::default() }, ..self.turned(phase) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{Admission, Control};
    use crate::config::HealthConfig;
    use crate::config::rules::Rules;
    use crate::outcome::{Reason, Status};
    use crate::sync::Arc;

    const SECOND: u64 = 1_000_000_000;
    const STATES: [SavedState; 6] = [
        SavedState::Closed,
        SavedState::Open { rest: Duration::from_secs(60), failed_half_opens: 3 },
        SavedState::ForcedOpen { rest: None },
        SavedState::ForcedOpen { rest: Some(Duration::from_secs(7)) },
        SavedState::Disabled,
        SavedState::MetricsOnly,
    ];

    fn rules() -> Arc<Rules> {
        Arc::new(HealthConfig::default().with_open_jitter(0.0).check().unwrap())
    }

    fn at(rules: &Arc<Rules>, now: u64) -> StepContext<'_> {
        StepContext { rules, now: Tick(now), salt: 7, held: false }
    }

    fn restored(state: SavedState, spread: u64, at: StepContext<'_>) -> Circuit {
        Circuit::new(4).restored(state, true, spread, at)
    }

    #[test]
    fn what_is_saved_of_a_restored_circuit_is_what_it_began_with() {
        let rules = rules();
        for state in STATES {
            let circuit = restored(state, 0, at(&rules, 5));
            assert_eq!(circuit.saved(Tick(5)), state);
            assert_eq!((circuit.generation, circuit.health.answered), (5, true));
            assert_eq!(circuit.health.run.streak, 0);
        }
    }

    #[test]
    fn a_restored_wait_ends_when_it_would_have() {
        let rules = rules();
        let circuit = restored(STATES[1], 0, at(&rules, 5));
        let (before, after) = (at(&rules, 4 + 60 * SECOND), at(&rules, 5 + 60 * SECOND));
        let refused = circuit.admit(before).reply;
        assert!(
            matches!(refused, Admission::Refused(r) if r.reason == Reason::Open),
            "{refused:?}"
        );
        let half_open = circuit.admit(after).next.unwrap();
        assert_eq!(half_open.status(), Status::HalfOpen);
        let due = SavedState::Open { rest: Duration::ZERO, failed_half_opens: 3 };
        assert_eq!(half_open.saved(after.now), due, "its probes end with the process");
    }

    #[test]
    fn a_wait_is_at_most_the_longest_and_one_that_is_over_is_spread() {
        let rules = rules();
        let long = SavedState::Open { rest: Duration::MAX, failed_half_opens: u32::MAX };
        let Phase::Open(open) = restored(long, 0, at(&rules, 9)).phase else { panic!("open") };
        assert_eq!((open.opened_at, open.wait), (Tick(9), rules.open_max));
        let due = SavedState::Open { rest: Duration::ZERO, failed_half_opens: 0 };
        let wait = |salt| {
            let at = StepContext { salt, ..at(&rules, 0) };
            let Phase::Open(open) = restored(due, 5 * SECOND, at).phase else { panic!("open") };
            open.wait
        };
        let waits: Vec<u64> = (0..1000).map(wait).collect();
        assert!(waits.iter().all(|wait| *wait < 5 * SECOND));
        for second in 0..5 {
            let count = waits.iter().filter(|wait| **wait / SECOND == second).count();
            assert!((130..=270).contains(&count), "{count} of 1000 in second {second}");
        }
        assert_eq!(restored(due, 0, at(&rules, 0)).admit(at(&rules, 0)).reply, {
            Admission::Admitted(crate::circuit::Ticket {
                generation: 6,
                start: crate::circuit::Start::Read(Tick(0)),
                probe: Some(0),
            })
        });
    }

    #[test]
    fn a_ban_that_is_over_is_not_saved_and_who_answered_stays_so_after_a_reset() {
        let rules = rules();
        let circuit = restored(STATES[3], 0, at(&rules, 0));
        assert_eq!(circuit.saved(Tick(7 * SECOND)), SavedState::Closed);
        let reset = circuit.control(Control::Reset, 0).next.unwrap();
        assert!(reset.health.answered);
        assert!(circuit.after_ban(Tick(7 * SECOND)).unwrap().health.answered);
    }
}
