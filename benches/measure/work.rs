//! What callers do: which peers they call, which calls fail, and what they ask.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;

use iroh_base::{EndpointId, SecretKey};
use peer_health::SyncError;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::baseline::{Caller, Outcome};
use crate::measure::Trouble;

/// Calls made at a stretch, between two looks at a clock.
const STRETCH: usize = 100;
/// How many peers a random order names before it repeats itself: few enough that it stays in a
/// near cache.
const ORDER: usize = 1 << 15;

/// What is done with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A guarded outcome.
    Guard,
    /// Whether its circuit is open.
    IsOpen,
    /// A snapshot of it.
    Look,
}

/// Which calls fail: a pattern of a stretch or more, repeated.
#[derive(Clone)]
pub(crate) struct Mix(Arc<[bool]>);

impl Mix {
    /// No call fails.
    pub(crate) fn spotless() -> Self {
        Self([false; STRETCH].into())
    }

    /// One call of a hundred fails.
    pub(crate) fn healthy() -> Self {
        Self((0..STRETCH).map(|n| n == STRETCH / 2).collect())
    }

    /// Every other call fails, so that no streak is long enough to open a circuit.
    pub(crate) fn alternating() -> Self {
        Self((0..STRETCH).map(|n| n % 2 == 0).collect())
    }

    /// Half of the calls fail, at random: a streak of five comes every few dozen calls.
    pub(crate) fn storm() -> Self {
        let mut random = StdRng::seed_from_u64(1);
        Self((0..10 * STRETCH).map(|_| random.random()).collect())
    }
}

/// Which peers are called.
#[derive(Clone)]
pub(crate) struct Route {
    peers: Arc<[EndpointId]>,
    /// None: the first, always.
    order: Option<Arc<[u32]>>,
}

impl Route {
    pub(crate) fn hot() -> Result<Self, Trouble> {
        Ok(Self { peers: peers(1)?, order: None })
    }

    /// So many peers, each as likely as any other.
    pub(crate) fn uniform(count: u32) -> Result<Self, Trouble> {
        let mut random = StdRng::seed_from_u64(2);
        let order = (0..ORDER).map(|_| random.random_range(0..count)).collect();
        Ok(Self { peers: peers(count)?, order: Some(order) })
    }

    /// So many peers, the n-th with a likelihood that is proportional to 1/n.
    pub(crate) fn zipf(count: u32) -> Result<Self, Trouble> {
        let mut random = StdRng::seed_from_u64(3);
        let weights = WeightedIndex::new((1..=count).map(|n| 1.0 / f64::from(n)))?;
        let order = (0..ORDER).map(|_| u32::try_from(weights.sample(&mut random)));
        Ok(Self { peers: peers(count)?, order: Some(order.collect::<Result<_, _>>()?) })
    }

    /// The n-th of these peers, always.
    pub(crate) fn only(&self, nth: usize) -> Self {
        let peers = self.peers.iter().copied().cycle().skip(nth % self.peers.len().max(1));
        Self { peers: peers.take(1).collect(), order: None }
    }

    pub(crate) fn peers(&self) -> &[EndpointId] {
        &self.peers
    }

    pub(crate) fn is_hot(&self) -> bool {
        self.order.is_none()
    }
}

/// Ids of secret keys made for the purpose. On all cores: an id takes some microseconds.
fn peers(count: u32) -> Result<Arc<[EndpointId]>, Trouble> {
    let id = |n: u32| {
        let mut secret = [0; 32];
        StdRng::seed_from_u64(n.into()).fill_bytes(&mut secret);
        SecretKey::from_bytes(&secret).public()
    };
    let cores = u32::try_from(thread::available_parallelism()?.get())?;
    let share = count.div_ceil(cores).max(1);
    thread::scope(|scope| {
        let parts = (0..count).step_by(share as usize).map(|begin| {
            scope.spawn(move || (begin..count.min(begin + share)).map(id).collect::<Vec<_>>())
        });
        let parts = parts.collect::<Vec<_>>();
        let made = parts.into_iter().map(|part| super::joined(part.join()));
        Ok(made.collect::<Result<Vec<_>, _>>()?.concat().into())
    })
}

/// What callers do.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) act: Act,
    pub(crate) mix: Mix,
    pub(crate) route: Route,
}

impl Work {
    pub(crate) fn guard(mix: Mix, route: Route) -> Self {
        Self { act: Act::Guard, mix, route }
    }
}

/// One caller at work.
pub(crate) struct Driver<C> {
    caller: C,
    work: Work,
    at: usize,
}

impl<C: Caller> Driver<C> {
    /// The n-th of several callers begins elsewhere than the others.
    pub(crate) fn new(caller: C, work: &Work, nth: usize) -> Self {
        Self { caller, work: work.clone(), at: (nth * 7919 * STRETCH) % (ORDER - 10 * STRETCH) }
    }

    /// A stretch of calls. How many.
    #[inline(never)]
    pub(crate) fn stretch(&mut self) -> u64 {
        let (caller, mix) = (&mut self.caller, &self.work.mix.0);
        let peers = &self.work.route.peers;
        let Some(order) = &self.work.route.order else {
            let Some(peer) = peers.first() else { return 0 };
            return run(caller, self.work.act, mix.iter().map(|fails| (peer, *fails)));
        };
        if self.at + mix.len() > order.len() {
            self.at = 0;
        }
        let order = &order[self.at..self.at + mix.len()];
        self.at += mix.len();
        let calls = order.iter().zip(mix.iter());
        run(caller, self.work.act, calls.map(|(n, fails)| (&peers[*n as usize], *fails)))
    }

    /// One call, of a peer and with an outcome that come by turns.
    pub(crate) fn single(&mut self, nth: usize) {
        let work = &self.work;
        let peer = work
            .route
            .order
            .as_ref()
            .map_or(0, |order| order[(self.at + nth) % order.len()] as usize);
        let fails = work.mix.0[nth % work.mix.0.len()];
        act(&mut self.caller, work.act, &work.route.peers[peer], fails);
    }
}

#[inline]
fn run<'a, C: Caller>(
    caller: &mut C,
    what: Act,
    calls: impl ExactSizeIterator<Item = (&'a EndpointId, bool)>,
) -> u64 {
    let count = calls.len() as u64;
    match what {
        Act::Guard => calls.for_each(|(peer, fails)| act(caller, Act::Guard, peer, fails)),
        Act::IsOpen => calls.for_each(|(peer, fails)| act(caller, Act::IsOpen, peer, fails)),
        Act::Look => calls.for_each(|(peer, fails)| act(caller, Act::Look, peer, fails)),
    }
    count
}

/// The compiler knows neither whom it is about nor what is done with the answer.
#[inline(always)]
fn act<C: Caller>(caller: &mut C, what: Act, peer: &EndpointId, fails: bool) {
    let peer = black_box(peer);
    black_box(match what {
        Act::Guard => caller.guard(peer, outcome(fails)),
        Act::IsOpen => caller.is_open(peer),
        Act::Look => caller.look(peer),
    });
}

#[inline(always)]
pub(crate) fn outcome(fails: bool) -> Outcome {
    if fails { Err(SyncError::Network("connection reset by peer".into())) } else { Ok(()) }
}
