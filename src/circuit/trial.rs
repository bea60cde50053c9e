//! The half-open phase: a few leased probes decide whether the peer is called again.

use std::time::Duration;

use super::{
    Admission, At, Core, Health, Outcome, Phase, Reported, Settled, Spell, Step, Ticket, Turn,
    Verdict,
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

/// A slot for a probe: free, or that of the probe at this place, whose lease is over.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Free,
    Lapsed(usize),
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

    /// A slot to give, if there is any (R3, R5).
    fn slot(&self, now: Tick) -> Option<Slot> {
        let out = u32::try_from(self.out.len()).unwrap_or(u32::MAX);
        if self.judged.saturating_add(out) < self.rules.probes {
            return Some(Slot::Free);
        }
        self.out.iter().position(|probe| self.expired(probe, now)).map(Slot::Lapsed)
    }

    /// The phase after a slot was given, and the number of the probe.
    fn with_probe(&self, slot: Slot, now: Tick) -> (Self, u32) {
        let mut next = self.clone();
        if let Slot::Lapsed(place) = slot {
            next.out.remove(place);
            next.lapsed = true;
        }
        next.out.push(Probe { id: self.issued, admitted_at: now });
        next.issued = self.issued.wrapping_add(1);
        (next, self.issued)
    }

    /// The phase after a probe has given back its slot; `None` if its lease no longer runs.
    fn without_probe(&self, ticket: Ticket, now: Tick) -> Option<Self> {
        let place = self
            .out
            .iter()
            .position(|probe| Some(probe.id) == ticket.probe && !self.expired(probe, now))?;
        let mut next = self.clone();
        next.out.remove(place);
        Some(next)
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
        let mut next = self.turned(Phase::HalfOpen(Box::new(trial)));
        next.health.run.attempts = 0;
        next
    }

    pub(super) fn admit_probe(&self, trial: &Trial, at: At<'_>) -> Step<Admission> {
        let age = at.now.since(trial.since);
        if at.rules.half_open_max.is_some_and(|max| age >= max) {
            return self.admit_after_all(trial, at);
        }
        let Some(slot) = trial.slot(at.now) else {
            return Step::stay(Admission::Refused(Refused::new(Reason::ProbesInFlight, None)));
        };
        let (next, id) = trial.with_probe(slot, at.now);
        let ticket = self.ticket(at.now, Some(id));
        Step::to(self.with_trial(self.health, next), Admission::Admitted(ticket))
    }

    /// Asked for admission, the phase being as old as it may get: it ends with what is known (R6).
    fn admit_after_all(&self, trial: &Trial, at: At<'_>) -> Step<Admission> {
        match trial.last_decision() {
            Some(false) => self
                .reopen(self.health, trial, None, at)
                .map(|wait| Admission::Refused(Refused::new(Reason::Open, Some(wait)))),
            Some(true) => {
                let closed = self.close();
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
        let Some(mut next) = trial.without_probe(ticket, at.now) else {
            return Step::stay(Recorded::Late.into());
        };
        next.judged += u32::from(matches!(outcome.verdict, Verdict::Success | Verdict::Failure));
        let slow = trial.rules.is_slow(outcome.latency);
        let step = self.judged(next, slow, outcome, at);
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
            let health = self.health.noting(outcome);
            let opened = self.reopen(health, trial, outcome.asked_wait(), at);
            return opened.map(|_| Reported::Refused);
        }
        let step = self.judged(trial.clone(), false, outcome, at);
        step.map(|recorded| Reported::Settled(recorded.into()))
    }

    /// Adds the verdict, and decides if it can be decided.
    fn judged(
        &self,
        mut trial: Trial,
        slow: bool,
        outcome: Outcome<'_>,
        at: At<'_>,
    ) -> Step<Recorded> {
        let health = self.health.noting(outcome);
        let slow_fails = trial.rules.mode == HalfOpenMode::All && trial.rules.slow_rate.is_some();
        match outcome.verdict {
            Verdict::Success if slow && slow_fails => trial.failed += 1,
            Verdict::Success => trial.passed = trial.passed.saturating_add(1),
            Verdict::Failure => trial.failed += 1,
            Verdict::Neutral | Verdict::Dropped => {
                return Step::to(self.with_trial(health, trial), Recorded::Neutral);
            }
        }
        trial.slow += u32::from(slow);
        match trial.decision() {
            None => Step::to(self.with_trial(health, trial), Recorded::Counted),
            Some(true) => Step::turn(self.close().noted(outcome), Turn::Closed, Recorded::Counted),
            Some(false) => self
                .reopen(health, &trial, outcome.asked_wait(), at)
                .map(|retry_after| Recorded::Opened { retry_after }),
        }
    }

    /// The half-open phase failed: Open again, one failed phase more (R16).
    fn reopen(
        &self,
        health: Health,
        trial: &Trial,
        asked: Option<u64>,
        at: At<'_>,
    ) -> Step<Duration> {
        let failed_trials = trial.spell.failed_trials.saturating_add(1);
        self.open(health, failed_trials, asked, trial.news_after_failure(), at)
    }

    fn with_trial(&self, health: Health, trial: Trial) -> Self {
        Self { health, ..self.with_phase(Phase::HalfOpen(Box::new(trial))) }
    }
}
