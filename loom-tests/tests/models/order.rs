//! Every result is one that some order of the operations has: P15; and no operation waits: P16.

use std::cell::Cell;
use std::collections::VecDeque;

use crate::circuit::{Admission, Control, Outcome, Start, Ticket};
use crate::config::HealthConfig;
use crate::outcome::Recorded;
use crate::stage::{Hand, LEASE, OPEN, Peer, both, config, two, two_bounded};
use crate::sync;
use crate::time::Tick;

/// An operation of a thread; an outcome is that of the permit it has held longest.
#[derive(Clone, Copy)]
enum Op {
    Acquire,
    Settle(Outcome),
    Report(Outcome),
    Control(Control),
    IsOpen,
}

use Op::{Acquire, IsOpen, Report, Settle};
const SUCCEED: Op = Settle(Outcome::Success);
const FAIL: Op = Settle(Outcome::Failure);
const DROP: Op = Settle(Outcome::Dropped);
const RESET: Op = Op::Control(Control::Reset);

/// A peer, and for each of two threads its time, its permits and its operations.
struct Script {
    config: HealthConfig,
    /// The failures, then the probes that are out, the first thread's first.
    failed: usize,
    probes: usize,
    threads: [(u64, &'static [Op]); 2],
}

/// One operation of a history: its result, and when it began and ended.
#[derive(Clone)]
struct Done {
    result: String,
    began: u32,
    ended: u32,
}

struct Actor {
    hand: Hand,
    held: VecDeque<Ticket>,
}

thread_local!(static MOMENT: Cell<u32> = const { Cell::new(0) });

fn moment() -> u32 {
    MOMENT.set(MOMENT.get() + 1);
    MOMENT.get()
}

impl Actor {
    fn perform(&mut self, op: Op) -> Done {
        let began = moment();
        let result = match op {
            Acquire => {
                let mut admission = self.hand.acquire();
                if let Admission::Admitted(ticket) = &mut admission {
                    self.held.push_back(*ticket);
                    // The time is noted where the clock was read for another reason, too.
                    ticket.start = Start::Unread;
                }
                format!("{admission:?}")
            }
            Settle(outcome) => match self.held.pop_front() {
                Some(ticket) => format!("{:?}", self.hand.settle(ticket, outcome)),
                None => "nothing held".into(),
            },
            Report(outcome) => format!("{:?}", self.hand.report(outcome)),
            Op::Control(control) => format!("{}", self.hand.control(control)),
            IsOpen => format!("{}", self.hand.is_open()),
        };
        Done { result, began, ended: moment() }
    }
}

impl Script {
    fn begin(&self) -> (Peer, [Actor; 2]) {
        let peer = match self.probes {
            0 => Peer::new(self.config.clone()),
            _ => Peer::open(self.config.clone()),
        };
        let hand = peer.hand_at(if self.probes > 0 { OPEN } else { 0 });
        for _ in 0..self.failed {
            hand.fail(hand.admitted());
        }
        // Without probes each thread holds a permit.
        let actors = self.threads.map(|(now, _)| {
            let held = hand.ticket().into_iter().collect();
            Actor { hand: peer.hand_at(now), held }
        });
        (peer, actors)
    }

    /// Returns all orders of the threads' operations, each with its results and the state it leaves.
    fn orders(&self) -> Vec<(Vec<usize>, [Vec<String>; 2], String)> {
        let lengths = self.threads.map(|(_, ops)| ops.len());
        (0..1u32 << (lengths[0] + lengths[1]))
            .filter(|bits| bits.count_ones() as usize == lengths[1])
            .map(|bits| {
                let order: Vec<usize> =
                    (0..lengths[0] + lengths[1]).map(|i| (bits >> i & 1) as usize).collect();
                let (peer, mut actors) = self.begin();
                let mut results = [vec![], vec![]];
                for thread in &order {
                    let op = self.threads[*thread].1[results[*thread].len()];
                    results[*thread].push(actors[*thread].perform(op).result);
                }
                (order, results, left_behind(&peer))
            })
            .collect()
    }
}

/// Returns all that a caller can see afterwards, except counts for display outside the circuit.
fn left_behind(peer: &Peer) -> String {
    let (circuit, told) = (peer.circuit(), peer.told());
    let mut health = circuit.health;
    (health.successes_before, health.failed_at) = (0, Tick::default());
    format!(
        "{} {:?} {health:?} {:?} {} {told:?}",
        circuit.generation,
        circuit.phase,
        peer.totals(),
        peer.errors()
    )
}

/// Returns whether a history could have this order: no operation precedes one that ended before it began.
fn could_be(order: &[usize], history: &[Vec<Done>; 2]) -> bool {
    let mut next = [0, 0];
    let in_order: Vec<&Done> = order
        .iter()
        .map(|thread| {
            next[*thread] += 1;
            &history[*thread][next[*thread] - 1]
        })
        .collect();
    in_order
        .iter()
        .enumerate()
        .all(|(i, done)| in_order[i + 1..].iter().all(|later| later.ended > done.began))
}

/// P15: the results and the state that the threads leave are those of some order of their operations; where
/// loads see the latest value (the second pass), of an order that agrees with the real times.
fn linearizable(scripts: impl IntoIterator<Item = Script>) {
    for script in scripts {
        let orders = script.orders();
        two_bounded([21, 58], move || {
            let (peer, [mut a, mut b]) = script.begin();
            let [(_, left), (_, right)] = script.threads;
            let run = |actor: &mut Actor, ops: &[Op]| -> Vec<Done> {
                ops.iter().map(|op| actor.perform(*op)).collect()
            };
            let (x, y) = both(move || run(&mut a, left), || run(&mut b, right));
            let history = [x, y];
            let seen: [Vec<String>; 2] =
                history.each_ref().map(|of| of.iter().map(|d| d.result.clone()).collect());
            let end = left_behind(&peer);
            let explained = orders.iter().any(|(order, results, state)| {
                *results == seen
                    && *state == end
                    && (!sync::loads_are_rmw() || could_be(order, &history))
            });
            assert!(explained, "no order of the operations gives {seen:#?}\nand leaves {end}");
            peer.finish();
        });
    }
}

/// P15 around a trip.
#[test]
fn p15_closed_is_linearizable() {
    let script = |failed, left, right| Script {
        config: config(2, 1),
        failed,
        probes: 0,
        threads: [(0, left), (OPEN, right)],
    };
    linearizable([
        script(1, &[FAIL, Acquire], &[FAIL, Acquire]),
        script(1, &[SUCCEED, Acquire], &[FAIL, IsOpen]),
        script(1, &[Report(Outcome::Failure), IsOpen], &[SUCCEED]),
        script(1, &[Report(Outcome::Success)], &[FAIL, Acquire]),
        script(0, &[FAIL, Acquire], &[Report(Outcome::Neutral)]),
    ]);
}

/// P15 among probes.
#[test]
fn p15_half_open_is_linearizable() {
    let script = |left, right| Script {
        config: config(1, 2),
        failed: 0,
        probes: 2,
        threads: [(OPEN, left), (OPEN + 1, right)],
    };
    linearizable([
        script(&[SUCCEED], &[Acquire, SUCCEED]),
        script(&[SUCCEED, Acquire], &[DROP]),
        script(&[FAIL, Acquire], &[SUCCEED]),
        script(&[DROP, Acquire], &[Acquire, FAIL]),
        script(&[Report(Outcome::Failure), IsOpen], &[SUCCEED]),
        script(&[Report(Outcome::Success)], &[SUCCEED, Acquire]),
    ]);
}

/// P15 with controls, and at the end of leases.
#[test]
fn p15_controls_and_leases_are_linearizable() {
    let at = |now, left, right| Script {
        config: config(1, 1),
        failed: 0,
        probes: 1,
        threads: [(now, left), (OPEN + LEASE, right)],
    };
    linearizable([
        at(OPEN, &[FAIL, Acquire], &[RESET, Acquire]),
        at(OPEN, &[SUCCEED, Acquire], &[Op::Control(Control::ForceOpen), RESET]),
        at(OPEN, &[SUCCEED, Acquire], &[Acquire, SUCCEED]),
        at(OPEN + LEASE, &[DROP, Acquire], &[Acquire, FAIL]),
    ]);
}

/// P16: no operation waits for another. A thread tries again only if another thread has got on: no more
/// compare-and-swaps are lost than won. That a stalled thread holds up no other follows from this and from
/// `sync`, which offers no lock: each of these executions has a sibling in which the other thread stands
/// still from any point to the end.
#[test]
fn p16_no_operation_waits_for_another() {
    two([14, 44], || {
        let peer = Peer::new(config(3, 1));
        let (a, b) = (peer.hand(), peer.hand());
        let (x, y) = (a.admitted(), b.admitted());
        let before = sync::races();
        let (_, recorded) = both(move || a.fail(x), || b.fail(y));
        assert_eq!(recorded, Recorded::Counted);
        let (won, lost) = sync::races();
        assert_eq!(won - before.0, 2);
        assert!(lost < won, "{lost} tries were in vain");
        peer.finish();
    });
}

/// P16: a call that changes nothing writes nothing: a success on a healthy peer, a refusal, a late outcome.
#[test]
fn p16_what_changes_nothing_installs_nothing() {
    two([3, 282], || {
        let (peer, tickets) = Peer::in_half_open(config(1, 1), 1);
        let (a, b) = (peer.hand_at(OPEN), peer.hand_at(OPEN));
        a.succeed(tickets[0]);
        let (x, y) = (a.admitted(), b.admitted());
        let before = sync::races();
        both(
            move || a.succeed(x),
            || {
                b.settle(y, Outcome::Dropped);
                b.fail(tickets[0]);
            },
        );
        assert_eq!(sync::races(), before);
        assert_eq!((peer.totals().succeeded, peer.totals().late), (2, 1));
        peer.finish();
    });
}

/// P16: nor does a call that an override does not count: its end while the circuit is switched off, or a
/// reported success where there is nothing to clear.
#[test]
fn p16_what_an_override_does_not_count_installs_nothing() {
    two([3, 45], || {
        let peer = Peer::new(config(1, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.control(Control::Disable);
        let (x, y) = (a.admitted(), b.admitted());
        let before = sync::races();
        both(move || a.succeed(x), || b.settle(y, Outcome::Dropped));
        assert_eq!(sync::races(), before);
        b.control(Control::ForceOpen);
        let before = sync::races();
        b.report(Outcome::Success);
        assert_eq!(sync::races(), before);
        let totals = peer.totals();
        assert_eq!((totals.succeeded, totals.reported_successes), (1, 1));
        peer.finish();
    });
}
