//! The forms in which times are written, for the derives of serde that stand at the types themselves.
//!
//! What is shown is written and never read: a snapshot, a summary, an event, counts. A consumer of JSON
//! computes with it, so a duration is a number of seconds, and a time of day is a text of RFC 3339, which
//! JavaScript's `Date` and most others read.
//!
//! The module knows no other of the library, so types of all floors may use it.

use std::fmt::Write;
use std::ops::Deref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::serde::{Serialize, Serializer};

/// Writes a duration as a number of seconds, with their fraction.
pub(crate) fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

/// Writes a duration as [`seconds`] does, and none as nothing: JSON's `null`.
pub(crate) fn some_seconds<S: Serializer>(
    time: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(to)
}

/// Writes a time of day in UTC and milliseconds: `2026-11-29T12:00:00.000Z`. What RFC 3339 cannot say, a
/// time before 1970 or after the year 9999, becomes nothing.
pub(crate) fn some_time<S: Serializer>(
    time: &Option<SystemTime>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let text = time.filter(|time| *time >= UNIX_EPOCH).and_then(|time| {
        let mut text = String::new();
        // `to_string` would panic where the formatter returns an error.
        write!(text, "{}", humantime::format_rfc3339_millis(time)).ok()?;
        Some(text)
    });
    text.serialize(to)
}

/// Writes what a pointer points to.
pub(crate) fn some_pointee<P, S>(pointer: &Option<P>, to: S) -> Result<S::Ok, S::Error>
where
    P: Deref<Target: Serialize>,
    S: Serializer,
{
    pointer.as_deref().serialize(to)
}
