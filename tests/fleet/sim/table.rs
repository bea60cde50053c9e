//! All cells: the cross product of who is there, how many, in which rhythm and with which limits,
//! as far as a node can be simulated in a few seconds; and each kind of trouble in several sizes.

use super::cell::{Cell, Cut, HOUR, Happening, MINUTE, Rhythm, SECOND, Settings, Told};
use super::peer::{Behaviour, Failing};
use super::{quick, running};

use Behaviour::{Away, Calls, Corrupt, Dead, Drops, Flaky, Flaps, Local, Slow};
use Failing::{Garbage, Refuses, Silent};
use Rhythm::{Burst, Change, Every};

const HALF_MINUTE: Rhythm = Every(30 * SECOND);
/// No cell makes more requests than this, and none that could be shorter more than that.
const LARGEST: u64 = 1_500_000;
const QUICKLY: u64 = 400_000;
const RHYTHMS: [Rhythm; 6] = [
    Every(SECOND),
    Every(5 * SECOND),
    HALF_MINUTE,
    Every(10 * MINUTE),
    Burst(MINUTE),
    Change(10 * MINUTE),
];

/// The quick cells, and all others.
pub(crate) fn cells() -> Vec<Cell> {
    let more = [
        cross(),
        limits(),
        settings(),
        others(),
        returning(),
        own_trouble(),
        guarded(),
        strangers(),
        running::cells(),
    ];
    let all = std::iter::once(quick::cells()).chain(more).flatten();
    let mut names = std::collections::HashSet::new();
    all.filter(|cell| names.insert(cell.name())).collect()
}

/// Up to six hours, as long as that is quickly simulated; at least two, or W2 says nothing.
fn long(cell: Cell) -> Option<Cell> {
    let slow = cell.groups.iter().any(|group| group.rhythm.interval() >= 10 * MINUTE);
    let hours = if slow { [6, 4] } else { [3, 3] };
    let short = hours.map(|hours| cell.clone().hours(hours)).into_iter();
    let short = short.filter(|cell| cell.requests() <= QUICKLY).max_by_key(|cell| cell.hours);
    short.or_else(|| Some(cell.hours(2)).filter(|cell| cell.requests() <= LARGEST))
}

/// How many are healthy, how many are dead, how, and when they are requested.
fn cross() -> Vec<Cell> {
    let mut cells = Vec::new();
    for healthy in [10, 30, 100, 1000] {
        for dead in [0, 10, 60, 100, 300, 900, 1500, 3000, 10_000] {
            for (how, rhythm) in
                [Silent, Refuses, Garbage].into_iter().flat_map(|how| RHYTHMS.map(|r| (how, r)))
            {
                let one_second = rhythm == Every(SECOND);
                let sparse = how == Silent || matches!(dead, 100 | 900);
                let size = dead <= 10 * healthy || healthy == 30 && dead == 900;
                let fits = size && sparse && !(one_second && healthy + dead > 1000);
                if fits && (dead > 0 || how == Silent) {
                    cells.extend(long(Cell::of(healthy, dead, Dead(how), rhythm)));
                }
            }
        }
    }
    cells
}

/// Places and deadlines, and seeds.
fn limits() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (healthy, dead) in [(30, 60), (30, 300), (100, 900)] {
        for rhythm in [Every(5 * SECOND), HALF_MINUTE, Burst(MINUTE)] {
            let cell = Cell::of(healthy, dead, Dead(Silent), rhythm);
            if cell.requests() > LARGEST {
                continue;
            }
            for places in [8, 64, 256] {
                for deadline in [2, 10, 30] {
                    cells.extend(long(cell.clone().places(places).deadline(deadline)));
                }
            }
        }
    }
    for seed in 2..7 {
        cells.extend(long(Cell::of(100, 300, Dead(Silent), HALF_MINUTE).seed(seed)));
        cells.extend(long(Cell::of(30, 60, Drops, HALF_MINUTE).seed(seed)));
    }
    cells
}

/// The settings of the guide, and others.
fn settings() -> Vec<Cell> {
    let mut cells = Vec::new();
    let health = peer_health::HealthConfig::default;
    let ours = [
        Settings::guide(),
        Settings::of("no jitter", health().with_open_jitter(0.0)),
        Settings::of("one probe", health().with_success_threshold(1)),
        Settings::of("open_max 1 min", health().with_open_max(std::time::Duration::from_secs(60))),
        Settings::of("threshold 2", health().with_failure_threshold(2)),
    ];
    for settings in ours {
        for (healthy, dead, rhythm) in [
            (10, 100, Every(SECOND)),
            (30, 300, Every(5 * SECOND)),
            (100, 900, HALF_MINUTE),
            (100, 900, Every(10 * MINUTE)),
            (100, 300, Burst(MINUTE)),
        ] {
            for how in [Silent, Refuses] {
                let cell = Cell::of(healthy, dead, Dead(how), rhythm);
                cells.extend(long(cell.with(settings.clone())));
            }
        }
    }
    cells
}

/// Peers that are neither healthy nor dead.
fn others() -> Vec<Cell> {
    let kinds = [
        Slow(2 * SECOND),
        Slow(8 * SECOND),
        Flaky(2),
        Flaky(10),
        Drops,
        Corrupt,
        Local,
        Calls(Silent),
        Calls(Refuses),
        Calls(Garbage),
    ];
    let mut cells = Vec::new();
    for kind in kinds {
        let counts = match kind {
            Calls(_) => [1, 10, 30],
            _ => [1, 30, 300],
        };
        for count in counts {
            for rhythm in [Every(5 * SECOND), HALF_MINUTE, Every(10 * MINUTE), Burst(MINUTE)] {
                let slow = matches!(kind, Slow(_)) && rhythm == Every(5 * SECOND);
                if !slow {
                    cells.extend(long(Cell::of(30, count, kind, rhythm)));
                }
            }
        }
    }
    cells
}

/// Peers that go and come back, beside others that stay away.
fn returning() -> Vec<Cell> {
    let mut cells = Vec::new();
    for how in [Silent, Refuses, Garbage] {
        for rhythm in [Every(5 * SECOND), HALF_MINUTE, Every(10 * MINUTE)] {
            for (down, up) in [(1, 2), (1, 10), (10, 10), (60, 30)] {
                let flaps = Flaps { how, down: down * MINUTE, up: up * MINUTE };
                cells.extend(long(Cell::of(30, 30, flaps, rhythm)));
            }
            for (lasts, news) in [(2, false), (2, true), (30, false), (30, true), (90, false)] {
                let away = Away { how, from: HOUR, to: HOUR + lasts * MINUTE, news };
                for count in [10, 100] {
                    cells.extend(long(Cell::of(30, count, away, rhythm)));
                }
            }
            let gone = Away { how, from: HOUR, to: u64::MAX, news: false };
            let back = Away { how, from: HOUR, to: 2 * HOUR, news: false };
            cells.extend(long(Cell::of(100, 900, gone, rhythm).and(10, back, rhythm)));
        }
    }
    cells
}

/// Outages of the node's own, and clocks that jump.
fn own_trouble() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (healthy, dead) in [(30, 0), (100, 300), (300, 0)] {
        for rhythm in [Every(5 * SECOND), HALF_MINUTE, Every(10 * MINUTE)] {
            let cell = || long(Cell::of(healthy, dead, Dead(Silent), rhythm));
            for cut in [Cut::Silent, Cut::Local] {
                for told in [Told::Nothing, Told::Kicked, Told::Paused] {
                    for lasts in [1, 10, 60] {
                        cells.extend(cell().map(|c| c.outage(HOUR, lasts * MINUTE, cut, told)));
                    }
                }
            }
            for by in [1, 60, 480] {
                let jump = Happening::Jump(by * MINUTE as i64);
                let away = Away { how: Silent, from: HOUR, to: 80 * MINUTE, news: false };
                let cell = cell().map(|c| c.and(10, away, rhythm).at(70 * MINUTE, jump));
                cells.extend(cell);
            }
            for lasts in [1, 10, 50] {
                cells.extend(cell().map(|c| c.restart(HOUR, lasts * MINUTE)));
            }
            cells.push(quick::slept(healthy, dead, rhythm));
            cells.extend(cell().map(|c| c.at(HOUR, quick::replaced())));
            cells.extend(cell().map(|c| c.at(HOUR, Happening::Kicked)));
        }
    }
    cells
}

/// The guard against an outage of our own: most of those who answered go while others answer, for
/// good or for an hour; we are cut off; strangers come.
fn guarded() -> Vec<Cell> {
    let mut cells = Vec::new();
    let with = |cell: Cell| long(cell.with(quick::guard()));
    for rhythm in [Every(5 * SECOND), HALF_MINUTE, Every(10 * MINUTE), Burst(MINUTE)] {
        for (healthy, count) in [(30, 10), (30, 100), (100, 300)] {
            for how in [Silent, Refuses] {
                for to in [2 * HOUR, u64::MAX] {
                    let away = Away { how, from: HOUR, to, news: false };
                    cells.extend(with(Cell::of(healthy, count, away, rhythm)));
                }
            }
            for told in [Told::Nothing, Told::Kicked] {
                let cell = Cell::of(healthy, count, Dead(Silent), rhythm);
                cells.extend(with(cell.outage(HOUR, 10 * MINUTE, Cut::Silent, told)));
            }
        }
        let away = Away { how: Silent, from: HOUR, to: u64::MAX, news: false };
        cells.extend(with(Cell::of(30, 100, away, rhythm).strangers(10_000)));
    }
    cells
}

/// Strangers beside all of these.
fn strangers() -> Vec<Cell> {
    let away = |news| Away { how: Refuses, from: HOUR, to: 90 * MINUTE, news };
    let flaps = Flaps { how: Silent, down: 10 * MINUTE, up: 10 * MINUTE };
    let mut cells = Vec::new();
    for rhythm in [Every(5 * SECOND), HALF_MINUTE, Every(10 * MINUTE)] {
        for (healthy, count, kind) in [
            (30, 0, Local),
            (1000, 0, Local),
            (100, 900, Dead(Silent)),
            (30, 100, Dead(Refuses)),
            (30, 30, away(false)),
            (30, 30, away(true)),
            (30, 30, flaps),
            (30, 30, Drops),
        ] {
            cells.extend(long(Cell::of(healthy, count, kind, rhythm).strangers(10_000)));
        }
        for told in [Told::Nothing, Told::Kicked] {
            let cell = Cell::of(100, 30, Dead(Silent), rhythm).strangers(10_000);
            cells.extend(long(cell.outage(HOUR, 10 * MINUTE, Cut::Silent, told)));
        }
        let small = peer_health::HealthConfig::default().with_max_peers(2000);
        let cell = Cell::of(100, 0, Local, rhythm).with(Settings::of("max_peers 2000", small));
        cells.extend(long(cell.strangers(10_000)));
    }
    cells
}
