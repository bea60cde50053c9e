//! The questions about a peer's next admission, which admit no call (R7).

use super::{Context, Tracker, View};
use crate::circuit::{Admission, Circuit, StepContext};
use crate::outcome::{NextAdmission, Refused, Status};
use crate::time::Tick;

impl View {
    /// Returns the view at `now`: after a reset, if a ban is over by then (R17). The next phase has not
    /// begun.
    pub(crate) fn seen_at(self, now: Tick) -> Self {
        let lifted = self.after_ban(now);
        match lifted.map(|lifted| Circuit { generation: self.generation, ..lifted }) {
            Some(lifted) => Self { copy: Some(lifted), ..self },
            None => self,
        }
    }
}

impl Tracker {
    /// Returns the circuit's status. It reads the clock only where a ban may have ended.
    pub(crate) fn status(&self, context: &Context) -> Status {
        let circuit = self.circuit();
        if circuit.is_banned_for_a_time() {
            return circuit.seen_at(context.clock.now()).status();
        }
        circuit.status()
    }

    /// Returns the time of the next admission: the answer of `acquire`, without a step (R7).
    pub(crate) fn next_admission(
        &self,
        circuit: &Circuit,
        context: &Context,
        now: Tick,
    ) -> NextAdmission {
        self.refusal(circuit, context, now).map_or(NextAdmission::Now, |refused| {
            refused.retry_after.map_or(NextAdmission::Unknown, NextAdmission::After)
        })
    }

    /// Returns the refusal that `acquire` would give, uncounted; `None` if it would admit.
    pub(crate) fn refusal(
        &self,
        circuit: &Circuit,
        context: &Context,
        now: Tick,
    ) -> Option<Refused> {
        if circuit.admits_all() {
            return None;
        }
        let rules = context.rules();
        match circuit.admit(StepContext { rules: &rules, now, salt: self.salt, held: false }).reply
        {
            Admission::Admitted(_) | Admission::Gone => None,
            Admission::Refused(refused) => Some(refused),
        }
    }
}
