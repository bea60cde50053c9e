//! The JSON that is read: the summary, the list in pages, one peer.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use peer_health::PeerKey;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::board::Board;
use crate::problem::{JSON, Problem};
use crate::select::{Asked, Select};
use crate::shown::Detail;

/// The most peers on a page, and how many there are where nobody says.
const MOST: usize = 500;
const USUAL: usize = 100;

/// JSON that was written on a thread that may take its time.
pub(crate) struct Json(Bytes);

impl Json {
    pub(crate) fn of(value: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self(serde_json::to_vec(value)?.into()))
    }
}

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, JSON)], self.0).into_response()
    }
}

/// The query of a list, as it comes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListQuery {
    state: Option<String>,
    q: String,
    after: Option<String>,
    limit: Option<String>,
}

impl ListQuery {
    fn asked(self) -> Result<Asked, Problem> {
        // A form sends what nobody has filled in as an empty text.
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let select = match filled(self.state) {
            None => Select::All,
            Some(state) => {
                let found = Select::ALL.into_iter().find(|select| select.name() == state);
                let names = || Select::ALL.map(Select::name).join(", ");
                let wrong = || Problem::bad(format!("state {state}: must be one of {}", names()));
                found.ok_or_else(wrong)?
            }
        };
        let after = match filled(self.after) {
            None => None,
            Some(text) => Some(text.parse().map_err(|()| {
                Problem::bad(format!("after {text}: must be the next of an earlier page"))
            })?),
        };
        let limit = match filled(self.limit) {
            None => USUAL,
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                let wrong = || Problem::bad(format!("limit {text}: must be from 1 to {MOST}"));
                limit.ok_or_else(wrong)?
            }
        };
        Ok(Asked { select, search: self.q.trim().to_lowercase(), after, limit })
    }
}

pub(crate) async fn summary<K: PeerKey>(
    State(board): State<Arc<Board<K>>>,
) -> Result<Json, Problem> {
    let sample = board.sample().await?;
    if sample.rest().is_none() {
        board.samples.settled().await;
    }
    Json::of(&board.summary(Some(&sample)))
}

pub(crate) async fn list<K: PeerKey>(
    State(board): State<Arc<Board<K>>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json, Problem> {
    let Query(query) = query.map_err(|wrong| Problem::bad(wrong.body_text()))?;
    let asked = query.asked()?;
    let sample = board.sample().await?;
    // A search of all peers takes some milliseconds, which are not those of a thread that drives tasks.
    spawn_blocking(move || Json::of(&board.page(asked.page(&sample, &board.source.names), &sample)))
        .await?
}

pub(crate) async fn peer<K: PeerKey>(
    State(board): State<Arc<Board<K>>>,
    Path(id): Path<String>,
) -> Result<Json, Problem> {
    let sample = board.sample().await?;
    spawn_blocking(move || {
        let key = board.key(&id, &sample)?;
        let peer = board.peer(&key).ok_or_else(|| Problem::unknown(&id))?;
        let waiting = board.wait(&key, &sample);
        let story = board.history.of(&key);
        let story = story.iter().map(|told| board.told(told)).collect();
        Json::of(&Detail { peer, waiting, story })
    })
    .await?
}

/// What nothing here answers to.
pub(crate) async fn nothing() -> Problem {
    Problem::new(axum::http::StatusCode::NOT_FOUND, "there is nothing at this address")
}
