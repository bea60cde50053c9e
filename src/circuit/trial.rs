//! The half-open phase: a few leased probes decide whether the peer is called again.

use std::time::Duration;

use super::{
    Admission, At, Core, Outcome, Phase, Reported, Settled, Spell, Step, Ticket, Turn, Verdict,
};
use crate::answer::{Reason, Recorded, Refused, WindowCounts};
use crate::config::HalfOpenMode;
use crate::rules::Rules;
use crate::sync::Arc;
use crate::time::Tick;

/// One half-open phase. It keeps the configuration it began with: how many probes, how they
/// decide, how long their leases last (R18).
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    pub(crate) spell: Spell,
    pub(crate) since: Tick,
    rules: Arc<Rules>,
    /// The probes that are out, oldest first; N at the most.
    pub(crate) out: Vec<Probe>,
    issued: u32,
    /// The probes that have decided. A reported verdict is none: it needs no slot (R24).
    judged: u32,
    /// Whether the lease of a probe ran out and its slot was given again.
    lapsed: bool,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    id: u32,
    pub(crate) admitted_at: Tick,
}

impl Trial {
    /// The verdicts that are in, of probes and reports.
    pub(crate) fn decided(&self) -> u32 {
        self.passed.saturating_add(self.failed)
    }

    /// R5: from `admitted_at + lease` on.
    fn expired(&self, probe: &Probe, now: Tick) -> bool {
        self.rules.lease.is_some_and(|lease| now >= probe.admitted_at.plus(lease))
    }

    /// Gives a slot, a free one or one whose lease is over, if there is any (R3, R5).
    fn give_slot(&mut self, now: Tick) -> Option<u32> {
        let out = u32::try_from(self.out.len()).unwrap_or(u32::MAX);
        if self.judged.saturating_add(out) >= self.rules.probes {
            let over = self.out.iter().position(|probe| self.expired(probe, now))?;
            self.out.remove(over);
            self.lapsed = true;
        }
        let id = self.issued;
        self.issued = self.issued.wrapping_add(1);
        self.out.push(Probe { id, admitted_at: now });
        Some(id)
    }

    /// Takes back the slot of a probe whose lease still runs.
    fn take_back(&mut self, ticket: Ticket, now: Tick) -> bool {
        let place = self
            .out
            .iter()
            .position(|probe| Some(probe.id) == ticket.probe && !self.expired(probe, now));
        place.map(|place| self.out.remove(place)).is_some()
    }

    /// What the verdicts so far mean (R11): `Some(true)` closes, `Some(false)` reopens.
    fn decision(&self) -> Option<bool> {
        let probes = self.rules.probes;
        match self.rules.mode {
            HalfOpenMode::All if self.failed > 0 => Some(false),
            HalfOpenMode::All => (self.passed >= probes).then_some(true),
            HalfOpenMode::Rate if self.decided() < probes => None,
            HalfOpenMode::Rate => Some(!self.rules.rate_reached(self.counts())),
        }
    }

    /// What is known when the phase is as old as it may get (R6): `Some(true)` closes, `Some(false)`
    /// reopens, `None` if there is no verdict.
    fn last_decision(&self) -> Option<bool> {
        let hung = self.lapsed || !self.out.is_empty();
        let fails = self.rules.mode == HalfOpenMode::Rate && self.rules.rate_reached(self.counts());
        if hung || fails {
            return Some(false);
        }
        (self.decided() > 0).then_some(true)
    }

    /// Where all slots are taken: when time alone changes that, by a lease that runs out or by the
    /// age of the phase.
    pub(crate) fn frees_at(&self, half_open_max: Option<u64>) -> Option<Tick> {
        let leases = self.rules.lease.into_iter();
        let leases =
            leases.flat_map(|lease| self.out.iter().map(move |p| p.admitted_at.plus(lease)));
        leases.chain(half_open_max.map(|max| self.since.plus(max))).min()
    }

    /// The verdicts so far, as a window would count them.
    pub(crate) fn counts(&self) -> WindowCounts {
        WindowCounts {
            total: self.decided().into(),
            failures: self.failed.into(),
            slow: self.slow.into(),
        }
    }
}

impl Core {
    /// The wait is over: a new half-open phase, with no probe out yet.
    pub(super) fn half_open(&self, spell: Spell, at: At<'_>) -> Self {
        let trial = Trial {
            spell,
            since: at.now,
            rules: Arc::clone(at.rules),
            out: Vec::new(),
            issued: 0,
            judged: 0,
            lapsed: false,
            passed: 0,
            failed: 0,
            slow: 0,
        };
        let mut next = self.clone().turned(Phase::HalfOpen(Box::new(trial)));
        next.health.retry_attempt = 0;
        next
    }

    pub(super) fn admit_probe(&self, trial: &Trial, at: At<'_>) -> Step<Admission> {
        let age = at.now.since(trial.since);
        if at.rules.half_open_max.is_some_and(|max| age >= max) {
            return self.admit_after_all(trial, at);
        }
        let mut next = trial.clone();
        match next.give_slot(at.now) {
            Some(id) => {
                let ticket = self.ticket(at.now, Some(id));
                Step::to(self.with_trial(next), Admission::Admitted(ticket))
            }
            None => Step::stay(Admission::Refused(Refused::new(Reason::ProbesInFlight, None))),
        }
    }

    /// Asked for admission, the phase being as old as it may get: it ends with what is known (R6).
    fn admit_after_all(&self, trial: &Trial, at: At<'_>) -> Step<Admission> {
        match trial.last_decision() {
            Some(false) => self
                .reopen(trial, None, at)
                .map(|wait| Admission::Refused(Refused::new(Reason::Open, Some(wait)))),
            Some(true) => {
                let closed = self.clone().close();
                let ticket = closed.ticket(at.now, None);
                Step::turn(closed, Turn::Closed, Admission::Admitted(ticket))
            }
            None => {
                let begun = self.half_open(trial.spell, at);
                begun.admit(at).after(begun)
            }
        }
    }

    pub(super) fn settle_probe(
        &self,
        trial: &Trial,
        ticket: Ticket,
        outcome: Outcome<'_>,
        at: At<'_>,
    ) -> Step<Settled> {
        let mut next = trial.clone();
        if !next.take_back(ticket, at.now) {
            return Step::stay(Recorded::Late.into());
        }
        next.judged += u32::from(matches!(outcome.verdict, Verdict::Success | Verdict::Failure));
        let slow = trial.rules.is_slow(outcome.latency);
        let step = self.noted(outcome, at.now).judged(next, slow, outcome, at);
        step.freed(self.generation).map(Settled::from)
    }

    /// A verdict that came without a permit needs no slot (R24); an error reopens (R23).
    pub(super) fn report_to_trial(
        &self,
        trial: &Trial,
        outcome: Outcome<'_>,
        at: At<'_>,
    ) -> Step<Reported> {
        if outcome.verdict == Verdict::Failure {
            return self.reopen(trial, outcome.asked_wait(), at).map(|_| Reported::Refused);
        }
        let step = self.judged(trial.clone(), false, outcome, at);
        step.map(|recorded| Reported::Settled(recorded.into()))
    }

    /// Adds the verdict and decides if it can be decided. `self` has the error noted already.
    fn judged(
        &self,
        mut trial: Trial,
        slow: bool,
        outcome: Outcome<'_>,
        at: At<'_>,
    ) -> Step<Recorded> {
        let slow_fails = trial.rules.mode == HalfOpenMode::All && trial.rules.slow_rate.is_some();
        match outcome.verdict {
            Verdict::Success if slow && slow_fails => trial.failed += 1,
            Verdict::Success => trial.passed = trial.passed.saturating_add(1),
            Verdict::Failure => trial.failed += 1,
            Verdict::Neutral | Verdict::Dropped => {
                return Step::to(self.with_trial(trial), Recorded::Neutral);
            }
        }
        trial.slow += u32::from(slow);
        match trial.decision() {
            None => Step::to(self.with_trial(trial), Recorded::Counted),
            Some(true) => Step::turn(self.clone().close(), Turn::Closed, Recorded::Counted),
            Some(false) => self
                .reopen(&trial, outcome.asked_wait(), at)
                .map(|retry_after| Recorded::Opened { retry_after }),
        }
    }

    /// The half-open phase failed: Open again, one failed phase more (R16).
    fn reopen(&self, trial: &Trial, asked: Option<u64>, at: At<'_>) -> Step<Duration> {
        let failed_trials = trial.spell.failed_trials.saturating_add(1);
        self.clone().open(failed_trials, asked, trial.news_after_failure(), at)
    }

    fn with_trial(&self, trial: Trial) -> Self {
        Self { phase: Phase::HalfOpen(Box::new(trial)), ..self.clone() }
    }
}
