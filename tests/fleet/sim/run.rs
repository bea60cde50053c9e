//! Runs a cell on paused time: one task makes all requests, from a heap of what is due.
//!
//! Paused time moves on when all tasks wait, to the next timer; the registry is on tokio's clock,
//! so nothing here waits for real time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use peer_health::SyncError;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};
use tracing_subscriber::layer::SubscriberExt;

use super::cell::{Cell, HOUR, Happening, MINUTE, Rhythm, SECOND, Told};
use super::limits;
use super::logs::Lines;
use super::network::Network;
use super::node::{Node, Ours};
use super::peer::{Behaviour, Peer, chance};
use super::record::{Report, Why};

/// How long a session lasts with a peer that accepts and drops.
const SESSION: Duration = Duration::from_millis(100);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Happening(usize),
    OutageOver(usize),
    StartedAgain(usize),
    RetriesBack,
    /// The peer goes down or comes back.
    Turns(u32),
    Request(u32),
    /// All peers of a group at once, the nth time.
    Together(usize, u64),
    Calls(u32),
    Stranger(u32),
    Look,
}

/// Runs the cell with this library.
pub(crate) fn run(cell: &Cell) -> Report {
    run_with(cell, |network| Box::new(Ours::new(cell, network)))
}

/// Runs the cell with any design.
pub(crate) fn run_with(cell: &Cell, node: impl FnOnce(&Arc<Network>) -> Box<dyn Node>) -> Report {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    tracing::subscriber::with_default(subscriber, || {
        runtime.expect("a runtime").block_on(async {
            let (drops, dropped) = unbounded_channel();
            let network = Network::new(cell, drops);
            let node: Arc<dyn Node> = Arc::from(node(&network));
            let peers = cell.peers().collect();
            let due = BinaryHeap::new();
            let simulation = Simulation { cell, peers, network, node, lines, due, is_down: false };
            simulation.run(dropped).await
        })
    })
}

struct Simulation<'a> {
    cell: &'a Cell,
    peers: Vec<(Peer, Rhythm)>,
    network: Arc<Network>,
    node: Arc<dyn Node>,
    lines: Lines,
    due: BinaryHeap<Reverse<(u64, Due)>>,
    /// Whether the node's process has ended: it requests nobody, and nobody reaches it.
    is_down: bool,
}

impl Simulation<'_> {
    async fn run(mut self, mut dropped: UnboundedReceiver<u32>) -> Report {
        self.plan();
        let mut sessions = std::collections::VecDeque::new();
        let (end, began) = (self.cell.end(), self.network.began);
        loop {
            let next = self.due.peek().map_or(end, |Reverse((at, _))| *at).min(end);
            let next = began + Duration::from_millis(next);
            let lost = sessions.front().map(|(at, _)| *at);
            tokio::select! {
                biased;
                peer = dropped.recv() => {
                    sessions.extend(peer.map(|peer| (Instant::now() + SESSION, peer)));
                }
                () = sleep_until(lost.map_or(next, |lost: Instant| lost.min(next))) => {}
            }
            while sessions.front().is_some_and(|(at, _)| *at <= Instant::now()) {
                let Some((_, peer)) = sessions.pop_front() else { break };
                self.node.note_lost(peer, SyncError::Network("connection lost".into()));
            }
            let now = self.network.now();
            if now >= end || self.network.report(|report| report.runaway) {
                break;
            }
            while let Some(Reverse((at, due))) = self.due.peek().copied().filter(|d| d.0.0 <= now) {
                self.due.pop();
                self.act(at, due);
            }
        }
        let node = Arc::clone(&self.node);
        self.network.close(|peer| node.is_open(peer))
    }

    fn plan(&mut self) {
        let mut due = Vec::new();
        for (key, (peer, rhythm)) in (0..).zip(&self.peers) {
            if let Rhythm::Every(each) = *rhythm {
                let phase = chance(self.cell.seed, key.into(), 3) * each as f64;
                due.push((phase as u64, Due::Request(key)));
            }
            due.extend(peer.next_change(0).map(|at| (at, Due::Turns(key))));
            if let Behaviour::Calls(_) = peer.behaviour {
                due.push((chance(self.cell.seed, key.into(), 4) as u64 + SECOND, Due::Calls(key)));
            }
        }
        due.extend((0..self.cell.groups.len()).map(|group| (SECOND, Due::Together(group, 0))));
        for (n, (at, happening)) in self.cell.happenings.iter().enumerate() {
            due.push((*at, Due::Happening(n)));
            if let Happening::Outage { lasts, .. } = happening {
                due.push((at + lasts, Due::OutageOver(n)));
                due.push((at + lasts + 20 * MINUTE, Due::RetriesBack));
            }
            if let Happening::Restart { lasts, .. } = happening {
                due.push((at + lasts, Due::StartedAgain(n)));
            }
        }
        if self.cell.strangers > 0 {
            due.push((SECOND, Due::Stranger(self.cell.count())));
        }
        due.push((0, Due::Look));
        self.due = due.into_iter().map(Reverse).collect();
    }

    fn again(&mut self, at: u64, due: Due) {
        self.due.push(Reverse((at, due)));
    }

    fn request(&self, key: u32) {
        if self.is_down {
            return;
        }
        self.network.requested(key, true);
        self.node.request(key);
    }

    fn act(&mut self, at: u64, due: Due) {
        let seed = self.cell.seed;
        match due {
            Due::Request(key) => {
                self.request(key);
                self.again(at + self.peers[key as usize].1.interval(), due);
            }
            Due::Together(group, n) => {
                let first: u32 = self.cell.groups[..group].iter().map(|group| group.count).sum();
                let each = match self.cell.groups[group].rhythm {
                    Rhythm::Every(_) => return,
                    Rhythm::Burst(each) => each,
                    // The same changes for all groups: one document of the node's.
                    Rhythm::Change(each) => {
                        (-(1.0 - chance(seed, n, 5)).ln() * each as f64) as u64 + SECOND
                    }
                };
                (first..first + self.cell.groups[group].count).for_each(|key| self.request(key));
                self.again(at + each, Due::Together(group, n + 1));
            }
            Due::Calls(key) => {
                if !self.is_down {
                    self.network.requested(key, false);
                    self.node.note_reachable(key);
                }
                self.again(at + SECOND, due);
            }
            Due::Stranger(key) => {
                self.network.requested(key, key.is_multiple_of(2));
                if key.is_multiple_of(2) || self.is_down {
                    self.node.request(key);
                } else {
                    self.node.note_reachable(key);
                }
                let n = u64::from(key + 1 - self.cell.count());
                let next = SECOND + n * HOUR / u64::from(self.cell.strangers);
                self.again(next, Due::Stranger(key + 1));
            }
            Due::Turns(key) => self.turns(key),
            Due::Happening(n) => self.happens(n),
            Due::OutageOver(n) => self.outage_over(n),
            Due::StartedAgain(n) => self.started_again(n),
            Due::RetriesBack => {
                let back = self.node.allows_retry();
                self.network.report(|report| report.retries_back.push(back));
            }
            Due::Look => {
                self.look();
                self.again(at + 30 * SECOND, due);
            }
        }
    }

    fn turns(&mut self, key: u32) {
        let now = self.network.now();
        let peer = self.peers[key as usize].0;
        if let Some(at) = peer.next_change(now) {
            self.again(at, Due::Turns(key));
        }
        if !peer.is_up(now) {
            return self.network.is_down(key);
        }
        if let Behaviour::Away { news: true, .. } = peer.behaviour {
            self.network.is_back(key, Why::News, true);
            self.node.note_reachable(key);
        } else {
            self.network.is_back(key, Why::Back, self.node.waiting().contains(&key));
        }
    }

    fn happens(&mut self, n: usize) {
        let cell = self.cell;
        match &cell.happenings[n].1 {
            Happening::Outage { cut, told, .. } => {
                self.network.cut(Some(*cut));
                (0..self.cell.count()).for_each(|key| self.network.is_down(key));
                match told {
                    Told::Paused => self.node.pause(),
                    Told::Link => self.node.set_link_up(false),
                    Told::Nothing | Told::Kicked => {}
                }
            }
            Happening::Jump(by) => {
                self.network.all_kicked();
                self.node.jump(*by);
                if *by >= limits::longest_wait(self.cell) as i64 {
                    let waiting = self.node.waiting();
                    self.network.awake(|key| waiting.contains(&key));
                }
            }
            Happening::Replaced(config) => self.node.set_config((**config).clone()),
            Happening::Kicked => self.kick_all(),
            Happening::Restart { .. } => {
                self.node = Arc::from(self.node.stop());
                self.network.stopped();
                self.is_down = true;
            }
        }
    }

    fn started_again(&mut self, n: usize) {
        let Happening::Restart { lasts, restored } = self.cell.happenings[n].1 else { return };
        let downtime = restored.then(|| Duration::from_millis(lasts));
        if let Some(node) = self.node.start(self.cell, &self.network, downtime) {
            self.node = Arc::from(node);
        }
        self.is_down = false;
        self.network.started();
    }

    fn kick_all(&self) {
        self.network.all_kicked();
        self.node.kick_all();
    }

    fn outage_over(&mut self, n: usize) {
        let Happening::Outage { told, .. } = self.cell.happenings[n].1 else { return };
        self.network.cut(None);
        let why = limits::after_outage(self.cell, told);
        let waiting = self.node.waiting();
        for key in 0..self.cell.count() {
            if self.peers[key as usize].0.behaviour.is_healthy() {
                self.network.is_back(key, why, waiting.contains(&key));
            }
        }
        match told {
            Told::Nothing => {}
            Told::Kicked => self.kick_all(),
            Told::Paused => {
                self.network.all_kicked();
                self.node.resume();
            }
            Told::Link => {
                self.network.all_kicked();
                self.node.set_link_up(true);
            }
        }
    }

    fn look(&self) {
        let (tracked, waiting) = self.node.held();
        let tasks = Handle::current().metrics().num_alive_tasks();
        let (lines, hour) = (self.lines.count(), (self.network.now() / HOUR) as usize);
        self.network.report(|report| {
            let peak = &mut report.peak;
            peak.tracked = peak.tracked.max(tracked);
            peak.waiting = peak.waiting.max(waiting);
            peak.tasks = peak.tasks.max(tasks);
            // Lines until now; those of each hour are told apart by the judge.
            peak.lines.resize(hour + 1, 0);
            peak.lines[hour] = lines;
        });
    }
}
