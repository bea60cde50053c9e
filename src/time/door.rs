//! The door for the time of a clock that may step back, or give one wrong reading (R1).
//!
//! No code behind the door knows of such steps. The door handles a reading as follows:
//!
//! 1. A reading that is more than [`STEP`] behind the latest that was known before it was taken is a step
//!    back: it counts as the latest, and the door shifts all later readings by as much.
//! 2. A reading that is behind by less counts as the latest.
//! 3. Any other reading counts as it is, even one that jumps ahead; if the clock is set right after that,
//!    the next reading is a step back.
//!
//! So no thread gets a time before the latest that was known when it asked, and time goes back by no more
//! than the disorder in which threads bring their readings. Two threads that see the same step back shift
//! once: each shifts from the shift that it found before it read the clock.

use crate::sync::{Ordering, TimeWord};

/// A second: a reading that is behind by less comes from threads in disorder, or from a slewed clock.
const STEP: u64 = 1_000_000_000;

/// The state of one clock's door, in nanoseconds; all clones of the clock share it.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// The latest time that the door gave out. It never falls.
    latest: TimeWord,
    /// The shift that the door adds to each reading. It never falls.
    shift: TimeWord,
}

impl Door {
    /// Mends a reading and returns it; returns the latest time if `read` gives none.
    pub(crate) fn pass(&self, read: impl FnOnce() -> Option<u64>) -> u64 {
        // Acquire, twice: pairs with the Release in `fetch_max` and in `compare_exchange` below. The thread
        // reads the clock after it has read these words, so it sees the clock in no earlier state than the
        // thread that wrote them; and no step that came after this reading shifts it.
        let known = self.latest.load(Ordering::Acquire);
        let shift = self.shift.load(Ordering::Acquire);
        let Some(reading) = read() else { return known };
        let told = reading.saturating_add(shift);
        if told > known {
            // Release: pairs with the Acquire above. While a clock stands still, no thread writes here.
            self.latest.fetch_max(told, Ordering::Release);
        } else if known - told > STEP {
            let shifted = shift.saturating_add(known - told);
            // Release, Relaxed: pairs with the Acquire above. If it fails, another thread has shifted by
            // this step, or by a later one.
            let (done, failed) = (Ordering::Release, Ordering::Relaxed);
            let _ = self.shift.compare_exchange(shift, shifted, done, failed);
        }
        told.max(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = STEP;

    fn told(door: &Door, readings: &[u64]) -> Vec<u64> {
        readings.iter().map(|reading| door.pass(|| Some(*reading))).collect()
    }

    #[test]
    fn r01_a_step_back_goes_on_from_the_latest_and_a_smaller_one_counts_as_it() {
        let door = Door::default();
        let day = 86_400 * SECOND;
        let readings = [day, day - SECOND, day + 7, 7, 9, 7 + SECOND, 8];
        let latest = day + 7;
        let told = told(&door, &readings);
        assert_eq!(told, [day, day, latest, latest, latest + 2, latest + SECOND, latest + SECOND]);
        assert_eq!(door.pass(|| None), latest + SECOND, "no reading: the latest");
    }

    #[test]
    fn r01_a_reading_far_ahead_is_gone_on_from() {
        let (door, year) = (Door::default(), 365 * 86_400 * SECOND);
        assert_eq!(told(&door, &[5, year, 6, 8, 10]), [5, year, year, year + 2, year + 4]);
    }

    #[test]
    fn r01_time_that_has_ended_stands_still() {
        let door = Door::default();
        assert_eq!(told(&door, &[u64::MAX, 0, 5, u64::MAX]), [u64::MAX; 4]);
        assert_eq!(told(&Door::default(), &[0, 0, SECOND, 0]), [0, 0, SECOND, SECOND]);
    }

    /// One thread reads a step back inside another's reading of it: the door shifts once.
    #[test]
    fn r01_two_that_see_one_step_back_shift_once() {
        let door = Door::default();
        told(&door, &[9 * SECOND]);
        let both = door.pass(|| {
            assert_eq!(told(&door, &[1]), [9 * SECOND]);
            Some(2)
        });
        assert_eq!(both, 9 * SECOND);
        assert_eq!(told(&door, &[1 + SECOND]), [10 * SECOND]);
    }

    /// The reading is late, not the clock: other threads have read on meanwhile.
    #[test]
    fn r01_a_reading_that_was_overtaken_is_no_step_back() {
        let door = Door::default();
        let late = door.pass(|| {
            told(&door, &[9 * SECOND]);
            Some(SECOND)
        });
        assert_eq!(late, SECOND);
        assert_eq!(told(&door, &[9 * SECOND]), [9 * SECOND]);
    }
}
