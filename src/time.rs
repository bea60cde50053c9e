//! The registry's time: nanoseconds on one injected monotonic clock (R1).
//!
//! This file alone reads the system's clock, and the core waits for no timer. Below the registry, time is a
//! parameter. A clock that may step back passes a [`Door`], which mends it.

use std::cell::Cell;
use std::fmt;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use std::time::Instant;
use std::time::{Duration, SystemTime};

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use web_time::Instant;

use crate::foreign::{Own, guarded};
use crate::sync::{Arc, AtomicU64, Ordering};

mod door;

use door::Door;

/// A moment in nanoseconds since the registry was built. Its arithmetic saturates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Tick(pub(crate) u64);

impl Tick {
    pub(crate) fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Returns the nanoseconds since `earlier`; zero if `earlier` is not earlier.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Converts a duration to nanoseconds, at most what 64 bits hold (584 years).
pub(crate) fn nanos(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(duration.subsec_nanos().into())
}

/// Returns the system's time `age` nanoseconds ago, for display; nothing decides by it. Once the system's
/// clock is set right, what is shown is right.
pub(crate) fn ago(age: u64) -> SystemTime {
    date().checked_sub(Duration::from_nanos(age)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the system's date")]
fn date() -> SystemTime {
    SystemTime::now()
}

/// A browser and node tell the time, and `std` does not know how to ask them.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
fn date() -> SystemTime {
    web_time::web::SystemTimeExt::to_std(web_time::SystemTime::now())
}

/// A source of time for a registry.
///
/// The default is the system's monotonic clock. Tests of your own code take [`Clock::manual`] and move its
/// time by hand, so that they need no sleep.
///
/// # A clock that steps back
///
/// A clock of your own, or one moved by hand, may step back, and may give one wrong reading. If a reading is
/// more than a second behind the latest, time goes on from the latest, and all later readings are shifted by
/// as much; a reading that is behind by less counts as the latest. So no wait, lease or window outlives its
/// length, and a jump ahead at worst ends some of them early. A clock that has reached the end of time (584
/// years) stays there. All clones of a clock share this.
///
/// ```
/// use peer_health::{Clock, HealthRegistry};
/// use std::time::Duration;
///
/// let (clock, hand) = Clock::manual();
/// let registry = HealthRegistry::<u32>::builder().clock(clock).build()?;
/// hand.advance(Duration::from_secs(3600)); // an hour passes, at once
/// assert!(registry.acquire(&7).is_ok());
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Clock {
    source: ClockSource,
    origin: u64,
}

#[derive(Clone)]
enum ClockSource {
    Monotonic(Instant),
    Manual(Arc<AtomicU64>, Arc<Door>),
    Custom(Arc<Custom>),
}

struct Custom {
    read: Own<Box<dyn Fn() -> Duration + Send + Sync>>,
    door: Door,
}

thread_local! {
    /// Whether this thread is reading a user's clock.
    static READING: Cell<bool> = const { Cell::new(false) };
}

impl Custom {
    /// Returns `None` if the clock panics, or if it calls a registry that in turn needs this clock's time.
    fn read(&self) -> Option<u64> {
        if READING.replace(true) {
            return None;
        }
        let time = guarded(|| (self.read)());
        READING.set(false);
        time.map(nanos)
    }
}

impl Clock {
    /// Returns the system's monotonic clock. Whether it counts the time in suspend is up to the system:
    /// [the guide](crate::_guide#when-the-device-sleeps) says which does.
    ///
    /// ```
    /// use peer_health::{Clock, HealthRegistry};
    /// let registry = HealthRegistry::<u32>::builder().clock(Clock::monotonic()).build()?;
    /// assert_eq!(registry.len(), 0);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn monotonic() -> Self {
        Self::of(ClockSource::Monotonic(Instant::now()))
    }

    /// Returns a clock that stands still, and the hand that moves it.
    ///
    /// ```
    /// use peer_health::Clock;
    /// use std::time::Duration;
    ///
    /// let (_clock, hand) = Clock::manual();
    /// hand.advance(Duration::from_millis(5));
    /// assert_eq!(hand.elapsed(), Duration::from_millis(5));
    /// ```
    pub fn manual() -> (Self, ManualClock) {
        let hand = Arc::new(AtomicU64::new(0));
        let source = ClockSource::Manual(Arc::clone(&hand), Arc::new(Door::default()));
        (Self::of(source), ManualClock(hand))
    }

    /// Returns a clock of your own: `read` returns the time since any fixed moment.
    ///
    /// If `read` goes back by more than a second, time goes on from its latest reading; see
    /// [above](Self#a-clock-that-steps-back). The registry calls `read` only while it holds no lock. If
    /// `read` panics, or calls a registry that needs the time, its latest reading counts instead.
    ///
    /// ```
    /// use peer_health::{Clock, HealthRegistry};
    /// use std::time::Duration;
    ///
    /// let clock = Clock::from_fn(|| Duration::from_secs(42));
    /// let registry = HealthRegistry::<u32>::builder().clock(clock).build()?;
    /// assert!(registry.acquire(&7).is_ok());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn from_fn(read: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let custom = Custom { read: Own::new(Box::new(read)), door: Door::default() };
        Self::of(ClockSource::Custom(Arc::new(custom)))
    }

    fn of(source: ClockSource) -> Self {
        Self { source, origin: 0 }
    }

    /// Returns the same clock, counting from now: a registry takes it when it is built.
    pub(crate) fn started_now(&self) -> Self {
        Self { source: self.source.clone(), origin: self.raw() }
    }

    pub(crate) fn now(&self) -> Tick {
        match self.raw() {
            // The end of time is the end for all clones, whenever they began to count.
            u64::MAX => Tick(u64::MAX),
            time => Tick(time.saturating_sub(self.origin)),
        }
    }

    fn raw(&self) -> u64 {
        match &self.source {
            ClockSource::Monotonic(epoch) => nanos(epoch.elapsed()),
            // Relaxed: pairs with `ManualClock`; no thread reads anything else by it.
            ClockSource::Manual(hand, door) => door.pass(|| Some(hand.load(Ordering::Relaxed))),
            ClockSource::Custom(custom) => custom.door.pass(|| custom.read()),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::monotonic()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.source {
            ClockSource::Monotonic(_) => "Monotonic",
            ClockSource::Manual(..) => "Manual",
            ClockSource::Custom(_) => "Custom",
        };
        f.debug_tuple("Clock").field(&kind).finish()
    }
}

/// A hand that moves the time of a [`Clock::manual`]. Clones move the same clock.
///
/// ```
/// use peer_health::{Clock, HealthConfig, HealthRegistry, SyncError};
/// use std::time::Duration;
///
/// let (clock, hand) = Clock::manual();
/// let config = HealthConfig::default()
///     .with_failure_threshold(1)
///     .with_open_timeout(Duration::from_secs(5));
/// let registry = HealthRegistry::<u32>::builder().clock(clock).config(config).build()?;
/// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
/// assert!(registry.acquire(&7).is_err());
/// hand.advance(Duration::from_secs(5));
/// assert!(registry.acquire(&7).is_ok());
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Moves time forward.
    ///
    /// ```
    /// let (_clock, hand) = peer_health::Clock::manual();
    /// hand.advance(std::time::Duration::from_secs(2));
    /// hand.advance(std::time::Duration::from_secs(1));
    /// assert_eq!(hand.elapsed().as_secs(), 3);
    /// ```
    pub fn advance(&self, by: Duration) {
        let step = nanos(by);
        // Relaxed, twice: pairs with `Clock::raw`; a read-modify-write loses none of several advances.
        let moved = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |t| Some(t.saturating_add(step)));
        debug_assert!(moved.is_ok());
    }

    /// Sets the time since the clock was made. If that is earlier than before, the [`Clock`] treats it [as
    /// any step back](Clock#a-clock-that-steps-back).
    ///
    /// ```
    /// let (_clock, hand) = peer_health::Clock::manual();
    /// hand.set(std::time::Duration::from_secs(9));
    /// assert_eq!(hand.elapsed().as_secs(), 9);
    /// ```
    pub fn set(&self, elapsed: Duration) {
        // Relaxed: pairs with `Clock::raw`.
        self.0.store(nanos(elapsed), Ordering::Relaxed);
    }

    /// Returns the time since the clock was made, as the hand last set it.
    ///
    /// ```
    /// let (_clock, hand) = peer_health::Clock::manual();
    /// assert_eq!(hand.elapsed(), std::time::Duration::ZERO);
    /// ```
    pub fn elapsed(&self) -> Duration {
        // Relaxed: pairs with `set` and `advance`.
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
