//! Holds what was recorded of a cell against the rules of the whole, W1 to W6.

use std::fmt;

use super::cell::{Cell, HOUR};
use super::limits;
use super::peer::Behaviour;
use super::record::{Record, Report, Why};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    W1,
    W2,
    W3,
    W4,
    W5,
    W6,
}

pub(crate) const RULES: [Rule; 6] = [Rule::W1, Rule::W2, Rule::W3, Rule::W4, Rule::W5, Rule::W6];

/// A rule that was broken: by how many of those to whom it applies, and the worst figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    pub(crate) figure: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.figure)
    }
}

struct Judge<'a> {
    cell: &'a Cell,
    report: &'a Report,
    broken: Vec<Broken>,
}

/// The rules that the report breaks, each with its figure.
pub(crate) fn judge(cell: &Cell, report: &Report) -> Vec<Broken> {
    let mut judge = Judge { cell, report, broken: Vec::new() };
    judge.rounds();
    judge.returns();
    judge.strangers();
    judge.first_calls();
    judge.openings();
    judge.blamed();
    judge.hours();
    judge.restarts();
    judge.downs();
    judge.growth();
    judge.broken.sort_by_key(|broken| broken.rule);
    judge.broken
}

/// The rules that say something about a cell.
pub(crate) fn applies(cell: &Cell, rule: Rule) -> bool {
    let any = |is: fn(Behaviour) -> bool| cell.groups.iter().any(|group| is(group.behaviour));
    match rule {
        Rule::W1 | Rule::W5 => true,
        Rule::W2 => any(|b| b.is_dead() || b.down_for().is_some() || b == Behaviour::Drops),
        Rule::W3 => any(|b| match b {
            Behaviour::Away { to, .. } => to < u64::MAX,
            other => matches!(other, Behaviour::Flaps { .. }),
        }),
        Rule::W4 => cell.outages().next().is_some(),
        Rule::W6 => cell.strangers > 0,
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

impl Judge<'_> {
    fn breaks(&mut self, rule: Rule, figure: String) {
        self.broken.push(Broken { rule, figure });
    }

    fn each(&self) -> impl Iterator<Item = (Behaviour, &Record)> {
        self.cell.peers().map(|(peer, _)| peer.behaviour).zip(&self.report.peers)
    }

    /// Says how many of all break a rule, and by how much the worst: figure and limit.
    fn most(&mut self, rule: Rule, what: &str, all: &[(u64, u64)]) {
        let worse = all.iter().filter(|(figure, limit)| figure > limit);
        let Some((figure, limit)) = worse.clone().max_by_key(|(figure, limit)| figure - limit)
        else {
            return;
        };
        let share = format!("{} of {}", worse.count(), all.len());
        self.breaks(rule, format!("{what}: {share}, the worst {figure} of {limit} allowed"));
    }

    /// The same, of milliseconds that are shown in seconds.
    fn latest(&mut self, rule: Rule, what: &str, all: &[(u64, u64)]) {
        let worse = all.iter().filter(|(took, limit)| took > limit);
        let Some((took, limit)) = worse.clone().max_by_key(|(took, limit)| took - limit) else {
            return;
        };
        let (share, took) = (format!("{} of {}", worse.count(), all.len()), seconds(*took));
        let limit = seconds(*limit);
        self.breaks(
            rule,
            format!("{what}: {share}, the worst {took:.1} s of {limit:.1} s allowed"),
        );
    }

    /// W1: a healthy peer that was served once is served in 95 of 100 rounds.
    fn rounds(&mut self) {
        if !limits::can_be_held(self.cell) {
            return;
        }
        let healthy =
            self.each().filter(|(behaviour, peer)| behaviour.is_healthy() && peer.rounds > 0);
        let served = healthy.map(|(_, peer)| f64::from(peer.served) / f64::from(peer.rounds));
        let served: Vec<_> = served.collect();
        let worse: Vec<_> = served.iter().filter(|share| **share < 0.95).collect();
        if let Some(least) = worse.iter().copied().copied().reduce(f64::min) {
            let (least, count, all) = (100.0 * least, worse.len(), served.len());
            let figure = format!("rounds served: {count} of {all} peers, the worst {least:.1} %");
            self.breaks(Rule::W1, figure);
        }
    }

    /// W1: the first call of the last of n unknown peers comes in time.
    fn first_calls(&mut self) {
        let end = self.cell.end();
        let asked = self.each().filter_map(|(_, peer)| Some((peer.first_request?, peer)));
        // Until somebody has answered, a peer that cannot be called for a reason of ours is trouble
        // of our own, in which one call is tried now and then (D2).
        let is_local = self.each().any(|(behaviour, _)| behaviour == Behaviour::Local);
        let answered = self.each().filter_map(|(_, peer)| peer.first_success).min();
        let earliest = if is_local { answered.unwrap_or(end) } else { 0 };
        let waits = asked.map(|(at, peer)| {
            let at = at.max(earliest);
            let called = peer.first_call.unwrap_or(end);
            let unknown = if peer.first_call.is_some() { peer.unknown } else { u32::MAX };
            let unknown = unknown.min(self.cell.count() + self.cell.strangers * self.cell.hours);
            (called.saturating_sub(at), limits::first_call(self.cell, unknown))
        });
        let waits: Vec<_> = waits.collect();
        self.latest(Rule::W1, "first call after", &waits);
    }

    /// W2: a dead peer is open at its `failure_threshold`-th failure in a row.
    fn openings(&mut self) {
        let calls: Vec<_> = self.each().map(|(_, peer)| (u64::from(peer.beyond), 0)).collect();
        self.most(Rule::W2, "calls after enough failures, circuit closed", &calls);
        let closed = self.report.dead_closed;
        if closed > 0 {
            let figure = format!("dead peers whose circuit is closed at the end: {closed}");
            self.breaks(Rule::W2, figure);
        }
        let closed = self.each().filter(|(b, peer)| b.is_dead() && peer.closed).count();
        if closed > 0 {
            self.breaks(Rule::W2, format!("dead peers whose circuit closed: {closed}"));
        }
    }

    /// W4: no healthy peer is blamed for an outage of the link of which the node is told.
    fn blamed(&mut self) {
        let healthy = self.each().filter(|(behaviour, _)| behaviour.is_healthy());
        let opened = healthy.filter(|(_, peer)| peer.opened.is_some()).count();
        if opened > 0 && self.cell.links_away().next().is_some() {
            self.breaks(Rule::W4, format!("healthy peers whose circuit opened: {opened}"));
        }
    }

    /// W2: after its first hour a peer that fails is called so many times an hour.
    fn hours(&mut self) {
        let limit = limits::calls_an_hour(self.cell);
        let bad = self.each().filter(|(behaviour, _)| {
            let gone = matches!(behaviour, Behaviour::Away { .. });
            behaviour.is_dead() || gone || *behaviour == Behaviour::Drops
        });
        let most = bad.map(|(_, peer)| {
            let most = peer.failed.iter().skip(1).max().copied().unwrap_or_default();
            (u64::from(most), limit)
        });
        let most: Vec<_> = most.collect();
        self.most(Rule::W2, "failed calls an hour", &most);
    }

    /// W2: after a restart not all dead peers are called at once.
    fn restarts(&mut self) {
        let limit = limits::calls_at_once(self.cell);
        let seconds = self.report.restarts.iter().flatten();
        let calls: Vec<_> = seconds.map(|calls| (u64::from(*calls), limit)).collect();
        self.most(Rule::W2, "calls of dead peers in a second after a restart", &calls);
    }

    /// W2: so many calls fail each time that a peer goes down.
    fn downs(&mut self) {
        let downs = self.each().filter_map(|(behaviour, peer)| {
            let limit = limits::calls_when_down(self.cell, behaviour.down_for()?)?;
            Some((peer.downs.iter().max().copied().unwrap_or_default().into(), limit))
        });
        let downs: Vec<_> = downs.collect();
        self.most(Rule::W2, "failed calls in a time of being down", &downs);
    }

    /// W3 and W4: who answered before and is back, is served in time.
    fn returns(&mut self) {
        for (why, rule, what) in [
            (Why::Back, Rule::W3, "served again after"),
            (Why::News, Rule::W3, "served again, with good news, after"),
            (Why::Awake, Rule::W3, "served again, after a suspend, after"),
            (Why::Restarted, Rule::W1, "served again, after a restart, after"),
            (Why::Recovered, Rule::W4, "served again, after our outage, after"),
            (Why::Kicked, Rule::W4, "served again, kicked, after"),
            (Why::Linked, Rule::W4, "served again, the link back, after"),
        ] {
            let worst = self.each().filter_map(|(_, peer)| peer.returns.get(&why)?.worst);
            let worst: Vec<_> = worst.collect();
            self.latest(rule, what, &worst);
        }
        let late = self.report.retries_back.iter().filter(|back| !**back).count();
        if late > 0 {
            self.breaks(Rule::W4, format!("no retries twenty minutes after {late} outages"));
        }
    }

    /// W5: nothing grows.
    fn growth(&mut self) {
        let (peak, known) = (&self.report.peak, self.cell.count() as usize);
        let room = self.cell.configs().map(|config| config.max_peers).max().unwrap_or_default();
        // The driver, the calls, and the task that makes the requests.
        let tasks = self.cell.settings.places() + 8;
        let held = [
            ("peers tracked", peak.tracked, room),
            ("peers that wait", peak.waiting, known + room),
            ("tasks", peak.tasks, tasks),
        ];
        for (what, figure, limit) in held {
            if figure > limit {
                self.breaks(Rule::W5, format!("{what}: {figure} of {limit} allowed"));
            }
        }
        let before = std::iter::once(&0).chain(&peak.lines);
        let lines = peak.lines.iter().zip(before).map(|(now, before)| now.saturating_sub(*before));
        let limit = limits::lines_an_hour(self.cell);
        let lines: Vec<_> = lines.map(|lines| (lines, limit)).collect();
        self.most(Rule::W5, "log lines an hour", &lines);
        if self.report.runaway {
            let calls = self.report.calls;
            self.breaks(Rule::W5, format!("calls without end: {calls}"));
        }
    }

    /// W6: strangers change nothing for peers that answered before, of whom was judged by now.
    fn strangers(&mut self) {
        let rules: Vec<_> = self.broken.iter().map(|broken| broken.figure.clone()).collect();
        if self.cell.strangers > 0 && !rules.is_empty() {
            self.breaks(Rule::W6, format!("beside strangers: {}", rules.join("; ")));
        }
    }
}

/// The figures of a cell at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Glance {
    /// The share of all rounds of healthy peers that were served.
    pub(crate) served: Option<f64>,
    /// Failed calls an hour to each dead peer, after its first hour.
    pub(crate) an_hour: Option<f64>,
    /// When the last dead peer's circuit opened, in minutes; none if one never did.
    pub(crate) last_open: Option<f64>,
    /// The longest time in which a peer that answered before, and was back, was served, in seconds.
    pub(crate) back: Option<f64>,
    /// The longest time from a peer's first request to its first call, in minutes; one that was never
    /// called has waited until the end.
    pub(crate) first: Option<f64>,
}

impl Glance {
    pub(crate) fn of(cell: &Cell, report: &Report) -> Self {
        let peers = || cell.peers().map(|(peer, _)| peer.behaviour).zip(&report.peers);
        let healthy = peers().filter(|(behaviour, _)| behaviour.is_healthy());
        let (rounds, served) = healthy.fold((0, 0), |(rounds, served), (_, peer)| {
            (rounds + peer.rounds, served + peer.served)
        });
        let dead = || peers().filter(|(b, _)| b.is_dead() || *b == Behaviour::Drops);
        // The time after the first hour; a few minutes would say nothing.
        let hours = |peer: &Record| {
            let left = (cell.end() - peer.first_call?).checked_sub(HOUR)?;
            let calls = peer.failed.iter().skip(1).sum::<u32>();
            (left > HOUR / 4).then(|| f64::from(calls) * HOUR as f64 / left as f64)
        };
        let calls: Vec<_> = dead().filter_map(|(_, peer)| hours(peer)).collect();
        let last_open = dead().map(|(_, peer)| peer.opened).collect::<Option<Vec<_>>>();
        let minutes = |ms: u64| ms as f64 / 60_000.0;
        let returns = peers().flat_map(|(_, peer)| peer.returns.values());
        let first = peers().filter_map(|(_, peer)| {
            Some(peer.first_call.unwrap_or(cell.end()) - peer.first_request?)
        });
        Self {
            served: (rounds > 0).then(|| f64::from(served) / f64::from(rounds)),
            an_hour: (!calls.is_empty()).then(|| calls.iter().sum::<f64>() / calls.len() as f64),
            last_open: last_open.and_then(|all| all.into_iter().max()).map(minutes),
            back: returns.filter_map(|returns| Some(seconds(returns.worst?.0))).reduce(f64::max),
            first: first.max().map(minutes),
        }
    }
}
