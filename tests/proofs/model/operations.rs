//! What may happen to a peer, and how it may be configured: small numbers mostly, and some of the largest.

use std::time::Duration;

use peer_health::{HalfOpenMode, HealthConfig, Window};
use proptest::option;
use proptest::prelude::*;

use super::reference::{Control, End, How, Reported};

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// A call that begins here and ends with some later `Settle`.
    Acquire,
    Settle {
        which: usize,
        end: End,
    },
    /// A call that ends before anything else happens, `took` later.
    Call {
        by_handle: bool,
        took: Duration,
        end: End,
    },
    ReportSuccess,
    ReportError(Reported),
    Ask {
        by_handle: bool,
    },
    Control(Control),
    Configure(Box<HealthConfig>),
    Remove,
    /// Good news, or an operator who ends the wait.
    News {
        by_operator: bool,
    },
    Wait(Duration),
    /// To one of the moments at which time alone changes something; or just before, or after.
    GoTo {
        which: usize,
        nudge: i64,
    },
}

pub(super) const MS: Duration = Duration::from_millis(1);

fn some_time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        2 => Just(Duration::ZERO),
        1 => Just(Duration::from_nanos(1)),
        8 => (1u32..=20).prop_map(|n| MS * n),
        2 => (1u32..=50).prop_map(|n| MS * n * 20),
        1 => Just(Duration::from_secs(3600)),
    ]
}

fn above_zero() -> impl Strategy<Value = Duration> {
    prop_oneof![9 => (1u32..=20).prop_map(|n| MS * n), 1 => Just(Duration::MAX)]
}

fn a_rate() -> impl Strategy<Value = Option<f64>> {
    let rates = prop::sample::select(vec![0.01, 0.25, 0.3, 0.5, 2.0 / 3.0, 0.75, 1.0]);
    option::weighted(0.6, rates)
}

fn a_window() -> impl Strategy<Value = Option<Window>> {
    let count = prop_oneof![Just(1u32), Just(2), Just(3), Just(5), Just(16), Just(200)];
    let time = (1u32..=5, prop::sample::select(vec![1u32, 2, 3, 4, 10]));
    prop_oneof![
        2 => Just(None),
        3 => count.prop_map(|size| Some(Window::count(size))),
        3 => time.prop_map(|(width, buckets)| Some(Window::time(MS * width * buckets, buckets))),
    ]
}

/// Waits whose growth is exact in floating point, so that two ways to compute it agree.
fn open_times() -> impl Strategy<Value = (Duration, f64, Duration)> {
    let cap = prop::sample::select(vec![MS * 5, MS * 60, MS * 5000]);
    prop_oneof![
        8 => (prop::sample::select(vec![MS, MS * 10, MS * 64]),
              prop::sample::select(vec![1.0, 1.5, 2.0, 10.0, 1e308]), cap),
        1 => (Just(Duration::ZERO), Just(2.0), Just(MS)),
        1 => (Just(MS * 10), Just(1.0), Just(Duration::ZERO)),
        1 => (Just(MS * 10), Just(2.0), Just(Duration::MAX)),
        1 => (Just(Duration::MAX), Just(f64::MAX), Just(MS * 50)),
    ]
}

/// Any configuration that makes sense, mostly of small numbers: much happens in sixty steps.
pub(super) fn a_config() -> impl Strategy<Value = HealthConfig> {
    let streak =
        prop_oneof![4 => (1u32..=4).prop_map(Some), 1 => Just(None), 1 => Just(Some(u32::MAX))];
    let gap = prop_oneof![Just(None), Just(Some(MS * 5)), Just(Some(MS * 30))];
    let trip = (streak, gap, a_window(), option::of(1u32..=6), a_rate());
    let slow = (option::weighted(0.6, above_zero()), a_rate());
    let n = prop_oneof![12 => 1u32..=5, 1 => Just(64u32)];
    let trial = (
        n,
        any::<bool>(),
        option::weighted(0.4, above_zero()),
        option::weighted(0.6, above_zero()),
    );
    (trip, slow, open_times(), trial).prop_map(|(trip, slow, open, trial)| {
        let (streak, gap, window, min_calls, failure_rate) = trip;
        let (slow_call, slow_rate) = slow;
        let (open_timeout, multiplier, open_max) = open;
        let (n, by_rate, half_open_max, lease) = trial;
        let slow_rate = slow_rate.filter(|_| slow_call.is_some());
        let by_rate = by_rate && (failure_rate.is_some() || slow_rate.is_some());
        // A rate without a window is for the probes of mode Rate alone.
        let judged = by_rate || window.is_some();
        let (failure_rate, slow_rate) =
            if judged { (failure_rate, slow_rate) } else { (None, None) };
        let min_calls = match window {
            Some(Window::Count { size }) => min_calls.map(|calls| calls.min(size)),
            _ => min_calls,
        };
        HealthConfig::default()
            .with_failure_threshold(streak)
            .with_streak_gap(gap)
            .with_window(window)
            .with_min_calls(min_calls)
            .with_failure_rate(failure_rate)
            .with_slow_call(slow_call)
            .with_slow_rate(slow_rate)
            .with_open_timeout(open_timeout)
            .with_open_multiplier(multiplier)
            .with_open_max(open_max)
            .with_open_jitter(0.0)
            .with_success_threshold(n)
            .with_half_open_mode(if by_rate { HalfOpenMode::Rate } else { HalfOpenMode::All })
            .with_half_open_max(half_open_max)
            .with_probe_lease(lease)
    })
}

fn an_end() -> impl Strategy<Value = End> {
    let how = prop_oneof![
        5 => Just(How::Success),
        6 => Just(How::Failure),
        1 => Just(How::Document),
        1 => Just(How::Neutral),
        1 => Just(How::Drop),
    ];
    let time = || prop_oneof![4 => some_time(), 1 => Just(Duration::MAX)];
    let (latency, wish) = (option::weighted(0.3, time()), option::weighted(0.2, time()));
    (how, latency, wish).prop_map(|(how, latency, wish)| End { how, latency, wish })
}

pub(super) fn an_op() -> impl Strategy<Value = Op> {
    let reported = prop::sample::select(vec![
        Reported::Network,
        Reported::Network,
        Reported::Protocol,
        Reported::Document,
        Reported::Quota,
    ]);
    let control = prop_oneof![
        2 => Just(Control::Reset),
        1 => Just(Control::ForceOpen),
        1 => prop_oneof![8 => some_time(), 1 => Just(Duration::ZERO), 1 => Just(Duration::MAX)]
            .prop_map(Control::ForceOpenFor),
        1 => Just(Control::Disable),
        1 => Just(Control::MetricsOnly),
    ];
    let which = || 0usize..64;
    let call = (any::<bool>(), some_time(), an_end());
    let far = Duration::from_nanos(u64::MAX / 200);
    prop_oneof![
        16 => Just(Op::Acquire),
        18 => (which(), an_end()).prop_map(|(which, end)| Op::Settle { which, end }),
        20 => call.prop_map(|(by_handle, took, end)| Op::Call { by_handle, took, end }),
        6 => Just(Op::ReportSuccess),
        8 => reported.prop_map(Op::ReportError),
        6 => any::<bool>().prop_map(|by_handle| Op::Ask { by_handle }),
        2 => control.prop_map(Op::Control),
        3 => a_config().prop_map(|config| Op::Configure(Box::new(config))),
        1 => Just(Op::Remove),
        8 => prop::bool::weighted(0.2).prop_map(|by_operator| Op::News { by_operator }),
        10 => some_time().prop_map(Op::Wait),
        1 => Just(Op::Wait(far)),
        16 => (which(), -1i64..=1).prop_map(|(which, nudge)| Op::GoTo { which, nudge }),
    ]
}
