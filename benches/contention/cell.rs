//! The designs, each with the ways to measure it.

use iroh_base::EndpointId;

use crate::baseline::{
    AddFloor, Bare, ByHandle, ById, CircuitBreakerRs, Contender, Failsafe, Locked, MapFloor,
    ParkingMutex, PerPeer, Recloser, Setup, StdMutex, TowerResilience, Trips,
};
use crate::measure::{
    Act, Crowd, Driver, Side, Times, Trouble, Work, alone, burst, now, task_times,
};

/// A design that is compared.
pub(crate) struct Design {
    pub(crate) name: &'static str,
    /// What it can do.
    knows: Knows,
    pub(crate) cost: fn(&Work, Trips, Crowd) -> Side<'static>,
    pub(crate) tail: fn(&Work, Trips, Crowd) -> Result<Times, Trouble>,
    pub(crate) tasks: fn(&Work, usize, usize) -> Result<Times, Trouble>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// One peer only.
    One,
    All,
    /// All, by one object for each: for callers that stay with a peer.
    Handles,
}

const fn design<C: Contender>(name: &'static str, knows: Knows) -> Design {
    Design { name, knows, cost: cost::<C>, tail: tail::<C>, tasks: tasks::<C> }
}

/// The design that all others are compared with.
pub(crate) const BASELINE: &str = "sync_errors";

pub(crate) const DESIGNS: &[Design] = &[
    design::<ByHandle>("handle", Knows::Handles),
    design::<ById>("by id", Knows::All),
    design::<Locked<EndpointId>>(BASELINE, Knows::All),
    design::<Locked<[u8; 32]>>("sync_errors, byte key", Knows::All),
    design::<PerPeer<StdMutex>>("DashMap of mutexes", Knows::All),
    design::<Bare<ParkingMutex>>("handle of a mutex", Knows::One),
    design::<Bare<Recloser>>("recloser", Knows::One),
    design::<Bare<Failsafe>>("failsafe", Knows::One),
    design::<Bare<CircuitBreakerRs>>("circuitbreaker-rs", Knows::One),
    design::<Bare<TowerResilience>>("tower-resilience", Knows::One),
    design::<PerPeer<Recloser>>("DashMap of recloser", Knows::All),
    design::<PerPeer<Failsafe>>("DashMap of failsafe", Knows::All),
    design::<PerPeer<CircuitBreakerRs>>("DashMap of circuitbreaker-rs", Knows::All),
    design::<PerPeer<TowerResilience>>("DashMap of tower-resilience", Knows::All),
    design::<AddFloor>("fetch_add", Knows::One),
    design::<MapFloor>("DashMap get, fetch_add", Knows::All),
];

impl Design {
    /// Whether it can do this work; each caller may stay with one peer.
    pub(crate) fn can(&self, work: &Work, storm: bool, stays: bool) -> bool {
        let floor = ["fetch_add", "DashMap get, fetch_add"].contains(&self.name);
        let crates = ["recloser", "failsafe", "circuitbreaker-rs", "tower-resilience"];
        let other = crates.iter().any(|name| self.name.contains(name));
        let peers = match self.knows {
            Knows::All => true,
            Knows::Handles => stays || work.route.is_hot(),
            Knows::One => work.route.is_hot(),
        };
        let act = match work.act {
            // When tower-resilience is open, it needs a runtime to sleep in.
            Act::Guard => !(storm && (floor || self.name.contains("tower"))),
            // To ask recloser is to make a call.
            Act::IsOpen => !self.name.contains("recloser") && !floor,
            Act::Look => !floor && !other,
        };
        peers && act
    }
}

fn made<C: Contender>(work: &Work, trips: Trips) -> C {
    C::new(&Setup { peers: work.route.peers(), trips })
}

/// One thread alone, two that overlap, or more.
fn cost<C: Contender>(work: &Work, trips: Trips, crowd: Crowd) -> Side<'static> {
    let (contender, work) = (made::<C>(work, trips), work.clone());
    match crowd.threads {
        1 => alone(&contender, &work, crowd.time),
        2 if crowd.writers == 0 => Box::new(move || burst(&contender, &work)),
        _ => Box::new(move || crowd.cost(&contender, &work)),
    }
}

fn tail<C: Contender>(work: &Work, trips: Trips, crowd: Crowd) -> Result<Times, Trouble> {
    crowd.tail(&made::<C>(work, trips), work)
}

/// Tasks that each call one peer, and let the others run after each call.
fn tasks<C: Contender>(work: &Work, tasks: usize, calls: usize) -> Result<Times, Trouble> {
    let contender = made::<C>(work, Trips::USUAL);
    task_times(tasks, |nth| {
        let work = Work { route: work.route.only(nth), ..work.clone() };
        let peer = work.route.peers().first();
        let driver = peer.map(|peer| Driver::new(contender.caller(peer), &work, nth));
        async move {
            let mut took = Vec::with_capacity(calls);
            let Some(mut driver) = driver else { return took };
            for call in 0..calls {
                let began = now();
                driver.single(call);
                took.push(began.elapsed());
                tokio::task::yield_now().await;
            }
            took
        }
    })
}
