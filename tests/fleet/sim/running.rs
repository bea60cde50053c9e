//! The cells of doc/running.md: what is recommended there for each kind of node, beside the defaults where
//! these serve less well, and what it warns of.

use std::time::Duration;

use peer_health::HealthConfig;

use super::cell::{Cell, Cut, HOUR, MINUTE, Rhythm, SECOND, Settings, Told};
use super::peer::{Behaviour, Failing};

use Behaviour::{Away, Dead, Healthy, Slow};
use Failing::{Refuses, Silent};
use Rhythm::Every;

const HALF_MINUTE: Rhythm = Every(30 * SECOND);

/// What the page recommends, by the name of its section: the same as its TOML.
pub(crate) fn recommended() -> [Settings; 4] {
    [ten(), fifty_thousand(), phone(), datacentre()]
}

fn ten() -> Settings {
    Settings::of("ten peers", HealthConfig::default().with_open_max(Duration::from_secs(60)))
}

fn fifty_thousand() -> Settings {
    let mut settings = Settings::of("fifty thousand peers", HealthConfig::default());
    settings.coordinator.max_concurrent = 1024;
    settings.coordinator.attempt_deadline = Some(Duration::from_secs(5));
    settings
}

fn phone() -> Settings {
    Settings::of("a phone", HealthConfig::default().with_open_max(Duration::from_secs(1800)))
}

fn datacentre() -> Settings {
    let health =
        HealthConfig::default().with_open_max(Duration::from_secs(30)).with_outage_guard(true);
    let mut settings = Settings::of("a datacentre", health);
    settings.coordinator.max_concurrent = 256;
    settings.coordinator.attempt_deadline = Some(Duration::from_secs(2));
    settings
}

/// All cells of the page, in its order.
pub(crate) fn cells() -> Vec<Cell> {
    [bounds(), few(), a_thousand(), many(), mobile(), fast()].concat()
}

/// Peers that refuse from the first hour on, for so long, and call when they are back, or not.
fn away(lasts: u64, news: bool) -> Behaviour {
    Away { how: Refuses, from: HOUR, to: HOUR + lasts, news }
}

/// More peers than `max_peers`, and just as many.
fn bounds() -> Vec<Cell> {
    let room = |name, peers| Settings::of(name, HealthConfig::default().with_max_peers(peers));
    let cell =
        || Cell::of(0, 180, Dead(Silent), HALF_MINUTE).and(20, Healthy, HALF_MINUTE).hours(2);
    let less = room("max_peers 100", 100);
    let (equal, more) = (room("max_peers 200", 200), room("max_peers 1400", 1400));
    vec![cell().with(less), cell().strangers(600).with(equal), cell().strangers(600).with(more)]
}

/// Ten peers.
fn few() -> Vec<Cell> {
    let cell = |news| {
        let away = away(30 * MINUTE, news);
        Cell::of(5, 2, Dead(Refuses), HALF_MINUTE).and(3, away, HALF_MINUTE)
    };
    vec![cell(false), cell(false).with(ten()), cell(true)]
}

/// A thousand peers.
fn a_thousand() -> Vec<Cell> {
    let dead = |dead| Cell::of(100, dead, Dead(Silent), HALF_MINUTE).hours(2);
    let cut = |told| dead(900).outage(HOUR, 10 * MINUTE, Cut::Silent, told);
    vec![
        dead(900),
        dead(850).and(50, away(30 * MINUTE, false), HALF_MINUTE),
        cut(Told::Nothing),
        cut(Told::Kicked),
    ]
}

/// Fifty thousand peers.
fn many() -> Vec<Cell> {
    let rhythm = Every(10 * MINUTE);
    let away = Away { how: Refuses, from: 90 * MINUTE, to: 2 * HOUR, news: false };
    let cell = Cell::of(5000, 44_900, Dead(Silent), rhythm).and(100, away, rhythm);
    let set = cell.clone().with(fifty_thousand());
    vec![cell, set.clone(), set.restart(150 * MINUTE, 2 * MINUTE)]
}

/// A phone.
fn mobile() -> Vec<Cell> {
    let rhythm = Every(5 * MINUTE);
    let few = || Cell::of(5, 20, Dead(Silent), rhythm);
    let away = |news| few().and(5, away(90 * MINUTE, news), rhythm);
    let cut = |told| few().outage(HOUR, HOUR, Cut::Silent, told);
    let slow = || Cell::of(10, 10, Slow(4 * SECOND), Every(MINUTE)).hours(1);
    vec![
        away(false),
        away(false).with(phone()),
        away(true).with(phone()),
        cut(Told::Nothing).with(phone()),
        cut(Told::Kicked).with(phone()),
        cut(Told::Paused).with(phone()),
        few().restart(HOUR, 10 * MINUTE).with(phone()),
        slow().with(phone()),
        slow().deadline(2),
    ]
}

/// A datacentre.
fn fast() -> Vec<Cell> {
    let often = Every(5 * SECOND);
    let restarted =
        Cell::of(90, 5, Dead(Refuses), often).and(5, away(15 * MINUTE, false), often).hours(2);
    let silent = Cell::of(50, 50, Dead(Silent), often).hours(2);
    let busy = Cell::of(400, 40, Dead(Silent), Every(SECOND)).hours(1);
    let cut = Cell::of(100, 0, Behaviour::Local, often).hours(2);
    let cut = cut.outage(HOUR, 10 * MINUTE, Cut::Silent, Told::Nothing);
    [restarted, silent, busy, cut]
        .into_iter()
        .flat_map(|cell| [cell.clone(), cell.with(datacentre())])
        .collect()
}
