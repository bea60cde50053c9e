//! The made-up network: answers calls as its peers behave, and keeps the record of them.
//!
//! The lock is held for a few steps of the record: no registry and no driver is called under it,
//! since a listener writes here too.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use peer_health::{Event, EventKind, Failure, Fault, SyncError};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use super::cell::{Cell, Cut, HOUR, SECOND};
use super::limits;
use super::peer::{Answer, Behaviour, Failing, Peer, chance};
use super::record::{Record, Report, Return, Why, count};

/// No cell is as large: what calls more often than this has lost its way.
const RUNAWAY: u64 = 6_000_000;

/// Whether a peer's circuit is closed.
type IsClosed = Arc<dyn Fn(u32) -> bool + Send + Sync>;

pub(crate) struct Network {
    pub(crate) began: Instant,
    cell: Cell,
    threshold: Option<u32>,
    excused: Vec<(u64, u64)>,
    shortest_round: u64,
    /// When a peer is to be served again: by why, and by whether it was being called.
    again: BTreeMap<(Why, bool), u64>,
    state: Mutex<State>,
    is_closed: Mutex<Option<IsClosed>>,
    /// Is told of each session that a peer will drop.
    drops: UnboundedSender<u32>,
}

struct State {
    peers: Vec<(Peer, Going)>,
    report: Report,
    cut: Option<Cut>,
    /// How many keys have been requested.
    requested: u32,
    /// When the node was last started again.
    restarted: Option<u64>,
}

/// What goes on with a peer.
#[derive(Default)]
struct Going {
    /// The time between two requests: when it began, whether it counts, whether it was served.
    round: Option<(u64, bool, bool)>,
    in_flight: bool,
    /// Its next call is the doing of a `kick_all`.
    kicked: bool,
    back: Option<Return>,
}

/// A call that is being made: ends as failed if it is dropped before it is answered.
struct Call<'a> {
    network: &'a Network,
    key: u32,
    began: u64,
    counts: bool,
    answered: bool,
}

impl Network {
    pub(crate) fn new(cell: &Cell, drops: UnboundedSender<u32>) -> Arc<Self> {
        let peers = cell.peers().map(|(peer, _)| (peer, Going::default())).collect::<Vec<_>>();
        let report = Report { peers: vec![Record::default(); peers.len()], ..Report::default() };
        let both = Why::ALL.into_iter().flat_map(|why| [(why, false), (why, true)]);
        Arc::new(Self {
            began: Instant::now(),
            cell: cell.clone(),
            threshold: limits::opens_at(cell),
            excused: limits::excused(cell),
            shortest_round: limits::shortest_round(cell),
            again: both.map(|(w, f)| ((w, f), limits::served_again(cell, w, f))).collect(),
            state: Mutex::new(State { peers, report, cut: None, requested: 0, restarted: None }),
            is_closed: Mutex::new(None),
            drops,
        })
    }

    /// Asks this, from now on, whether a peer's circuit is closed.
    pub(crate) fn ask(&self, is_closed: impl Fn(u32) -> bool + Send + Sync + 'static) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(is_closed));
    }

    fn is_closed(&self, key: u32) -> bool {
        let asked = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        asked.is_some_and(|is_closed| is_closed(key))
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn report<R>(&self, look: impl FnOnce(&mut Report) -> R) -> R {
        look(&mut self.state().report)
    }

    /// A call, as the node makes it.
    pub(crate) async fn call(self: Arc<Self>, key: u32) -> Result<(), Failure> {
        let (mut call, answer, takes) = self.begin(key);
        match takes {
            Some(takes) => sleep(Duration::from_millis(takes)).await,
            None => pending().await,
        }
        call.answered = true;
        self.ended(&call, Some(answer));
        failure(answer)
    }

    fn begin(&self, key: u32) -> (Call<'_>, Answer, Option<u64>) {
        let now = self.now();
        let streak = self.report(|report| report.peers.get(key as usize).map(|peer| peer.streak));
        let beyond =
            self.threshold.is_some_and(|enough| streak >= Some(enough)) && self.is_closed(key);
        let mut state = self.state();
        let State { peers, report, cut, requested, restarted } = &mut *state;
        // Whom an outage of our own lets fail is not dead: the guard holds trips back for that.
        let up = peers.get(key as usize).is_some_and(|(peer, _)| peer.is_up(now));
        let beyond = beyond && !(self.cell.settings.health.outage_guard && up);
        report.calls += 1;
        report.runaway |= report.calls > RUNAWAY;
        let stranger = Peer { behaviour: stranger(key), ahead: 0, latency: 0 };
        let (peer, n, counts) = match peers.get_mut(key as usize) {
            Some((peer, going)) => {
                let record = &mut report.peers[key as usize];
                if record.first_call.is_none() {
                    (record.first_call, record.unknown) = (Some(now), *requested);
                }
                record.calls += 1;
                record.beyond += u32::from(beyond);
                if let (Some(at), true) = (*restarted, peer.behaviour.is_dead()) {
                    let second = ((now - at) / SECOND) as usize;
                    if let Some(calls) = report.restarts.last_mut().filter(|_| second < 60) {
                        count(calls, second);
                    }
                }
                going.in_flight = true;
                (&*peer, record.calls, !std::mem::take(&mut going.kicked))
            }
            None => {
                report.strangers += 1;
                (&stranger, 1, false)
            }
        };
        let answer = match cut {
            Some(Cut::Silent) => Answer::Fails(Failing::Silent),
            Some(Cut::Local) => Answer::Local,
            Some(Cut::Refused) => Answer::Fails(Failing::Refuses),
            None => peer.answer(now, n),
        };
        let luck = chance(self.cell.seed, u64::from(key), u64::from(n) + 100);
        let takes = peer.takes(answer, luck).filter(|_| !report.runaway);
        (Call { network: self, key, began: now, counts, answered: false }, answer, takes)
    }

    /// A call has ended; without an answer it was broken off.
    fn ended(&self, call: &Call<'_>, answer: Option<Answer>) {
        let now = self.now();
        let mut state = self.state();
        let State { peers, report, .. } = &mut *state;
        let key = call.key as usize;
        let Some((peer, going)) = peers.get_mut(key) else { return };
        // The report is gone when the simulation is over.
        let Some(record) = report.peers.get_mut(key) else { return };
        going.in_flight = false;
        let failed = match answer {
            Some(Answer::Well) => {
                record.streak = 0;
                record.first_success.get_or_insert(now);
                if let Some((_, _, served)) = &mut going.round {
                    *served = true;
                }
                self.served(going.back.take(), record, now);
                if peer.behaviour == Behaviour::Drops {
                    let _ = self.drops.send(call.key);
                }
                peer.behaviour == Behaviour::Drops
            }
            Some(Answer::Fails(_)) => true,
            Some(Answer::Corrupt | Answer::Local) => false,
            None => now >= call.began + self.cell.settings.deadline(),
        };
        if failed {
            let excused = self.cell.excuses(call.began, now);
            record.streak += u32::from(answer != Some(Answer::Well) && !excused);
            if call.counts {
                let since = match peer.behaviour {
                    Behaviour::Away { from, .. } => from,
                    _ => record.first_call.unwrap_or_default(),
                };
                record.failed_in((call.began.saturating_sub(since) / HOUR) as usize);
                if peer.behaviour.down_for().is_some() && !peer.is_up(call.began) {
                    record.failed_when_down(peer.downs(call.began));
                }
            }
        }
    }

    /// A peer that was back has been served, or goes down again.
    fn served(&self, back: Option<Return>, record: &mut Record, now: u64) {
        let Some(Return { why, from: Some(from), in_flight, .. }) = back else { return };
        let limit = self.again[&(why, in_flight)];
        record.returns.entry(why).or_default().add(now.saturating_sub(from), limit);
    }

    /// The node requests a peer, or the peer calls the node.
    pub(crate) fn requested(&self, key: u32, by_us: bool) {
        let now = self.now();
        let mut state = self.state();
        let State { peers, report, requested, .. } = &mut *state;
        report.requests += 1;
        let Some((peer, going)) = peers.get_mut(key as usize) else {
            *requested += 1;
            return;
        };
        let record = &mut report.peers[key as usize];
        if record.first_request.is_none() {
            *requested += 1;
            record.first_request = Some(now);
        }
        if !by_us {
            return;
        }
        let answered = record.first_success.is_some() && peer.behaviour.is_healthy();
        if let Some((from, true, served)) = going.round.replace((now, answered, false)) {
            let excused = self.excused.iter().any(|(start, end)| from < *end && now > *start);
            if now - from >= self.shortest_round + 2 * peer.latency && !excused {
                record.rounds += 1;
                record.served += u32::from(served);
            }
        }
        if let Some(back) = &mut going.back {
            back.from.get_or_insert(now);
        }
    }

    /// A peer is back. `waits`: whether the node's driver waits for it.
    pub(crate) fn is_back(&self, key: u32, why: Why, waits: bool) {
        let now = self.now();
        let mut state = self.state();
        let State { peers, report, .. } = &mut *state;
        let (peer, going) = &mut peers[key as usize];
        let answered = report.peers[key as usize].first_success.is_some();
        if answered && peer.is_up(now) {
            let in_flight = going.in_flight;
            // A call that fails after a `kick_all` is made again at once (D8).
            let waits = waits || in_flight && matches!(why, Why::Kicked | Why::Linked);
            let from = waits.then_some(now);
            going.back = Some(Return { why, at: now, from, in_flight });
        }
    }

    /// The machine slept for longer than any wait: `waits` says for whom the driver waits.
    pub(crate) fn awake(&self, waits: impl Fn(u32) -> bool) {
        let now = self.now();
        let is_back = |(_, going): &(Peer, Going)| going.back.is_some() && !going.in_flight;
        let keys: Vec<_> = (0..).zip(self.state().peers.iter().map(is_back)).collect();
        for (key, _) in keys.into_iter().filter(|(_, is_back)| *is_back) {
            let from = waits(key).then_some(now);
            let back = Return { why: Why::Awake, at: now, from, in_flight: false };
            self.state().peers[key as usize].1.back = Some(back);
        }
    }

    /// A peer goes down: one that was back and not served by now counts if its time was over.
    pub(crate) fn is_down(&self, key: u32) {
        let now = self.now();
        let mut state = self.state();
        let State { peers, report, .. } = &mut *state;
        let (record, going) = (&mut report.peers[key as usize], &mut peers[key as usize].1);
        let Some(Return { why, from: Some(from), in_flight, .. }) = going.back else { return };
        going.back = None;
        let limit = self.again[&(why, in_flight)];
        if now.saturating_sub(from) > limit {
            record.returns.entry(why).or_default().add(now - from, limit);
        }
    }

    /// The next call to each peer is the doing of a `kick_all`, or of a jump of the clock.
    pub(crate) fn all_kicked(&self) {
        self.state().peers.iter_mut().for_each(|(_, going)| going.kicked = true);
    }

    pub(crate) fn cut(&self, cut: Option<Cut>) {
        self.state().cut = cut;
    }

    /// The node's process has ended: what it was about is over.
    pub(crate) fn stopped(&self) {
        for (_, going) in &mut self.state().peers {
            (going.round, going.back) = (None, None);
        }
    }

    /// The node was started again: who answered before is served as soon as it is requested.
    pub(crate) fn started(&self) {
        let now = self.now();
        let mut state = self.state();
        state.restarted = Some(now);
        state.report.restarts.push(Vec::new());
        let peers = state.peers.iter().map(|(peer, _)| peer.behaviour.is_healthy());
        let healthy: Vec<u32> =
            (0..).zip(peers).filter(|(_, is)| *is).map(|(key, _)| key).collect();
        drop(state);
        healthy.into_iter().for_each(|key| self.is_back(key, Why::Restarted, false));
    }

    /// A transition of the registry's.
    pub(crate) fn heard(&self, event: &Event<u32>) {
        let now = self.now();
        let mut state = self.state();
        let Some(record) = state.report.peers.get_mut(event.peer as usize) else { return };
        match event.kind {
            EventKind::Opened { .. } => {
                record.opened.get_or_insert(now);
            }
            EventKind::Closed => record.closed = true,
            // Whatever is known of the peer begins anew.
            EventKind::Evicted | EventKind::Removed | EventKind::Reset => record.streak = 0,
            _ => {}
        }
    }

    /// The end of the simulation.
    pub(crate) fn close(&self, is_open: impl Fn(u32) -> bool) -> Report {
        (0..self.cell.count()).for_each(|key| self.is_down(key));
        let mut report = std::mem::take(&mut self.state().report);
        for (key, (peer, _)) in (0..).zip(self.cell.peers()) {
            let streak = report.peers[key as usize].streak;
            let enough = self.threshold.is_some_and(|enough| streak >= enough);
            let open = is_open(key);
            let closed = self.is_closed(key);
            report.dead_open += u32::from(peer.behaviour.is_dead() && open);
            report.dead_closed += u32::from(peer.behaviour.is_dead() && enough && closed);
            report.healthy_open +=
                u32::from(!peer.behaviour.is_dead() && open && peer.is_up(self.cell.end()));
        }
        report
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.network.ended(self, None);
        }
    }
}

/// How a stranger fails: by its key.
fn stranger(key: u32) -> Behaviour {
    Behaviour::Dead(match key % 3 {
        0 => Failing::Silent,
        1 => Failing::Refuses,
        _ => Failing::Garbage,
    })
}

fn failure(answer: Answer) -> Result<(), Failure> {
    let text = |text: &str| text.to_string();
    Err(match answer {
        Answer::Well => return Ok(()),
        Answer::Fails(Failing::Garbage) => Failure::remote("not of the protocol"),
        Answer::Fails(_) => SyncError::Network(text("refused")).into(),
        Answer::Corrupt => SyncError::Document(text("bad checksum")).into(),
        Answer::Local => {
            Failure::from(SyncError::State(text("no network"))).with_fault(Fault::Local)
        }
    })
}
