//! Suspend (feature `boottime`, Linux and Android): a clock that counts the time while the system sleeps.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::time::Clock;

impl Clock {
    /// Returns the time since the system started, as Linux and Android count it in `CLOCK_BOOTTIME`: time in
    /// suspend counts. For phones and laptops: a wait of a minute is over after a night in a pocket.
    ///
    /// [`Clock::monotonic`] is Rust's `Instant`, which stands still in suspend on Linux, Android, macOS and
    /// iOS, and goes on in suspend on Windows. So this clock exists where `Instant` leaves suspend out and the
    /// system has one that does not, without `unsafe`; on Windows `Clock::monotonic` is such a clock, and on
    /// macOS and iOS `CLOCK_MONOTONIC`, which [`Clock::from_fn`] takes, is one:
    /// `Clock::from_fn(|| rustix::time::clock_gettime(ClockId::Monotonic).try_into().unwrap_or_default())`.
    /// In a browser it depends on the browser and the system.
    ///
    /// Tokio's timers stand still in suspend with either. A driver looks at this clock once a minute at least,
    /// so what became due in the night is called within a minute of waking; call
    /// [`kick_all`](crate::_guide#when-the-device-sleeps) where the system tells of it, which is at once.
    ///
    /// Never panics.
    ///
    /// ```
    /// use peer_health::{Clock, HealthRegistry};
    ///
    /// let registry = HealthRegistry::<u32>::builder().clock(Clock::boottime()).build()?;
    /// registry.force_open_for(&7, std::time::Duration::from_secs(3600)).unwrap();
    /// let rest = registry.acquire(&7).unwrap_err().retry_after.unwrap();
    /// assert!(rest.as_secs() < 3600, "it runs on");
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn boottime() -> Self {
        Self::from_fn(|| Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::time::{ClockId, clock_gettime};

    use crate::time::{Clock, nanos};

    const DAY: u64 = 86_400;

    /// Returns by how many seconds the clock is ahead of the one that leaves suspend out.
    fn ahead() -> u64 {
        let awake = clock_gettime(ClockId::Monotonic).try_into().map_or(u64::MAX, nanos);
        Clock::boottime().now().0.saturating_sub(awake) / 1_000_000_000
    }

    /// Nobody suspends a machine for a test, but in a namespace of its own this process has slept a day.
    #[test]
    fn the_clock_is_the_one_that_counts_suspend() {
        let this = std::env::current_exe().unwrap();
        let ran = Command::new("unshare")
            .args(["--user", "--map-root-user", "--time", "--boottime"])
            .args([&DAY.to_string(), "--fork"])
            .arg(this)
            .args(["--exact", "--ignored", "boottime::tests::in_a_namespace_that_slept_a_day"])
            .arg("--nocapture")
            .output();
        match ran {
            Ok(ran) if String::from_utf8_lossy(&ran.stderr).starts_with("unshare: ") => {
                eprintln!("skipped: {}", String::from_utf8_lossy(&ran.stderr));
            }
            Err(error) => eprintln!("skipped: there is no unshare: {error}"),
            Ok(ran) => {
                let said = String::from_utf8_lossy(&ran.stdout);
                assert!(ran.status.success() && said.contains("1 passed"), "{said}");
            }
        }
    }

    #[test]
    #[ignore = "run in a namespace by the test above"]
    fn in_a_namespace_that_slept_a_day() {
        assert!(ahead() >= DAY, "{}", ahead());
    }
}
