//! Server-sent events: each transition, how many were missed, and a summary as the heartbeat.
//!
//! A stream looks for new events ten times a second, so a transition wakes nobody, and a thousand of them in
//! a second are at most [`AT_ONCE`] messages per look. What a client cannot take in that time stays with the
//! history; what gives way there is told as `missed`.
//!
//! A task of its own reads for each stream, since nobody asks a body for more while its client reads nothing:
//! so it notices such a client, and gives up its place, of which there are few.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use peer_health::PeerKey;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use crate::board::Board;
use crate::problem::Problem;
use crate::shown::Change;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The most events of one look.
const AT_ONCE: usize = 64;
/// After a transition the counts follow this soon, and no sooner.
const SUM_UP_AFTER: Duration = Duration::from_millis(500);
/// A client that lost the stream comes back after this.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);
/// A client that takes no event for so long loses its stream.
const PATIENCE: Duration = Duration::from_secs(60);

struct Reader<K: PeerKey> {
    board: Arc<Board<K>>,
    /// The number of the next event to tell.
    next: u64,
    looks: Interval,
    summed_up: Option<Instant>,
    /// Whether there were transitions since the last summary.
    changed: bool,
    ready: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

#[derive(Deserialize)]
pub(crate) struct StreamQuery {
    after: Option<String>,
}

#[derive(Serialize)]
struct Missed {
    missed: u64,
}

pub(crate) async fn events<K: PeerKey>(
    State(board): State<Arc<Board<K>>>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Response {
    stream(board, query, &headers, PATIENCE)
}

fn stream<K: PeerKey>(
    board: Arc<Board<K>>,
    query: StreamQuery,
    headers: &HeaderMap,
    patience: Duration,
) -> Response {
    let Ok(place) = Arc::clone(&board.streams).try_acquire_owned() else {
        let text = "too many streams are open: close a page that shows this view";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    // A browser that comes back by itself says where it was; a page that opens a new stream asks.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let next = last
        .or(query.after.as_deref())
        .and_then(|id| after(id, board.epoch))
        .unwrap_or_else(|| board.history.next());
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ready = VecDeque::from([Event::default().retry(COME_BACK_AFTER)]);
    let reader =
        Reader { board, next, looks, summed_up: None, changed: false, ready, _place: place };
    let (to, events) = mpsc::channel(1);
    tokio::spawn(reader.run(to, patience));
    let events = unfold(events, |mut events| async move {
        let event = events.recv().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    Sse::new(events).into_response()
}

/// Returns the number after that of an event of this board; a stream of another begins anew.
fn after(id: &str, epoch: u32) -> Option<u64> {
    let (board, number) = id.split_once('-')?;
    let number: u64 = number.parse().ok()?;
    (u32::from_str_radix(board, 16) == Ok(epoch)).then(|| number.saturating_add(1))
}

fn named(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    // What cannot be written is a heartbeat at least.
    event.json_data(data).unwrap_or_else(|_| Event::default().comment("unprintable"))
}

impl<K: PeerKey> Reader<K> {
    /// Reads until the client is gone, or takes no event for too long.
    async fn run(mut self, to: mpsc::Sender<Event>, patience: Duration) {
        loop {
            let event = tokio::select! {
                () = to.closed() => return,
                event = self.event() => event,
            };
            if !matches!(timeout(patience, to.send(event)).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            self.looks.tick().await;
            self.look();
        }
    }

    fn look(&mut self) {
        let Self { board, next, ready, .. } = self;
        let found = board.history.since(*next, AT_ONCE);
        *next = next.saturating_add(found.missed);
        if found.missed > 0 {
            ready.push_back(named("missed", &Missed { missed: found.missed }));
        }
        for told in found.told {
            *next = told.number.saturating_add(1);
            self.changed = true;
            let change = Change { story: board.told(&told), now: board.peer(&told.event.peer) };
            let id = format!("{:x}-{}", board.epoch, told.number);
            ready.push_back(named("transition", &change).id(id));
        }
        let soon = if self.changed { SUM_UP_AFTER } else { board.heartbeat };
        if self.summed_up.is_none_or(|at| at.elapsed() >= soon.min(board.heartbeat)) {
            self.summed_up = Some(Instant::now());
            self.changed = false;
            let sample = board.samples.latest();
            ready.push_back(named("summary", &board.summary(sample.as_deref())));
        }
    }
}

#[cfg(test)]
mod tests {
    use peer_health::{HealthMonitor, HealthRegistry};

    use super::*;
    use crate::ViewBuilder;

    #[tokio::test]
    async fn a_client_that_takes_nothing_gives_up_its_place() {
        let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
        let board = ViewBuilder::new(monitor).streams(1).board();
        let open = |patience| {
            let query = StreamQuery { after: None };
            stream(Arc::clone(&board), query, &HeaderMap::new(), patience)
        };
        let unread = open(Duration::from_millis(1));
        assert_eq!(unread.status(), StatusCode::OK);
        assert_eq!(open(PATIENCE).status(), StatusCode::SERVICE_UNAVAILABLE);
        let place = timeout(PATIENCE, Arc::clone(&board.streams).acquire_owned());
        assert!(place.await.is_ok_and(|place| place.is_ok()), "the place was never free again");
        drop(unread);
        // A client that has gone gives it up at once.
        drop(open(Duration::MAX));
        let place = timeout(PATIENCE, Arc::clone(&board.streams).acquire_owned());
        assert!(place.await.is_ok_and(|place| place.is_ok()), "the place was never free again");
    }

    #[test]
    fn a_stream_goes_on_after_the_event_that_it_had_last_unless_the_board_is_another() {
        assert_eq!(after("ff-41", 255), Some(42));
        for other in ["fe-41", "41", "", "ff-", "ff-x", "-41"] {
            assert_eq!(after(other, 255), None, "{other}");
        }
    }
}
