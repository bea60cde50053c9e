//! The one way in for errors, and what becomes of their text and sources.

use std::error::Error;
use std::fmt;
use std::panic::panic_any;
use std::time::Duration;

use peer_health::{
    AsFailure, CallError, Clock, Failure, Fault, HealthConfig, HealthRegistry, Reason, Recorded,
    SyncError,
};

/// An error with a source beneath it, as deep as is said, each with the text that is given.
#[derive(Debug)]
struct Nested(String, Option<Box<Nested>>);

impl Nested {
    fn deep(text: &str, depth: usize) -> Self {
        Self(text.into(), (depth > 0).then(|| Box::new(Self::deep(text, depth - 1))))
    }
}

impl fmt::Display for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Nested {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|beneath| beneath as _)
    }
}

impl From<&Nested> for Failure {
    fn from(error: &Nested) -> Self {
        Self::remote(error).with_sources_of(error)
    }
}

fn texts(failure: &Failure) -> Vec<String> {
    let (mut texts, mut next) = (Vec::new(), failure.source());
    while let Some(source) = next {
        texts.push(source.to_string());
        next = source.source();
    }
    texts
}

/// The failure that a registry has kept of its peer.
fn kept(registry: &HealthRegistry<u32>) -> Failure {
    Failure::clone(&registry.snapshot(&7).unwrap().last_error.unwrap())
}

#[test]
fn a_failure_keeps_what_the_sources_of_its_error_say() {
    let registry = HealthRegistry::<u32>::new();
    let error = Nested("no block".into(), Some(Box::new(Nested::deep("disk gone", 1))));
    registry.acquire(&7).unwrap().failure(&error);
    assert_eq!(kept(&registry).to_string(), "protocol violation: no block");
    assert_eq!(texts(&kept(&registry)), ["disk gone", "disk gone"]);
    assert_eq!(texts(&Failure::remote(&error)), Vec::<String>::new(), "a text has no sources");
}

#[test]
fn r26_the_sources_share_the_kibibyte_of_the_text() {
    let registry = HealthRegistry::<u32>::new();
    for (text, wanted) in [("x".repeat(500), vec![500, 24]), ("é".repeat(300), vec![424])] {
        let error = Nested::deep(&text, 1000);
        assert_eq!(error.as_failure().source().unwrap().to_string(), text);
        registry.acquire(&7).unwrap().failure(error);
        let lengths: Vec<_> = texts(&kept(&registry)).iter().map(String::len).collect();
        assert_eq!(lengths, wanted);
    }
    registry.acquire(&7).unwrap().failure(Nested::deep(&"x".repeat(1024), 3));
    assert_eq!(texts(&kept(&registry)).len(), 0, "the text takes all");
    registry.acquire(&7).unwrap().failure(Nested::deep("", 1000));
    assert_eq!(texts(&kept(&registry)).len(), 8, "links cost memory too");
}

#[test]
fn the_source_of_an_error_of_the_system_is_kept() {
    let disk = std::io::Error::other(Nested::deep("disk gone", 1));
    assert_eq!(texts(&disk.as_failure()), ["disk gone"]);
}

#[test]
fn an_error_is_taken_by_value_and_by_reference() {
    fn both<E: AsFailure + 'static>(registry: &HealthRegistry<u32>, error: E) {
        registry.acquire(&7).unwrap().failure(&error);
        registry.acquire(&7).unwrap().failure(error);
    }
    let registry = HealthRegistry::<u32>::new();
    both(&registry, Nested::deep("garbage", 0));
    both(&registry, Failure::remote("garbage"));
    assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 4);
}

#[test]
fn an_error_of_another_crate_is_classified_by_a_function() {
    let registry = HealthRegistry::<u32>::new();
    let parse = |text: &str| text.parse::<u32>();
    let garbage = |e: &std::num::ParseIntError| Failure::remote(e);
    let ours = |e: &std::num::ParseIntError| Failure::local(e);
    assert_eq!(registry.call_with(&7, || parse("7"), garbage), Ok(7));
    let failed = registry.call_with(&7, || parse("x"), garbage);
    assert!(matches!(failed, Err(CallError::Failed(_))));
    assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 1);
    let mut peer = registry.peer(&7);
    assert!(peer.call_with(|| parse("x"), ours).is_err());
    assert_eq!(kept(&registry).fault(), Fault::Local);
    let totals = registry.totals().all;
    assert_eq!((totals.succeeded, totals.failed, totals.neutral), (1, 1, 1));
}

#[tokio::test]
async fn so_is_one_of_a_future() {
    let registry = HealthRegistry::<u32>::new();
    let parse = async |text: &str| text.parse::<u32>();
    let failed = registry.call_async_with(&7, parse("x"), |e| Failure::document(e)).await;
    assert!(failed.is_err());
    assert_eq!(kept(&registry).fault(), Fault::Document);
    let mut peer = registry.peer(&7);
    assert!(peer.call_async_with(parse("x"), |e| Failure::remote(e)).await.is_err());
    assert_eq!(peer.call_async_with(parse("7"), |e| Failure::remote(e)).await, Ok(7));
    let totals = registry.totals().all;
    assert_eq!((totals.succeeded, totals.failed, totals.neutral), (1, 1, 1));
}

#[test]
fn r25_a_function_that_panics_makes_the_outcome_neutral() {
    let registry = HealthRegistry::<u32>::new();
    let failed = registry.call_with(&7, || Err::<(), _>(7), |_| panic_any(7));
    assert_eq!(failed, Err(CallError::Failed(7)));
    assert_eq!((registry.totals().all.neutral, kept(&registry).fault()), (1, Fault::Nobody));
}

#[test]
fn refusals_and_failures_print_cause_and_wait() {
    let (clock, hand) = Clock::manual();
    let wait = Duration::from_millis(2550);
    let config = HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_timeout(wait)
        .with_open_jitter(0.0);
    let registry = HealthRegistry::<u32>::builder().config(config).clock(clock).build().unwrap();
    let call = || registry.call(&7, || Err::<(), _>(SyncError::Network("reset".into())));
    let failed = call().unwrap_err();
    assert_eq!(failed.to_string(), "call failed: network failure: reset");
    assert_eq!(call().unwrap_err().to_string(), "refused: circuit open, again in 2.6 s");
    hand.advance(wait - Duration::from_secs(2));
    assert_eq!(call().unwrap_err().to_string(), "refused: circuit open, again in 2 s");
    hand.advance(Duration::from_secs(2));
    let probe = registry.acquire(&7).unwrap();
    assert_eq!(call().unwrap_err().to_string(), "refused: probes in flight");
    assert_eq!(registry.acquire(&7).unwrap_err().reason, Reason::ProbesInFlight);
    assert_eq!(probe.success(), Recorded::Counted);
    registry.force_open_for(&7, Duration::from_nanos(1)).unwrap();
    assert_eq!(call().unwrap_err().to_string(), "refused: forced open, again in 0.1 s");
}

#[test]
fn an_error_of_a_call_leads_to_what_lies_beneath_it() {
    let registry = HealthRegistry::<u32>::new();
    let error = registry.call(&7, || Err::<(), _>(Nested::deep("garbage", 1))).unwrap_err();
    assert_eq!(error.to_string(), "call failed: garbage");
    assert_eq!(error.source().unwrap().to_string(), "garbage");
    assert!(error.source().unwrap().source().is_none(), "the error itself is not told twice");
}
