//! How a monitor chooses which of several peers to call.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::HealthMonitor;
use super::candidate::{Candidate, median};
use crate::registry::PeerKey;
use crate::sync::Ordering;

/// The number of pairs that are drawn before all candidates are read.
const DRAWS: usize = 4;
/// One choice in this many is left to chance.
const TO_CHANCE: u32 = 32;

impl<K: PeerKey> HealthMonitor<K> {
    /// Orders candidates, the best first:
    ///
    /// 1. Peers that may be called now: the healthy, then the half-open with a free probe slot, then the
    ///    open whose wait is over and the half-open whose probes hang for longer than `half_open_max`.
    /// 2. Peers that may not: the half-open whose probes are out, then the open by how long they still
    ///    are, then the forced open.
    /// 3. Among equals of these, by what a call is expected to cost: the
    ///    [latency](crate::Snapshot::latency) times one more than the streak of failures. A latency that
    ///    is unknown, or had no sample for fifteen minutes, counts as the median of the known ones; of an
    ///    even number of them, as the mean of the two in the middle.
    /// 4. Then in the order in which they were given.
    ///
    /// An unknown peer counts as a healthy one whose latency is unknown. Ranking a peer does not keep it
    /// from eviction. Where many callers choose, use [`pick`](Self::pick): with this they would all call
    /// the first.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use std::time::Duration;
    ///
    /// let registry = HealthRegistry::<&str>::new();
    /// for (peer, millis) in [("far", 80), ("near", 5), ("banned", 1)] {
    ///     let latency = Duration::from_millis(millis);
    ///     registry.acquire(&peer).unwrap().with_latency(latency).success();
    /// }
    /// registry.force_open(&"banned")?;
    /// let monitor = HealthMonitor::new(registry);
    /// let ranked = monitor.rank(&["banned", "far", "near", "new"]);
    /// assert_eq!(ranked, [&"near", &"new", &"far", &"banned"]);
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn rank<'a>(&self, peers: impl IntoIterator<Item = &'a K>) -> Vec<&'a K> {
        let read = |peer| (Candidate::of(self.registry(), peer), peer);
        let mut all: Vec<(Candidate, &K)> = peers.into_iter().map(read).collect();
        let median = median(all.iter().map(|(candidate, _)| candidate));
        all.sort_by_key(|(candidate, _)| candidate.key(median));
        all.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Returns the better of two candidates that are drawn at random; `None` if none may be called now.
    ///
    /// The draw is of two different elements of `peers`, each pair as likely as any other, among those
    /// that may be called now: among the closed if there are any, else among the half-open with a free
    /// probe slot, else among the open whose wait is over. The one is chosen that costs less, as in
    /// [`rank`](Self::rank); either is if they cost the same, or if the latency of one is unknown. A
    /// single candidate is chosen without a draw. A peer that is disabled or metrics-only counts as
    /// closed.
    ///
    /// Callers that all choose the best peer overload it until it is the worst. Callers that choose at
    /// random call the worst as often as the best. The better of two random ones is nearly as good as
    /// the best, and spreads nearly as well as chance (Mitzenmacher, "The Power of Two Choices in
    /// Randomized Load Balancing", IEEE Transactions on Parallel and Distributed Systems 12(10), 2001).
    ///
    /// The slower of two peers would never be called again, so nobody would learn that it is faster by
    /// now. Therefore one choice in 32 is left to chance, each candidate as likely as another, and a
    /// latency without a sample for fifteen minutes counts no more. At a call a second and ten
    /// candidates, each of them is chosen within the hour, whatever its first call took.
    ///
    /// Open peers get no probe by this while others are closed, so something else has to ask for a
    /// permit now and then. Where most candidates are closed this reads two of them, otherwise all.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// let registry = HealthRegistry::<u32>::new();
    /// let monitor = HealthMonitor::new(registry.clone());
    /// registry.force_open(&1).unwrap();
    /// assert_eq!(monitor.pick(&[1, 2]), Some(&2));
    /// assert_eq!(monitor.pick(&[1]), None);
    /// ```
    pub fn pick<'a>(&self, peers: &'a [K]) -> Option<&'a K> {
        // Relaxed: pairs with itself in other threads; each choice has a number of its own.
        let number = self.shared.choices.fetch_add(1, Ordering::Relaxed);
        let mut random = SmallRng::seed_from_u64(self.shared.seed.wrapping_add(number));
        let to_chance = random.random_ratio(1, TO_CHANCE);
        let read = |peer| (Candidate::of(self.registry(), peer), peer);
        if peers.len() > 1 {
            for _ in 0..DRAWS {
                let first = random.random_range(0..peers.len());
                let second = random.random_range(1..peers.len());
                let second = (first + second) % peers.len();
                let two = [first, second].map(|index| read(&peers[index]));
                if two.iter().all(|(candidate, _)| candidate.availability.is_healthy()) {
                    return Some(if to_chance { two[0].1 } else { better(two) });
                }
            }
        }
        let mut all: Vec<(Candidate, &K)> = peers.iter().map(read).collect();
        all.retain(|(candidate, _)| candidate.availability.may_be_called());
        let best = all.iter().map(|(candidate, _)| candidate.availability).min()?;
        all.retain(|(candidate, _)| candidate.availability == best);
        let first = all.swap_remove(random.random_range(0..all.len()));
        if to_chance || all.is_empty() {
            return Some(first.1);
        }
        let second = all.swap_remove(random.random_range(0..all.len()));
        Some(better([first, second]))
    }
}

/// Returns the cheaper of two candidates that were drawn in random order; of equals, the first.
fn better<K>(two: [(Candidate, &K); 2]) -> &K {
    let median = median(two.iter().map(|(candidate, _)| candidate));
    let [first, second] = two;
    if second.0.key(median) < first.0.key(median) { second.1 } else { first.1 }
}
