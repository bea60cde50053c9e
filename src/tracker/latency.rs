//! The average latency of a peer's successful calls, while its samples are fresh (D13).
//!
//! The average is the smoothed round-trip time of RFC 6298, section 2: it begins as the first sample, and
//! each later one has a weight of 1/8. The past fades: the average's weight halves for every five minutes
//! without a sample, so a sample after such a time a has a weight of 1 - 7/8 * 2^(-a / 5 min); after fifteen
//! minutes the average is unknown. So a peer that was slow once does not stay slow for ever.
//!
//! The average and the time of its last sample lie in one word, so that no reader sees parts of two samples,
//! and of samples that threads add side by side none vanishes.

use crate::sync::{AtomicU64, Ordering};
use crate::time::Tick;

/// The unit of time in the word: a tenth of a second, so that 33 bits last for 27 years.
const UNIT: u64 = 100_000_000;
/// The last time that the word can hold; from then on nothing ages.
const LATEST: u64 = (1 << 33) - 1;
/// After this many units, five minutes, without a sample the average counts half as much.
const HALF_LIFE: f64 = 3000.0;
/// After this many units, fifteen minutes, the average is unknown.
const UNKNOWN: u64 = 9000;
/// The weight that the average keeps beside a sample that comes at once.
const KEPT: f64 = 7.0 / 8.0;

/// A peer's average latency, which several threads sample.
#[derive(Debug)]
pub(super) struct Latency(AtomicU64);

/// The content of the word: the average, at least a nanosecond, and the time of the latest sample.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Average {
    /// The average with 24 binary digits: exact to a nanosecond up to 16 ms, to a ten-millionth beyond.
    nanos: f32,
    units: u64,
}

impl Latency {
    pub(super) fn unknown() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Folds a sample into the average.
    pub(super) fn sample(&self, nanos: u64, now: Tick) {
        let fold = |word| Some(Average::folded(Average::unpack(word), nanos, units(now)).pack());
        // Relaxed, twice: pairs with itself in other threads and with `known`. Of read-modify-writes of one
        // word each begins with what the one before has left: no sample vanishes.
        let folded = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fold);
        debug_assert!(folded.is_ok());
    }

    /// Begins with the average of an earlier process, whose last sample is `age` nanoseconds old, as if that
    /// were of now; an average that is unknown by its age stays unknown.
    pub(super) fn restore(&self, nanos: u64, age: u64, now: Tick) {
        if age / UNIT < UNKNOWN {
            self.sample(nanos, now);
        }
    }

    /// Returns the time of the last sample, as exact as the word holds it: never later than it was.
    pub(super) fn sampled_at(&self) -> Option<Tick> {
        // Relaxed: pairs with `sample`; no thread reads anything else by it.
        let average = Average::unpack(self.0.load(Ordering::Relaxed))?;
        Some(Tick(average.units * UNIT))
    }

    /// Returns the average in nanoseconds, if one is known. Reads the clock only if there was a sample.
    pub(super) fn known(&self, now: impl FnOnce() -> Tick) -> Option<u64> {
        // Relaxed: pairs with `sample`; no thread reads anything else by it.
        let average = Average::unpack(self.0.load(Ordering::Relaxed))?;
        average.weight(units(now())).map(|_| average.rounded())
    }
}

fn units(now: Tick) -> u64 {
    (now.0 / UNIT).min(LATEST)
}

impl Average {
    /// Unpacks a word. Zero holds no average, since none is less than a nanosecond.
    fn unpack(word: u64) -> Option<Self> {
        #[allow(clippy::cast_possible_truncation, reason = "the low half, less its sign")]
        let nanos = f32::from_bits((word as u32) & (u32::MAX >> 1));
        (word != 0).then_some(Self { nanos, units: word >> 31 })
    }

    fn pack(self) -> u64 {
        self.units << 31 | u64::from(self.nanos.to_bits())
    }

    /// Returns the weight of this average beside a sample; `None` if it is forgotten. An earlier `now`
    /// counts as no time.
    fn weight(self, now: u64) -> Option<f64> {
        let age = now.saturating_sub(self.units);
        (age < UNKNOWN).then(|| KEPT * (-(age as f64) / HALF_LIFE).exp2())
    }

    fn folded(old: Option<Self>, sample: u64, now: u64) -> Self {
        let (sample, mut nanos, mut units) = (sample as f64, sample as f64, now);
        if let Some(old) = old {
            units = units.max(old.units);
            if let Some(weight) = old.weight(now) {
                nanos = f64::from(old.nanos) * weight + sample * (1.0 - weight);
            }
        }
        #[allow(clippy::cast_possible_truncation, reason = "an average needs no more digits")]
        let nanos = nanos.max(1.0) as f32;
        Self { nanos, units }
    }

    fn rounded(self) -> u64 {
        #[allow(clippy::cast_possible_truncation, reason = "what is more than fits is the most")]
        let nanos = self.nanos as u64;
        nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    /// Returns a reader of the average after these samples of (time, nanoseconds).
    fn after(samples: &[(u64, u64)]) -> impl Fn(u64) -> Option<u64> {
        let latency = Latency::unknown();
        samples.iter().for_each(|(at, nanos)| latency.sample(*nanos, Tick(*at)));
        move |now| latency.known(|| Tick(now))
    }

    #[test]
    fn the_first_sample_counts_whole_and_each_later_one_by_an_eighth() {
        assert_eq!(after(&[])(0), None);
        assert_eq!(after(&[(0, 800)])(0), Some(800));
        assert_eq!(after(&[(0, 800), (0, 1600)])(0), Some(900));
        assert_eq!(after(&[(0, 800), (0, 1600), (0, 100)])(0), Some(800));
    }

    #[test]
    fn an_average_loses_half_of_its_weight_every_five_minutes() {
        let second = |at| after(&[(7 * MINUTE, 16_000), (7 * MINUTE + at, 0)])(7 * MINUTE + at);
        assert_eq!(second(0), Some(14_000));
        assert_eq!(second(5 * MINUTE), Some(7000));
        assert_eq!(second(10 * MINUTE), Some(3500));
        assert_eq!(second(MINUTE * 5 / 2), Some(9899), "14,000 by the root of two");
    }

    #[test]
    fn what_is_fifteen_minutes_old_is_unknown_and_a_sample_then_counts_whole() {
        let known = after(&[(MINUTE, 800)]);
        assert_eq!((known(16 * MINUTE - 1), known(16 * MINUTE)), (Some(800), None));
        let known = after(&[(MINUTE, 800), (16 * MINUTE, 0)]);
        assert_eq!((known(16 * MINUTE), known(31 * MINUTE)), (Some(1), None));
        let renewed = after(&[(MINUTE, 800), (15 * MINUTE, 800)]);
        assert_eq!(renewed(30 * MINUTE - 1), Some(800), "from its last sample on");
    }

    #[test]
    fn an_average_is_never_zero_and_nothing_overflows() {
        assert_eq!(after(&[(0, 0)])(0), Some(1));
        assert_eq!(after(&[(0, 1), (0, 0)])(0), Some(1));
        assert_eq!(after(&[(0, u64::MAX); 3])(0), Some(u64::MAX));
        assert_eq!(after(&[(u64::MAX, u64::MAX), (u64::MAX, 0)])(u64::MAX), Some(7 << 61));
        assert_eq!(after(&[(0, u64::MAX), (u64::MAX, 5)])(u64::MAX), Some(5));
        assert_eq!(after(&[(0, 5)])(u64::MAX), None);
    }

    #[test]
    fn an_average_of_an_earlier_process_counts_as_of_now_unless_it_is_too_old() {
        for (age, known) in [(0, Some(800)), (15 * MINUTE - 1, Some(800)), (15 * MINUTE, None)] {
            let latency = Latency::unknown();
            assert_eq!(latency.sampled_at(), None);
            latency.restore(800, age, Tick(MINUTE));
            assert_eq!(latency.known(|| Tick(MINUTE)), known, "{age}");
            assert_eq!(latency.sampled_at(), known.map(|_| Tick(MINUTE)));
        }
    }

    #[test]
    fn time_that_steps_back_neither_ages_an_average_nor_makes_it_younger() {
        let known = after(&[(20 * MINUTE, 800), (MINUTE, 1600)]);
        assert_eq!((known(0), known(35 * MINUTE - 1), known(35 * MINUTE)), {
            (Some(900), Some(900), None)
        });
    }

    #[test]
    fn an_average_arrives_where_its_samples_are() {
        for first in [1, 1_000_000_000] {
            let samples: Vec<_> = [(0, first)].into_iter().chain([(0, 1_000_000); 500]).collect();
            let known = after(&samples)(0).unwrap();
            assert!(known.abs_diff(1_000_000) <= 1, "{known}");
        }
    }
}
