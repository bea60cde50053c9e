//! What SPEC says, said again as plainly as it can be: one peer, one thread, windows as lists of
//! calls, every time in nanoseconds. Slow, and obviously right; the library is compared to it.

use std::time::Duration;

use peer_health::{EventKind, HalfOpenMode, HealthConfig, Reason, Recorded, Status, Window};

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Success,
    /// One that counts.
    Failure,
    /// One that does not: the document's.
    Document,
    Neutral,
    Drop,
}

/// How a permit ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) how: How,
    /// Stated; else the clock's.
    pub(crate) latency: Option<Duration>,
    /// How long the peer asks to be left alone.
    pub(crate) wish: Option<Duration>,
}

/// An error that is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported {
    /// Counts, and is retried.
    Network,
    /// Counts, and is not retried.
    Protocol,
    /// Neutral, and not retried.
    Document,
    /// Neutral, and retried.
    Quota,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    CircuitOpen,
    Now,
    /// `Ok(Some(delay))`, above zero.
    Later,
    /// `Ok(None)`.
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Control {
    ForceOpen,
    ForceOpenFor(Duration),
    Disable,
    MetricsOnly,
    Reset,
}

/// The right to a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    life: u64,
    phase: u64,
    pub(crate) at: u64,
    /// Whether slow calls were asked for when it was given.
    timed: bool,
    pub(crate) probe: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct No {
    pub(crate) reason: Reason,
    pub(crate) retry_after: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Now,
    After(u64),
    Unknown,
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

/// What a listener is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Opened { retry_after: Duration, reopened: bool },
    Other(EventKind),
}

impl From<EventKind> for Told {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Opened { retry_after, reopened, .. } => {
                Self::Opened { retry_after, reopened }
            }
            other => Self::Other(other),
        }
    }
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) neutral: u64,
    pub(crate) abandoned: u64,
    pub(crate) late: u64,
    pub(crate) opened: u64,
    pub(crate) reported_successes: u64,
    pub(crate) reported_errors: u64,
    /// Calls refused: open, probes in flight, forced open.
    pub(crate) refused: [u64; 3],
}

impl Counts {
    pub(crate) fn and(self, more: Self) -> Self {
        Self {
            succeeded: self.succeeded + more.succeeded,
            failed: self.failed + more.failed,
            neutral: self.neutral + more.neutral,
            abandoned: self.abandoned + more.abandoned,
            late: self.late + more.late,
            opened: self.opened + more.opened,
            reported_successes: self.reported_successes + more.reported_successes,
            reported_errors: self.reported_errors + more.reported_errors,
            refused: [0, 1, 2].map(|n| self.refused[n] + more.refused[n]),
        }
    }
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

    // Transitions.

    /// R16.
    fn wait(&self, failed_spells: i32, wish: Option<u64>) -> u64 {
        let config = &self.config;
        let grown = nanos(config.open_timeout) as f64 * config.open_multiplier.powi(failed_spells);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let grown = grown as u64;
        grown.max(wish.unwrap_or(0)).min(nanos(config.open_max))
    }

    fn open(&mut self, wish: Option<u64>) -> Duration {
        let now = self.now;
        let failed_spells = self.known().failed_spells;
        let mut wait = self.wait(failed_spells, wish);
        let mut until = now.saturating_add(wait);
        let heeded_at = self.heeded_at();
        let news = &mut self.known().news;
        if std::mem::take(&mut news.kept) && heeded_at <= until {
            news.ends_wait = true;
            until = heeded_at;
            wait = until - now;
        }
        let retry_after = Duration::from_nanos(wait);
        let reopened = failed_spells > 0;
        let peer = self.begin(State::Open { until }, Told::Opened { retry_after, reopened });
        peer.opened_at = Some(now);
        peer.counts.opened += 1;
        retry_after
    }

    fn reopen(&mut self, wish: Option<u64>) -> Duration {
        let peer = self.known();
        peer.failed_spells += 1;
        if let State::HalfOpen(trial) = &peer.state
            && std::mem::take(&mut peer.news.ends_wait)
        {
            peer.news.failed += 1;
            peer.news.began = trial.since;
        }
        self.open(wish)
    }

    fn close(&mut self) {
        self.begin(State::Closed, EventKind::Closed);
        self.clear();
    }

    // Good news.

    /// When the next is heeded (D6).
    fn heeded_at(&self) -> u64 {
        let news = self.peer.as_ref().map_or(News::default(), |peer| peer.news);
        match news.failed {
            0 => self.now,
            n => news.began.saturating_add(self.wait(n, None)).max(self.now),
        }
    }

    pub(crate) fn note_reachable(&mut self) -> bool {
        let (now, heeded_at) = (self.now, self.heeded_at());
        let Some(peer) = &mut self.peer else { return false };
        match &mut peer.state {
            State::Open { until } if now >= *until => return true,
            State::Open { until } if heeded_at <= *until => {
                *until = heeded_at;
                peer.news.ends_wait = true;
                return heeded_at <= now;
            }
            State::HalfOpen(_) => peer.news.kept = true,
            _ => {}
        }
        false
    }

    pub(crate) fn end_wait(&mut self) -> bool {
        let now = self.now;
        match &mut self.peer {
            Some(Peer { state: State::Open { until }, news, .. }) => {
                if now < *until {
                    *until = now;
                    news.ends_wait = false;
                }
                true
            }
            _ => false,
        }
    }

    fn half_open(&mut self) {
        let trial = Trial {
            since: self.now,
            n: self.config.success_threshold,
            mode: self.config.half_open_mode,
            judged_by: self.config.clone(),
            lease: self.config.probe_lease.map(nanos),
            out: Vec::new(),
            decided: 0,
            verdicts: Vec::new(),
        };
        let peer = self.begin(State::HalfOpen(trial), EventKind::HalfOpened);
        peer.attempts = 0;
    }

    fn clear(&mut self) {
        let peer = self.known();
        (peer.streak, peer.failed_spells) = (0, 0);
        (peer.opened_at, peer.announced) = (None, None);
        peer.news = News::default();
    }

    // Admission.

    pub(crate) fn acquire(&mut self) -> Result<Ticket, No> {
        let admission = self.admit();
        if let Err(no) = &admission {
            let n = match no.reason {
                Reason::Open => 0,
                Reason::ProbesInFlight => 1,
                _ => 2,
            };
            self.known().counts.refused[n] += 1;
        }
        admission
    }

    fn admit(&mut self) -> Result<Ticket, No> {
        let now = self.now;
        self.known();
        self.lift();
        if let State::Open { until } = self.known().state {
            if now < until {
                return Err(No { reason: Reason::Open, retry_after: Some(until - now) });
            }
            self.half_open();
        }
        if self.is_too_old() {
            match self.last_word() {
                Some(true) => self.close(),
                Some(false) => {
                    let wait = self.reopen(None);
                    return Err(No { reason: Reason::Open, retry_after: Some(nanos(wait)) });
                }
                None => self.half_open(),
            }
        }
        let (number, timed) = (self.number(), self.config.slow_call.is_some());
        let peer = self.known();
        let mut probe = None;
        match &mut peer.state {
            State::ForcedOpen { until } => {
                let retry_after = until.map(|until| until - now);
                return Err(No { reason: Reason::ForcedOpen, retry_after });
            }
            State::HalfOpen(trial) => {
                if !trial.has_a_slot(now) {
                    return Err(No { reason: Reason::ProbesInFlight, retry_after: None });
                }
                trial.out.push((number, now));
                probe = Some(number);
            }
            _ => {}
        }
        Ok(Ticket { life: peer.life, phase: peer.phase, at: now, timed, probe })
    }

    /// Whether a half-open phase has reached its maximum age (R6).
    pub(crate) fn is_too_old(&self) -> bool {
        let Some(Peer { state: State::HalfOpen(trial), .. }) = &self.peer else { return false };
        let max = self.config.half_open_max.map(nanos);
        max.is_some_and(|max| self.now >= trial.since.saturating_add(max))
    }

    /// What is known then: whether it closes, or that there is no verdict (R6). A probe is out until
    /// it ends in time, also if its lease ran out.
    fn last_word(&self) -> Option<bool> {
        let Some(Peer { state: State::HalfOpen(trial), .. }) = &self.peer else { return None };
        let rates_fail = trial.mode == HalfOpenMode::Rate
            && reaches_a_rate(&trial.judged_by, counted(&trial.verdicts));
        if !trial.out.is_empty() || rates_fail {
            return Some(false);
        }
        (!trial.verdicts.is_empty()).then_some(true)
    }

    pub(crate) fn next_admission(&self) -> Next {
        let Some(peer) = &self.peer else { return Next::Now };
        match &peer.state {
            State::Open { until } if self.now < *until => Next::After(until - self.now),
            State::HalfOpen(_) if self.is_too_old() => match self.clone().acquire() {
                Err(No { retry_after: Some(wait), .. }) => Next::After(wait),
                _ => Next::Now,
            },
            State::HalfOpen(trial) if !trial.has_a_slot(self.now) => Next::Unknown,
            State::ForcedOpen { until: None } => Next::Unknown,
            State::ForcedOpen { until: Some(until) } if self.now < *until => {
                Next::After(until - self.now)
            }
            _ => Next::Now,
        }
    }

    // Outcomes.

    fn slow_call(&self) -> Option<u64> {
        match &self.peer {
            Some(Peer { state: State::HalfOpen(trial), .. }) => {
                trial.judged_by.slow_call.map(nanos)
            }
            _ => self.config.slow_call.map(nanos),
        }
    }

    /// A call that began before anybody asked for slow calls may not know how long it took (the
    /// healthy path reads no clock, R1): its latency is stated.
    pub(crate) fn known_latency(&self, ticket: Ticket, end: End) -> End {
        let took = Duration::from_nanos(self.now - ticket.at);
        let latency = end.latency.or((!ticket.timed).then_some(took));
        End { latency, ..end }
    }

    pub(crate) fn settle(&mut self, ticket: Ticket, end: End) -> Recorded {
        let now = self.now;
        let took = end.latency.map_or(now.saturating_sub(ticket.at), nanos);
        let slow = self.slow_call().is_some_and(|slow| took >= slow);
        let wish = end.wish.map(nanos);

        let peer = match &mut self.peer {
            Some(peer) if peer.life == ticket.life => peer,
            _ => {
                self.gone.late += 1;
                return Recorded::Late;
            }
        };
        let in_time = match &mut peer.state {
            State::HalfOpen(trial) => trial.take_back(ticket, now),
            _ => true,
        };
        if peer.phase != ticket.phase || !in_time {
            peer.counts.late += 1;
            return Recorded::Late;
        }
        match end.how {
            How::Success => peer.counts.succeeded += 1,
            How::Failure => peer.counts.failed += 1,
            How::Document | How::Neutral => peer.counts.neutral += 1,
            How::Drop => peer.counts.abandoned += 1,
        }
        if matches!(peer.state, State::Disabled) {
            if end.how == How::Success {
                peer.successes = None;
            }
            return Recorded::Neutral;
        }
        match end.how {
            How::Success => peer.succeeded(),
            How::Failure | How::Document => peer.error(),
            How::Neutral | How::Drop => {}
        }
        if let (State::HalfOpen(trial), How::Success | How::Failure) = (&mut peer.state, end.how) {
            trial.decided += 1;
        }
        let opened = match end.how {
            How::Success => self.verdict(false, slow, None),
            How::Failure => {
                self.failed_call(ticket.at);
                self.verdict(true, slow, wish)
            }
            _ => return Recorded::Neutral,
        };
        opened.map_or(Recorded::Counted, |retry_after| Recorded::Opened { retry_after })
    }

    /// The streak after a failure whose call began at `start` (R14).
    fn failed_call(&mut self, start: u64) {
        let now = self.now;
        let window = self.config.streak_gap.map_or(0, nanos);
        let peer = self.known();
        if matches!(peer.state, State::Closed | State::MetricsOnly) {
            let quiet = start.saturating_sub(peer.last_failure);
            let broken = window > 0 && quiet > window;
            peer.streak = if broken { 1 } else { peer.streak.saturating_add(1) };
            peer.last_failure = now;
            peer.announced = None;
        }
    }

    /// A success or a failure, wherever it counts; the wait if it opened the circuit.
    fn verdict(&mut self, failed: bool, slow: bool, wish: Option<u64>) -> Option<Duration> {
        let call = Call { at: self.now, failed, slow };
        let (now, config) = (self.now, self.config.clone());
        let peer = self.known();
        match &mut peer.state {
            State::Closed | State::MetricsOnly => {
                if !failed {
                    peer.streak = 0;
                }
                if peer.shape != config.window {
                    peer.calls.clear();
                    peer.shape = config.window;
                }
                peer.calls.push(call);
                let streak = failed && config.failure_threshold.is_some_and(|t| peer.streak >= t);
                let counts = peer.window(now);
                let enough = counts.0 >= min_calls(&config);
                let trips = streak || (enough && reaches_a_rate(&config, counts));
                let never = matches!(peer.state, State::MetricsOnly);
                (trips && !never).then(|| self.open(wish))
            }
            State::HalfOpen(trial) => {
                trial.verdicts.push(call);
                let counts = counted(&trial.verdicts);
                let all_in = trial.verdicts.len() >= trial.n as usize;
                let bad = match trial.mode {
                    HalfOpenMode::Rate => all_in && reaches_a_rate(&trial.judged_by, counts),
                    _ => failed || (slow && trial.judged_by.slow_rate.is_some()),
                };
                if bad {
                    return Some(self.reopen(wish));
                }
                if all_in {
                    self.close();
                }
                None
            }
            _ => None,
        }
    }

    // Reports.

    pub(crate) fn report_success(&mut self) {
        let now = self.now;
        self.lift();
        let peer = self.known();
        peer.counts.reported_successes += 1;
        match peer.state {
            State::Open { until } if now >= until => self.half_open(),
            State::Disabled => {
                peer.successes = None;
                return;
            }
            _ => {}
        }
        self.known().succeeded();
        self.verdict(false, false, None);
    }

    pub(crate) fn report_error(&mut self, reported: Reported) -> Reply {
        let now = self.now;
        self.lift();
        let peer = self.known();
        peer.counts.reported_errors += 1;
        let start = peer.announced.filter(|_| peer.streak > 0).unwrap_or(now);
        if !matches!(peer.state, State::Disabled) {
            peer.error();
        }
        if matches!(reported, Reported::Network | Reported::Protocol) {
            match peer.state {
                State::Open { until } if now >= until => {
                    self.half_open();
                    return Reply::Now;
                }
                State::Closed | State::MetricsOnly => {
                    self.failed_call(start);
                    if self.verdict(true, false, None).is_some() {
                        return Reply::CircuitOpen;
                    }
                }
                State::HalfOpen(_) => {
                    self.reopen(None);
                    return Reply::CircuitOpen;
                }
                _ => {}
            }
        }
        if self.says_open() {
            return Reply::CircuitOpen;
        }
        let peer = self.known();
        // Disabled records nothing; the answer is about this attempt nonetheless.
        let unrecorded = u32::from(matches!(peer.state, State::Disabled));
        let attempts = peer.attempts + unrecorded;
        let again = match reported {
            Reported::Network => attempts < 5,
            Reported::Quota => attempts < 10,
            Reported::Protocol | Reported::Document => false,
        };
        if again { Reply::Later } else { Reply::Never }
    }

    fn says_open(&self) -> bool {
        match self.peer.as_ref().map(|peer| &peer.state) {
            Some(State::Open { until }) => self.now < *until,
            Some(State::ForcedOpen { until }) => until.is_none_or(|until| self.now < until),
            _ => false,
        }
    }

    /// `is_circuit_open`.
    pub(crate) fn ask(&mut self) -> bool {
        let (now, open) = (self.now, self.says_open());
        if let Some(peer) = self.peer.as_mut().filter(|peer| !open && peer.streak > 0) {
            peer.announced = Some(now);
        }
        open
    }

    // Controls.

    /// Whether the peer is forced open for a time that is over (R17).
    fn ban_is_over(&self) -> bool {
        match self.peer.as_ref().map(|peer| &peer.state) {
            Some(State::ForcedOpen { until: Some(until) }) => self.now >= *until,
            _ => false,
        }
    }

    /// The first step after a ban that had an end.
    fn lift(&mut self) {
        if self.ban_is_over() {
            self.control(Control::Reset);
        }
    }

    /// The peer as it reads now.
    pub(crate) fn seen(&self) -> Option<Peer> {
        let mut seen = self.clone();
        seen.lift();
        seen.peer
    }

    pub(crate) fn control(&mut self, control: Control) {
        let (state, event) = match control {
            Control::ForceOpen | Control::ForceOpenFor(_) => {
                let until = match control {
                    Control::ForceOpenFor(time) => Some(self.now.saturating_add(nanos(time))),
                    _ => None,
                };
                (State::ForcedOpen { until }, EventKind::Overridden(Status::ForcedOpen))
            }
            Control::Disable => (State::Disabled, EventKind::Overridden(Status::Disabled)),
            Control::MetricsOnly => {
                (State::MetricsOnly, EventKind::Overridden(Status::MetricsOnly))
            }
            Control::Reset if self.peer.is_none() => return,
            Control::Reset => (State::Closed, EventKind::Reset),
        };
        let peer = self.begin(state, event);
        if matches!(control, Control::Reset) {
            // Reads as default (R24).
            (peer.errors, peer.attempts, peer.successes) = (0, 0, Some(0));
        }
        self.clear();
    }

    /// Which tracker of the peer this is.
    pub(crate) fn life(&self) -> Option<u64> {
        self.peer.as_ref().map(|peer| peer.life)
    }

    pub(crate) fn remove(&mut self) {
        if let Some(peer) = self.peer.take() {
            self.gone = self.gone.and(peer.counts);
            self.events.push(EventKind::Removed.into());
        }
    }

    /// The moments at which something changes by time alone, or may: for tests to go there.
    pub(crate) fn moments(&self) -> Vec<u64> {
        let config = &self.config;
        let Some(peer) = &self.peer else { return vec![self.now] };
        let mut moments = Vec::new();
        match &peer.state {
            State::Open { until } => moments.push(*until),
            State::ForcedOpen { until } => moments.extend(*until),
            State::HalfOpen(trial) => {
                moments
                    .extend(config.half_open_max.map(|max| trial.since.saturating_add(nanos(max))));
                let lease = trial.lease.unwrap_or(0);
                moments.extend(trial.out.iter().map(|(_, at)| at.saturating_add(lease)));
            }
            _ => {
                moments.push(peer.last_failure.saturating_add(config.streak_gap.map_or(0, nanos)));
                if let Some(Window::Time { length, buckets }) = config.window {
                    let width = nanos(length) / u64::from(buckets);
                    let border = self.now / width * width;
                    moments.extend([
                        border.saturating_add(width),
                        border.saturating_add(nanos(length)),
                    ]);
                }
            }
        }
        moments
    }
}

impl Trial {
    fn is_out(&self, admitted_at: u64, now: u64) -> bool {
        self.lease.is_none_or(|lease| now < admitted_at.saturating_add(lease))
    }

    /// At most N probes, in flight plus decided (R3); an over-long one is in flight no more (R5).
    fn has_a_slot(&self, now: u64) -> bool {
        let out = self.out.iter().filter(|(_, at)| self.is_out(*at, now)).count();
        out + self.decided < self.n as usize
    }

    /// The probe is in flight no more; whether it still was.
    fn take_back(&mut self, ticket: Ticket, now: u64) -> bool {
        let Some(found) = self.out.iter().position(|(n, _)| Some(*n) == ticket.probe) else {
            return false;
        };
        // A late outcome changes nothing, here neither (R9).
        let in_time = self.is_out(self.out[found].1, now);
        if in_time {
            self.out.remove(found);
        }
        in_time
    }
}

impl Peer {
    fn error(&mut self) {
        self.errors += 1;
        self.attempts += 1;
        self.successes = Some(0);
    }

    fn succeeded(&mut self) {
        self.attempts = 0;
        self.successes = self.successes.map(|n| n + 1);
    }

    fn window(&self, now: u64) -> (u64, u64, u64) {
        match self.shape {
            None => (0, 0, 0),
            Some(Window::Time { length, buckets }) => {
                let width = nanos(length) / u64::from(buckets);
                let is_in = |call: &&Call| now / width - call.at / width < u64::from(buckets);
                counted(&self.calls.iter().filter(is_in).copied().collect::<Vec<_>>())
            }
            Some(Window::Count { size }) => {
                counted(&self.calls[self.calls.len().saturating_sub(size as usize)..])
            }
            Some(_) => (0, 0, 0),
        }
    }

    /// Total, failures, slow; `None` where the window is to begin anew and may have or not.
    pub(crate) fn shown_window(&self, config: &HealthConfig, now: u64) -> Option<(u64, u64, u64)> {
        match &self.state {
            State::HalfOpen(trial) => Some(counted(&trial.verdicts)),
            _ if self.calls.is_empty() => Some((0, 0, 0)),
            _ => (self.shape == config.window).then(|| self.window(now)),
        }
    }

    /// `None` where the time of a status is up: it may be shown as over or not yet.
    pub(crate) fn shown_status(&self, now: u64) -> Option<Status> {
        Some(match self.state {
            State::Closed => Status::Closed,
            State::Open { until } if now >= until => return None,
            State::Open { .. } => Status::Open,
            State::HalfOpen(_) => Status::HalfOpen,
            State::ForcedOpen { .. } => Status::ForcedOpen,
            State::Disabled => Status::Disabled,
            State::MetricsOnly => Status::MetricsOnly,
        })
    }

    pub(crate) fn open_for(&self, now: u64) -> Option<Duration> {
        self.opened_at.map(|at| Duration::from_nanos(now - at))
    }

    /// `None` where one has outlived its lease: it may be counted or not.
    pub(crate) fn probes_in_flight(&self, now: u64) -> Option<usize> {
        let State::HalfOpen(trial) = &self.state else { return Some(0) };
        trial.out.iter().all(|(_, at)| trial.is_out(*at, now)).then_some(trial.out.len())
    }
}

fn counted(calls: &[Call]) -> (u64, u64, u64) {
    let count = |which: fn(&Call) -> bool| calls.iter().filter(|call| which(call)).count() as u64;
    (count(|_| true), count(|call| call.failed), count(|call| call.slow))
}

/// The default is ten, or the size of a smaller window by count.
fn min_calls(config: &HealthConfig) -> u64 {
    let size = match config.window {
        Some(Window::Count { size }) => size,
        _ => u32::MAX,
    };
    config.min_calls.unwrap_or(size.min(10)).into()
}

fn reaches_a_rate(config: &HealthConfig, (total, failures, slow): (u64, u64, u64)) -> bool {
    let reaches = |part: u64, rate: Option<f64>| {
        rate.is_some_and(|rate| total > 0 && part as f64 / total as f64 >= rate)
    };
    reaches(failures, config.failure_rate) || reaches(slow, config.slow_rate)
}
