//! When a peer may be called, without asking to be admitted (R7).

use super::{Env, Tracker};
use crate::answer::{NextAdmission, Refused};
use crate::circuit::{Admission, At, Core};
use crate::time::Tick;

impl Tracker {
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
