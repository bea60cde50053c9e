//! What outlives a process: of each peer a few plain values, and how they age while the program is down.
//!
//! 1. Kept are an open circuit with the rest of its wait and its growth, an override with its end, the
//!    latency, and whether the peer ever answered. Probes, permits, windows and streaks belong to calls,
//!    which no restart survives.
//! 2. A wait and a ban end when they would have ended. Nothing becomes longer by a restart.
//! 3. An open circuit is worth keeping only while it is known how old it is, and for no longer than the
//!    registry remembers trouble. An override is an operator's, and ages by nothing but its end.

use std::cmp::Reverse;
use std::time::Duration;

/// The version of what [`HealthRegistry::export`](crate::HealthRegistry::export) returns.
const VERSION: u32 = 1;

/// What a registry knows of a peer that is worth keeping across a restart.
///
/// [`HealthRegistry::export`](crate::HealthRegistry::export) makes it, and
/// [`RegistryBuilder::restore`](crate::RegistryBuilder::restore) takes it. With the feature `serde` it is
/// written and read in any format of serde's, text or binary. It carries a version: a registry ignores what
/// has another version than its own, and says so once in the log.
///
/// ```
/// use peer_health::{HealthRegistry, Saved, SavedState};
///
/// let registry = HealthRegistry::<u32>::new();
/// registry.acquire(&6).unwrap().success();
/// registry.disable(&7)?;
/// let mut saved: Vec<Saved<u32>> = registry.export();
/// saved.sort_by_key(|saved| saved.peer);
/// assert_eq!((saved[0].state, saved[0].answered), (SavedState::Closed, true));
/// assert_eq!((saved[1].state, saved[1].answered), (SavedState::Disabled, false));
/// # Ok::<(), peer_health::TableFull>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Saved<K> {
    version: u32,
    /// The peer.
    pub peer: K,
    /// Its circuit, or the override that an operator imposed.
    #[cfg_attr(feature = "serde", serde(default))]
    pub state: SavedState,
    /// Whether the peer ever answered: it is no stranger to a driver, nor to the outage guard.
    #[cfg_attr(feature = "serde", serde(default))]
    pub answered: bool,
    /// The average latency of its successful calls, if one was known.
    #[cfg_attr(feature = "serde", serde(default))]
    pub latency: Option<Duration>,
}

/// The state of a circuit in [`Saved`]; all times count from the export on.
///
/// ```
/// use peer_health::{HealthRegistry, SavedState};
/// use std::time::Duration;
///
/// let registry = HealthRegistry::<u32>::new();
/// registry.force_open(&7)?;
/// assert!(matches!(registry.export()[0].state, SavedState::ForcedOpen { rest: None, .. }));
/// registry.force_open_for(&7, Duration::from_secs(60))?;
/// let SavedState::ForcedOpen { rest: Some(rest), .. } = registry.export()[0].state else {
///     panic!("a ban with an end");
/// };
/// assert!(rest <= Duration::from_secs(60) && rest > Duration::from_secs(50));
/// # Ok::<(), peer_health::TableFull>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SavedState {
    /// Closed: nothing is held against the peer.
    #[default]
    Closed,
    /// Open, or half-open.
    #[non_exhaustive]
    Open {
        /// The rest of the wait; zero if the peer is due.
        rest: Duration,
        /// The half-open phases that failed since the circuit was last closed: each made the wait grow.
        failed_half_opens: u32,
    },
    /// Forced open.
    #[non_exhaustive]
    ForcedOpen {
        /// The rest of the ban; `None` if it lasts until a reset.
        rest: Option<Duration>,
    },
    /// Disabled.
    Disabled,
    /// Set to metrics only.
    MetricsOnly,
}

impl<K> Saved<K> {
    /// Returns what is worth keeping of a peer; `None` if there is nothing.
    pub(crate) fn of(
        peer: K,
        state: SavedState,
        answered: bool,
        latency: Option<Duration>,
    ) -> Option<Self> {
        let saved = Self { version: VERSION, peer, state, answered, latency };
        (!saved.is_empty()).then_some(saved)
    }

    /// Returns its version, if that is not the one that this library reads.
    pub(crate) fn unknown_version(&self) -> Option<u32> {
        (self.version != VERSION).then_some(self.version)
    }

    /// Returns whether it says no more of the peer than is said of an unknown one.
    pub(crate) fn is_empty(&self) -> bool {
        self.state == SavedState::Closed && !self.answered && self.latency.is_none()
    }

    /// Returns its rank where not all have room, the first first: overrides, then open circuits by how often
    /// their wait grew and by the rest of it, then closed ones that answered.
    pub(crate) fn rank(&self) -> (u8, Reverse<u32>, Reverse<Duration>) {
        let (class, grown, rest) = match self.state {
            SavedState::ForcedOpen { .. } | SavedState::Disabled | SavedState::MetricsOnly => {
                (0, 0, Duration::ZERO)
            }
            SavedState::Open { rest, failed_half_opens } => (1, failed_half_opens, rest),
            SavedState::Closed if self.answered => (2, 0, Duration::ZERO),
            SavedState::Closed => (3, 0, Duration::ZERO),
        };
        (class, Reverse(grown), Reverse(rest))
    }
}

impl SavedState {
    /// Returns the state after this downtime; `None` if it is not known, since the clock went back. An open
    /// circuit is closed then, and after more than `forget`: nobody knows any more what it was open for.
    pub(crate) fn after(self, downtime: Option<Duration>, forget: Duration) -> Self {
        match self {
            Self::Open { rest, failed_half_opens } => {
                let downtime = downtime.filter(|downtime| *downtime <= forget);
                downtime.map_or(Self::Closed, |downtime| Self::Open {
                    rest: rest.saturating_sub(downtime),
                    failed_half_opens,
                })
            }
            // A ban that may have ended is better kept: no operator has lifted it.
            Self::ForcedOpen { rest: Some(rest) } => {
                let rest = rest.saturating_sub(downtime.unwrap_or_default());
                match rest.is_zero() {
                    true => Self::Closed,
                    false => Self::ForcedOpen { rest: Some(rest) },
                }
            }
            other => other,
        }
    }

    /// Ends the wait of an open circuit.
    pub(crate) fn end_wait(&mut self) {
        if let Self::Open { rest, .. } = self {
            *rest = Duration::ZERO;
        }
    }

    /// Returns whether the circuit is open, and may be probed.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self, Self::Open { rest, .. } if rest.is_zero())
    }

    /// Returns whether an operator imposed the state.
    pub(crate) fn is_override(&self) -> bool {
        matches!(self, Self::ForcedOpen { .. } | Self::Disabled | Self::MetricsOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FORGET: Duration = Duration::from_secs(3600);

    fn open(rest: Duration) -> SavedState {
        SavedState::Open { rest, failed_half_opens: 3 }
    }

    fn banned(rest: Duration) -> SavedState {
        SavedState::ForcedOpen { rest: Some(rest) }
    }

    #[test]
    fn a_wait_is_shorter_by_the_downtime_and_its_growth_stays() {
        let rest = open(60 * SECOND);
        assert_eq!(rest.after(Some(20 * SECOND), FORGET), open(40 * SECOND));
        for downtime in [60 * SECOND, 61 * SECOND, FORGET] {
            let due = rest.after(Some(downtime), FORGET);
            assert_eq!((due, due.is_due()), (open(Duration::ZERO), true));
        }
    }

    #[test]
    fn an_open_circuit_is_dropped_after_too_long_and_where_the_clock_went_back() {
        let just_over = FORGET + Duration::from_nanos(1);
        for (downtime, forget) in [(Some(just_over), FORGET), (None, FORGET), (None, Duration::MAX)]
        {
            assert_eq!(open(Duration::MAX).after(downtime, forget), SavedState::Closed);
        }
        assert_eq!(
            open(Duration::MAX).after(Some(Duration::ZERO), Duration::ZERO),
            open(Duration::MAX)
        );
    }

    #[test]
    fn an_override_keeps_its_end_and_stays_without_one() {
        let week = Some(168 * FORGET);
        for state in
            [SavedState::Disabled, SavedState::MetricsOnly, SavedState::ForcedOpen { rest: None }]
        {
            assert!(state.is_override());
            assert_eq!([state.after(week, FORGET), state.after(None, FORGET)], [state; 2]);
        }
        let day = 24 * FORGET;
        assert_eq!(banned(day).after(Some(FORGET), Duration::ZERO), banned(23 * FORGET));
        assert_eq!(banned(day).after(Some(day), FORGET), SavedState::Closed);
        assert_eq!(banned(day).after(None, FORGET), banned(day), "nobody lifted it");
    }

    #[test]
    fn overrides_come_first_then_who_failed_most_then_who_answered() {
        let of = |state, answered| Saved::of(7, state, answered, Some(SECOND)).unwrap().rank();
        let worse = SavedState::Open { rest: Duration::ZERO, failed_half_opens: 4 };
        let ranks = [
            of(SavedState::Disabled, false),
            of(worse, false),
            of(open(2 * SECOND), true),
            of(open(SECOND), true),
            of(SavedState::Closed, true),
            of(SavedState::Closed, false),
        ];
        assert!(ranks.is_sorted_by(|one, other| one < other), "{ranks:?}");
    }

    #[test]
    fn a_peer_of_whom_nothing_is_known_is_not_saved() {
        assert_eq!(Saved::of(7, SavedState::Closed, false, None), None);
        assert!(Saved::of(7, SavedState::Closed, true, None).is_some());
    }
}
