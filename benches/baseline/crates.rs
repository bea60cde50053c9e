//! The circuit breakers that a Rust user would take instead. Each knows one peer, opens after the
//! default of its crate, or after five failures in a row where it has that rule, and gets the call
//! as a closure that returns at once.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use failsafe::CircuitBreaker as _;
use peer_health::SyncError;
use tower::util::ServiceExt;

use super::single::Single;
use super::{Outcome, Setup};

/// `recloser`.
pub(crate) struct Recloser(recloser::Recloser);

impl Single for Recloser {
    fn new(setup: &Setup<'_>) -> Self {
        Self(recloser::Recloser::custom().open_wait(setup.trips.open_for).build())
    }

    #[inline(always)]
    fn guard(&self, outcome: Outcome) -> bool {
        !matches!(self.0.call(|| outcome), Err(recloser::Error::Rejected))
    }

    /// It cannot be asked without making a call.
    fn is_open(&self) -> bool {
        !self.guard(Ok(()))
    }
}

/// `failsafe`, with the rule of consecutive failures: its default reads the clock at each call.
pub(crate) struct Failsafe(
    failsafe::StateMachine<
        failsafe::failure_policy::ConsecutiveFailures<failsafe::backoff::Constant>,
        (),
    >,
);

impl Single for Failsafe {
    fn new(setup: &Setup<'_>) -> Self {
        let wait = failsafe::backoff::constant(setup.trips.open_for);
        let policy = failsafe::failure_policy::consecutive_failures(setup.trips.threshold, wait);
        Self(failsafe::Config::new().failure_policy(policy).build())
    }

    #[inline(always)]
    fn guard(&self, outcome: Outcome) -> bool {
        !matches!(self.0.call(|| outcome), Err(failsafe::Error::Rejected))
    }

    #[inline]
    fn is_open(&self) -> bool {
        !self.0.is_call_permitted()
    }
}

/// `circuitbreaker-rs`.
pub(crate) struct CircuitBreakerRs(DefaultBreaker);

type DefaultBreaker =
    circuitbreaker_rs::CircuitBreaker<circuitbreaker_rs::DefaultPolicy, SyncError>;

impl Single for CircuitBreakerRs {
    fn new(setup: &Setup<'_>) -> Self {
        Self(DefaultBreaker::builder().cooldown(setup.trips.open_for).build())
    }

    #[inline(always)]
    fn guard(&self, outcome: Outcome) -> bool {
        !matches!(self.0.call(|| outcome), Err(circuitbreaker_rs::BreakerError::Open))
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.0.current_state() == circuitbreaker_rs::State::Open
    }
}

/// `tower-resilience-circuitbreaker`, around a service that answers with the outcome. The service
/// is cloned for each call, as a server does it for each request.
pub(crate) struct TowerResilience(
    Option<
        tower_resilience_circuitbreaker::CircuitBreaker<
            Echo,
            tower_resilience_circuitbreaker::DefaultClassifier,
        >,
    >,
);

type Answer = std::future::Ready<Outcome>;
type Echo = tower::util::ServiceFn<fn(Outcome) -> Answer>;

impl Single for TowerResilience {
    fn new(setup: &Setup<'_>) -> Self {
        let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
            .wait_duration_in_open(setup.trips.open_for)
            .build();
        let echo: Echo = tower::service_fn(std::future::ready as fn(Outcome) -> Answer);
        Self(layer.ok().map(|layer| layer.layer_fn(echo)))
    }

    fn guard(&self, outcome: Outcome) -> bool {
        use tower_resilience_circuitbreaker::CircuitBreakerError::Inner;
        let Some(service) = self.0.clone() else { return false };
        matches!(now(service.oneshot(outcome)), Ok(()) | Err(Inner(_)))
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.0.as_ref().is_some_and(|service| service.is_open())
    }
}

/// The value of a future that waits for nothing but its turn at a lock, held for an instant.
fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}
