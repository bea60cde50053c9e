//! What an operator does: each control needs the token, and is one `POST`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use peer_health::{PeerKey, TableFull};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::task::spawn_blocking;

use crate::api::Json;
use crate::board::Board;
use crate::guard::check_token;
use crate::problem::Problem;
use crate::shown::Peer;

/// The body of a control. Only `force_open` has one: for how long.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Terms {
    #[serde(deserialize_with = "given")]
    seconds: Option<f64>,
}

/// What a control has done.
#[derive(Serialize)]
struct Done {
    /// Whether it has changed anything, as the method of that name says.
    done: bool,
    /// The peer as it is now, if it is known.
    peer: Option<Peer>,
}

/// Whether it has changed anything.
#[derive(Serialize)]
struct DoneByDriver {
    done: bool,
}

/// Reads a number. No number, which a script writes as null, must not become a ban for ever.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(from).map(Some)
}

fn no_control(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("control {name}: there is none of that name"))
}

fn full(full: TableFull) -> Problem {
    Problem::new(StatusCode::CONFLICT, full.to_string())
}

/// Reads for how long a control is to last: for ever without a body.
fn terms(control: &str, body: &[u8]) -> Result<Option<Duration>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let read = serde_json::from_slice::<Terms>(body);
    let terms = read.map_err(|wrong| Problem::bad(format!("body: {wrong}")))?;
    let Some(seconds) = terms.seconds else { return Ok(None) };
    if control != "force_open" {
        return Err(Problem::bad(format!("seconds {seconds}: {control} has no end")));
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(Some(time)),
        _ => {
            let rule = "must be more than 0, and less than 2 to the power of 64";
            Err(Problem::bad(format!("seconds {seconds}: {rule}")))
        }
    }
}

pub(crate) async fn peer<K: PeerKey>(
    State(board): State<Arc<Board<K>>>,
    Path((id, control)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json, Problem> {
    check_token(board.token.as_ref(), &headers)?;
    let seconds = terms(&control, &body)?;
    let sample = board.sample().await?;
    // A ban looks at all peers for room, if there is none.
    spawn_blocking(move || {
        let key = board.key(&id, &sample)?;
        let registry = board.registry();
        let driver = board.source.driver.as_ref();
        let done = match (control.as_str(), seconds) {
            ("force_open", None) => registry.force_open(&key).map(|()| true).map_err(full)?,
            ("force_open", Some(time)) => {
                registry.force_open_for(&key, time).map(|()| true).map_err(full)?
            }
            ("disable", _) => registry.disable(&key).map(|()| true).map_err(full)?,
            ("metrics_only", _) => registry.metrics_only(&key).map(|()| true).map_err(full)?,
            ("reset", _) => registry.reset(&key),
            ("end_wait", _) => registry.end_wait(&key),
            ("remove", _) => registry.remove(&key),
            ("kick", _) => driver.is_some_and(|driver| driver.kick(&key)),
            ("request", _) => driver.is_some_and(|driver| driver.request(&key)),
            _ => return Err(no_control(&control)),
        };
        Json::of(&Done { done, peer: board.peer(&key) })
    })
    .await?
}

pub(crate) async fn driver<K: PeerKey>(
    State(board): State<Arc<Board<K>>>,
    Path(control): Path<String>,
    headers: HeaderMap,
) -> Result<Json, Problem> {
    check_token(board.token.as_ref(), &headers)?;
    let Some(driver) = board.source.driver.clone() else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "this view has no driver"));
    };
    // The work of `kick_all` is proportional to the number of peers that wait.
    spawn_blocking(move || {
        match control.as_str() {
            "pause" => driver.pause(),
            "resume" => driver.resume(),
            "kick_all" => driver.kick_all(),
            _ => return Err(no_control(&control)),
        }
        Json::of(&DoneByDriver { done: true })
    })
    .await?
}
