//! What a request gets that asks for something that cannot be.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::task::JoinError;

use crate::foreign::guarded;

/// The type of all answers but the page and the events.
pub(crate) const JSON: &str = "application/json";

/// A status, and a sentence for people: `{"error": "limit 0: must be from 1 to 500"}`.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    text: String,
}

#[derive(Serialize)]
struct Shown<'a> {
    error: &'a str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// Code of the program panicked where it had to run: `Eq` of a key, perhaps.
    pub(crate) fn unmade() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made")
    }

    pub(crate) fn unknown(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("peer {id}: not known"))
    }

    pub(crate) fn ambiguous(id: &str) -> Self {
        Self::new(StatusCode::CONFLICT, format!("peer {id}: several peers are written like this"))
    }
}

impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Self {
        // What the panic left may panic too.
        let _ = guarded(move || drop(error));
        Self::unmade()
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_string(&Shown { error: &self.text }).unwrap_or_default();
        (self.status, [(CONTENT_TYPE, JSON)], text).into_response()
    }
}
