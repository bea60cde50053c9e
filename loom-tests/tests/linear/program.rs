//! Random programs for three threads, their execution, and its record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shuttle::rand::Rng;

use crate::circuit::{Admission, Circuit, Control, Outcome, Reported, Ticket};
use crate::config::{HalfOpenMode, HealthConfig};
use crate::error::{Failure, SyncError};
use crate::outcome::{NextAdmission, Recorded, Status};
use crate::subject::{Time, me};
use crate::sync::{Arc, Point};
use crate::time::Tick;

/// An operation on the peer.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Acquire,
    Settle(Ticket, Ending),
    Control(Control),
    /// The few values that every kind of tracker here can show.
    Look,
    /// The whole snapshot, as printed.
    Inspect,
    NextAdmission,
    IsCircuitOpen,
    Report(Ending),
    Configure(usize),
    Remove,
    NoteReachable,
    EndWait,
}

/// The end of a call.
#[derive(Debug, Clone)]
pub(crate) enum Ending {
    Success,
    Failure(Arc<Failure>),
    Neutral,
    Dropped,
}

impl Ending {
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Success => Outcome::Success,
            Self::Failure(failure) if failure.counts() => Outcome::Failure,
            Self::Failure(_) | Self::Neutral => Outcome::Neutral,
            Self::Dropped => Outcome::Dropped,
        }
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) => Some(failure),
            _ => None,
        }
    }
}

/// The answer of an operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Admission(Admission),
    Recorded(Recorded),
    Done(bool),
    Look(Look),
    Inspect(String),
    NextAdmission(NextAdmission),
    IsCircuitOpen(bool),
    Report(Reported<Recorded>, u32),
    MayBeProbed(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) status: Status,
    pub(crate) generation: u64,
    pub(crate) streak: u32,
    pub(crate) probes: usize,
}

impl Look {
    pub(crate) fn at(circuit: &Circuit) -> Self {
        Self {
            status: circuit.status(),
            generation: circuit.generation,
            streak: circuit.health.run.streak,
            probes: circuit.probes_in_flight(),
        }
    }
}

/// Returns all of a circuit that decides: without the number of its value, the count of successes that it
/// takes over from outside, and the time of the last failure, which without a window is noted outside.
pub(crate) fn print(circuit: &Circuit) -> String {
    let mut circuit = circuit.clone();
    circuit.epoch = 0;
    (circuit.health.successes_before, circuit.health.failed_at) = (0, Tick::default());
    format!("{circuit:?}")
}

/// One operation: its kind, the time it read if it read one, its answer, and its beginning and end by a
/// clock that all threads share.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) thread: usize,
    pub(crate) act: Act,
    pub(crate) now: Option<Tick>,
    pub(crate) answer: Answer,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

/// The subject of a test: a thread's access to a tracker that all threads share.
pub(crate) trait Subject: Send {
    fn perform(&mut self, act: &Act) -> Answer;
}

/// The next action of a thread, which names its permits when it acts.
#[derive(Debug, Clone)]
enum Move {
    Acquire,
    /// Ends one of the thread's permits; asks for one if it has none.
    Settle(Ending),
    Advance(u64),
    Do(Act),
}

/// The kinds of operations in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Admissions, the ends of permits, controls, snapshots, time.
    Permits,
    /// The same, and every other operation on a peer.
    All,
}

/// A configuration with its changes, the start, and the actions of each thread.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) rules: Vec<HealthConfig>,
    first: Vec<Move>,
    threads: Vec<Vec<Move>>,
}

pub(crate) const THREADS: usize = 3;
const OPEN: u64 = 10;

impl Program {
    pub(crate) fn random(mix: Mix) -> Self {
        let rng = &mut shuttle::rand::thread_rng();
        let rules = Self::random_rules(mix, rng);
        let first = Self::random_start(&rules[0], rng);
        let threads = (0..THREADS)
            .map(|_| (0..rng.gen_range(3..=4)).map(|_| Move::random(mix, rng)).collect())
            .collect();
        Self { rules, first, threads }
    }

    fn random_rules(mix: Mix, rng: &mut impl Rng) -> Vec<HealthConfig> {
        let nanos = Duration::from_nanos;
        let some = |rng: &mut dyn shuttle::rand::RngCore, n| rng.gen_bool(0.4).then(|| nanos(n));
        // The sequential tests cover announcements and times of failures noted outside the circuit.
        let windows = mix == Mix::Permits;
        let mut config = || {
            let rate = rng.gen_bool(0.2);
            let slow = rng.gen_bool(0.15).then(|| nanos(7));
            let mut config = HealthConfig::default()
                .with_failure_threshold(rng.gen_range(1..=3))
                .with_streak_gap((windows && rng.gen_bool(0.3)).then(|| nanos(6)))
                .with_success_threshold(rng.gen_range(1..=3))
                .with_open_timeout(nanos(OPEN))
                .with_open_multiplier(if rng.gen_bool(0.3) { 2.0 } else { 1.0 })
                .with_open_jitter(if rng.gen_bool(0.2) { 0.5 } else { 0.0 })
                .with_open_max(nanos(3 * OPEN))
                .with_probe_lease(some(rng, 8))
                .with_half_open_max(some(rng, 15))
                .with_failure_rate(rate.then_some(0.5))
                .with_slow_call(slow)
                .with_slow_rate(slow.map(|_| 0.5));
            // Rates without a window are for the probes.
            if rate || slow.is_some() {
                config = config.with_half_open_mode(HalfOpenMode::Rate);
            }
            config
        };
        let changes = if mix == Mix::All { 2 } else { 0 };
        (0..=changes).map(|_| config()).collect()
    }

    /// Deals permits of the first phase to the threads, moves the circuit to some state, and perhaps deals
    /// probes.
    fn random_start(rules: &HealthConfig, rng: &mut impl Rng) -> Vec<Move> {
        let mut first = vec![Move::Acquire; rng.gen_range(0..=3)];
        let threshold = rules.failure_threshold.unwrap_or(1);
        for _ in 0..rng.gen_range(0..=threshold) {
            first.push(Move::Acquire);
            first.push(Move::Settle(Ending::random_failure(rng)));
        }
        if rng.gen_bool(0.7) {
            first.push(Move::Advance(rng.gen_range(OPEN - 1..=OPEN + 5)));
            first.extend(vec![Move::Acquire; rng.gen_range(0..=3)]);
        }
        first
    }
}

impl Move {
    fn random(mix: Mix, rng: &mut impl Rng) -> Self {
        let kinds = if mix == Mix::All { 132 } else { 82 };
        match rng.gen_range(0..kinds) {
            0..20 => Self::Acquire,
            20..34 => Self::Settle(Ending::Success),
            34..48 => Self::Settle(Ending::random_failure(rng)),
            48..52 => Self::Settle(Ending::Failure(Arc::new(Failure::local("ours")))),
            52..55 => Self::Settle(Ending::Neutral),
            55..60 => Self::Settle(Ending::Dropped),
            60..68 => Self::Advance(rng.gen_range(1..=OPEN + 2)),
            68..78 => Self::Do(Act::Look),
            78..82 => Self::Do(Act::Control(
                [Control::ForceOpen, Control::Disable, Control::MetricsOnly, Control::Reset]
                    [rng.gen_range(0..4)],
            )),
            82..88 => Self::Do(Act::Inspect),
            88..92 => Self::Do(Act::NextAdmission),
            92..98 => Self::Do(Act::IsCircuitOpen),
            98..104 => Self::Do(Act::Report(Ending::random_failure(rng))),
            104..110 => Self::Do(Act::Report(Ending::Success)),
            110..113 => {
                Self::Do(Act::Report(Ending::Failure(Arc::new(Failure::local("ours, reported")))))
            }
            113..118 => Self::Do(Act::Configure(rng.gen_range(0..3))),
            118..120 => Self::Do(Act::Remove),
            120..130 => Self::Do(Act::NoteReachable),
            _ => Self::Do(Act::EndWait),
        }
    }
}

impl Ending {
    /// Returns a failure that counts; some ask for patience.
    fn random_failure(rng: &mut impl Rng) -> Self {
        let name = rng.gen_range(0..1000);
        let failure = Failure::from(SyncError::Network(format!("no. {name}")));
        let failure = match rng.gen_range(0..5) {
            0 => failure.with_retry_after(Duration::from_nanos(OPEN + 7)),
            _ => failure,
        };
        Self::Failure(Arc::new(failure))
    }
}

/// Records the operations.
pub(crate) struct Recorder {
    time: Time,
    events: AtomicU64,
    entries: Mutex<Vec<Entry>>,
    pause: Point,
}

impl Recorder {
    pub(crate) fn new(time: Time) -> Self {
        let (events, entries) = (AtomicU64::new(0), Mutex::default());
        Self { time, events, entries, pause: Point::default() }
    }

    /// Runs the program: its start on this thread with the first subject, each thread with one of the
    /// others, and at last `end` on this thread again.
    pub(crate) fn run(
        self,
        program: &Program,
        subjects: Vec<Box<dyn Subject>>,
        end: Act,
    ) -> Vec<Entry> {
        let mut subjects = subjects.into_iter();
        let mut mine = subjects.next().expect("a subject for the first thread");
        let mut dealt = Vec::new();
        for next in &program.first {
            self.make(next, mine.as_mut(), &mut dealt);
        }
        shuttle::thread::scope(|scope| {
            for (number, (moves, mut subject)) in program.threads.iter().zip(subjects).enumerate() {
                let tickets = dealt.iter().skip(number).step_by(THREADS).copied();
                let (mut tickets, recorder) = (tickets.collect(), &self);
                scope.spawn(move || {
                    for next in moves {
                        recorder.make(next, subject.as_mut(), &mut tickets);
                    }
                });
            }
        });
        self.record(end, mine.as_mut());
        self.entries.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, next: &Move, subject: &mut dyn Subject, tickets: &mut Vec<Ticket>) {
        let act = match next {
            Move::Advance(nanos) => {
                self.pause.pass();
                return self.time.advance(*nanos);
            }
            Move::Settle(ending) if !tickets.is_empty() => {
                Act::Settle(tickets.remove(0), ending.clone())
            }
            Move::Acquire | Move::Settle(_) => Act::Acquire,
            Move::Do(act) => act.clone(),
        };
        if let Answer::Admission(Admission::Admitted(ticket)) = self.record(act, subject) {
            tickets.push(ticket);
        }
    }

    /// Runs an operation. Other threads may run between two operations of a thread, so that one can be over
    /// before the next begins; but its beginning and its end are recorded right at the operation.
    fn record(&self, act: Act, subject: &mut dyn Subject) -> Answer {
        self.pause.pass();
        let began = self.events.fetch_add(1, Ordering::Relaxed);
        let answer = subject.perform(&act);
        let ended = self.events.fetch_add(1, Ordering::Relaxed);
        let (thread, now) = (me(), self.time.told());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(Entry { thread, act, now, answer: answer.clone(), began, ended });
        answer
    }
}
