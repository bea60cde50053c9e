//! The goals of trouble: what calls cost of which half fail, where no circuit opens, and where they do.

use std::time::Duration;

use peer_health::SyncError;

use super::calls::Effort;
use super::report::Measured;
use crate::baseline::{Bare, ByHandle, ById, Contender, Failsafe, PerPeer, Setup, StdMutex, Trips};
use crate::measure::{
    Act, Crowd, Mix, Route, Side, Trouble, Work, alone, burst, burst_of_threads, rounds,
};

/// How long one thread calls alone, in each round.
const ALONE: Duration = Duration::from_millis(8);
/// So many threads come and go.
const THREADS: usize = 512;
const PEERS: u32 = 10_000;

/// Half of the calls of one peer fail, and its circuit opens for a moment each time: by a handle, over a
/// bare breaker.
pub(crate) fn hot(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::storm(), Route::hot()?);
    let mut found = Vec::new();
    for (id, threads) in [("G25a", 1), ("G25b", 2), ("G25c", 16), ("G25d", 64)] {
        let setup = Setup { peers: work.route.peers(), trips: Trips::SHORT };
        let sides = [
            ("handle", side(ByHandle::new(&setup), &work, threads, effort)),
            ("failsafe", side(Bare::<Failsafe>::new(&setup), &work, threads, effort)),
        ];
        found.push(Measured::new(id, rounds(effort.rounds, sides)?.ratio(0, 1)));
    }
    Ok(found)
}

/// Half of the calls of many peers fail, by id, over a map of mutexes: no circuit opens, or each stays
/// open for so long.
fn many(
    effort: Effort,
    trips: Trips,
    counts: &[(&'static str, usize)],
) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::storm(), Route::uniform(PEERS)?);
    let setup = Setup { peers: work.route.peers(), trips };
    let mut found = Vec::new();
    for (id, threads) in counts {
        let sides = [
            ("id", side(ById::new(&setup), &work, *threads, effort)),
            ("mutexes", side(PerPeer::<StdMutex>::new(&setup), &work, *threads, effort)),
        ];
        found.push(Measured::new(id, rounds(effort.rounds, sides)?.ratio(0, 1)));
    }
    Ok(found)
}

pub(crate) fn without_trips(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    many(effort, Trips::NEVER, &[("G26a", 1), ("G26d", 64)])
}

pub(crate) fn with_long_waits(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    many(effort, Trips::USUAL, &[("G27a", 1), ("G27c", 16), ("G27d", 64)])
}

pub(crate) fn with_short_waits(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    many(effort, Trips::SHORT, &[("G28a", 1), ("G28c", 16), ("G28d", 64)])
}

fn side<C: Contender>(contender: C, work: &Work, threads: usize, effort: Effort) -> Side<'static> {
    let work = work.clone();
    match threads {
        1 => alone(&contender, &work, ALONE),
        2 => Box::new(move || burst(&contender, &work)),
        _ => Box::new(move || Crowd::of(threads, effort.time).cost(&contender, &work)),
    }
}

/// A failure and the success after it, and the question whether a circuit is open in a streak: after
/// many threads have come and gone, over before.
pub(crate) fn after_a_burst(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::alternating(), Route::hot()?);
    let setup = Setup { peers: work.route.peers(), trips: Trips::NEVER };
    let (failing, asked) = (ByHandle::new(&setup), ById::new(&setup));
    let asks = Work { act: Act::IsOpen, ..work.clone() };
    let Some(peer) = work.route.peers().first() else { return Err("no peer".into()) };
    if let Ok(permit) = asked.registry().acquire(peer) {
        permit.failure(SyncError::Network("reset".into()));
    }
    let measure = || {
        let sides = [
            ("a failure", alone(&failing, &work, ALONE)),
            ("a question", alone(&asked, &asks, ALONE)),
        ];
        let found = rounds(5 * effort.rounds, sides)?;
        Ok::<_, Trouble>([found.of(0), found.of(1)])
    };
    let before = measure()?;
    burst_of_threads(THREADS)?;
    let after = measure()?;
    let ids = ["G29f", "G29q"].into_iter();
    Ok(ids.zip(after.iter().zip(before)).map(|(id, (a, b))| Measured::new(id, a / b)).collect())
}
