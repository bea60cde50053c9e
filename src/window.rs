//! Windows over the latest calls, by count or by time, from which the circuit computes failure and slow-call
//! rates (R15).
//!
//! A window belongs to one Closed phase. Threads add outcomes with read-modify-write operations only, so
//! none is lost and none counts twice; several threads may add while one judges, so a thread judges a rate
//! on a window that is moving. Of threads that add at the same time, at least the last one sees what all of
//! them added: no reached rate goes unseen.
//!
//! A window by count is a ring of one byte per call beside one word with the three sums. A window by time is
//! a list of buckets; the list is part of the circuit's immutable value, so rotation is one of its steps,
//! and threads share only the counters inside a bucket.

use crate::config::Window;
use crate::config::rules::Rules;
use crate::outcome::WindowCounts;
use crate::sync::{Arc, AtomicU8, AtomicU64, Ordering};
use crate::time::Tick;

/// A call, as a window counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

/// A window in use.
#[derive(Debug, Clone)]
pub(crate) enum Sliding {
    Ring(Arc<Ring>),
    Series(Series),
}

impl Sliding {
    /// Returns the window that an outcome at `now` needs in the place of `current`, if that one does not
    /// serve: there is none yet, its shape has changed, or it lacks the bucket of `now`.
    pub(crate) fn needed(current: Option<&Self>, rules: &Rules, now: Tick) -> Option<Option<Self>> {
        match (current, rules.window) {
            (None, None) => None,
            (Some(_), None) => Some(None),
            (Some(Self::Ring(ring)), Some(Window::Count { size }))
                if ring.slots.len() == size as usize =>
            {
                None
            }
            (_, Some(Window::Count { size })) => Some(Some(Self::Ring(Arc::new(Ring::new(size))))),
            (Some(Self::Series(series)), Some(Window::Time { buckets, .. }))
                if (series.width, series.buckets) == (rules.bucket, u64::from(buckets)) =>
            {
                series.with_bucket_of(now).map(|s| Some(Self::Series(s)))
            }
            (_, Some(Window::Time { buckets, .. })) => {
                let empty =
                    Series { width: rules.bucket, buckets: buckets.into(), list: Vec::new() };
                Some(empty.with_bucket_of(now).map(Self::Series))
            }
        }
    }

    /// Adds an outcome and returns the counts with it.
    pub(crate) fn add(&self, sample: Sample, now: Tick) -> WindowCounts {
        match self {
            Self::Ring(ring) => ring.add(sample),
            Self::Series(series) => series.add(sample, now),
        }
    }

    /// Returns whether a window by count holds no failure; one by time cannot know that without the time.
    pub(crate) fn is_spotless(&self) -> bool {
        match self {
            // Relaxed: pairs with `Ring::add`; no thread reads anything else by this word.
            Self::Ring(ring) => Sums(ring.sums.load(Ordering::Relaxed)).counts().failures == 0,
            Self::Series(_) => false,
        }
    }

    pub(crate) fn counts(&self, now: Tick) -> WindowCounts {
        match self {
            // Relaxed: as above.
            Self::Ring(ring) => Sums(ring.sums.load(Ordering::Relaxed)).counts(),
            Self::Series(series) => series.counts(now, |counter| {
                // Acquire: pairs with the additions in `Series::add`; the thread reads the total after it.
                counter.load(Ordering::Acquire)
            }),
        }
    }
}

/// Three sums of 21 bits in one word, so that threads read and change them together.
#[derive(Clone, Copy)]
struct Sums(u64);

impl Sums {
    const BITS: u32 = 21;
    const MASK: u64 = (1 << Self::BITS) - 1;

    fn of(sample: Sample) -> Self {
        let (failed, slow) = (u64::from(sample.failed), u64::from(sample.slow));
        Self(1 | failed << Self::BITS | slow << (2 * Self::BITS))
    }

    fn counts(self) -> WindowCounts {
        WindowCounts {
            total: self.0 & Self::MASK,
            failures: self.0 >> Self::BITS & Self::MASK,
            slow: self.0 >> (2 * Self::BITS) & Self::MASK,
        }
    }
}

/// The last `n` calls.
#[derive(Debug)]
pub(crate) struct Ring {
    slots: Box<[AtomicU8]>,
    next: AtomicU64,
    sums: AtomicU64,
}

impl Ring {
    const EMPTY: u8 = 0;

    fn new(size: u32) -> Self {
        let slots = (0..size).map(|_| AtomicU8::new(Self::EMPTY)).collect();
        Self { slots, next: AtomicU64::new(0), sums: AtomicU64::new(0) }
    }

    fn add(&self, sample: Sample) -> WindowCounts {
        // The sum changes first, the slot second, and the old value of the slot is subtracted last: each
        // value in a slot has been added before, so no sum ever goes below zero and borrows from its
        // neighbour.
        let mine = Sums::of(sample).0;
        // Relaxed: pairs with itself in other threads; of read-modify-writes of one word the last sees them
        // all.
        let mut sums = self.sums.fetch_add(mine, Ordering::Relaxed).wrapping_add(mine);
        // Relaxed: pairs with nothing; it only hands out slots.
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len() as u64;
        let slot = &self.slots[usize::try_from(index).unwrap_or_default()];
        // AcqRel: pairs with the swap that put the old value here, so that its addition came before this
        // subtraction. No model sees this one, since loom takes read-modify-writes of a word in the order in
        // which it runs them; the proof is that what happens before comes first in the word's modification
        // order (C++20, [intro.races]).
        let old = slot.swap(Self::pack(sample), Ordering::AcqRel);
        if let Some(old) = Self::unpack(old) {
            let gone = Sums::of(old).0;
            // Relaxed: as for the addition.
            sums = self.sums.fetch_sub(gone, Ordering::Relaxed).wrapping_sub(gone);
        }
        Sums(sums).counts()
    }

    fn pack(sample: Sample) -> u8 {
        1 | u8::from(sample.failed) << 1 | u8::from(sample.slow) << 2
    }

    fn unpack(slot: u8) -> Option<Sample> {
        (slot != Self::EMPTY).then_some(Sample { failed: slot & 2 != 0, slow: slot & 4 != 0 })
    }
}

/// The calls of the last `buckets * width` nanoseconds. The list is part of an immutable value; threads
/// change only the counters in a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    width: u64,
    buckets: u64,
    /// The buckets, ascending by number.
    list: Vec<(u64, Arc<Bucket>)>,
}

#[derive(Debug)]
pub(crate) struct Bucket {
    total: AtomicU64,
    failures: AtomicU64,
    slow: AtomicU64,
}

impl Series {
    fn number(&self, now: Tick) -> u64 {
        now.0 / self.width
    }

    /// Returns the first bucket that is still in the window when `number` is the current one.
    fn first(&self, number: u64) -> u64 {
        number.saturating_sub(self.buckets - 1)
    }

    fn newest(&self) -> u64 {
        self.list.last().map_or(0, |(number, _)| *number)
    }

    /// Returns the same window with the bucket of `now` and without those that are over; `None` if it has
    /// that bucket, or if the moment is so long past that it has no bucket.
    fn with_bucket_of(&self, now: Tick) -> Option<Self> {
        let number = self.number(now);
        let first = self.first(number.max(self.newest()));
        let index = match self.list.binary_search_by_key(&number, |(n, _)| *n) {
            Err(index) if number >= first => index,
            _ => return None,
        };
        let zero = || AtomicU64::new(0);
        let bucket = Arc::new(Bucket { total: zero(), failures: zero(), slow: zero() });
        let mut list = self.list.clone();
        list.insert(index, (number, bucket));
        list.retain(|(n, _)| *n >= first);
        Some(Self { list, ..*self })
    }

    fn add(&self, sample: Sample, now: Tick) -> WindowCounts {
        let number = self.number(now);
        if let Ok(index) = self.list.binary_search_by_key(&number, |(n, _)| *n) {
            let bucket = &self.list[index].1;
            // Relaxed: pairs with the reads below, for which what follows releases it. The total goes first,
            // so that no thread sees more failures than calls.
            bucket.total.fetch_add(1, Ordering::Relaxed);
            // Release, twice: pairs with the reads in other threads.
            if sample.slow {
                bucket.slow.fetch_add(1, Ordering::Release);
            }
            if sample.failed {
                bucket.failures.fetch_add(1, Ordering::Release); // Release: as above
            }
        }
        // AcqRel: pairs with itself and with the additions. A read that is a read-modify-write is in one
        // order with them: of two threads that add, the later one sees what the other did.
        self.counts(now, |counter| counter.fetch_add(0, Ordering::AcqRel))
    }

    fn counts(&self, now: Tick, read: impl Fn(&AtomicU64) -> u64) -> WindowCounts {
        let number = self.number(now);
        let live = self.first(number)..=number;
        let mut counts = WindowCounts::default();
        for (_, bucket) in self.list.iter().filter(|(n, _)| live.contains(n)) {
            // The thread reads failures and slow calls before the total, so they never exceed it.
            counts.failures += read(&bucket.failures);
            counts.slow += read(&bucket.slow);
            // Relaxed: pairs with the additions, which the reads above have acquired.
            counts.total += bucket.total.load(Ordering::Relaxed);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::HealthConfig;

    /// Threads bring their times out of order (R1, R15).
    #[test]
    fn a_window_by_time_takes_stragglers_while_their_bucket_lives() {
        let window = Window::time(Duration::from_nanos(30), 3);
        let rules = HealthConfig::default().with_window(window).rules();
        let mut window = None;
        let mut at = |time, failed| {
            let now = Tick(time);
            window = Sliding::needed(window.as_ref(), &rules, now).unwrap_or(window.take());
            let counts = window.as_ref().map(|w| w.add(Sample { failed, slow: false }, now));
            counts.map_or((0, 0), |counts| (counts.total, counts.failures))
        };
        assert_eq!(at(9, true), (1, 1));
        assert_eq!(at(25, false), (2, 1));
        assert_eq!(at(15, true), (2, 2), "the later bucket is not yet in");
        assert_eq!(at(29, true), (4, 3));
        assert_eq!(at(30, false), (4, 2), "the first bucket is over");
        assert_eq!(at(59, false), (2, 0), "so is all but the last");
        assert_eq!(at(15, true).0, 0, "too long past for a bucket");
        assert_eq!(at(59, false), (3, 0));
    }
}
