//! What an entry point returns: a code, and the message of the last error of the thread.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::codes::*;

/// An error: its code and what `ph_last_error` says of it.
#[derive(Debug)]
pub(crate) struct Problem {
    code: i32,
    message: String,
}

impl Problem {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A pointer that is null.
    pub(crate) fn null(name: &str) -> Self {
        Self::new(PH_E_NULL, format!("{name} is null"))
    }

    /// A number that the interface does not have.
    pub(crate) fn number(name: &str, value: impl std::fmt::Display, known: &str) -> Self {
        Self::new(PH_E_VALUE, format!("{name} is {value}: must be one of {known}"))
    }
}

pub(crate) type Answer<T = i32> = Result<T, Problem>;

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs an entry point. No panic leaves it: one that does leave an `extern "C"` function ends the process.
#[inline]
pub(crate) fn guard(run: impl FnOnce() -> Answer) -> i32 {
    // Unwind safety: what a caller sees after a panic is the registry, which is whole whatever panics, and
    // out-parameters, which are written last.
    let problem = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(code)) => return code,
        Ok(Err(problem)) => problem,
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().map(|text| String::from(*text));
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            // The destructor of a payload may panic as well; what it panics with is left alone.
            if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
                std::mem::forget(second);
            }
            Problem::new(PH_E_PANIC, format!("panicked: {}", text.unwrap_or_default()))
        }
    };
    // A thread that is ending has no last error any more.
    let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut last| *last = problem.message));
    problem.code
}

/// Runs an entry point that returns a length: 0 if it panics.
pub(crate) fn guard_length(run: impl FnOnce() -> usize) -> usize {
    // Unwind safety: as in `guard`.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        0
    })
}

/// Returns the message of the last error on this thread; empty if there was none.
pub(crate) fn last_message() -> String {
    LAST.try_with(|last| last.try_borrow().map(|last| last.clone()).unwrap_or_default())
        .unwrap_or_default()
}
