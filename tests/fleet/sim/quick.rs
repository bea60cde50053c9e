//! The cells that each build runs: each rule, each behaviour, each rhythm and each happening once.

use std::time::Duration;

use peer_health::HealthConfig;

use super::cell::{Cell, Cut, HOUR, Happening, MINUTE, Rhythm, SECOND, Settings, Told};
use super::peer::{Behaviour, Failing};
use super::running;

use Behaviour::{Away, Calls, Corrupt, Dead, Drops, Flaky, Flaps, Local, Slow};
use Failing::{Garbage, Refuses, Silent};
use Rhythm::{Burst, Change, Every};

const HALF_MINUTE: Rhythm = Every(30 * SECOND);
const TEN_MINUTES: Rhythm = Every(10 * MINUTE);

/// A configuration that another one replaces after an hour.
pub(crate) fn replaced() -> Happening {
    let config = HealthConfig::default()
        .with_failure_threshold(3)
        .with_open_max(Duration::from_secs(120))
        .with_success_threshold(1);
    Happening::Replaced(Box::new(config))
}

/// A node that sleeps for eight hours, while ten of its peers come back that it would have called
/// within two hours.
pub(crate) fn slept(healthy: u32, dead: u32, rhythm: Rhythm) -> Cell {
    let health = HealthConfig::default().with_open_max(Duration::from_secs(7200));
    Cell::of(healthy, dead, Dead(Silent), rhythm)
        .and(10, away(Silent, HOUR, HOUR, false), rhythm)
        .at(2 * HOUR + MINUTE, Happening::Jump(8 * HOUR as i64))
        .with(Settings::of("open_max 2 h", health))
}

fn away(how: Failing, from: u64, lasts: u64, news: bool) -> Behaviour {
    Away { how, from, to: from.saturating_add(lasts), news }
}

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = dead();
    cells.extend(others());
    cells.extend(returning());
    cells.extend(own_trouble());
    cells.extend(guarded());
    let small = |cell: &Cell| cell.requests() <= 100_000;
    cells.extend(running::cells().into_iter().filter(small));
    cells
}

/// Healthy peers beside dead ones.
fn dead() -> Vec<Cell> {
    vec![
        Cell::of(20, 0, Dead(Silent), Every(5 * SECOND)).hours(1),
        Cell::of(6, 6, Dead(Silent), Every(SECOND)).hours(2),
        Cell::of(10, 20, Dead(Silent), Every(5 * SECOND)).hours(2),
        Cell::of(100, 900, Dead(Silent), HALF_MINUTE).hours(2),
        Cell::of(10, 60, Dead(Refuses), HALF_MINUTE).hours(2),
        Cell::of(10, 60, Dead(Garbage), HALF_MINUTE).hours(2),
        Cell::of(100, 900, Dead(Silent), TEN_MINUTES).hours(4),
        Cell::of(30, 100, Dead(Silent), Burst(MINUTE)).hours(2),
        Cell::of(100, 300, Dead(Silent), Change(10 * MINUTE)).hours(4),
        Cell::of(30, 60, Dead(Silent), HALF_MINUTE).places(8).hours(2),
        Cell::of(30, 100, Dead(Silent), HALF_MINUTE).deadline(30).hours(2),
        Cell::of(30, 100, Dead(Silent), HALF_MINUTE).deadline(2).hours(2).seed(2),
        Cell::of(30, 100, Dead(Silent), HALF_MINUTE).with(Settings::guide()).hours(2),
        Cell::of(30, 60, Dead(Silent), HALF_MINUTE).hours(3).at(HOUR, replaced()),
    ]
}

/// Peers that are neither healthy nor dead.
fn others() -> Vec<Cell> {
    vec![
        Cell::of(30, 60, Slow(4 * SECOND), HALF_MINUTE).hours(1),
        Cell::of(30, 30, Flaky(3), HALF_MINUTE).hours(1),
        Cell::of(10, 30, Drops, HALF_MINUTE),
        Cell::of(10, 3, Calls(Refuses), HALF_MINUTE),
        Cell::of(30, 30, Corrupt, HALF_MINUTE).hours(1),
        Cell::of(30, 1, Local, HALF_MINUTE).hours(1),
        Cell::of(60, 0, Local, HALF_MINUTE).strangers(10_000).hours(2),
        Cell::of(30, 30, Dead(Silent), HALF_MINUTE).strangers(10_000).hours(2),
    ]
}

/// Peers that go and come back.
fn returning() -> Vec<Cell> {
    let flaps = |how, down, up| Flaps { how, down: down * MINUTE, up: up * MINUTE };
    vec![
        Cell::of(10, 30, flaps(Silent, 1, 10), HALF_MINUTE).hours(2),
        Cell::of(10, 30, flaps(Refuses, 10, 10), HALF_MINUTE).hours(2),
        Cell::of(30, 30, flaps(Refuses, 60, 30), TEN_MINUTES).hours(6),
        Cell::of(30, 60, away(Silent, HOUR, 30 * MINUTE, false), HALF_MINUTE).hours(2),
        Cell::of(10, 30, away(Silent, HOUR, 30 * MINUTE, true), HALF_MINUTE).hours(2),
        Cell::of(10, 200, away(Silent, 30 * MINUTE, u64::MAX, false), HALF_MINUTE)
            .and(10, away(Silent, 30 * MINUTE, HOUR, false), HALF_MINUTE)
            .hours(2),
        Cell::of(30, 30, away(Refuses, HOUR, 30 * MINUTE, false), HALF_MINUTE)
            .strangers(10_000)
            .hours(2),
    ]
}

/// With the guard against an outage of our own.
pub(crate) fn guard() -> Settings {
    Settings::of("outage guard", HealthConfig::default().with_outage_guard(true))
}

/// Most of those who answered go, while others answer; and an outage with the guard on.
fn guarded() -> Vec<Cell> {
    vec![
        Cell::of(10, 40, away(Silent, 30 * MINUTE, u64::MAX, false), HALF_MINUTE).hours(2),
        Cell::of(10, 30, away(Refuses, HOUR, 30 * MINUTE, false), HALF_MINUTE).hours(2),
        Cell::of(30, 0, Local, HALF_MINUTE).hours(2).outage(
            HOUR,
            10 * MINUTE,
            Cut::Silent,
            Told::Nothing,
        ),
    ]
    .into_iter()
    .map(|cell| cell.with(guard()))
    .collect()
}

/// Trouble of the node's own.
fn own_trouble() -> Vec<Cell> {
    let few = || Cell::of(30, 10, Dead(Silent), HALF_MINUTE).hours(2);
    let jumps = |by: i64| {
        Cell::of(10, 30, away(Silent, HOUR, 20 * MINUTE, false), HALF_MINUTE)
            .hours(2)
            .at(HOUR + 10 * MINUTE, Happening::Jump(by))
    };
    let mut cells = vec![
        few().outage(HOUR, 10 * MINUTE, Cut::Silent, Told::Nothing),
        few().outage(HOUR, 10 * MINUTE, Cut::Silent, Told::Kicked),
        few().outage(HOUR, 10 * MINUTE, Cut::Silent, Told::Paused),
        few().outage(HOUR, 10 * MINUTE, Cut::Local, Told::Nothing),
        few().outage(HOUR, 10 * MINUTE, Cut::Local, Told::Kicked),
        Cell::of(120, 0, Local, TEN_MINUTES).outage(HOUR, 30 * MINUTE, Cut::Silent, Told::Nothing),
        slept(10, 0, HALF_MINUTE),
        Cell::of(30, 270, Dead(Silent), HALF_MINUTE).hours(2).restart(HOUR, 2 * MINUTE),
        Cell::of(30, 270, Dead(Refuses), Burst(MINUTE)).hours(2).restart(HOUR, 10 * MINUTE),
        jumps(HOUR as i64),
    ];
    cells.extend(link_away(Told::Link));
    cells
}

/// The node's own link is away for a minute; the program says so, or not.
pub(crate) fn link_away(told: Told) -> Vec<Cell> {
    let few = Cell::of(15, 5, Dead(Silent), Every(5 * SECOND)).deadline(2);
    let many = Cell::of(100, 900, Dead(Silent), HALF_MINUTE).with(Settings::guide());
    let away = |cell: &Cell, cut| cell.clone().outage(20 * MINUTE, MINUTE, cut, told).hours(1);
    let both = |cell| [Cut::Silent, Cut::Refused].map(|cut| away(&cell, cut));
    [few, many].into_iter().flat_map(both).collect()
}
