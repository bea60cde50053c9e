//! The six breakers, each set up as alike as its configuration allows.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use failsafe::futures::CircuitBreaker as _;
use layered::{Execute, Service as _, Stack};
use seatbelt::breaker::{Breaker as Seatbelt, BreakerId, HalfOpenMode};
use seatbelt::{RecoveryInfo, ResilienceContext};
use tick::ClockControl;
use tower::Service as _;

use super::{Boxed, Breaker, Failed, New, OPEN};

type Op = Boxed<Result<(), Failed>>;

pub const ALL: [(&str, New); 6] = [
    ("failsafe", failsafe_),
    ("recloser", recloser_),
    ("tower-resilience", tower_resilience),
    ("seatbelt", seatbelt_),
    ("circuitbreaker-rs", circuitbreaker_rs_),
    ("peer-health", peer_health_),
];

/// A breaker as two closures.
struct Of<G, W>(G, W);

impl<G: Fn(Op) -> Boxed<()>, W: Fn(Duration)> Breaker for Of<G, W> {
    fn guard(&self, call: Op) -> Boxed<()> {
        self.0(call)
    }

    fn wait(&self, time: Duration) {
        self.1(time);
    }
}

fn of(
    guard: impl Fn(Op) -> Boxed<()> + 'static,
    wait: impl Fn(Duration) + 'static,
) -> Box<dyn Breaker> {
    Box::new(Of(guard, wait))
}

fn failsafe_(_probes: u32) -> Box<dyn Breaker> {
    let policy =
        failsafe::failure_policy::consecutive_failures(3, failsafe::backoff::constant(OPEN));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    let guard = move |call: Op| -> Boxed<()> {
        let call = breaker.call(call);
        Box::pin(async move { drop(call.await) })
    };
    of(guard, std::thread::sleep)
}

fn recloser_(probes: u32) -> Box<dyn Breaker> {
    let breaker = recloser::Recloser::custom()
        .closed_len(3)
        .half_open_len(probes as usize)
        .open_wait(OPEN)
        .build();
    let breaker = recloser::AsyncRecloser::from(breaker);
    let guard = move |call: Op| -> Boxed<()> {
        let call = breaker.call(call);
        Box::pin(async move { drop(call.await) })
    };
    of(guard, std::thread::sleep)
}

fn tower_resilience(probes: u32) -> Box<dyn Breaker> {
    let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
        .consecutive_failures(3)
        .wait_duration_in_open(OPEN)
        .permitted_calls_in_half_open(probes as usize)
        .build()
        .unwrap();
    let service = layer.layer_fn(tower::service_fn(|call: Op| call));
    let guard = move |call: Op| -> Boxed<()> {
        let mut service = service.clone();
        // Ready at once: the layer waits for nothing unless it is told to press back.
        let _ = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        let call = service.call(call);
        Box::pin(async move { drop(call.await) })
    };
    of(guard, std::thread::sleep)
}

/// One probe, and another after the wait: `HalfOpenMode::quick`. Its default mode lets one call
/// through, then growing parts of the traffic.
fn seatbelt_(_probes: u32) -> Box<dyn Breaker> {
    let time = ClockControl::new();
    let context = ResilienceContext::new(time.to_clock()).name("compare");
    let layer = Seatbelt::layer("compare", &context)
        .recovery_with(|result: &Result<(), Failed>, _| match result {
            Ok(()) => RecoveryInfo::never(),
            Err(_) => RecoveryInfo::retry(),
        })
        .rejected_input_error(|_, _| Failed)
        .min_throughput(3)
        .break_duration(OPEN)
        .half_open_mode(HalfOpenMode::quick());
    let service = Arc::new((layer, Execute::new(|call: Op| call)).into_service());
    let guard = move |call: Op| -> Boxed<()> {
        let service = Arc::clone(&service);
        Box::pin(async move { drop(service.execute(call).await) })
    };
    of(guard, move |passed| time.advance(passed))
}

fn circuitbreaker_rs_(probes: u32) -> Box<dyn Breaker> {
    let breaker =
        circuitbreaker_rs::CircuitBreaker::<circuitbreaker_rs::DefaultPolicy, Failed>::builder()
            .consecutive_failures(3)
            .cooldown(OPEN)
            .probe_interval(probes)
            .consecutive_successes(u64::from(probes))
            .build();
    let guard = move |call: Op| -> Boxed<()> {
        let breaker = breaker.clone();
        Box::pin(async move { drop(breaker.call_async(|| call).await) })
    };
    of(guard, std::thread::sleep)
}

impl From<&Failed> for peer_health::Failure {
    fn from(failed: &Failed) -> Self {
        Self::remote(failed)
    }
}

fn peer_health_(probes: u32) -> Box<dyn Breaker> {
    let config = peer_health::HealthConfig::default()
        .with_failure_threshold(3)
        .with_open_timeout(OPEN)
        .with_open_multiplier(1.0)
        .with_success_threshold(probes)
        .with_probe_lease(OPEN);
    let (clock, time) = peer_health::Clock::manual();
    let registry = peer_health::HealthRegistry::<u8>::builder().config(config).clock(clock);
    let registry = registry.build().unwrap();
    let guard = move |call: Op| -> Boxed<()> {
        let registry = registry.clone();
        Box::pin(async move { drop(registry.call_async(&7, call).await) })
    };
    of(guard, move |passed| time.advance(passed))
}

/// How many breakers seatbelt keeps after one call to each peer, as its `Debug` lists them, less
/// the one that it makes for calls without an id.
pub fn kept_by_seatbelt(peers: u64) -> usize {
    let context = ResilienceContext::new(ClockControl::new().to_clock()).name("compare");
    let layer = Seatbelt::layer("compare", &context)
        .recovery_with(|_: &Result<(), Failed>, _| RecoveryInfo::never())
        .rejected_input_error(|_, _| Failed)
        .breaker_id(|peer: &u64| BreakerId::from(*peer));
    let service = (layer, Execute::new(async |_: u64| Ok::<_, Failed>(()))).into_service();
    for peer in 0..peers {
        let mut call = std::pin::pin!(service.execute(peer));
        let _ = std::future::Future::poll(call.as_mut(), &mut Context::from_waker(Waker::noop()));
    }
    format!("{service:?}").matches("EngineCore {").count() - 1
}

/// How many peers this library keeps after one successful call to each.
pub fn kept_by_peer_health(peers: u64, max_peers: usize) -> usize {
    let config = peer_health::HealthConfig::default().with_max_peers(max_peers);
    let registry = peer_health::HealthRegistry::<u64>::builder().config(config).build().unwrap();
    for peer in 0..peers {
        registry.acquire(&peer).unwrap().success();
    }
    registry.len()
}
