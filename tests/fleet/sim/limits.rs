//! What the rules W1 to W5 allow in a cell: arithmetic, in milliseconds and calls.

use peer_health::HealthConfig;

use super::cell::{Cell, HOUR, MINUTE, Rhythm, SECOND, Told};
use super::peer::Behaviour;
use super::record::Why;

/// Tokio's timers are no finer, and a call that is answered has taken its latency.
const SLACK: u64 = SECOND;

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The most that this is under any configuration of the cell.
fn most(cell: &Cell, limit: impl Fn(&HealthConfig) -> u64) -> u64 {
    cell.configs().map(limit).max().unwrap_or_default()
}

/// How long a circuit stays open at most.
pub(crate) fn longest_wait(cell: &Cell) -> u64 {
    most(cell, |config| millis(config.open_max))
}

fn share(cell: &Cell, part: usize) -> f64 {
    (cell.settings.places() / part).max(1) as f64
}

/// How long `peers` calls take that all reach their deadline, in a quarter of the places.
fn queue(cell: &Cell, peers: u32) -> u64 {
    (f64::from(peers) * cell.settings.deadline() as f64 / share(cell, 4)) as u64
}

/// W1: whether half of the places hold the calls of all who answer.
pub(crate) fn can_be_held(cell: &Cell) -> bool {
    let load = cell.peers().filter(|(peer, _)| !peer.behaviour.is_dead());
    let load = load.map(|(peer, rhythm)| peer.latency as f64 / rhythm.interval() as f64);
    load.sum::<f64>() <= share(cell, 2)
}

/// W1: how long a round is at least that half of the places can hold: the answers of all who are
/// requested at the same moment, and the peer's own answer, twice.
pub(crate) fn shortest_round(cell: &Cell) -> u64 {
    let together = cell
        .peers()
        .filter(|(peer, rhythm)| !peer.behaviour.is_dead() && !matches!(rhythm, Rhythm::Every(_)));
    let sum: u64 = together.map(|(peer, _)| peer.latency).sum();
    (sum as f64 / share(cell, 2)) as u64
}

/// W1: when the first call of the last of so many unknown peers has begun, after its request.
pub(crate) fn first_call(cell: &Cell, unknown: u32) -> u64 {
    queue(cell, unknown) + SLACK
}

/// W2: failed calls in an hour, after the first.
pub(crate) fn calls_an_hour(cell: &Cell) -> u64 {
    most(cell, |config| 15 + (1.25 * 3600.0 / config.open_max.as_secs_f64()) as u64)
}

/// W2: the failures in a row that open a circuit; none where no run of failures does.
pub(crate) fn threshold(cell: &Cell) -> Option<u32> {
    cell.configs().map(|config| config.failure_threshold).max().flatten()
}

/// W2: by how many calls a trip may be late while the guard observes whether others answer (R30): more
/// where they are asked so seldom that few counts have an answer between.
fn observed(cell: &Cell) -> u32 {
    let slow = cell.groups.iter().any(|group| group.rhythm.interval() >= MINUTE);
    match cell.settings.health.outage_guard {
        false => 0,
        true if slow => 60,
        true => 6,
    }
}

/// W2: the failures in a row after which no call should find the circuit closed.
pub(crate) fn opens_at(cell: &Cell) -> Option<u32> {
    threshold(cell).map(|threshold| threshold + observed(cell))
}

/// W2: how many waits can end in this time, each as short as its jitter lets it be.
pub(crate) fn waits_within(config: &HealthConfig, time: u64) -> u64 {
    let (mut wait, mut left, mut ended) =
        (config.open_timeout.as_secs_f64(), time as f64 / 1000.0, 0);
    let max = config.open_max.as_secs_f64();
    loop {
        left -= wait.min(max) * (1.0 - config.open_jitter);
        if left < 0.0 || ended == 100_000 {
            return ended;
        }
        ended += 1;
        wait = (wait * config.open_multiplier).min(max);
    }
}

/// W2: failed calls each time that a peer goes down for so long.
pub(crate) fn calls_when_down(cell: &Cell, down: u64) -> Option<u64> {
    let threshold = u64::from(opens_at(cell)?);
    Some(threshold + 1 + most(cell, |config| waits_within(config, down.min(cell.end()))))
}

/// W2: calls of dead peers in a second after a restart: those whose wait is over are spread over five.
pub(crate) fn calls_at_once(cell: &Cell) -> u64 {
    let dead = cell.peers().filter(|(peer, _)| peer.behaviour.is_dead()).count();
    dead as u64 / 3 + cell.settings.places() as u64
}

/// W3, W4: when a peer that answered before is served, after it is back.
pub(crate) fn served_again(cell: &Cell, why: Why, in_flight: bool) -> u64 {
    let unsteady = cell.peers().filter(|(peer, _)| peer.behaviour.is_unsteady()).count();
    let unsteady = u32::try_from(unsteady).unwrap_or(u32::MAX);
    let wait = longest_wait(cell);
    // What began before the news ends at its deadline.
    let begun = if in_flight { cell.settings.deadline() } else { 0 };
    let limit = match why {
        Why::Back => wait + queue(cell, unsteady),
        Why::News => SECOND + begun,
        Why::Recovered => wait + queue(cell, cell.count()),
        Why::Kicked => 30 * SECOND + begun,
        // With the slack it is 5 s, also for whom a call is out: it is abandoned and made again.
        Why::Linked => 4 * SECOND,
        // The driver looks at least once a minute; whoever waited is due.
        Why::Awake => MINUTE + queue(cell, unsteady),
        // It is closed, and the dead leave half of the places.
        Why::Restarted => SECOND,
    };
    limit + SLACK
}

/// W4: whether a quarter of the places can serve all who answered within the half minute that a
/// `kick_all` has, of which its spread takes five seconds.
pub(crate) fn can_be_kicked(cell: &Cell) -> bool {
    let takes = |peer: &super::peer::Peer| match peer.behaviour {
        behaviour if behaviour.is_healthy() => peer.latency,
        behaviour if behaviour.is_unsteady() => cell.settings.deadline(),
        _ => 0,
    };
    let sum: u64 = cell.peers().map(|(peer, _)| takes(&peer)).sum();
    sum as f64 / share(cell, 4) <= 25_000.0
}

/// W4: by which of its two times who answered before is served after an outage of the node's own.
pub(crate) fn after_outage(cell: &Cell, told: Told) -> Why {
    match told {
        Told::Link => Why::Linked,
        Told::Kicked | Told::Paused if can_be_kicked(cell) => Why::Kicked,
        _ => Why::Recovered,
    }
}

/// W1: until when an outage of the node's own excuses a round that was not served.
pub(crate) fn excused(cell: &Cell) -> Vec<(u64, u64)> {
    let excuse =
        |(from, to, _, told)| (from, to + served_again(cell, after_outage(cell, told), true));
    cell.outages().map(excuse).collect()
}

/// W5: log lines in an hour: two for each known peer, and for each time that one goes down.
pub(crate) fn lines_an_hour(cell: &Cell) -> u64 {
    let downs = |(peer, _): (super::peer::Peer, _)| match peer.behaviour {
        Behaviour::Flaps { down, up, .. } => 1 + HOUR / (down + up),
        _ => 1,
    };
    let outages = cell.outages().count() as u64 * u64::from(cell.count());
    2 * (cell.peers().map(downs).sum::<u64>() + outages) + 20
}
