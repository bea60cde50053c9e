//! Whom to call, of several peers that would do.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::HealthMonitor;
use super::candidate::{Candidate, median};
use crate::registry::PeerKey;
use crate::sync::Ordering;

/// So often candidates are drawn before all of them are looked at.
const DRAWS: usize = 4;
/// One choice in so many is left to chance.
const TO_CHANCE: u32 = 32;

impl<K: PeerKey> HealthMonitor<K> {
    /// Orders candidates, the best first:
    ///
    /// 1. Those that may be called now: the healthy, then the half-open with a free slot, then the
    ///    open whose wait is over, and the half-open whose probes hang for longer than `half_open_max`.
    /// 2. Those that may not: the half-open whose probes are out, then the open, by how long they
    ///    still are, then the forced open.
    /// 3. Where that makes no difference, by what a call is expected to cost: the
    ///    [latency](crate::Snapshot::latency) times one more than the streak of failures. A latency
    ///    that is unknown, or has been for fifteen minutes without a sample, counts as the median
    ///    of those that are known; of an even number of them the mean of the two in the middle.
    /// 4. Then in the order in which they were given.
    ///
    /// An unknown peer is as a healthy one whose latency is unknown. To be asked is no use of a
    /// peer. For a program that has many callers, [`pick`](Self::pick) is better: they
    /// would all call the first.
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

    /// The better of two candidates that are drawn at random; `None` if none may be called now.
    ///
    /// Drawn are two different places of `peers`, each pair as likely as any other, of those that
    /// may be called now: of the closed if there are any, else of the half-open with a free slot,
    /// else of the open whose wait is over. Of the two the one is chosen that costs less, as in
    /// [`rank`](Self::rank); of equals either, and of two of which one's latency is unknown. If
    /// there is one only, it is chosen. A peer that is disabled, or that is only measured, is as a
    /// closed one.
    ///
    /// Callers who all choose the best peer are upon it together, until it is the worst; those who
    /// choose at random are not, and call the worst as often as the best. The better of two random
    /// ones is nearly as good as the best, and spreads nearly as well as chance (Mitzenmacher, "The
    /// Power of Two Choices in Randomized Load Balancing", IEEE Transactions on Parallel and
    /// Distributed Systems 12(10), 2001).
    ///
    /// The slower of two would never be called again, and never be found out to be faster by now.
    /// So one choice in 32 is left to chance: any of those, one as likely as another. And what has
    /// not been measured for fifteen minutes is not held against anybody: at a call a second
    /// and ten candidates each is chosen within the hour, whatever its first call took.
    ///
    /// Open peers get no probe by this while others are closed: somebody else has to ask now and
    /// then. Where most candidates are closed it looks at two of them, otherwise at all.
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

/// Of two that were drawn in random order: the first of equals is either.
fn better<K>(two: [(Candidate, &K); 2]) -> &K {
    let median = median(two.iter().map(|(candidate, _)| candidate));
    let [first, second] = two;
    if second.0.key(median) < first.0.key(median) { second.1 } else { first.1 }
}
