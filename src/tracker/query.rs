//! When a peer may be called, without asking to be admitted (R7).

use super::{Env, Tracker, View};
use crate::answer::{NextAdmission, Refused, Status};
use crate::circuit::{Admission, At, Core};
use crate::time::Tick;

impl View {
    /// As it reads at that moment: reset, if it was forced open until then (R17). The next phase has
    /// not begun yet.
    pub(crate) fn seen_at(self, now: Tick) -> Self {
        let lifted = self.after_ban(now);
        match lifted.map(|lifted| Core { generation: self.generation, ..lifted }) {
            Some(lifted) => Self { copy: Some(lifted), ..self },
            None => self,
        }
    }
}

impl Tracker {
    /// Where the circuit stands now. The clock is read only where a ban may have ended.
    pub(crate) fn status(&self, env: &Env) -> Status {
        let core = self.core();
        if core.is_banned_for_a_time() {
            return core.seen_at(env.clock.now()).status();
        }
        core.status()
    }

    /// When a call may be admitted: what `acquire` would answer, not acted upon (R7).
    pub(crate) fn next_admission(&self, core: &Core, env: &Env, now: Tick) -> NextAdmission {
        self.refusal(core, env, now).map_or(NextAdmission::Now, |refused| {
            refused.retry_after.map_or(NextAdmission::Unknown, NextAdmission::After)
        })
    }

    /// How `acquire` would refuse, not acted upon and not counted; `None` if it would admit.
    pub(crate) fn refusal(&self, core: &Core, env: &Env, now: Tick) -> Option<Refused> {
        if core.admits_all() {
            return None;
        }
        let rules = env.rules();
        match core.admit(At { rules: &rules, now, salt: self.salt, held: false }).reply {
            Admission::Admitted(_) | Admission::Gone => None,
            Admission::Refused(refused) => Some(refused),
        }
    }
}
