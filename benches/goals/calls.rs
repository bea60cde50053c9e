//! The goals of single calls: what one costs, alone, contended and at the tail.

use std::time::Duration;

use super::report::Measured;
use crate::baseline::{
    AddFloor, Bare, ByHandle, ById, Contender, Failsafe, Locked, MapFloor, Recloser, Setup,
};
use crate::measure::{Act, Crowd, Mix, Route, Trouble, Work, alone, burst, quantile, rounds};
use iroh_base::EndpointId;

type SyncErrors = Locked<EndpointId>;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Whether what takes long is left out.
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// Of a side that is a crowd of threads, in each round.
    pub(crate) time: Duration,
}

fn made<C: Contender>(work: &Work) -> C {
    C::new(&Setup::of(work.route.peers()))
}

/// For comparison: what the calls cost beside those that fail.
fn spotless() -> Result<Work, Trouble> {
    Ok(Work::guard(Mix::spotless(), Route::hot()?))
}

/// How long one thread calls alone, in each round.
const ALONE: Duration = Duration::from_millis(4);

pub(crate) fn hot_alone(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::healthy(), Route::hot()?);
    let found = rounds(
        5 * effort.rounds,
        [
            ("handle", alone(&made::<ByHandle>(&work), &work, ALONE)),
            ("id", alone(&made::<ById>(&work), &work, ALONE)),
            ("fetch_add", alone(&made::<AddFloor>(&work), &work, ALONE)),
            ("map floor", alone(&made::<MapFloor>(&work), &work, ALONE)),
            ("failsafe", alone(&made::<Bare<Failsafe>>(&work), &work, ALONE)),
            ("recloser", alone(&made::<Bare<Recloser>>(&work), &work, ALONE)),
            ("handle, no failures", alone(&made::<ByHandle>(&work), &spotless()?, ALONE)),
        ],
    )?;
    Ok(vec![
        Measured::new("G1", found.ratio(0, 2)),
        Measured::new("G3", found.ratio(1, 3)),
        Measured::new("G16", found.ratio(4, 0).min(found.ratio(5, 0))),
    ])
}

pub(crate) fn hot_pair(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::healthy(), Route::hot()?);
    let (handle, floor, spotless) = (made::<ByHandle>(&work), made::<AddFloor>(&work), spotless()?);
    let found = rounds(
        5 * effort.rounds,
        [
            ("handle", Box::new(|| burst(&handle, &work))),
            ("fetch_add", Box::new(|| burst(&floor, &work))),
            ("handle, no failures", Box::new(|| burst(&handle, &spotless))),
        ],
    )?;
    Ok(vec![Measured::new("G2", found.ratio(0, 1))])
}

pub(crate) fn uniform_alone(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::healthy(), Route::uniform(10_000)?);
    let found = rounds(
        5 * effort.rounds,
        [
            ("id", alone(&made::<ById>(&work), &work, 4 * ALONE)),
            ("map floor", alone(&made::<MapFloor>(&work), &work, 4 * ALONE)),
        ],
    )?;
    Ok(vec![Measured::new("G4", found.ratio(0, 1))])
}

pub(crate) fn hot_crowd(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::healthy(), Route::hot()?);
    let (handle, id) = (made::<ByHandle>(&work), made::<ById>(&work));
    let theirs = made::<SyncErrors>(&work);
    let crowd = Crowd::of(16, effort.time);
    let found = rounds(
        effort.rounds,
        [
            ("handle", Box::new(|| crowd.cost(&handle, &work))),
            ("id", Box::new(|| crowd.cost(&id, &work))),
            ("sync_errors", Box::new(|| crowd.cost(&theirs, &work))),
        ],
    )?;
    Ok(vec![Measured::new("G5", found.ratio(2, 0)), Measured::new("G6", found.ratio(2, 1))])
}

pub(crate) fn zipf_crowd(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::healthy(), Route::zipf(100_000)?);
    let (id, theirs) = (made::<ById>(&work), made::<SyncErrors>(&work));
    let crowd = Crowd::of(16, effort.time);
    let found = rounds(
        effort.rounds,
        [
            ("id", Box::new(|| crowd.cost(&id, &work))),
            ("sync_errors", Box::new(|| crowd.cost(&theirs, &work))),
        ],
    )?;
    Ok(vec![Measured::new("G7", found.ratio(1, 0))])
}

pub(crate) fn hot_tails(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::healthy(), Route::hot()?);
    let (handle, id) = (made::<ByHandle>(&work), made::<ById>(&work));
    let theirs = made::<SyncErrors>(&work);
    let time = 4 * effort.time;
    let found = rounds(
        effort.rounds.div_ceil(2).min(7),
        [
            ("handle", Box::new(|| p9999(&handle, &work, time))),
            ("id", Box::new(|| p9999(&id, &work, time))),
            ("sync_errors", Box::new(|| p9999(&theirs, &work, time))),
        ],
    )?;
    Ok(vec![Measured::new("G10h", found.ratio(2, 0)), Measured::new("G10i", found.ratio(2, 1))])
}

fn p9999<C: Contender>(contender: &C, work: &Work, time: Duration) -> Result<f64, Trouble> {
    Ok(quantile(&Crowd::of(64, time).tail(contender, work)?, 0.9999))
}

pub(crate) fn reads(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work { act: Act::IsOpen, ..Work::guard(Mix::healthy(), Route::hot()?) };
    let found = rounds(
        5 * effort.rounds,
        [
            ("handle", alone(&made::<ByHandle>(&work), &work, ALONE)),
            ("id", alone(&made::<ById>(&work), &work, ALONE)),
            ("sync_errors", alone(&made::<SyncErrors>(&work), &work, ALONE)),
        ],
    )?;
    Ok(vec![Measured::new("G11h", found.ratio(2, 0)), Measured::new("G11i", found.ratio(2, 1))])
}

pub(crate) fn failures(effort: Effort) -> Result<Vec<Measured>, Trouble> {
    let work = Work::guard(Mix::alternating(), Route::hot()?);
    let (handle, theirs) = (made::<ByHandle>(&work), made::<SyncErrors>(&work));
    let found = rounds(
        5 * effort.rounds,
        [
            ("handle", Box::new(|| burst(&handle, &work))),
            ("sync_errors", Box::new(|| burst(&theirs, &work))),
        ],
    )?;
    Ok(vec![Measured::new("G17", found.ratio(0, 1))])
}
