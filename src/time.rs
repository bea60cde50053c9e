//! Time as the registry sees it: nanoseconds on one injected monotonic clock (R1).
//!
//! Nothing in the library waits for time to pass or asks the system for it anywhere else. Below
//! the registry, time is a parameter. A clock that may step back is mended at its [`Door`].

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use crate::foreign::{Own, guarded};
use crate::sync::{Arc, AtomicU64, Ordering};

mod door;

use door::Door;

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

/// The system's time so long ago, for display; nothing decides by it. A clock of the system that
/// is set right later shows right from then on.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the system's date")]
pub(crate) fn ago(age: u64) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(Duration::from_nanos(age)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Where a registry gets its time from.
///
/// The default is the system's monotonic clock. Tests of your own code take [`Clock::manual`] and
/// move time by hand; nothing in this library sleeps.
///
/// # A clock that steps back
///
/// A clock of your own, or one moved by hand, may be set back, and may tell wrong once. A reading
/// that is more than a second behind the latest one goes on from there, with all that follow it; a
/// reading that is behind by less counts as the latest. So no wait, lease or window outlives its
/// length, and a jump ahead at worst ends some early. Time that was told to have ended (584 years)
/// has. All clones of a clock share this.
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
    Manual(Arc<AtomicU64>, Arc<Door>),
    Custom(Arc<Custom>),
}

struct Custom {
    read: Own<Box<dyn Fn() -> Duration + Send + Sync>>,
    door: Door,
}

thread_local! {
    /// Whether this thread is reading a clock of somebody's own.
    static READING: Cell<bool> = const { Cell::new(false) };
}

impl Custom {
    /// `None` if the clock panics, or asks a registry what needs the time, which it is about to
    /// tell.
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
        Self::of(Source::Monotonic(Instant::now()))
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
        let source = Source::Manual(Arc::clone(&hand), Arc::new(Door::default()));
        (Self::of(source), ManualClock(hand))
    }

    /// A clock of your own: `read` tells the time since any fixed moment.
    ///
    /// Where it goes back by more than a second, time goes on from the latest that it told; see
    /// [above](Self#a-clock-that-steps-back). It is never called while a lock is held. If it panics,
    /// or calls a registry that asks for the time, that is the latest time that it told.
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
        Self::of(Source::Custom(Arc::new(custom)))
    }

    fn of(source: Source) -> Self {
        Self { source, origin: 0 }
    }

    /// The same clock, counting from now: what a registry takes when it is built.
    pub(crate) fn started_now(&self) -> Self {
        Self { source: self.source.clone(), origin: self.raw() }
    }

    pub(crate) fn now(&self) -> Tick {
        match self.raw() {
            // Time that has ended has ended for all, whenever they began to count.
            u64::MAX => Tick(u64::MAX),
            time => Tick(time.saturating_sub(self.origin)),
        }
    }

    fn raw(&self) -> u64 {
        match &self.source {
            Source::Monotonic(epoch) => nanos(epoch.elapsed()),
            // Relaxed: pairs with `ManualClock`; nothing else is read by it.
            Source::Manual(hand, door) => door.pass(|| Some(hand.load(Ordering::Relaxed))),
            Source::Custom(custom) => custom.door.pass(|| custom.read()),
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
            Source::Manual(..) => "Manual",
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

    /// Sets the time since the clock was made; backwards too, of which the [`Clock`] makes
    /// [what it makes of any step back](Clock#a-clock-that-steps-back).
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

    /// The time since the clock was made, as it was set.
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
