//! What happened, in a queue that the caller empties.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use peer_health::{Event, EventKind};

use crate::codes::*;
use crate::key::Key;
use crate::outcome::{Answer, Problem, guard};
use crate::query::{millis, status_code};
use crate::{memory, table};

/// What happened to the circuit of one peer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ph_event {
    /// Orders the events of a peer: higher is later.
    pub generation: u64,
    /// For how long the circuit opened, in milliseconds; else 0.
    pub retry_after_ms: u64,
    /// What happened: `PH_EVENT_..`.
    pub kind: u32,
    /// The status that an operator imposed (`PH_EVENT_OVERRIDDEN`), or else that which began: `PH_CLOSED` and so
    /// on; `PH_STATUS_OTHER` where the event says nothing of it.
    pub status: i32,
    /// The length of the key in bytes.
    pub peer_len: u32,
    /// Zero.
    pub reserved: u32,
    /// The key, with zeros behind it.
    pub peer: [u8; PH_MAX_PEER],
}

/// The events that the caller has not fetched, the oldest of which make room for new ones.
pub(crate) struct Queue {
    capacity: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event<Key>>,
    lost: u64,
}

impl Queue {
    pub(crate) fn new(capacity: u32) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self { capacity, waiting: Mutex::default() }
    }

    pub(crate) fn push(&self, event: &Event<Key>) {
        if self.capacity == 0 {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.events.len() >= self.capacity {
            waiting.events.pop_front();
            waiting.lost = waiting.lost.saturating_add(1);
        }
        waiting.events.push_back(event.clone());
    }

    /// Takes the oldest events, and if `count_lost` is set the number of those that were lost.
    fn take(&self, most: usize, count_lost: bool) -> (Vec<Event<Key>>, u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.events.len().min(most);
        let lost = if count_lost { std::mem::take(&mut waiting.lost) } else { 0 };
        (waiting.events.drain(..count).collect(), lost)
    }
}

fn shown(event: &Event<Key>) -> ph_event {
    let (mut retry_after_ms, mut status) = (0, PH_STATUS_OTHER);
    let kind = match event.kind {
        EventKind::Opened { retry_after, reopened, .. } => {
            (retry_after_ms, status) = (millis(retry_after), PH_OPEN);
            if reopened { PH_EVENT_REOPENED } else { PH_EVENT_OPENED }
        }
        EventKind::HalfOpened => {
            status = PH_HALF_OPEN;
            PH_EVENT_HALF_OPENED
        }
        EventKind::Closed | EventKind::Reset => {
            status = PH_CLOSED;
            if event.kind == EventKind::Reset { PH_EVENT_RESET } else { PH_EVENT_CLOSED }
        }
        EventKind::Overridden(imposed) => {
            status = status_code(imposed);
            PH_EVENT_OVERRIDDEN
        }
        EventKind::Evicted => PH_EVENT_EVICTED,
        EventKind::Removed => PH_EVENT_REMOVED,
        EventKind::LocalOutage => PH_EVENT_LOCAL_OUTAGE,
        EventKind::LocalRecovered => PH_EVENT_LOCAL_RECOVERED,
        _ => PH_EVENT_OTHER,
    };
    let peer_len = u32::try_from(event.peer.as_bytes().len()).unwrap_or_default();
    ph_event {
        generation: event.generation,
        retry_after_ms,
        kind,
        status,
        peer_len,
        reserved: 0,
        peer: event.peer.padded(),
    }
}

/// Fetches the events that happened since the last call, the oldest first, and at most `capacity`. It waits for
/// none. The queue holds as many as `ph_config.event_capacity` says; then the oldest is lost, and counted.
///
/// `event_size` is `sizeof(ph_event)`. `count` gets the number of events; `lost`, the number that
/// was lost since it was last asked for: it may be null, and the next call gets it. After a loss, `ph_status` tells
/// how a peer stands.
///
/// Returns `PH_OK`, or `PH_E_NULL`, `PH_E_STRUCT_SIZE`, `PH_E_REGISTRY`.
///
/// # Safety
///
/// `events` leads to `capacity` events that may be written, `count` and `lost` to a number each.
#[allow(unsafe_code, reason = "writes to the caller's memory")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ph_next_events(
    registry: u64,
    events: *mut ph_event,
    capacity: usize,
    event_size: usize,
    count: *mut usize,
    lost: *mut u64,
) -> i32 {
    guard(|| {
        memory::not_null("count", count)?;
        if capacity > 0 {
            memory::not_null("events", events)?;
        }
        let size = size_of::<ph_event>();
        if event_size != size {
            let message = format!("event_size is {event_size}: must be {size}");
            return Err(Problem::new(PH_E_STRUCT_SIZE, message));
        }
        let counted = !lost.is_null();
        let (taken, lost_now) =
            table::with(registry, |entry| Ok(entry.events.take(capacity, counted)))?;
        let shown: Vec<ph_event> = taken.iter().map(shown).collect();
        // SAFETY: `take` gave at most `capacity`, and the caller promises room for so many.
        unsafe { memory::write_all(events, &shown) };
        // SAFETY: as the caller promises.
        unsafe { memory::write(count, shown.len()) };
        // SAFETY: as the caller promises.
        unsafe { memory::write(lost, lost_now) };
        Answer::Ok(PH_OK)
    })
}
