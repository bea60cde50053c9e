//! What SPEC says, said again as plainly as it can be: one peer, one thread, windows as lists of
//! calls, every time in nanoseconds. Slow, and obviously right; the library is compared to it.

mod admission;
mod controls;
mod outcomes;
mod reports;
mod shown;
mod transitions;
mod windows;
mod words;

use std::time::Duration;

use peer_health::{HalfOpenMode, HealthConfig, Window};

pub(crate) use words::{Control, Counts, End, How, Next, No, Reply, Reported, Told};

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The right to a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    life: u64,
    phase: u64,
    pub(crate) at: u64,
    /// Whether slow calls were asked for when it was given.
    timed: bool,
    /// Whether a rule asked for the start of calls when it was given (R14).
    started: bool,
    pub(crate) probe: Option<u64>,
}

/// A call as a window keeps it.
#[derive(Debug, Clone, Copy)]
struct Call {
    at: u64,
    failed: bool,
    slow: bool,
}

#[derive(Debug, Clone)]
struct Trial {
    since: u64,
    /// Kept for the phase, whatever the configuration becomes (R18).
    n: u32,
    mode: HalfOpenMode,
    /// The mode is nothing without the rates that it decides by, nor these without what is slow:
    /// they are kept with it.
    judged_by: HealthConfig,
    lease: Option<u64>,
    /// Probes in flight, by number: when each was admitted.
    out: Vec<(u64, u64)>,
    /// Probes that have decided. A reported verdict is none: it needs no slot (R24).
    decided: usize,
    verdicts: Vec<Call>,
}

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
enum State {
    Closed,
    Open {
        until: u64,
    },
    HalfOpen(Trial),
    /// Until a reset, or until then.
    ForcedOpen {
        until: Option<u64>,
    },
    Disabled,
    MetricsOnly,
}

/// Good news since the circuit was closed (D6).
#[derive(Debug, Clone, Copy, Default)]
struct News {
    /// Phases that it caused and that failed, and when the last of them began.
    failed: i32,
    began: u64,
    /// It ends this wait.
    ends_wait: bool,
    /// It came while half-open.
    kept: bool,
}

/// What is known of the peer.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    life: u64,
    phase: u64,
    state: State,
    pub(crate) streak: u32,
    last_failure: u64,
    /// When `is_circuit_open` last said no since the last failure.
    announced: Option<u64>,
    /// The shape that `calls` were kept for.
    shape: Option<Window>,
    calls: Vec<Call>,
    failed_spells: i32,
    news: News,
    opened_at: Option<u64>,
    pub(crate) errors: u64,
    pub(crate) attempts: u32,
    /// In a row. `None` after one under `disable`, which records nothing but how permits end: it
    /// may be counted or not.
    pub(crate) successes: Option<u64>,
    pub(crate) counts: Counts,
}

#[derive(Clone)]
pub(crate) struct Reference {
    pub(crate) config: HealthConfig,
    pub(crate) now: u64,
    pub(crate) peer: Option<Peer>,
    /// Of trackers that were removed.
    pub(crate) gone: Counts,
    pub(crate) events: Vec<Told>,
    numbers: u64,
}

impl Reference {
    pub(crate) fn new(config: HealthConfig) -> Self {
        let (gone, events) = (Counts::default(), Vec::new());
        Self { config, now: 0, peer: None, gone, events, numbers: 0 }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Recording creates a tracker (R24).
    pub(crate) fn known(&mut self) -> &mut Peer {
        let (life, phase) = (self.number(), self.number());
        self.peer.get_or_insert_with(|| Peer {
            life,
            phase,
            state: State::Closed,
            streak: 0,
            last_failure: 0,
            announced: None,
            shape: None,
            calls: Vec::new(),
            failed_spells: 0,
            news: News::default(),
            opened_at: None,
            errors: 0,
            attempts: 0,
            successes: Some(0),
            counts: Counts::default(),
        })
    }

    /// Every transition and every control begins a new phase; with an empty window.
    fn begin(&mut self, state: State, told: impl Into<Told>) -> &mut Peer {
        let phase = self.number();
        self.events.push(told.into());
        let peer = self.known();
        (peer.phase, peer.state) = (phase, state);
        peer.calls.clear();
        peer
    }
}
