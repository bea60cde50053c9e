//! The passes over all executions of a model, and two threads that run at the same time.

use std::cell::Cell;
use std::io::Write;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::sync::{self, Ordering};

/// Checks a model of two threads in all its executions; in a debug build, or where the environment
/// has `MODELS_BOUNDED`, with at most two preemptions.
///
/// `floors` are the least numbers of executions, with loads as they are and with loads as
/// read-modify-writes; a model that explores fewer proves less than it says.
pub(crate) fn two(floors: [usize; 2], model: impl Fn() + Send + Sync + 'static) {
    bounded(2, None, 2, floors, model);
}

/// Checks a model of two threads that has too many executions, with at most four preemptions; in a
/// debug build with at most two.
pub(crate) fn two_bounded(floors: [usize; 2], model: impl Fn() + Send + Sync + 'static) {
    bounded(2, Some(4), 2, floors, model);
}

/// Checks a model of two threads that has far too many, with at most three preemptions; in a debug build
/// with at most one.
pub(crate) fn two_narrowly(floors: [usize; 2], model: impl Fn() + Send + Sync + 'static) {
    bounded(2, Some(3), 1, floors, model);
}

/// Checks a model of three threads in all its executions with at most three preemptions; in a
/// debug build with at most one.
pub(crate) fn three(floors: [usize; 2], model: impl Fn() + Send + Sync + 'static) {
    bounded(3, Some(3), 1, floors, model);
}

/// The same for a model that is about what takes two preemptions; in a debug build with at most two.
pub(crate) fn three_twice(floors: [usize; 2], model: impl Fn() + Send + Sync + 'static) {
    bounded(3, Some(3), 2, floors, model);
}

fn bounded(
    threads: usize,
    bound: Option<usize>,
    in_debug: usize,
    floors: [usize; 2],
    model: impl Fn() + Send + Sync + 'static,
) {
    match cfg!(debug_assertions) || std::env::var_os("MODELS_BOUNDED").is_some() {
        true => explore(threads, Some(in_debug), [1, 2], model),
        false => explore(threads, bound, floors, model),
    }
}

#[allow(clippy::disallowed_methods, reason = "says how long a model took")]
fn explore(
    threads: usize,
    bound: Option<usize>,
    floors: [usize; 2],
    model: impl Fn() + Send + Sync + 'static,
) {
    let model = std::sync::Arc::new(model);
    let began = Instant::now();
    let only = std::env::var("MODEL_PASS").ok();
    let passes = [("0", false, false), ("1", false, true), ("2", true, false)];
    let counts = passes.map(|(pass, rmw, first)| {
        if only.as_ref().is_some_and(|only| only != pass) {
            return None;
        }
        println!("pass {pass}");
        let executions = std::sync::Arc::new(AtomicUsize::new(0));
        let (counter, model) = (executions.clone(), model.clone());
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = bound;
        builder.max_branches = 10_000;
        let model = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            sync::begin_execution();
            SPAWNED_FIRST.set(first);
            model();
        };
        sync::modelling(rmw, || builder.check(model));
        Some(executions.load(Ordering::Relaxed))
    });
    let [Some(first), Some(second), Some(third)] = counts else { return };
    let counts = [first + second, third];
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let bound = bound.map_or("any".into(), |n| n.to_string());
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{name}: {threads} threads, preemptions {bound}, executions {counts:?}, {seconds:.2} s"
    );
    for (count, floor) in counts.into_iter().zip(floors) {
        if count < floor {
            // The mutants read this line: it tells them that the model has found nothing wrong.
            let _ = writeln!(std::io::stderr(), "{name} missed its floor");
            panic!("explored {count} executions; {floor} are known");
        }
    }
}

thread_local!(static SPAWNED_FIRST: Cell<bool> = const { Cell::new(false) });

/// Runs both at the same time. Loom looks for other stale values depending on where it begins: it begins
/// with the second thread, and in a pass of its own with the first.
pub(crate) fn both<A: 'static, B>(
    a: impl FnOnce() -> A + 'static,
    b: impl FnOnce() -> B,
) -> (A, B) {
    let a = loom::thread::spawn(a);
    if SPAWNED_FIRST.get() {
        loom::thread::yield_now();
    }
    let b = b();
    (a.join().unwrap(), b)
}
