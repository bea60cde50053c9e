//! Times as they leave the library. Python's `timedelta` has microseconds and ends before Rust's `Duration`.

use std::time::Duration;

/// The longest time that is shown: a thousand years. What is longer means for ever.
const FOREVER: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

/// Rounds up to a microsecond, so that a caller who sleeps that long does not ask too early.
pub(crate) fn wait(time: Duration) -> Duration {
    let micros = time.min(FOREVER).as_nanos().div_ceil(1000);
    u64::try_from(micros).map_or(FOREVER, Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_never_for_ever() {
        assert_eq!(wait(Duration::from_nanos(1)), Duration::from_micros(1));
        assert_eq!(wait(Duration::from_nanos(1001)), Duration::from_micros(2));
        assert_eq!(wait(Duration::from_micros(7)), Duration::from_micros(7));
        assert_eq!([wait(Duration::ZERO), wait(Duration::MAX)], [Duration::ZERO, FOREVER]);
    }
}
