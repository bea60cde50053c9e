//! Time as the registry sees it: nanoseconds on one injected monotonic clock (R1).
//!
//! Nothing in the library waits for time to pass or asks the system for it anywhere else. Below
//! the registry, time is a parameter.

use std::fmt;
use std::time::{Duration, Instant};

use crate::foreign::{Own, guarded};
use crate::sync::{Arc, AtomicU64, Ordering};

/// A moment: nanoseconds since the registry was built. Arithmetic saturates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Tick(pub(crate) u64);

impl Tick {
    pub(crate) fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds since `earlier`; zero if `earlier` is not earlier.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A duration in nanoseconds, as long as 64 bits can hold (584 years).
pub(crate) fn nanos(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(duration.subsec_nanos().into())
}

/// Where a registry gets its time from.
///
/// The default is the system's monotonic clock. Tests of your own code take [`Clock::manual`] and
/// move time by hand; nothing in this library sleeps.
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
    source: Source,
    origin: u64,
}

#[derive(Clone)]
enum Source {
    Monotonic(Instant),
    Manual(Arc<AtomicU64>),
    Custom(Arc<Custom>),
}

struct Custom {
    read: Own<Box<dyn Fn() -> Duration + Send + Sync>>,
    last: AtomicU64,
}

impl Clock {
    /// The system's monotonic clock.
    ///
    /// ```
    /// use peer_health::{Clock, HealthRegistry};
    /// let registry = HealthRegistry::<u32>::builder().clock(Clock::monotonic()).build()?;
    /// assert_eq!(registry.len(), 0);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn monotonic() -> Self {
        Self { source: Source::Monotonic(Instant::now()), origin: 0 }
    }

    /// A clock that stands still, and the hand that moves it.
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
        (Self { source: Source::Manual(Arc::clone(&hand)), origin: 0 }, ManualClock(hand))
    }

    /// A clock of your own: `read` tells the time since any fixed moment.
    ///
    /// It should not go backwards; where it does, the registry counts the time between as zero.
    /// It is never called while a lock is held. If it panics, the time it told last is used.
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
        let custom = Custom { read: Own::new(Box::new(read)), last: AtomicU64::new(0) };
        Self { source: Source::Custom(Arc::new(custom)), origin: 0 }
    }

    /// The same clock, counting from now: what a registry takes when it is built.
    pub(crate) fn started_now(&self) -> Self {
        Self { source: self.source.clone(), origin: self.raw() }
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(self.raw().saturating_sub(self.origin))
    }

    fn raw(&self) -> u64 {
        match &self.source {
            Source::Monotonic(epoch) => nanos(epoch.elapsed()),
            // Relaxed: pairs with `ManualClock`; as from any clock, nothing else is read by it.
            Source::Manual(hand) => hand.load(Ordering::Relaxed),
            Source::Custom(custom) => match guarded(|| (custom.read)()) {
                Some(time) => {
                    // Relaxed: pairs with nothing; a last resort whose age does not matter.
                    custom.last.store(nanos(time), Ordering::Relaxed);
                    nanos(time)
                }
                // Relaxed: as above.
                None => custom.last.load(Ordering::Relaxed),
            },
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
            Source::Monotonic(_) => "Monotonic",
            Source::Manual(_) => "Manual",
            Source::Custom(_) => "Custom",
        };
        f.debug_tuple("Clock").field(&kind).finish()
    }
}

/// The hand of a [`Clock::manual`]: moves its time. Clones move the same clock.
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
        // Relaxed, twice: pairs with `Clock::raw`; none of several advances is lost.
        let moved = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |t| Some(t.saturating_add(step)));
        debug_assert!(moved.is_ok());
    }

    /// Sets the time since the clock was made; backwards too.
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

    /// The time since the clock was made.
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
