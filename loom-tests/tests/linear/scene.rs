//! The scene of the interleavings: one peer whose calls answer in words, and the run through all of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shuttle::Runner;
use shuttle::scheduler::{DfsScheduler, Schedule, Scheduler, Task, TaskId};

use crate::circuit::{Control, Outcome, Reported};
use crate::config::HealthConfig;
use crate::error::{Failure, SyncError};
use crate::histories::config;
use crate::outcome::{Reason, Recorded, Status};
use crate::permit::OwnedPermit;
use crate::program::Look;
use crate::subject::{Peer, Time};
use crate::sync::Arc;

/// Runs a model through all its interleavings and compares the results.
pub(crate) fn every_interleaving(least: usize, model: fn() -> String, expected: &[&str]) {
    let exhausted = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let depth_first = DfsScheduler::new(None, false);
    let scheduler = Complete { depth_first, exhausted: Arc::clone(&exhausted) };
    let outcomes = Arc::clone(&seen);
    let executions = Runner::new(scheduler, config()).run(move || {
        let outcome = model();
        outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(outcome);
    });
    println!("{executions} interleavings");
    assert!(exhausted.load(Ordering::Relaxed), "stopped before all were seen");
    assert!(executions >= least, "{executions} interleavings are too few to be all");
    let seen: BTreeSet<String> = std::mem::take(&mut seen.lock().unwrap());
    assert_eq!(seen, expected.iter().map(ToString::to_string).collect());
}

/// The depth-first scheduler, and whether it has come to its end.
#[derive(Debug)]
struct Complete {
    depth_first: DfsScheduler,
    exhausted: Arc<AtomicBool>,
}

impl Scheduler for Complete {
    fn new_execution(&mut self) -> Option<Schedule> {
        let next = self.depth_first.new_execution();
        self.exhausted.store(next.is_none(), Ordering::Relaxed);
        next
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        yields: bool,
    ) -> Option<TaskId> {
        self.depth_first.next_task(runnable, current, yields)
    }

    fn next_u64(&mut self) -> u64 {
        self.depth_first.next_u64()
    }
}

/// A peer, its time, and the permits that are still out.
pub(crate) struct Scene {
    pub(crate) peer: Peer,
    pub(crate) time: Time,
    given: AtomicUsize,
    held: Mutex<Vec<OwnedPermit<()>>>,
}

pub(crate) const OPEN: Duration = Duration::from_nanos(10);

/// Returns rules by which `failures` in a row open for ten nanoseconds, and `successes` close.
pub(crate) fn rules(failures: u32, successes: u32) -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(failures)
        .with_success_threshold(successes)
        .with_streak_gap(None)
        .with_open_timeout(OPEN)
        .with_open_multiplier(1.0)
        .with_open_jitter(0.0)
        .with_probe_lease(None)
}

pub(crate) fn failure() -> Failure {
    SyncError::Network("reset".into()).into()
}

impl Scene {
    pub(crate) fn new(rules: HealthConfig) -> Self {
        let time = Time::default();
        let peer = Peer::new(&rules, time.clock());
        Self { peer, time, given: AtomicUsize::new(0), held: Mutex::default() }
    }

    /// Returns a peer that is closed after this many failures in a row.
    pub(crate) fn with_streak(rules: HealthConfig, failures: usize) -> Self {
        let scene = Self::new(rules);
        for _ in 0..failures {
            scene.permit().failure(failure());
        }
        scene
    }

    /// Returns a peer that is open and whose wait is over at this moment.
    pub(crate) fn at_the_deadline(rules: HealthConfig) -> Self {
        let failures = rules.failure_threshold.unwrap();
        let scene = Self::with_streak(rules, failures as usize);
        scene.time.advance(10);
        scene
    }

    pub(crate) fn acquire(&self) -> Result<OwnedPermit<()>, Reason> {
        self.given(self.peer.acquire())
    }

    fn given(&self, answer: Result<OwnedPermit<()>, Reason>) -> Result<OwnedPermit<()>, Reason> {
        self.given.fetch_add(answer.is_ok().into(), Ordering::Relaxed);
        answer
    }

    pub(crate) fn permit(&self) -> OwnedPermit<()> {
        self.acquire().unwrap()
    }

    /// Asks for a permit, and returns the answer in words; the permit stays out until the end.
    pub(crate) fn ask(&self) -> &'static str {
        self.hold(self.acquire())
    }

    /// Does the same without the quick look at a healthy peer.
    pub(crate) fn ask_at_once(&self) -> &'static str {
        self.hold(self.given(self.peer.answer(self.peer.admission_by_value())))
    }

    fn hold(&self, answer: Result<OwnedPermit<()>, Reason>) -> &'static str {
        match answer {
            Ok(permit) => {
                let word = if permit.is_probe() { "probe" } else { "permit" };
                self.held.lock().unwrap_or_else(PoisonError::into_inner).push(permit);
                word
            }
            Err(Reason::Open) => "open",
            Err(Reason::ProbesInFlight) => "probes in flight",
            Err(Reason::ForcedOpen) => "forced open",
        }
    }

    pub(crate) fn look(&self) -> String {
        words(Look::at(&self.peer.circuit()))
    }

    pub(crate) fn report_failure(&self) -> &'static str {
        told(self.peer.report(Outcome::Failure, Some(&failure())).0)
    }

    pub(crate) fn report_success(&self) -> &'static str {
        told(self.peer.report(Outcome::Success, None).0)
    }

    /// Returns the result, with the circuit at the end. Then all permits come back: each has ended once, the
    /// listener heard of each transition once, and time and successes close the circuit from any state
    /// (P10).
    pub(crate) fn ends(self, outcome: impl std::fmt::Display) -> String {
        let text = format!("{outcome} -> {}", self.look());
        drop(std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner)));
        self.peer.audit(self.given.load(Ordering::Relaxed));
        if self.peer.circuit().is_removed() {
            return text;
        }
        if matches!(self.peer.circuit().status(), Status::ForcedOpen | Status::Disabled) {
            self.peer.control(Control::Reset);
        }
        self.time.advance(1_000);
        for _ in 0..3 {
            self.acquire().map(OwnedPermit::success).unwrap();
        }
        assert_eq!(self.peer.circuit().status(), Status::Closed, "stuck after: {text}");
        text
    }
}

fn words(look: Look) -> String {
    let Look { status, generation, streak, probes } = look;
    format!("{status:?} {generation}, streak {streak}, {probes} out").to_lowercase()
}

pub(crate) fn word(recorded: Recorded) -> &'static str {
    match recorded {
        Recorded::Counted => "counted",
        Recorded::Neutral => "neutral",
        Recorded::Opened { .. } => "opened",
        Recorded::Late => "late",
    }
}

fn told(reply: Reported<Recorded>) -> &'static str {
    match reply {
        Reported::Recorded(recorded) => word(recorded),
        Reported::Refused => "refused",
        Reported::Now => "now",
        Reported::Gone => "gone",
    }
}

/// Runs two threads side by side, and returns their answers in words.
pub(crate) fn both<A: std::fmt::Display + Send, B: std::fmt::Display>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B,
) -> String {
    shuttle::thread::scope(|scope| {
        let first = scope.spawn(a);
        let second = b();
        format!("{} | {second}", first.join().unwrap())
    })
}

/// Does the same for three threads.
pub(crate) fn all_three<
    A: std::fmt::Display + Send,
    B: std::fmt::Display + Send,
    C: std::fmt::Display,
>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
    c: impl FnOnce() -> C,
) -> String {
    shuttle::thread::scope(|scope| {
        let (first, second) = (scope.spawn(a), scope.spawn(b));
        let third = c();
        format!("{} | {} | {third}", first.join().unwrap(), second.join().unwrap())
    })
}
