//! Listeners, subscribers, clocks, and what they leave.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use peer_health::{Clock, Event};

use super::*;

fn counting(times: &Arc<AtomicUsize>) -> impl Fn(&Event<u32>) + Send + Sync + 'static {
    let times = Arc::clone(times);
    move |_| _ = times.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn later_listeners_hear_although_what_a_panic_left_panics_too() {
    let told = Arc::new(AtomicUsize::new(0));
    let registry =
        HealthRegistry::<u32>::builder().config(config()).listener(|_| panics()).build().unwrap();
    let _second = registry.listen(|_| panics());
    let _third = registry.listen(counting(&told));
    let permit = registry.acquire(&7).unwrap();
    assert!(ends(|| permit.failure(network())).is_some());
    assert!(ends(|| registry.force_open(&8)).is_some());
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

/// A listener holds something whose destructor panics; whoever drops it last goes on.
#[test]
fn what_listeners_and_clocks_hold_may_panic_when_it_is_dropped() {
    struct Holds;
    impl Drop for Holds {
        fn drop(&mut self) {
            panics();
        }
    }
    let (in_listener, in_clock, in_second, in_third) = (Holds, Holds, Holds, Holds);
    let clock = Clock::from_fn(move || {
        let _ = &in_clock;
        Duration::ZERO
    });
    let registry = HealthRegistry::<u32>::builder()
        .clock(clock)
        .listener(move |_| _ = &in_listener)
        .build()
        .unwrap();
    let listening = registry.listen(move |_| _ = &in_second);
    let third = registry.listen(move |_| _ = &in_third);
    assert!(ends(|| drop(third)).is_some());
    let permit = registry.acquire(&7).unwrap();
    drop(registry);
    assert!(ends(|| drop(listening)).is_some());
    // The last that has the registry, with its clock and its listener.
    assert!(ends(|| permit.success()).is_some());
}

#[test]
fn a_clock_that_panics_tells_the_time_it_told_last() {
    let told = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&told);
    let clock = Clock::from_fn(move || match times.fetch_add(1, Ordering::Relaxed) {
        n if n % 2 == 1 => panics(),
        n => Duration::from_millis(n as u64),
    });
    let registry = HealthRegistry::<u32>::builder().config(config()).clock(clock).build().unwrap();
    for peer in 0..PLACES {
        assert!(ends(|| registry.acquire(&peer).unwrap().failure(network())).is_some());
        assert!(ends(|| registry.acquire(&peer).is_err()).is_some());
    }
    assert!(told.load(Ordering::Relaxed) > 10);
}

#[cfg(feature = "tracing")]
mod subscribers {
    use std::sync::Mutex;

    use peer_health::EventKind;
    use tracing::subscriber::Interest;
    use tracing::{Metadata, Subscriber, span};

    use super::*;

    /// Panics where it is told to, once or always.
    struct Panicking {
        enabled: bool,
        event: bool,
    }

    impl Subscriber for Panicking {
        // Asked for each line anew; tracing itself is locked while a line is met for the first time.
        fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
            Interest::sometimes()
        }

        fn enabled(&self, _: &Metadata<'_>) -> bool {
            if self.enabled {
                panics();
            }
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &tracing::Event<'_>) {
            if self.event {
                panics();
            }
        }

        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn a_subscriber_that_panics_costs_its_line_alone() {
        for (enabled, event) in [(false, true), (true, false)] {
            let told: Arc<Mutex<Vec<EventKind>>> = Arc::default();
            let log = Arc::clone(&told);
            let (clock, hand) = Clock::manual();
            let registry = HealthRegistry::<u32>::builder()
                .config(config().with_outage_guard(true))
                .clock(clock)
                .build()
                .unwrap();
            let _first = registry.listen(|_| panics());
            let _last = registry.listen(move |event| log.lock().unwrap().push(event.kind));
            log::subscribed(Panicking { enabled, event }, || {
                let ended = ends(|| {
                    registry.acquire(&7).unwrap().success();
                    registry.acquire(&7).unwrap().failure(network());
                    hand.advance(Duration::from_secs(60));
                    registry.acquire(&7).unwrap().success();
                    registry.force_open(&8).unwrap();
                    registry.reset(&8);
                    registry.remove(&8);
                });
                assert!(ended.is_some());
            });
            let told = told.lock().unwrap();
            assert_eq!(told.len(), 6, "{told:?}");
            assert!(matches!(told[0], EventKind::Opened { .. }));
        }
    }

    #[test]
    fn configuration_that_makes_no_sense_is_warned_about_in_vain() {
        log::subscribed(Panicking { enabled: false, event: true }, || {
            let circuit = peer_health::CircuitBreakerConfig {
                success_threshold: 0,
                ..peer_health::CircuitBreakerConfig::default()
            };
            let made = ends(|| {
                peer_health::ErrorHandler::<u32>::with_policies(
                    peer_health::RetryPolicy::default(),
                    circuit,
                )
            });
            assert!(made.is_some());
        });
    }

    /// A key whose `Debug` gives an error, which is a panic of who formats it.
    #[test]
    fn a_key_that_cannot_be_printed_is_logged_without_it() {
        #[derive(Clone, PartialEq, Eq, Hash)]
        struct Unprintable;
        impl std::fmt::Debug for Unprintable {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                Err(std::fmt::Error)
            }
        }
        let lines: Arc<Mutex<String>> = Arc::default();
        struct Text(Arc<Mutex<String>>);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                *self.0.lock().unwrap() += &format!("{value:?} ");
            }
        }
        impl tracing_subscriber::Layer<tracing_subscriber::Registry> for Text {
            fn on_event(
                &self,
                event: &tracing::Event<'_>,
                _: tracing_subscriber::layer::Context<'_, tracing_subscriber::Registry>,
            ) {
                event.record(&mut Self(Arc::clone(&self.0)));
            }
        }
        log::logged_to(Text(Arc::clone(&lines)), || {
            let registry = HealthRegistry::builder().config(config()).build().unwrap();
            let permit = registry.acquire(&Unprintable).unwrap();
            assert!(ends(|| permit.failure(network())).is_some());
        });
        let lines = lines.lock().unwrap();
        assert!(lines.contains("(unprintable)") && lines.contains("circuit opened"), "{lines}");
    }

    /// A line is written after everybody has heard, whatever became of the listeners.
    #[test]
    fn listeners_hear_before_anything_is_logged() {
        let told: Arc<Mutex<Vec<&str>>> = Arc::default();
        let (lines, last) = (Arc::clone(&told), Arc::clone(&told));
        struct Noting(Arc<Mutex<Vec<&'static str>>>);
        impl tracing_subscriber::Layer<tracing_subscriber::Registry> for Noting {
            fn on_event(
                &self,
                _: &tracing::Event<'_>,
                _: tracing_subscriber::layer::Context<'_, tracing_subscriber::Registry>,
            ) {
                self.0.lock().unwrap().push("line");
            }
        }
        let registry = HealthRegistry::<u32>::new();
        let _first = registry.listen(|_| panics());
        let _last = registry.listen(move |_| last.lock().unwrap().push("heard"));
        log::logged_to(Noting(lines), || registry.force_open(&7).unwrap());
        assert_eq!(*told.lock().unwrap(), ["heard", "line", "line"]);
    }
}
