//! The right to make one call (R8). A permit holds its peer's entry, or borrows a handle that does.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;
use std::{fmt, mem};

use crate::circuit::{Outcome, Start, Ticket};
use crate::error::{Failure, Fault, IntoFailure};
use crate::foreign::guarded;
use crate::outcome::Recorded;
use crate::peer::{PeerEntry, RegistryShared};
use crate::sync::Arc;
use crate::time::{Tick, nanos};
use crate::tracker::Context;

/// The right to make one call to one peer.
///
/// Ends in exactly one way: [`success`](Self::success), [`failure`](Self::failure),
/// [`neutral`](Self::neutral), or by being dropped, which is what happens to it when the future
/// that holds it is cancelled or the call panics. A dropped permit is counted as abandoned, frees
/// the slot of a probe, decides nothing and never panics.
///
/// Borrowed from a [`PeerHandle`](crate::PeerHandle) it costs no reference count; given by the
/// registry it is an [`OwnedPermit`], `Send + 'static`, for tasks that are spawned.
///
/// ```
/// use peer_health::{HealthRegistry, Recorded, SyncError};
///
/// let registry = HealthRegistry::<u32>::new();
/// let mut peer = registry.peer(&7);
/// let permit = peer.acquire().unwrap();
/// assert!(permit.is_tracked() && !permit.is_probe());
/// permit.success();
/// let recorded = peer.acquire().unwrap().failure(SyncError::Network("reset".into()));
/// assert_eq!(recorded, Recorded::Counted);
/// ```
#[must_use = "a permit that is dropped counts as an abandoned call"]
pub struct Permit<'h, K> {
    /// `None` once settled.
    hold: Option<PermitTarget<'h, K>>,
    ticket: Ticket,
    latency: Option<u64>,
}

/// A [`Permit`] that borrows nothing: `Send + 'static` for a key that is.
///
/// ```
/// use peer_health::{HealthRegistry, OwnedPermit};
///
/// let registry = HealthRegistry::<u32>::new();
/// let permit: OwnedPermit<u32> = registry.acquire(&7).unwrap();
/// std::thread::spawn(move || permit.success()).join().unwrap();
/// assert_eq!(registry.totals().all.succeeded, 1);
/// ```
pub type OwnedPermit<K> = Permit<'static, K>;

pub(crate) enum PermitTarget<'h, K> {
    Borrowed(&'h PeerEntry<K>),
    /// The same, of a permit whose latency was stated: a success has more to do than to count.
    Timed(&'h PeerEntry<K>),
    Owned(Arc<PeerEntry<K>>),
    Untracked(Arc<RegistryShared<K>>),
}

impl<'h, K> Permit<'h, K> {
    pub(crate) fn borrowed(entry: &'h PeerEntry<K>, ticket: Ticket) -> Self {
        Self { hold: Some(PermitTarget::Borrowed(entry)), ticket, latency: None }
    }

    pub(crate) fn owned(entry: Arc<PeerEntry<K>>, ticket: Ticket) -> Self {
        Self::of(PermitTarget::Owned(entry), ticket)
    }

    #[inline(always)]
    pub(crate) fn of(target: PermitTarget<'h, K>, ticket: Ticket) -> Self {
        Self { hold: Some(target), ticket, latency: None }
    }

    pub(crate) fn untracked(shared: Arc<RegistryShared<K>>) -> Self {
        Self {
            hold: Some(PermitTarget::Untracked(shared)),
            ticket: Ticket::quiet(0),
            latency: None,
        }
    }

    /// The call succeeded.
    ///
    /// # Cancel safety and panics
    ///
    /// Ends at once, waits for nothing, never panics; so do the other ways to end a permit.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, Recorded};
    /// let registry = HealthRegistry::<u32>::new();
    /// assert_eq!(registry.acquire(&7).unwrap().success(), Recorded::Counted);
    /// ```
    #[inline(always)]
    pub fn success(mut self) -> Recorded {
        // The permit is taken apart, so that the compiler may keep it in registers: it takes the address of a
        // value that it may have to drop.
        let (hold, latency) = (self.hold.take(), self.latency);
        let Ticket { generation, start, probe } = self.ticket;
        mem::forget(self);
        if let Some(PermitTarget::Borrowed(entry)) = &hold
            && entry.succeed_at_rest(generation)
        {
            mem::forget(hold);
            return Recorded::Counted;
        }
        match hold {
            Some(PermitTarget::Owned(entry))
                if latency.is_none() && entry.succeed_at_rest(generation) =>
            {
                entry.record_use_now();
                Recorded::Counted
            }
            Some(hold) => hold.succeed(generation, start, probe, latency),
            None => Recorded::Late,
        }
    }

    /// The call failed. Whether that counts against the peer is for the failure to say (R19). If the
    /// conversion panics, nobody knows whose fault it was: the outcome is neutral, and the last error
    /// says so.
    ///
    /// Takes what [`call`](crate::HealthRegistry::call) takes, by value or by reference: one impl,
    /// `From<&It> for Failure`, serves a caller who is done with the error and one who hands it on. See
    /// [`AsFailure`](crate::AsFailure).
    ///
    /// ```
    /// use peer_health::{Failure, HealthRegistry, Recorded, SyncError};
    /// let registry = HealthRegistry::<u32>::new();
    /// let error = SyncError::Network("reset".into());
    /// assert_eq!(registry.acquire(&7).unwrap().failure(&error), Recorded::Counted);
    /// assert_eq!(registry.acquire(&7).unwrap().failure(error), Recorded::Counted);
    /// let ours = Failure::local("our disk is full");
    /// assert_eq!(registry.acquire(&7).unwrap().failure(ours), Recorded::Neutral);
    /// ```
    pub fn failure<const BY_REFERENCE: bool>(
        self,
        error: impl IntoFailure<BY_REFERENCE>,
    ) -> Recorded {
        self.failed(move || error.into_failure())
    }

    /// The call failed, as `failure` says.
    pub(crate) fn failed(mut self, failure: impl FnOnce() -> Failure) -> Recorded {
        let mut failure = guarded(failure).unwrap_or_else(Failure::unknown);
        if self.is_cut_by_us(&failure) {
            failure = failure.with_fault(Fault::Nobody);
        }
        let outcome = if failure.counts() { Outcome::Failure } else { Outcome::Neutral };
        self.settle(outcome, &mut Some(failure))
    }

    /// Returns whether this call has failed because our own link is down, or was while it was made (R33).
    fn is_cut_by_us(&self, failure: &Failure) -> bool {
        let Some(hold) = &self.hold else { return false };
        let context = hold.context();
        let began = |now: Tick| {
            let began = self.latency.map(|took| Tick(now.0.saturating_sub(took)));
            began.or(self.ticket.start.time())
        };
        context.link.excuses(failure, || context.clock.now(), began, self.ticket.probe.is_some())
    }

    /// The call says nothing about the peer: it was not made, or not meant to succeed.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, Recorded};
    /// let registry = HealthRegistry::<u32>::new();
    /// assert_eq!(registry.acquire(&7).unwrap().neutral(), Recorded::Neutral);
    /// ```
    pub fn neutral(mut self) -> Recorded {
        self.settle(Outcome::Neutral, &mut None)
    }

    /// States how long the call took, where that is not the time from admission to outcome: a
    /// call that waited in a queue, or that ended some time ago. Slow-call rules ask for it, and that
    /// of a success goes into the peer's [average](crate::Snapshot::latency), which costs a look at
    /// the clock.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry, Window};
    /// use std::time::Duration;
    ///
    /// let config = HealthConfig::default()
    ///     .with_window(Window::count(10))
    ///     .with_slow_call(Duration::from_secs(1));
    /// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
    /// registry.acquire(&7).unwrap().with_latency(Duration::from_secs(1)).success();
    /// assert_eq!(registry.snapshot(&7).unwrap().window.slow, 1);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = Some(nanos(latency));
        if let Some(PermitTarget::Borrowed(entry)) = self.hold {
            self.hold = Some(PermitTarget::Timed(entry));
        }
        self
    }

    /// States that the call ends now, if it is known when it began.
    #[inline]
    pub(crate) fn begun(self, began: Option<Tick>) -> Self {
        match began {
            Some(began) => self.timed_since(began),
            None => self,
        }
    }

    #[cold]
    fn timed_since(self, began: Tick) -> Self {
        let clock = match &self.hold {
            Some(PermitTarget::Untracked(_)) | None => return self,
            Some(hold) => &hold.context().clock,
        };
        let took = Duration::from_nanos(clock.now().since(began));
        self.with_latency(took)
    }

    /// Whether this is one of the few calls that decide whether the circuit closes.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert!(!registry.acquire(&7).unwrap().is_probe());
    /// ```
    pub fn is_probe(&self) -> bool {
        self.ticket.probe.is_some()
    }

    /// Whether the outcome will be remembered: not if the table is full of peers that may not be
    /// forgotten (R26).
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert!(registry.acquire(&7).unwrap().is_tracked());
    /// ```
    pub fn is_tracked(&self) -> bool {
        !matches!(self.hold, Some(PermitTarget::Untracked(_)))
    }

    #[inline]
    fn settle(&mut self, outcome: Outcome, failure: &mut Option<Failure>) -> Recorded {
        match self.hold.take() {
            Some(hold) => hold.settle(&self.ticket, outcome, failure, self.latency),
            None => Recorded::Late,
        }
    }
}

impl<K> PermitTarget<'_, K> {
    fn context(&self) -> &Context {
        match self {
            Self::Borrowed(entry) | Self::Timed(entry) => &entry.shared.context,
            Self::Owned(entry) => &entry.shared.context,
            Self::Untracked(shared) => &shared.context,
        }
    }

    /// Takes a success by the circuit. The ticket comes in parts, which go by registers.
    #[cold]
    #[inline(never)]
    fn succeed(
        self,
        generation: u64,
        start: Start,
        probe: Option<u32>,
        latency: Option<u64>,
    ) -> Recorded {
        self.settle(&Ticket { generation, start, probe }, Outcome::Success, &mut None, latency)
    }

    #[inline(never)]
    fn settle(
        self,
        ticket: &Ticket,
        outcome: Outcome,
        failure: &mut Option<Failure>,
        latency: Option<u64>,
    ) -> Recorded {
        match self {
            Self::Borrowed(entry) | Self::Timed(entry) => {
                entry.settle(ticket, outcome, failure, latency)
            }
            Self::Owned(entry) => {
                let recorded = entry.settle(ticket, outcome, failure, latency);
                entry.record_use_now();
                recorded
            }
            Self::Untracked(shared) => shared.ledger.settle(outcome),
        }
    }
}

// As for the registry that gave it.
impl<K> UnwindSafe for Permit<'_, K> {}
impl<K> RefUnwindSafe for Permit<'_, K> {}

impl<K> Drop for Permit<'_, K> {
    #[inline]
    fn drop(&mut self) {
        if self.hold.is_some() {
            self.settle(Outcome::Dropped, &mut None);
        }
    }
}

impl<K> fmt::Debug for Permit<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("probe", &self.is_probe())
            .field("tracked", &self.is_tracked())
            .finish_non_exhaustive()
    }
}
