//! What the tests of the coordinator share: peers that answer as they are told, and ways to poll.

use std::collections::{HashMap, VecDeque};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use peer_health::{
    Clock, CoordinatorBuilder, Failure, Fault, HealthConfig, HealthRegistry, RetryPolicy,
    SyncCoordinator, SyncDriver, SyncError,
};
use tokio::time::{Instant, sleep};

use crate::support::{self, network, panics};

/// A failure of this node.
pub(crate) fn ours() -> Failure {
    Failure::from(SyncError::State("endpoint closed".into())).with_fault(Fault::Local)
}

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A circuit that one failure opens for a minute, and one success closes.
pub(crate) fn touchy() -> HealthConfig {
    support::touchy(Duration::from_secs(60))
}

/// A registry on tokio's clock.
pub(crate) fn registry(config: HealthConfig) -> HealthRegistry<u32> {
    HealthRegistry::builder().config(config).clock(Clock::tokio()).build().unwrap()
}

/// Retries after 100, 200, 400 and 800 ms, without jitter.
pub(crate) fn even() -> RetryPolicy {
    RetryPolicy { jitter_factor: 0.0, ..RetryPolicy::default() }
}

pub(crate) fn coordinator(registry: &HealthRegistry<u32>) -> CoordinatorBuilder<u32> {
    SyncCoordinator::builder(registry.clone()).retry(even())
}

/// How a peer answers a call.
#[derive(Clone)]
pub(crate) enum Answer {
    Well,
    Fails(Failure),
    Takes(Duration),
    Hangs,
    Panics,
}

/// So many failures that count against the peer.
pub(crate) fn fails(times: usize) -> impl Iterator<Item = Answer> {
    std::iter::repeat_n(Answer::Fails(network().into()), times)
}

/// All peers: each answers as it is told to, and then well.
#[derive(Clone)]
pub(crate) struct Peers(Arc<State>);

struct State {
    began: Instant,
    answers: Mutex<HashMap<u32, VecDeque<Answer>>>,
    always: Mutex<Answer>,
    calls: Mutex<Vec<(u32, u64)>>,
    running: Mutex<(usize, usize)>,
}

/// Counts a call while it is being made.
struct Running(Peers);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.lock().unwrap().0 -= 1;
    }
}

impl Peers {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            began: Instant::now(),
            answers: Mutex::default(),
            always: Mutex::new(Answer::Well),
            calls: Mutex::default(),
            running: Mutex::default(),
        }))
    }

    /// The next answers of a peer.
    pub(crate) fn tell(&self, peer: u32, answers: impl IntoIterator<Item = Answer>) {
        self.0.answers.lock().unwrap().entry(peer).or_default().extend(answers);
    }

    /// What those answer who were told nothing.
    pub(crate) fn tell_all(&self, answer: Answer) {
        *self.0.always.lock().unwrap() = answer;
    }

    /// Who was called, and when, in milliseconds.
    pub(crate) fn calls(&self) -> Vec<(u32, u64)> {
        self.0.calls.lock().unwrap().clone()
    }

    /// When a peer was called.
    pub(crate) fn times(&self, peer: u32) -> Vec<u64> {
        self.calls().into_iter().filter(|(whom, _)| *whom == peer).map(|(_, at)| at).collect()
    }

    /// Calls that are being made, and the most there were at a time.
    pub(crate) fn running(&self) -> (usize, usize) {
        *self.0.running.lock().unwrap()
    }

    pub(crate) async fn call(&self, peer: u32) -> Result<u32, Failure> {
        let at = u64::try_from(self.0.began.elapsed().as_millis()).unwrap();
        self.0.calls.lock().unwrap().push((peer, at));
        {
            let mut running = self.0.running.lock().unwrap();
            running.0 += 1;
            running.1 = running.1.max(running.0);
        }
        let _running = Running(self.clone());
        let told = self.0.answers.lock().unwrap().get_mut(&peer).and_then(VecDeque::pop_front);
        let answer = told.unwrap_or_else(|| self.0.always.lock().unwrap().clone());
        match answer {
            Answer::Well => {}
            Answer::Fails(failure) => return Err(failure),
            Answer::Takes(time) => sleep(time).await,
            Answer::Hangs => pending().await,
            Answer::Panics => panics("the operation"),
        }
        Ok(peer)
    }

    pub(crate) fn drive(&self, coordinator: &SyncCoordinator<u32>) -> SyncDriver<u32> {
        let peers = self.clone();
        let op = move |peer| {
            let peers = peers.clone();
            async move { peers.call(peer).await }
        };
        coordinator.drive(op).unwrap()
    }
}

/// Asks for each of them.
pub(crate) fn request(driver: &SyncDriver<u32>, peers: impl IntoIterator<Item = u32>) {
    for peer in peers {
        driver.request(&peer);
    }
}

/// Makes these peers ones that have answered before.
pub(crate) fn answer(registry: &HealthRegistry<u32>, peers: impl IntoIterator<Item = u32>) {
    for peer in peers {
        registry.acquire(&peer).unwrap().success();
    }
}

/// Lets time go by, and whatever happens meanwhile.
pub(crate) async fn pass(time: Duration) {
    sleep(time).await;
}

pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    match polled {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
