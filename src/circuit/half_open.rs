//! The half-open phase: a few leased probes decide whether the peer is called again.

use std::time::Duration;

use super::{
    Admission, Circuit, Health, Open, Outcome, Phase, Report, Settled, Step, StepContext, Ticket,
};
use crate::config::HalfOpenMode;
use crate::config::rules::Rules;
use crate::event::EventKind;
use crate::outcome::{Reason, Recorded, Refused, WindowCounts};
use crate::sync::Arc;
use crate::time::Tick;

/// One half-open phase. It keeps the configuration it began with: how many probes, how they decide, how long
/// their leases last (R18).
#[derive(Debug, Clone)]
pub(crate) struct HalfOpen {
    pub(crate) open: Open,
    pub(crate) since: Tick,
    rules: Arc<Rules>,
    /// The probes that are out, oldest first; N at the most.
    pub(crate) out: Vec<Probe>,
    issued: u32,
    /// The number of probes that have decided. A reported outcome is not among them: it needs no slot (R24).
    judged: u32,
    /// Whether the lease of a probe ran out and its slot was given again.
    lapsed: bool,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

/// A slot for a probe: a free one, or that of the probe at this index, whose lease is over.
#[derive(Debug, Clone, Copy)]
enum ProbeSlot {
    Free,
    Lapsed(usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    id: u32,
    pub(crate) admitted_at: Tick,
}

impl HalfOpen {
    /// Returns the number of outcomes so far, of probes and reports.
    pub(crate) fn decided(&self) -> u32 {
        self.passed.saturating_add(self.failed)
    }

    /// Returns whether the lease of this probe is over: from `admitted_at + lease` on (R5).
    fn expired(&self, probe: &Probe, now: Tick) -> bool {
        self.rules.lease.is_some_and(|lease| now >= probe.admitted_at.plus(lease))
    }

    /// Returns a slot that an admission may take, if there is any (R3, R5).
    fn slot(&self, now: Tick) -> Option<ProbeSlot> {
        let out = u32::try_from(self.out.len()).unwrap_or(u32::MAX);
        if self.judged.saturating_add(out) < self.rules.probes {
            return Some(ProbeSlot::Free);
        }
        self.out.iter().position(|probe| self.expired(probe, now)).map(ProbeSlot::Lapsed)
    }

    /// Returns the phase after a probe took this slot, and the probe's number.
    fn with_probe(&self, slot: ProbeSlot, now: Tick) -> (Self, u32) {
        let mut next = self.clone();
        if let ProbeSlot::Lapsed(index) = slot {
            next.out.remove(index);
            next.lapsed = true;
        }
        next.out.push(Probe { id: self.issued, admitted_at: now });
        next.issued = self.issued.wrapping_add(1);
        (next, self.issued)
    }

    /// Returns the phase after a probe freed its slot; `None` if its lease is over.
    fn without_probe(&self, ticket: Ticket, now: Tick) -> Option<Self> {
        let index = self
            .out
            .iter()
            .position(|probe| Some(probe.id) == ticket.probe && !self.expired(probe, now))?;
        let mut next = self.clone();
        next.out.remove(index);
        Some(next)
    }

    /// Decides by the outcomes so far (R11): `Some(true)` closes, `Some(false)` reopens.
    fn decision(&self) -> Option<bool> {
        let probes = self.rules.probes;
        match self.rules.mode {
            HalfOpenMode::All if self.failed > 0 => Some(false),
            HalfOpenMode::All => (self.passed >= probes).then_some(true),
            HalfOpenMode::Rate if self.decided() < probes => None,
            HalfOpenMode::Rate => Some(!self.rules.rate_reached(self.counts())),
        }
    }

    /// Decides when the phase has reached its greatest age (R6): `Some(true)` closes, `Some(false)` reopens,
    /// `None` means that there is no outcome.
    fn last_decision(&self) -> Option<bool> {
        let hung = self.lapsed || !self.out.is_empty();
        let fails = self.rules.mode == HalfOpenMode::Rate && self.rules.rate_reached(self.counts());
        if hung || fails {
            return Some(false);
        }
        (self.decided() > 0).then_some(true)
    }

    /// Returns the time at which a slot becomes free although no probe ends: a lease runs out, or the phase
    /// reaches its greatest age.
    pub(crate) fn frees_at(&self, half_open_max: Option<u64>) -> Option<Tick> {
        let leases = self.rules.lease.into_iter();
        let leases =
            leases.flat_map(|lease| self.out.iter().map(move |p| p.admitted_at.plus(lease)));
        leases.chain(half_open_max.map(|max| self.since.plus(max))).min()
    }

    /// Returns the outcomes so far, as a window would count them.
    pub(crate) fn counts(&self) -> WindowCounts {
        WindowCounts {
            total: self.decided().into(),
            failures: self.failed.into(),
            slow: self.slow.into(),
        }
    }
}

impl Circuit {
    /// Begins a half-open phase, with no probe out yet.
    pub(super) fn begin_half_open(&self, open: Open, at: StepContext<'_>) -> Self {
        let half_open = HalfOpen {
            open,
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
        let mut next = self.turned(Phase::HalfOpen(Box::new(half_open)));
        next.health.run.errors = 0;
        next
    }

    pub(super) fn admit_half_open(
        &self,
        half_open: &HalfOpen,
        at: StepContext<'_>,
    ) -> Step<Admission> {
        let age = at.now.since(half_open.since);
        if at.rules.half_open_max.is_some_and(|max| age >= max) {
            return self.admit_after_all(half_open, at);
        }
        let Some(slot) = half_open.slot(at.now) else {
            let frees = half_open.frees_at(at.rules.half_open_max);
            let frees = frees.map(|then| Duration::from_nanos(then.since(at.now)));
            return Step::stay(Admission::Refused(Refused::by_probes(frees)));
        };
        let (next, id) = half_open.with_probe(slot, at.now);
        let ticket = self.ticket(at.start(), Some(id));
        Step::to(self.with_half_open(self.health, next), Admission::Admitted(ticket))
    }

    /// Answers an admission in a phase of the greatest age: the outcomes so far end the phase (R6).
    fn admit_after_all(&self, half_open: &HalfOpen, at: StepContext<'_>) -> Step<Admission> {
        match half_open.last_decision() {
            Some(false) => self
                .reopen(self.health, half_open, None, at)
                .map(|wait| Admission::Refused(Refused::new(Reason::Open, Some(wait)))),
            Some(true) => {
                let closed = self.close();
                let ticket = closed.ticket(at.start(), None);
                Step::emit(closed, EventKind::Closed, Admission::Admitted(ticket))
            }
            None => {
                let begun = self.begin_half_open(half_open.open, at);
                begun.admit(at).after(begun)
            }
        }
    }

    pub(super) fn settle_half_open(
        &self,
        half_open: &HalfOpen,
        ticket: Ticket,
        report: Report<'_>,
        at: StepContext<'_>,
    ) -> Step<Settled> {
        let Some(mut next) = half_open.without_probe(ticket, at.now) else {
            return Step::stay(Recorded::Late.into());
        };
        next.judged += u32::from(matches!(report.outcome, Outcome::Success | Outcome::Failure));
        let slow = half_open.rules.is_slow(report.latency);
        let step = self.judged(next, slow, report, at);
        step.freed().map(Settled::from)
    }

    /// Adds the outcome, and decides where the outcomes suffice.
    pub(super) fn judged(
        &self,
        mut half_open: HalfOpen,
        slow: bool,
        report: Report<'_>,
        at: StepContext<'_>,
    ) -> Step<Recorded> {
        let health = self.health.noting(report);
        let slow_fails =
            half_open.rules.mode == HalfOpenMode::All && half_open.rules.slow_rate.is_some();
        match report.outcome {
            Outcome::Success if slow && slow_fails => half_open.failed += 1,
            Outcome::Success => half_open.passed = half_open.passed.saturating_add(1),
            Outcome::Failure => half_open.failed += 1,
            // A probe that decides nothing gives its slot back (R12).
            Outcome::Neutral | Outcome::Dropped => {
                return Step::to(self.with_half_open(health, half_open), Recorded::Neutral);
            }
        }
        half_open.slow += u32::from(slow);
        match half_open.decision() {
            None => Step::to(self.with_half_open(health, half_open), Recorded::Counted),
            Some(true) => {
                Step::emit(self.close().noted(report), EventKind::Closed, Recorded::Counted)
            }
            Some(false) => self
                .reopen(health, &half_open, report.asked_wait(), at)
                .map(|retry_after| Recorded::Opened { retry_after }),
        }
    }

    /// Opens the circuit again, after one more failed half-open phase (R16).
    pub(super) fn reopen(
        &self,
        health: Health,
        half_open: &HalfOpen,
        asked: Option<u64>,
        at: StepContext<'_>,
    ) -> Step<Duration> {
        let failed_half_opens = half_open.open.failed_half_opens.saturating_add(1);
        self.open(health, failed_half_opens, asked, half_open.news_after_failure(), at)
    }

    fn with_half_open(&self, health: Health, half_open: HalfOpen) -> Self {
        Self { health, ..self.with_phase(Phase::HalfOpen(Box::new(half_open))) }
    }
}
