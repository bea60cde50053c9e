//! Makes the same calls through six circuit breakers and prints how many of them begin.
//!
//! Each breaker opens after a few failures in a row and stays open for [`OPEN`]. A call is a future
//! that ends when [`Call::end`] says so. `begin` polls it once: the call was admitted if it began.

mod breakers;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long a circuit stays open, and the lease of a probe where there is one.
const OPEN: Duration = Duration::from_millis(1500);
const AT_ONCE: usize = 8;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The error of every call that fails.
#[derive(Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

trait Breaker {
    /// Makes the call if the breaker admits it.
    fn guard(&self, call: Boxed<Result<(), Failed>>) -> Boxed<()>;
    fn wait(&self, time: Duration);
}

type New = fn(probes: u32) -> Box<dyn Breaker>;
type Trial = fn(New) -> String;

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const WELL: u8 = 2;
const BADLY: u8 = 3;

struct Call {
    state: Arc<AtomicU8>,
    future: Boxed<()>,
}

impl Call {
    /// `None` if the breaker refuses the call.
    fn begin(breaker: &dyn Breaker) -> Option<Self> {
        let state = Arc::new(AtomicU8::new(WAITING));
        let told = Arc::clone(&state);
        let call = Box::pin(poll_fn(move |_| match told.load(Ordering::Relaxed) {
            WELL => Poll::Ready(Ok(())),
            BADLY => Poll::Ready(Err(Failed)),
            _ => {
                told.store(BEGUN, Ordering::Relaxed);
                Poll::Pending
            }
        }));
        let mut call = Self { state, future: breaker.guard(call) };
        call.poll();
        (call.state.load(Ordering::Relaxed) == BEGUN).then_some(call)
    }

    fn end(mut self, state: u8) {
        self.state.store(state, Ordering::Relaxed);
        self.poll();
    }

    fn poll(&mut self) {
        let _ = self.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

fn begin(breaker: &dyn Breaker, calls: usize) -> Vec<Call> {
    (0..calls).filter_map(|_| Call::begin(breaker)).collect()
}

/// Lets calls fail until the breaker refuses one, and waits until it may admit again.
fn open(breaker: &dyn Breaker) {
    let refused = (0..1000).any(|_| Call::begin(breaker).map(|call| call.end(BADLY)).is_none());
    assert!(refused, "does not open");
    breaker.wait(OPEN + OPEN / 10);
}

/// Whether the circuit is closed: it then admits a call, and another after that one fails.
fn is_closed(breaker: &dyn Breaker) -> bool {
    Call::begin(breaker).map(|call| call.end(BADLY)).is_some() && Call::begin(breaker).is_some()
}

/// Eight calls at once while the circuit is half-open, with two probes where that can be said.
fn half_open(new: New) -> String {
    let breaker = new(2);
    open(&*breaker);
    begin(&*breaker, AT_ONCE).len().to_string()
}

/// The same eight calls are cancelled. How many of eight more begin at once, and how many later?
fn cancelled(new: New) -> String {
    let breaker = new(2);
    open(&*breaker);
    drop(begin(&*breaker, AT_ONCE));
    let at_once = begin(&*breaker, AT_ONCE).len();
    let breaker = new(2);
    open(&*breaker);
    drop(begin(&*breaker, AT_ONCE));
    breaker.wait(OPEN * 2);
    format!("{at_once}, {}", begin(&*breaker, AT_ONCE).len())
}

/// The same eight calls never end. How many of eight more begin after twice the wait?
fn leased(new: New) -> String {
    let breaker = new(2);
    open(&*breaker);
    let _held = begin(&*breaker, AT_ONCE);
    breaker.wait(OPEN * 2);
    begin(&*breaker, AT_ONCE).len().to_string()
}

/// Calls begin, others open the circuit, a probe begins, and now the first calls end well.
fn late_call(new: New) -> String {
    let breaker = new(2);
    let old = begin(&*breaker, 3);
    open(&*breaker);
    let _probe = Call::begin(&*breaker);
    old.into_iter().for_each(|call| call.end(WELL));
    if is_closed(&*breaker) { "closes" } else { "nothing" }.into()
}

/// A probe hangs, another fails, a third begins after the wait, and now the first ends well.
fn late_probe(new: New) -> String {
    let breaker = new(1);
    open(&*breaker);
    let old = begin(&*breaker, 2);
    breaker.wait(OPEN * 2);
    match Call::begin(&*breaker) {
        Some(second) => second.end(BADLY),
        None => return "no second".into(),
    }
    open(&*breaker);
    let _third = Call::begin(&*breaker);
    old.into_iter().for_each(|call| call.end(WELL));
    if is_closed(&*breaker) { "closes" } else { "nothing" }.into()
}

/// Ten calls are cancelled while the circuit is closed.
fn cancelled_while_closed(new: New) -> String {
    let breaker = new(2);
    (0..10).for_each(|_| drop(Call::begin(&*breaker)));
    if Call::begin(&*breaker).is_some() { "closed" } else { "opens" }.into()
}

fn main() {
    let trials: [(&str, Trial); 6] = [
        ("half-open", half_open),
        ("cancelled", cancelled),
        ("hanging", leased),
        ("late call", late_call),
        ("late probe", late_probe),
        ("ten cancelled", cancelled_while_closed),
    ];
    print!("{:18}", "");
    trials.iter().for_each(|(name, _)| print!("{name:>15}"));
    println!();
    for (name, new) in breakers::ALL {
        print!("{name:18}");
        trials.iter().for_each(|(_, trial)| print!("{:>15}", trial(new)));
        println!();
    }
    let peers = 1000;
    println!(
        "peers kept of {peers}: seatbelt {}, peer-health (max_peers 100) {}",
        breakers::kept_by_seatbelt(peers),
        breakers::kept_by_peer_health(peers, 100)
    );
}
