//! What a listener is told (R29).

use std::fmt;
use std::time::Duration;

use crate::outcome::{Seconds, Status};

/// A transition of one peer's circuit.
///
/// Each is told exactly once, by the thread that made it, right after it was made and while no
/// lock is held: a listener may call any method of the registry. Two threads may deliver the
/// events of one peer side by side; `generation` rises with each of them and orders them, also
/// across removal and eviction.
///
/// ```
/// use peer_health::{EventKind, HealthConfig, HealthRegistry, SyncError};
/// use std::sync::{Arc, Mutex};
///
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let log = Arc::clone(&seen);
/// let registry = HealthRegistry::<u32>::builder()
///     .config(HealthConfig::default().with_failure_threshold(1))
///     .listener(move |event| log.lock().unwrap().push((event.peer, event.kind)))
///     .build()?;
/// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
/// assert!(matches!(seen.lock().unwrap()[..], [(7, EventKind::Opened { .. })]));
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Event<K> {
    /// Whose circuit.
    pub peer: K,
    /// The phase that began with this: higher is later. For what is no transition, the phase that
    /// lasts: see [`EventKind::LocalOutage`].
    pub generation: u64,
    /// What happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: EventKind,
}

impl<K> Event<K> {
    pub(crate) fn new(peer: K, generation: u64, kind: EventKind) -> Self {
        Self { peer, generation, kind }
    }
}

/// What happened to a circuit.
///
/// ```
/// use peer_health::{EventKind, Status};
/// assert_ne!(EventKind::Closed, EventKind::Reset);
/// assert_eq!(EventKind::Overridden(Status::Disabled).to_string(), "overridden: disabled");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum EventKind {
    /// The circuit opened.
    #[non_exhaustive]
    Opened {
        /// For how long.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serde::seconds"))]
        retry_after: Duration,
        /// Whether it had not been closed since it opened last: a probe failed, or hung.
        reopened: bool,
    },
    /// The wait is over and somebody asked: probes may go out.
    HalfOpened,
    /// The probes succeeded.
    Closed,
    /// An operator imposed this status.
    #[cfg_attr(feature = "serde", serde(serialize_with = "status"))]
    Overridden(Status),
    /// An operator closed the circuit and cleared what was known.
    Reset,
    /// The peer was forgotten to make room, or because it was idle.
    Evicted,
    /// The peer was removed by a call.
    Removed,
    /// No transition: so many peers are open that this one, which should have opened, stays closed
    /// (R30). Told once when an outage of our own begins. This and its end may be told by two
    /// threads in the other order: whether it lasts,
    /// [`local_outage`](crate::HealthRegistry::local_outage) tells.
    LocalOutage,
    /// No transition: the outage is over, as far as this peer shows: it answered, or its circuit
    /// closed, or it opened since there was room again for all. Told once for each outage.
    LocalRecovered,
}

/// Writes the status of an override in a field of its own: the tag of an event's kind stands beside fields.
#[cfg(feature = "serde")]
fn status<S: serde::Serializer>(status: &Status, to: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeStruct;
    let mut fields = to.serialize_struct("Overridden", 1)?;
    fields.serialize_field("status", status)?;
    fields.end()
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { retry_after, reopened: false } => {
                write!(f, "opened for {}", Seconds(*retry_after))
            }
            Self::Opened { retry_after, reopened: true } => {
                write!(f, "reopened for {}", Seconds(*retry_after))
            }
            Self::HalfOpened => f.write_str("half-open"),
            Self::Closed => f.write_str("closed"),
            Self::Overridden(status) => write!(f, "overridden: {status}"),
            Self::Reset => f.write_str("reset"),
            Self::Evicted => f.write_str("evicted"),
            Self::Removed => f.write_str("removed"),
            Self::LocalOutage => f.write_str("held back: an outage of our own"),
            Self::LocalRecovered => f.write_str("the outage of our own is over"),
        }
    }
}
