//! The judge sees each rule broken: by a configuration, or by a node without this library.

use std::collections::HashMap;
use std::sync::Mutex;

use peer_health::SyncError;

use crate::sim::cell::{Cell, Cut, Happening, MINUTE, Rhythm, SECOND, Settings, Told};
use crate::sim::judge::{Broken, Rule, judge};
use crate::sim::peer::{Behaviour, Failing};
use crate::sim::plain::{Gate, Open, Plain};
use crate::sim::quick;
use crate::sim::run::{run, run_with};

const HALF_MINUTE: Rhythm = Rhythm::Every(30 * SECOND);
const SILENT: Behaviour = Behaviour::Dead(Failing::Silent);

/// Opens at the fifth failure in a row, and for good: nobody is called to find out.
#[derive(Default)]
struct LocksOut(Mutex<HashMap<u32, u32>>);

impl Gate for LocksOut {
    fn is_open(&self, peer: u32) -> bool {
        self.0.lock().unwrap().get(&peer).is_some_and(|failures| *failures >= 5)
    }

    fn succeeded(&self, peer: u32) {
        self.0.lock().unwrap().remove(&peer);
    }

    fn failed(&self, peer: u32, _: SyncError) {
        *self.0.lock().unwrap().entry(peer).or_default() += 1;
    }
}

fn plain(cell: &Cell) -> Vec<Broken> {
    let report = run_with(cell, |network| Box::new(Plain::new(cell, network, Open)));
    judge(cell, &report)
}

fn locking_out(cell: &Cell) -> Vec<Broken> {
    let gate = LocksOut::default();
    judge(cell, &run_with(cell, |network| Box::new(Plain::new(cell, network, gate))))
}

fn breaks(broken: &[Broken], rule: Rule, words: &str) -> bool {
    broken.iter().any(|broken| broken.rule == rule && broken.figure.contains(words))
}

#[test]
fn w1_is_broken_where_dead_peers_take_all_places() {
    let broken = plain(&Cell::of(60, 600, SILENT, HALF_MINUTE).hours(1));
    assert!(breaks(&broken, Rule::W1, "rounds served: 60 of 60 peers"), "{broken:?}");
    let late = plain(&Cell::of(0, 900, SILENT, HALF_MINUTE).places(2).hours(1));
    assert!(!breaks(&late, Rule::W1, "first call"), "in the order of requests: {late:?}");
}

#[test]
fn w2_is_broken_by_a_streak_window_of_five_seconds_and_constant_waits() {
    // Where many wait for a place, more than five seconds pass between two calls to one.
    let cell = Cell::of(10, 300, SILENT, HALF_MINUTE).with(Settings::impatient()).hours(1);
    let broken = judge(&cell, &run(&cell));
    assert!(breaks(&broken, Rule::W2, "circuit closed"), "{broken:?}");
    let cell = Cell::of(10, 30, SILENT, HALF_MINUTE).with(Settings::impatient()).hours(2);
    let broken = judge(&cell, &run(&cell));
    assert!(breaks(&broken, Rule::W2, "failed calls an hour"), "{broken:?}");
    let flaps = Behaviour::Flaps { how: Failing::Refuses, down: 10 * MINUTE, up: 10 * MINUTE };
    let cell = Cell::of(10, 10, flaps, HALF_MINUTE).with(Settings::guide()).hours(1);
    let broken = plain(&cell);
    assert!(breaks(&broken, Rule::W2, "failed calls in a time of being down"), "{broken:?}");
}

#[test]
fn w3_is_broken_where_who_was_away_is_locked_out() {
    for (news, words) in [(false, "served again after"), (true, "with good news")] {
        let (from, to) = (MINUTE * 20, MINUTE * 30);
        let away = Behaviour::Away { how: Failing::Silent, from, to, news };
        let broken = locking_out(&Cell::of(10, 10, away, HALF_MINUTE).hours(1));
        assert!(breaks(&broken, Rule::W3, words), "{broken:?}");
    }
}

#[test]
fn w4_is_broken_where_an_outage_of_our_own_locks_all_out() {
    for (told, words) in [(Told::Nothing, "after our outage"), (Told::Kicked, "kicked")] {
        let cell = Cell::of(30, 0, SILENT, HALF_MINUTE).hours(1);
        let cell = cell.outage(10 * MINUTE, 10 * MINUTE, Cut::Silent, told);
        let broken = locking_out(&cell);
        assert!(breaks(&broken, Rule::W4, words), "{broken:?}");
    }
}

#[test]
fn w4_is_broken_where_nobody_tells_of_a_link_that_is_away() {
    for (told, untold) in quick::link_away(Told::Link).iter().zip(quick::link_away(Told::Nothing)) {
        let broken = judge(told, &run(&untold));
        let name = told.name();
        assert!(breaks(&broken, Rule::W4, "whose circuit opened"), "{name}: {broken:?}");
    }
    let cell = &quick::link_away(Told::Link)[1];
    let late = locking_out(cell);
    assert!(breaks(&late, Rule::W4, "the link back"), "{late:?}");
}

#[test]
fn w5_is_broken_where_each_request_is_a_task() {
    let cell = Cell::of(10, 300, SILENT, Rhythm::Every(20 * SECOND)).hours(1);
    let node = |network: &_| Box::new(Plain::new(&cell, network, Open).each_request()) as Box<_>;
    let broken = judge(&cell, &run_with(&cell, node));
    assert!(breaks(&broken, Rule::W5, "tasks"), "{broken:?}");
}

#[test]
fn w6_is_broken_where_strangers_are_called_in_their_turn() {
    let cell = Cell::of(60, 0, SILENT, HALF_MINUTE).strangers(100_000).hours(1);
    let broken = plain(&cell);
    assert!(breaks(&broken, Rule::W6, "rounds served"), "{broken:?}");
    assert_eq!(plain(&Cell { strangers: 0, ..cell }), []);
}

#[test]
fn w2_is_broken_where_a_restart_forgets_all() {
    let dead = Behaviour::Dead(Failing::Refuses);
    let cell = Cell::of(30, 300, dead, Rhythm::Burst(MINUTE)).hours(1);
    let restart = |restored| Happening::Restart { lasts: 10 * MINUTE, restored };
    let forgotten = cell.clone().at(30 * MINUTE, restart(false));
    let broken = judge(&forgotten, &run(&forgotten));
    assert!(breaks(&broken, Rule::W2, "circuit closed"), "{broken:?}");
    assert!(breaks(&broken, Rule::W2, "in a second after a restart"), "{broken:?}");
    let restored = cell.at(30 * MINUTE, restart(true));
    assert_eq!(judge(&restored, &run(&restored)), []);
}
